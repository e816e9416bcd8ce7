"""What the schedulers of a budget speak of: blocks, demands, decisions, and what a waiting job waits for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from mlprivacy.budget.curves import Curve


class SchedulerError(ValueError):
    """A block or a demand that can not be scheduled; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of data and its budget. All curves are aligned with the orders of the budget.

    Basic composition is the case of a single order: curves of one value, the ε itself.

    Attributes:
        id: unique among the blocks of the scheduler.
        capacity: ε at each order; an order with 0 or less is unusable.
        used: what is reserved and committed, at each order; empty means nothing.
        used_by: the part of `used` that a namespace with a quota has, by namespace.
        arrived: how many jobs have ever asked for the block, for DPF-N.
        created: seconds on the clock of `decide`, for DPF-T.
    """

    id: str
    capacity: Curve
    used: Curve = ()
    used_by: Mapping[str, Curve] = field(default_factory=dict)
    arrived: int = 0
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    """One job's demand: all of its blocks or none.

    Attributes:
        id: unique among the waiting jobs.
        blocks: ids, each once.
        curve: ε at each order, charged to every block that `own` does not name.
        own: the curve of single blocks where it differs.
        weight: what granting the job is worth, above 0; DPF divides the share by it, DPack multiplies.
        priority: higher is tried first, under every policy.
        namespace: whose quota it counts against.
        arrival: seconds, on the clock of `decide`.
        timeout: seconds after its arrival at which the job is given up; infinite by default.
    """

    id: str
    blocks: tuple[str, ...]
    curve: Curve
    own: Mapping[str, Curve] = field(default_factory=dict)
    weight: float = 1.0
    priority: int = 0
    namespace: str = ""
    arrival: float = 0.0
    timeout: float = math.inf


class Reason(StrEnum):
    """Why a job waits."""

    LOCKED = "Locked"  # the block has the budget, and it is not unlocked yet
    QUOTA = "Quota"  # the namespace has had its share of the block
    EXHAUSTED = "Exhausted"  # the block has been used; only a release makes room
    TOO_LARGE = "TooLarge"  # the block could not take it when nothing was used: it will never run


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one job waits for: the first of its blocks that can not take it, at the order nearest to taking it.

    Attributes:
        id: of the job.
        reason: why the block can not take it.
        block: id of the block.
        order: index into the orders of the budget.
        missing: ε by which the block falls short at that order, above 0; infinite when no order is usable.
        unlocks_at: when the block would have unlocked enough if nothing else took it; None when time does not tell.
        unlocks_after: how many more jobs must ask for the block until then; None when arrivals do not tell.
        age: seconds since the arrival.
        passed_over: how many jobs that came later were granted meanwhile.
    """

    id: str
    reason: Reason
    block: str
    order: int
    missing: float
    unlocks_at: float | None
    unlocks_after: int | None
    age: float
    passed_over: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What one pass over the waiting jobs came to.

    Attributes:
        granted: ids, in the order in which they were granted.
        expired: ids of the jobs that were given up: their time was over.
        waiting: what the others wait for, in the order of arrival; empty when it was not asked for.
    """

    granted: tuple[str, ...]
    expired: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()


class Scheduler(Protocol):
    """Blocks and waiting jobs. It holds no clock: every decision is told the time."""

    def add_block(self, block: Block) -> None:
        """A new block."""

    def submit(self, demand: Demand) -> None:
        """A new waiting job; it counts as an arrival on its blocks."""

    def decide(self, now: float, *, explain: bool = True) -> Decision:
        """Grant what can be granted at this time (seconds), each job all of its blocks or none."""


def check_demand(demand: Demand) -> None:
    """Refuse a demand that makes no sense; its curves are for `check_values`.

    Raises:
        SchedulerError: no blocks, one twice, a curve for another block, a weight that is not above 0, or a time that is
            not a number.
    """
    if not demand.blocks:
        raise SchedulerError(f"The job {demand.id} asks for no block.")
    if len(set(demand.blocks)) != len(demand.blocks):
        raise SchedulerError(f"The job {demand.id} names a block twice; a block is charged once for each job.")
    if demand.own and (strangers := sorted(demand.own.keys() - set(demand.blocks))):
        raise SchedulerError(f"The job {demand.id} has a curve for {strangers[0]}, which is none of its blocks.")
    if not (math.isfinite(demand.weight) and demand.weight > 0):
        raise SchedulerError(f"The job {demand.id} has the weight {demand.weight:g}; a weight is above 0.")
    if not math.isfinite(demand.arrival) or not demand.timeout >= 0:
        raise SchedulerError(f"The job {demand.id} has an arrival or a timeout that is no time.")


def check_values(whose: str, curve: Sequence[float], orders: int) -> None:
    """Refuse a curve of the wrong length, or with a value that is negative or not a number.

    Raises:
        SchedulerError: so.
    """
    if len(curve) != orders:
        raise SchedulerError(f"A curve of {whose} has {len(curve)} values and the budget has {orders} orders.")
    if not all(value >= 0 for value in curve):  # also false for NaN
        raise SchedulerError(f"A curve of {whose} has a value that is no privacy loss; each is 0 or more.")
