"""DPack: the jobs that get the most out of the blocks first (Tholoniat et al., EuroSys 2025, arXiv 2212.13228).

For each block and order, how much weight could be granted if only that block and order counted: a knapsack in one
dimension. The order with the most is the block's best one. A job's cost is the sum over its blocks of what it asks at
the best order beside what is available there, and jobs go by weight over cost.

A knapsack is filled by weight per ε, and compared with the single heaviest job that fits: the best when all weights are
equal, and at least half of the best otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.schedulers.jobs import Job, Key
from mlprivacy.budget.schedulers.table import Table, indices
from mlprivacy.budget.schedulers.unlocking import Floats

_NEVER: Final = 1e300  # stands for infinity, so that nothing times it is nothing; no block has as much


@dataclass(frozen=True)
class Dpack:
    """Higher priority, then more weight over cost."""

    name: str = "DPack"
    fixed: bool = False

    def keys(self, table: Table, waiting: Sequence[Job], asked: Sequence[Job]) -> list[Key]:
        """(−priority, cost over weight)."""
        size = len(table.ids)
        available = np.where(np.isfinite(table.limit[:, :size]), table.limit[:, :size] - table.used[:, :size], 0.0)
        best = best_orders(available, waiting)
        there = available[best, np.arange(size)]
        with np.errstate(divide="ignore"):
            price = np.where(there > 0, 1 / there, np.inf)
        return [(-job.demand.priority, _cost(job, best, price) / job.demand.weight) for job in asked]


def _cost(job: Job, best: NDArray[np.intp], price: Floats) -> float:
    """Σ over the blocks of ε at the best order over what is available there; infinite where nothing is."""
    orders, prices = best[job.where], price[job.where]
    amount = job.curve[orders] if job.curve.ndim == 1 else job.curve[orders, np.arange(len(orders))]
    with np.errstate(invalid="ignore"):
        terms = np.where(amount > 0, amount * prices, 0.0)
    return float(terms.sum())


def best_orders(available: Floats, jobs: Sequence[Job]) -> NDArray[np.intp]:
    """The best order of each block: the one at which most weight could be granted.

    Between equals it is the order at which all that is asked weighs least beside what is available.

    Args:
        available: what is left to spend, shape (orders, blocks).
        jobs: all that wait.
    """
    best = np.zeros(available.shape[1], dtype=np.intp)
    if not jobs:
        return best
    weights = np.array([job.demand.weight for job in jobs])
    alike = np.array([job.curve.ndim == 1 for job in jobs])
    # Sorted once for all groups of blocks; a group counts the jobs that are not its own as asking and giving nothing.
    curves = np.array([job.curve if job.curve.ndim == 1 else job.curve[:, 0] for job in jobs]).T
    by_worth, by_size = _sorted(curves, weights)
    for blocks, members in _groups(available.shape[1], jobs):
        if not alike[members].all():
            columns = [job.column(int(blocks[0])) if own else job.curve for job, own in zip(jobs, members, strict=True)]
            here = np.array([column if column.ndim == 1 else column[:, 0] for column in columns]).T
            best[blocks] = _best(*_sorted(here, weights), members, available[:, blocks])
        else:
            best[blocks] = _best(by_worth, by_size, members, available[:, blocks])
    return best


@dataclass(frozen=True)
class _Turn:
    """The jobs in some order at each Rényi order: which, what they ask and what they are worth; (orders, jobs)."""

    which: NDArray[np.intp]
    asked: Floats
    worth: Floats

    @classmethod
    def of(cls, key: Floats, curves: Floats, weights: Floats) -> _Turn:
        """By ascending key."""
        which = np.argsort(key, axis=1, kind="stable")
        return cls(which, np.take_along_axis(curves, which, axis=1), weights[which])


def _sorted(curves: Floats, weights: Floats) -> tuple[_Turn, _Turn | None]:
    """By ε over weight; and by ε, unless all weights are the same."""
    curves = np.minimum(curves, _NEVER)
    by_worth = _Turn.of(curves / weights, curves, weights)
    return by_worth, _Turn.of(curves, curves, weights) if weights.min() < weights.max() else None


def _best(by_worth: _Turn, by_size: _Turn | None, members: NDArray[np.bool_], available: Floats) -> NDArray[np.intp]:
    """The best order of blocks that the same jobs ask for.

    Args:
        by_worth: all jobs, those with the most weight per ε first.
        by_size: all jobs, the smallest first; None when all weights are the same.
        members: which of the jobs ask for these blocks, shape (jobs,).
        available: shape (orders, blocks).
    """
    own = members[by_worth.which]
    sums = np.cumsum(own * by_worth.asked, axis=1)
    value = _filled(sums, np.cumsum(own * by_worth.worth, axis=1), available)
    if by_size is not None:
        own = members[by_size.which]
        heaviest = np.maximum.accumulate(own * by_size.worth, axis=1)
        value = np.maximum(value, _filled(by_size.asked, heaviest, available))
    with np.errstate(divide="ignore", invalid="ignore"):
        crowded = np.where(available > 0, np.minimum(sums[:, -1:] / available, _NEVER), _NEVER)
    crowded[value < value.max(axis=0)] = np.inf
    return np.asarray(crowded.argmin(axis=0))


def _filled(sizes: Floats, gains: Floats, available: Floats) -> Floats:
    """The gain of the last of the ascending sizes that fits, at each order and block; 0 where none does."""
    pairs = zip(sizes, gains, available, strict=True)
    return np.array(
        [np.concatenate(([0.0], gain))[np.searchsorted(size, there, "right")] for size, gain, there in pairs]
    )


def _groups(size: int, jobs: Sequence[Job]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Blocks that the same jobs ask for, and which jobs. Those of a job that charges blocks differently are apart."""
    marks = np.zeros(size, dtype=np.uint64)
    for job in jobs:
        mark = _mix(job.number)
        marks[job.where] += mark
        if job.curve.ndim > 1:
            marks[job.where] += np.arange(len(indices(job.where)), dtype=np.uint64) * (mark | np.uint64(1))
    order = np.argsort(marks, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(marks[order])) + 1)
    first = np.array([blocks[0] for blocks in groups])
    members = np.empty((len(groups), len(jobs)), dtype=np.bool_)
    asked = np.zeros(size, dtype=np.bool_)
    for number, job in enumerate(jobs):
        asked[job.where] = True
        members[:, number] = asked[first]
        asked[job.where] = False
    for blocks, those in zip(groups, members, strict=True):
        if those.any():
            yield blocks, those


def _mix(number: int) -> np.uint64:
    """Sixty-four well-mixed bits from a number (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    z = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return np.uint64(z ^ (z >> 31))
