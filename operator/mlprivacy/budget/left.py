"""What is left of a budget for a job, and when it would be granted: from plain curves, whoever read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mlprivacy.budget.accounting.events import NOISE_MAX, NOISE_MIN, Event
from mlprivacy.budget.accounting.rdp import curve_of, epsilon_for_people, rounded_up
from mlprivacy.budget.curves import Curve, fits
from mlprivacy.budget.orders import Orders

_HALVINGS: Final = 60
_FITS_MAX: Final = 1_000_000_000


@dataclass(frozen=True)
class Quota:
    """What jobs of the namespace that asks may take of each block: a share; 0 where others have a quota and it none."""

    namespace: str
    share: float


@dataclass(frozen=True)
class Block:
    """One block of a budget.

    Attributes:
        name: what people call it.
        consumed: reserved and committed so far, at each order of the budget.
        capacity: of the whole block, at each order (`curves.capacity`).
        unlocked: the share of the capacity that may be granted now, 0 to 1.
        unlock_seconds: how long a whole block takes to unlock, where time unlocks it; None where it does not.
        taken: the part of `consumed` that jobs of the namespace have, where it has a quota.
        cap: what they may have, at each order; None where there are no quotas.
    """

    name: str
    consumed: Curve
    capacity: Curve
    unlocked: float = 1.0
    unlock_seconds: float | None = None
    taken: Curve = ()
    cap: Curve | None = None

    def within_quota(self, demand: Curve) -> bool:
        """Whether the namespace may take so much more; as for the block itself, one order is enough."""
        return self.cap is None or fits(self.taken, demand, self.cap)

    def takes(self, demand: Curve) -> bool:
        """Whether it has room when all is unlocked, and the namespace may take it."""
        return fits(self.consumed, demand, self.capacity) and self.within_quota(demand)


@dataclass(frozen=True)
class Left:
    """What a job finds.

    Attributes:
        share: the largest share of any block that it uses, by the order at which it is cheapest; may be infinite.
        jobs: how many such jobs fit into every block, and into the quota, unlocked or not.
        wait: seconds until every block has unlocked enough: 0 now, None when time does not help or never.
        never: the blocks that have no room for it even when all is unlocked.
        blocked: the blocks that it waits for.
        quota: of the namespace that asks; None where the budget has no quotas.
        capped: the blocks of which the namespace may not take so much more.
        beyond: the quota does not take it even of a block of which the namespace took nothing.
        returns: what jobs that have not ended hold of the blocks in `never` would make room.
    """

    share: float
    jobs: int
    wait: float | None
    never: tuple[str, ...]
    blocked: tuple[str, ...]
    quota: Quota | None = None
    capped: tuple[str, ...] = ()
    beyond: bool = False
    returns: bool = False


def share_of(demand: Curve, capacity: Curve) -> float:
    """The share of a whole block that a demand uses, at its cheapest order. Infinite when none is usable."""
    return needed(tuple(0.0 for _ in demand), demand, capacity)


def needed(consumed: Curve, demand: Curve, capacity: Curve) -> float:
    """The share of the capacity that must be unlocked for the demand: above 1, it never fits."""
    return min(
        ((used + asked) / room for used, asked, room in zip(consumed, demand, capacity, strict=True) if room > 0),
        default=math.inf,
    )


def jobs_left(consumed: Curve, demand: Curve, capacity: Curve) -> int:
    """How many such jobs fit into what is left, one after the other: the most over the usable orders, at most 1e9."""
    most = 0
    for used, asked, room in zip(consumed, demand, capacity, strict=True):
        if room <= 0 or used > room or math.isinf(asked):
            continue
        count = min(_FITS_MAX, math.floor((room - used) / asked)) if asked > 0 else _FITS_MAX
        while count > 0 and used + count * asked > room:  # the division rounds
            count -= 1
        most = max(most, count)
    return most


def what_is_left(blocks: Sequence[Block], demand: Curve, quota: Quota | None = None) -> Left:
    """What a job that demands the same of each block finds, under the quota of its namespace where there are any.

    Raises:
        ValueError: when there are no blocks, or curves have different lengths.
    """
    if not blocks:
        raise ValueError("the job demands no block; name blocks that exist, or add data")
    shares = {block.name: needed(block.consumed, demand, block.capacity) for block in blocks}
    never = tuple(block.name for block in blocks if not fits(block.consumed, demand, block.capacity))
    capped = tuple(block.name for block in blocks if not block.within_quota(demand))
    blocked = tuple(block.name for block in blocks if shares[block.name] > block.unlocked or block.name in never)
    waits = [
        0.0
        if block.name not in blocked
        else math.inf
        if block.name in never or block.unlock_seconds is None
        else (shares[block.name] - block.unlocked) * block.unlock_seconds
        for block in blocks
    ]
    return Left(
        share=max(share_of(demand, block.capacity) for block in blocks),
        jobs=min(_jobs(block, demand) for block in blocks),
        wait=None if capped or math.isinf(max(waits)) else max(waits),
        never=never,
        blocked=blocked,
        quota=quota,
        capped=capped,
        beyond=any(block.cap is not None and share_of(demand, block.cap) > 1 for block in blocks),
    )


def _jobs(block: Block, demand: Curve) -> int:
    most = jobs_left(block.consumed, demand, block.capacity)
    return most if block.cap is None else min(most, jobs_left(block.taken, demand, block.cap))


def sentence(left: Left, blocks: int) -> str:
    """What people read: "Uses 8 % of each block, 12 such jobs fit. It would be granted now." """
    return f"{uses(left, blocks)} {_when(left)}"


def uses(left: Left, blocks: int) -> str:
    """What it takes of a block and how often: "Uses 8 % of each block, 12 such jobs fit." """
    each = "the block" if blocks == 1 else "each block"
    percent = left.share * 100
    if math.isinf(left.share):
        return f"Uses more than any share of {each}: no order of the budget bounds it."
    if left.share > 1:
        return f"Needs more than {'a whole block' if blocks > 1 else 'the whole block'}."
    shown = f"{percent:.2g}" if percent < 10 else f"{math.ceil(percent)}"
    fit = {0: "no such job fits", 1: "1 such job fits"}.get(left.jobs, f"{left.jobs} such jobs fit")
    if left.quota is None:
        return f"Uses {shown} % of {each}, {fit}."
    whose = f"the namespace {left.quota.namespace}"
    if left.quota.share <= 0:
        return f"Uses {shown} % of {each}, of which {whose} may take nothing."
    return f"Uses {shown} % of {each}, of which {whose} may take {_percent(left.quota.share)}; {fit}."


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _when(left: Left) -> str:
    quota = left.quota
    if quota is not None and quota.share <= 0:
        return f"It would be refused: the budget has quotas, and none for {quota.namespace}."
    if left.never and left.returns:
        return f"It would wait: {_some(left.never)} has room only once running jobs give back what they hold."
    if left.never:
        return f"It can never be granted: {_some(left.never)} has too little left."
    if quota is not None and left.beyond:
        return f"It would be refused: {quota.namespace} may take no more than {_percent(quota.share)} of a block."
    if quota is not None and left.capped:
        return f"It would wait: {quota.namespace} has had its share of {_some(left.capped)}."
    if not left.blocked:
        return "It would be granted now."
    if left.wait is None:
        return f"It waits until more of {_some(left.blocked)} is unlocked by other jobs' arrival."
    return f"It would be granted in {_duration(left.wait)}, when enough of {_some(left.blocked)} is unlocked."


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{math.ceil(seconds / length)} {unit}"
    return f"{math.ceil(seconds)} seconds"


def largest_grant(
    blocks: Sequence[Block], orders: Orders, make: Callable[[float], Event], delta: float
) -> tuple[float, float] | None:
    """The least noise with which a job would fit into every block, and its ε: the largest that could be granted.

    Args:
        blocks: that the job demands, each with what the namespace may take of it.
        orders: of their budget.
        make: the job with a given noise multiplier.
        delta: of the job.

    Returns:
        Noise multiplier and ε, or None when not even a noise multiplier of 1,000,000 fits.
    """

    def fit(sigma: float) -> bool:
        demand = curve_of(make(sigma), orders)
        return all(block.takes(demand) for block in blocks)

    sigma = least_noise(fit)
    return None if sigma is None else (sigma, epsilon_for_people(make(sigma), delta))


def least_noise(fit: Callable[[float], bool], above: float = NOISE_MIN, halvings: int = _HALVINGS) -> float | None:
    """The least noise multiplier that fits, rounded up at the sixth digit; None when not even 1,000,000 does.

    Args:
        fit: whether a noise multiplier does; taken to stay true as the noise grows.
        above: where to begin; less is not tried.
        halvings: of the range, which bounds the work; fewer find a little more noise than is needed.
    """
    low, high = math.log(above), math.log(NOISE_MAX)
    if not fit(NOISE_MAX):
        return None
    for _ in range(halvings):
        middle = (low + high) / 2
        if fit(math.exp(middle)):
            high = middle
        else:
            low = middle
    return min(rounded_up(math.exp(high)), NOISE_MAX)
