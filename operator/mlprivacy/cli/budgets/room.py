"""What a budget has left for a job: exactly from its ledger, or as a good guess from its status alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

import numpy as np

from mlprivacy.api.base import Assurance
from mlprivacy.budget.curves import Curve, capacity, effective_delta
from mlprivacy.budget.ledger.blocks import BlockError, Ranges, keys
from mlprivacy.budget.ledger.checks import cap_of, fitting
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.units import PER_EPSILON, UNBOUNDED, Units
from mlprivacy.budget.ledger.usage import Matrix
from mlprivacy.budget.left import Block, Left, Quota, sentence, what_is_left
from mlprivacy.budget.orders import DEFAULT_ORDERS, Orders, check_orders
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.policy.durations import parse_duration

_GUESS: Final = (
    "From the budget's status, which names the fullest blocks and not their whole curves: good for jobs like those "
    "before. The ledger decides; whoever may read ledgerentries.mlprivacy.dev is told exactly."
)
_ANY: Final = "each block"  # where the status names none, since none was used
_RETURNS: Final = "Part of the quota is held by jobs of {} that have not ended: should they give it back, it would fit."
_SPENT: Final = "What jobs of {} spent of it is spent for good; the privacy office can make the quota larger."
_ASK: Final = "Ask the privacy office for a quota, or ask with --namespace for a namespace that has one ({})."
_LARGER: Final = "Take less, or ask the privacy office for a larger quota."
_CAP_ALONE: Final = (
    "Of the quota only the cap is known: what jobs of {} took of it so far stands in the ledger alone. Should they "
    "have had their share, a job that is applied waits."
)
_ARRIVALS: Final = "Jobs that ask for a block unlock it bit by bit; how much is unlocked now only the controller knows."


@dataclass(frozen=True)
class Room:
    """What a job finds in ``blocks`` blocks. ``exact`` tells a ledger from a guess; ``notes`` are sentences.

    ``stops`` are the blocks of ``left.never`` and ``left.capped``, at the orders of the budget where it is exact.
    """

    left: Left
    blocks: int
    exact: bool
    notes: tuple[str, ...] = ()
    stops: tuple[Block, ...] = ()

    @property
    def sentence(self) -> str:
        """What people read first."""
        return sentence(self.left, self.blocks)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        left = self.left
        return {
            "share": left.share if left.share != float("inf") else None,
            "jobs": left.jobs,
            "wait_seconds": left.wait,
            "waits_for": list(left.blocked),
            "never": list(left.never),
            "quota": None
            if left.quota is None
            else {"namespace": left.quota.namespace, "share": left.quota.share, "reached": list(left.capped)},
            "blocks": self.blocks,
            "exact": self.exact,
            "sentence": self.sentence,
            "notes": list(self.notes),
        }


def orders_of(budget: Budget) -> Orders:
    """The orders at which the ledger counts. Raises ValueError when they are none."""
    return check_orders(budget.spec.get("orders") or DEFAULT_ORDERS)


def capacity_of(budget: Budget) -> tuple[Orders, Curve]:
    """What a block may hold at each order under the promise in force, or under the one that is asked for first.

    Raises:
        ValueError: when the numbers are no promise.
    """
    orders, promise = orders_of(budget), budget.promise or budget.asked
    return orders, capacity(orders, promise.epsilon, effective_delta(orders, promise.epsilon, promise.delta))


def quota_of(budget: Budget, namespace: str | None) -> Quota | None:
    """What jobs of the namespace may take of each block; None where the budget has no quotas, or nobody is asked for.

    As the controller has it: where there are quotas, a namespace without one gets nothing.
    """
    quotas = budget.quotas
    return Quota(namespace, quotas.get(namespace, 0.0)) if quotas and namespace is not None else None


def guess(
    budget: Budget,
    share: float,
    now: datetime,
    names: Sequence[str] = (),
    namespace: str | None = None,
    why: str = _GUESS,
) -> Room:
    """What a job that takes this share of a block finds, from the status: the fullest blocks are what stops it.

    Args:
        budget: the budget.
        share: of a whole block, at the job's cheapest order.
        now: the present, aware.
        names: only these blocks, where the job names them.
        namespace: of the job, whose quota counts.
        why: says that it is a guess.
    """
    found = {use.name: use.used / 100 for use in budget.open_blocks if not names or use.name in names}
    unlock, quota = unlocking_of(budget, now), quota_of(budget, namespace)
    if unlock.seconds is not None and budget.cut.period is not None and not names:
        # The newest block is the least unlocked, and may be none of those that are used most.
        found.setdefault(budget.cut.label(budget.cut.key_at(now)), 0.0)
    cap = None if quota is None else (quota.share,)
    blocks = [
        Block(name, (used,), (1.0,), unlock.part(_begins(budget, name)), unlock.seconds, (0.0,), cap)
        for name, used in (found or dict.fromkeys(names or (_ANY,), 0.0)).items()
    ]
    left = what_is_left(blocks, (share,), quota)
    count = budget.count("open") or len(blocks)
    held = {use.name: use.reserved / 100 for use in budget.open_blocks}
    may = bool(left.never) and all(found.get(name, 0.0) - held.get(name, 0.0) + share <= 1 for name in left.never)
    left = replace(left, returns=may)
    unsure = quota is not None and quota.share > 0 and not left.beyond
    notes = (*_about(left, budget), *((_CAP_ALONE.format(namespace),) if unsure else ()), why, *unlock.notes)
    return Room(left, len(names) or count, exact=False, notes=notes, stops=_stops(left, blocks))


def exact(
    state: State, budget: Budget, demand: Units, now: datetime, ranges: Ranges, namespace: str | None = None
) -> Room:
    """What a job finds in these blocks, from the ledger's own sums.

    Args:
        state: of the ledger.
        budget: whose ledger it is.
        demand: of the job, on each block, in billionths of ε as the ledger counts.
        now: the present, aware.
        ranges: blocks of the ledger (`selecting.of_ledger`).
        namespace: of the job, whose quota counts.

    Raises:
        ValueError: when nothing is promised.
    """
    if state.promise is None:
        raise ValueError("nothing is promised yet, so nothing can be granted")
    table, asked = state.table, np.array(demand, np.int64)
    rows = table.rows(ranges)
    unlock, quota = unlocking_of(budget, now), quota_of(budget, namespace)
    used, taken = table.used[rows], _taken_by(state, namespace)[rows]
    cap = None if quota is None else cap_of(state.capacity, quota.share)
    # In the ledger's whole numbers, which floats hold exactly: the answer is what the ledger will say.
    blocks = [
        Block(
            state.label(key),
            _whole(used[at]),
            _whole(state.capacity),
            unlock.part(state.promise.cut.start_of(key)),
            unlock.seconds,
            () if cap is None else _whole(taken[at]),
            None if cap is None else _whole(cap),
        )
        for at, key in enumerate(keys(ranges))
    ]
    left = what_is_left(blocks, _whole(asked), quota)
    full = ~fitting(used, asked, state.capacity)
    left = replace(left, returns=bool(full.any() and fitting(table.committed[rows[full]], asked, state.capacity).all()))
    notes = [*_about(left, budget), *unlock.notes]
    if cap is not None and namespace is not None and left.capped and not left.beyond:
        spent = taken - _held_by(state, namespace)[rows]
        back = fitting(spent, asked, cap).all()
        notes.insert(0, (_RETURNS if back else _SPENT).format(namespace))
    return Room(left, len(blocks), exact=True, notes=tuple(notes), stops=_in_epsilon(_stops(left, blocks)))


def _taken_by(state: State, namespace: str | None) -> Matrix:
    """What jobs of the namespace have reserved and spent of each row."""
    found = state.table.usage.get(namespace or "")
    return np.zeros_like(state.table.used) if found is None else found.sums()


def _held_by(state: State, namespace: str) -> Matrix:
    """What jobs of the namespace that have not ended hold of each row."""
    found = np.zeros_like(state.table.used)
    for held in state.reservations.values():
        if held.reserve.job.namespace == namespace:
            for part in state.table.slices(held.reserve.ranges):
                found[part] += np.array(held.reserve.curve, np.int64)
    return found


def _about(left: Left, budget: Budget) -> tuple[str, ...]:
    """What to do where the quota stops it."""
    if left.quota is None or not left.capped:
        return ()
    if left.quota.share <= 0:
        return (_ASK.format(", ".join(sorted(budget.quotas))),)
    return (_LARGER,) if left.beyond else ()


def _stops(left: Left, blocks: Sequence[Block]) -> tuple[Block, ...]:
    names = {*left.never, *left.capped}
    return tuple(block for block in blocks if block.name in names)


def _whole(units: Matrix) -> Curve:
    return tuple(inf if value >= UNBOUNDED else float(value) for value in units.tolist())


def _in_epsilon(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Blocks in billionths of ε as blocks in ε."""

    def curve(values: Curve) -> Curve:
        return tuple(value / PER_EPSILON for value in values)

    return tuple(
        replace(
            block,
            consumed=curve(block.consumed),
            capacity=curve(block.capacity),
            taken=curve(block.taken),
            cap=None if block.cap is None else curve(block.cap),
        )
        for block in blocks
    )


def at_all_orders(stops: Sequence[Block], room: Curve) -> tuple[Block, ...]:
    """Blocks of a guess as if the same part were used at every order of the budget."""
    return tuple(
        replace(
            block,
            consumed=tuple(block.consumed[0] * value for value in room),
            capacity=room,
            taken=tuple(block.taken[0] * value for value in room),
            cap=None if block.cap is None else tuple(block.cap[0] * value for value in room),
        )
        for block in stops
    )


def terms_of(budget: Budget) -> tuple[str, ...]:
    """What else the budget demands of who spends, which a plan does not know of its job."""
    found = []
    least = budget.spec.get("minimumAssurance") or Assurance.DECLARED
    if least != Assurance.DECLARED:
        found.append(f"The budget lets jobs spend that reach the assurance {least} or better, and refuses others.")
    if budget.spec.get("reviewedImages"):
        found.append("The budget lets jobs with one of its reviewedImages spend, and refuses others.")
    return tuple(found)


@dataclass(frozen=True)
class Unlock:
    """How blocks unlock, as the controller's queue has it: all at once, evenly over time, or by arrivals.

    ``seconds`` is how long a whole block takes (None: time does not unlock), ``made`` when the budget was made.
    """

    now: datetime
    made: datetime | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    def part(self, begins: datetime | None) -> float:
        """What is unlocked of a block whose period begins then: from there on, or from when the budget was made."""
        if self.seconds is None or self.made is None:
            return 1.0
        since = self.made if begins is None else max(self.made, begins)
        return min(1.0, max(0.0, (self.now - since).total_seconds() / self.seconds))


def unlocking_of(budget: Budget, now: datetime) -> Unlock:
    """What spec.scheduling.unlocking makes of blocks by now."""
    given = (budget.spec.get("scheduling") or {}).get("unlocking") or {}
    if given.get("lifetime") and budget.made is not None:
        return Unlock(now, budget.made, parse_duration(str(given["lifetime"])).total_seconds())
    return Unlock(now, notes=(_ARRIVALS,) if given.get("arrivals") else ())


def _begins(budget: Budget, name: str) -> datetime | None:
    """When the period of the block of this name begins; None for buckets, and for a name that is none."""
    try:
        return budget.cut.start_of(budget.cut.key_of(name))
    except BlockError:
        return None


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)
