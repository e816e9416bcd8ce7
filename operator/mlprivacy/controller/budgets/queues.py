"""A budget's scheduler, made from what its spec says and what the ledger holds. Pure."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from mlprivacy.api.privacy_budget import PrivacyBudgetSpec, Scheduling
from mlprivacy.budget.ledger.reach import open_rows
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import used_fraction
from mlprivacy.budget.schedulers.base import Demand
from mlprivacy.budget.schedulers.dpack import Dpack
from mlprivacy.budget.schedulers.dpf import Dpf
from mlprivacy.budget.schedulers.fcfs import Fcfs
from mlprivacy.budget.schedulers.jobs import Policy
from mlprivacy.budget.schedulers.queue import Queue
from mlprivacy.budget.schedulers.unlocking import Everything, OverTime, PerArrival, Unlocking
from mlprivacy.controller.budgets.asks import Wish, block_ids
from mlprivacy.policy.durations import parse_duration


def policy_of(scheduling: Scheduling) -> Policy:
    """The order in which waiting jobs are tried."""
    match scheduling.policy:
        case "DPF":
            return Dpf("dominant" if scheduling.share == "AnyOrder" else "cheapest")
        case "DPack":
            return Dpack()
    return Fcfs()


def unlocking_of(scheduling: Scheduling) -> Unlocking:
    """Which part of a block may be spent."""
    rule = scheduling.unlocking
    if rule is not None and rule.arrivals is not None:
        return PerArrival(rule.arrivals)
    if rule is not None and rule.lifetime is not None:
        return OverTime(parse_duration(rule.lifetime).total_seconds())
    return Everything()


def queue_of(spec: PrivacyBudgetSpec, state: State, made: datetime, before: Queue | None = None) -> Queue:
    """A queue with every open block as the ledger has it, and no waiting job.

    All is in billionths of ε, as whole numbers that floats hold exactly, so that it says what the ledger will say.
    How many jobs ever asked for a block is in no ledger: a block that was used counts as many as unlock what is used,
    so that after a restart less may be unlocked than before, and never more.

    Args:
        spec: of the PrivacyBudget.
        state: of the ledger, with a promise.
        made: when the budget was made; from then on time unlocks what was open by then.
        before: the queue that it takes the place of: what asked for a block there counts here.
    """
    rule = spec.scheduling.unlocking
    queue = Queue(
        policy_of(spec.scheduling),
        len(state.orders),
        unlocking=unlocking_of(spec.scheduling),
        quotas={quota.namespace: quota.share for quota in spec.quotas},
    )
    rows = open_rows(state)
    ids = [str(key) for key in (state.table.base + rows).tolist()]
    arrivals = rule.arrivals if rule is not None and rule.arrivals is not None else 0
    arrived = np.zeros(len(rows), np.int64)
    if arrivals and len(rows):
        arrived = np.minimum(arrivals, np.ceil(used_fraction(state, rows)[0] * arrivals)).astype(np.int64)
    if before is not None:
        known = before.table
        asked = [int(known.arrived[at]) if (at := known.index.get(ident)) is not None else 0 for ident in ids]
        arrived = np.maximum(arrived, np.array(asked, np.int64))
    table = state.table
    queue.add_blocks(
        ids,
        tuple(float(value) for value in state.capacity),
        table.used[rows].T.astype(float),
        {name: table.usage[name].sums()[rows].T.astype(float) for name in queue.table.quotas if name in table.usage},
        arrived,
        _opened(state, rows, made),
    )
    return queue


def _opened(state: State, rows: NDArray[np.intp], made: datetime) -> NDArray[np.float64]:
    """When each block began to be unlocked: with its period, or with the budget where that came later. Seconds."""
    cut = state.promise.cut if state.promise is not None else None
    if cut is None or cut.period is None:
        return np.full(len(rows), made.timestamp())
    begins = [cut.start_of(state.table.base + row) for row in rows.tolist()]
    return np.array([max(made, begin).timestamp() if begin is not None else made.timestamp() for begin in begins])


def demand_of(wish: Wish, ident: str, state: State, spec: PrivacyBudgetSpec) -> Demand:
    """The wish as the scheduler takes it.

    Raises:
        BlockError: when it reaches no block.
    """
    scheduling = spec.scheduling
    own = next((p for p in scheduling.preferences if p.namespace == wish.key.namespace), None)
    timeout = parse_duration(scheduling.timeout).total_seconds() if scheduling.timeout else math.inf
    return Demand(
        id=ident,
        blocks=block_ids(wish.ranges(state)),
        curve=tuple(float(value) for value in wish.curve),
        weight=own.weight if own else 1.0,
        priority=own.priority if own else 0,
        namespace=wish.key.namespace,
        arrival=wish.asked.timestamp(),
        timeout=timeout,
    )
