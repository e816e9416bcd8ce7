"""What a budget has left for a job: exactly from its ledger, or as a good guess from its status alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from mlprivacy.budget.curves import Curve, capacity, effective_delta, fits
from mlprivacy.budget.ledger.blocks import BlockError, Ranges
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.units import from_units
from mlprivacy.budget.left import Block, Left, sentence, what_is_left
from mlprivacy.budget.orders import DEFAULT_ORDERS, Orders, check_orders
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.policy.durations import parse_duration

_GUESS: Final = (
    "From the budget's status, which names the fullest blocks and not their whole curves: good for jobs like those "
    "before. The ledger decides; whoever may read ledgerentries.mlprivacy.dev is told exactly."
)
_ANY: Final = "each block"  # where the status names none, since none was used
_HELD: Final = (
    "Part of it is reserved by jobs that have not ended: should they give that back, there would be room. A job that "
    "is applied waits for that."
)
_ARRIVALS: Final = "Jobs that ask for a block unlock it bit by bit; how much is unlocked now only the controller knows."


@dataclass(frozen=True)
class Room:
    """What a job finds in ``blocks`` blocks. ``exact`` tells a ledger from a guess; ``notes`` are sentences.

    ``stops`` are the blocks of ``left.never``, at the orders of the budget where it is exact.
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


def guess(budget: Budget, share: float, now: datetime, names: Sequence[str] = ()) -> Room:
    """What a job that takes this share of a block finds, from the status: the fullest blocks are what stops it.

    Args:
        budget: the budget.
        share: of a whole block, at the job's cheapest order.
        now: the present, aware.
        names: only these blocks, where the job names them.
    """
    found = {use.name: use.used / 100 for use in budget.open_blocks if not names or use.name in names}
    unlock = unlocking_of(budget, now)
    if unlock.seconds is not None and budget.cut.period is not None and not names:
        # The newest block is the least unlocked, and may be none of those that are used most.
        found.setdefault(budget.cut.label(budget.cut.key_at(now)), 0.0)
    blocks = [
        Block(name, (used,), (1.0,), unlock.part(_begins(budget, name)), unlock.seconds)
        for name, used in (found or dict.fromkeys(names or (_ANY,), 0.0)).items()
    ]
    left = what_is_left(blocks, (share,))
    count = budget.count("open") or len(blocks)
    held = {use.name: use.reserved / 100 for use in budget.open_blocks}
    may = bool(left.never) and all(found[name] - held.get(name, 0.0) + share <= 1 for name in left.never)
    stops = tuple(block for block in blocks if block.name in left.never)
    notes = (*((_HELD,) if may else ()), _GUESS, *unlock.notes)
    return Room(left, len(names) or count, exact=False, notes=notes, stops=stops)


def exact(state: State, budget: Budget, demand: Curve, now: datetime, ranges: Ranges | None = None) -> Room:
    """What a job finds in these blocks (None: all that are open), from the ledger's own sums.

    Raises:
        ValueError: when nothing is promised, no block is open, or a block is none of the ledger.
    """
    if state.promise is None:
        raise ValueError("nothing is promised yet, so nothing can be granted")
    table = state.table
    if ranges is not None and not table.covers(ranges):
        raise ValueError("a block is none of this ledger")
    rows = np.flatnonzero(table.opened & ~table.retired) if ranges is None else table.rows(ranges)
    room = tuple(value / 1e9 for value in state.capacity.tolist())
    unlock = unlocking_of(budget, now)
    blocks = [
        Block(
            state.label(table.base + int(row)),
            from_units((table.committed[row] + table.reserved[row]).tolist()),
            room,
            unlock.part(state.promise.cut.start_of(table.base + int(row))),
            unlock.seconds,
        )
        for row in rows
    ]
    if not blocks:
        raise ValueError("no block is open yet")
    left = what_is_left(blocks, demand)
    never = set(left.never)
    stops = [(int(row), block) for row, block in zip(rows, blocks, strict=True) if block.name in never]
    may = bool(stops) and all(fits(from_units(table.committed[row].tolist()), demand, room) for row, _ in stops)
    notes = (*((_HELD,) if may else ()), *unlock.notes)
    return Room(left, len(blocks), exact=True, notes=notes, stops=tuple(block for _, block in stops))


def at_all_orders(stops: Sequence[Block], room: Curve) -> tuple[Block, ...]:
    """Blocks of a guess as if the same part were used at every order of the budget."""
    return tuple(
        replace(block, consumed=tuple(block.consumed[0] * value for value in room), capacity=room) for block in stops
    )


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
