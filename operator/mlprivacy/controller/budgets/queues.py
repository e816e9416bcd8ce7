"""A budget's scheduler, made from what its spec says and what the ledger holds. Pure."""

from __future__ import annotations

import math
from datetime import datetime

from mlprivacy.api.privacy_budget import PrivacyBudgetSpec, Scheduling
from mlprivacy.budget.ledger.reach import open_rows
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import used_fraction
from mlprivacy.budget.schedulers.base import Block, Demand
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
    arrivals = rule.arrivals if rule is not None and rule.arrivals is not None else 0
    if arrivals and len(rows):
        arrived = [min(arrivals, math.ceil(part * arrivals)) for part in used_fraction(state, rows)[0].tolist()]
    else:
        arrived = [0] * len(rows)
    if before is not None:
        known = before.table
        for index, row in enumerate(rows.tolist()):
            at = known.index.get(str(state.table.base + row))
            if at is not None:
                arrived[index] = max(arrived[index], int(known.arrived[at]))
    table, capacity = state.table, tuple(float(value) for value in state.capacity)
    used = (table.committed[rows] + table.reserved[rows]).astype(float)
    theirs = {name: table.usage[name][rows].astype(float) for name in queue.table.quotas if name in table.usage}
    for index, row in enumerate(rows.tolist()):
        queue.add_block(
            Block(
                id=str(table.base + row),
                capacity=capacity,
                used=tuple(used[index].tolist()),
                used_by={name: tuple(matrix[index].tolist()) for name, matrix in theirs.items()},
                arrived=arrived[index],
                created=_opened(state, table.base + row, made),
            )
        )
    return queue


def _opened(state: State, key: int, made: datetime) -> float:
    """When a block began to be unlocked: with its period, or with the budget where that came later. Seconds."""
    begins = state.promise.cut.start_of(key) if state.promise is not None else None
    return max(made, begins).timestamp() if begins is not None else made.timestamp()


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
