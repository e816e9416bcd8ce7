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

_AT_ONCE: Final = 1 << 16  # numbers up to which all blocks of a group are compared with all sums at once


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
    """The best order of each block: the one at which most weight could be granted, ties by the least demand left over.

    Args:
        available: what is left to spend, shape (orders, blocks).
        jobs: all that wait.
    """
    best = np.zeros(available.shape[1], dtype=np.intp)
    for blocks, members in _groups(available.shape[1], jobs):
        curves = np.array([job.column(int(blocks[0])) for job in members]).T
        weights = np.array([job.demand.weight for job in members])
        value = _knapsacks(curves, weights, available[:, blocks])
        # Between equals: the order at which all that is asked weighs least beside what is available.
        there = available[:, blocks]
        with np.errstate(divide="ignore", invalid="ignore"):
            crowded = np.where(there > 0, curves.sum(axis=1)[:, None] / there, np.inf)
        crowded[value < value.max(axis=0)] = np.inf
        best[blocks] = crowded.argmin(axis=0)
    return best


def _groups(size: int, jobs: Sequence[Job]) -> Iterator[tuple[NDArray[np.intp], list[Job]]]:
    """Blocks that the same jobs ask for, with those jobs. Jobs that charge blocks differently part their blocks."""
    marks = np.zeros(size, dtype=np.uint64)
    for job in jobs:
        mark = _mix(job.number)
        marks[job.where] += mark
        if job.curve.ndim > 1:
            marks[job.where] += np.arange(len(indices(job.where)), dtype=np.uint64) * (mark | np.uint64(1))
    members: dict[int, list[Job]] = {}
    order = np.argsort(marks, kind="stable")
    cuts = np.flatnonzero(np.diff(marks[order])) + 1
    groups = np.split(order, cuts)
    group_of = np.empty(size, dtype=np.intp)
    for number, blocks in enumerate(groups):
        group_of[blocks] = number
    for job in jobs:
        for number in set(group_of[job.where].tolist()):
            members.setdefault(number, []).append(job)
    for number, found in members.items():
        yield groups[number], found


def _mix(number: int) -> np.uint64:
    """Sixty-four well-mixed bits from a number (the finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    z = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return np.uint64(z ^ (z >> 31))


def _knapsacks(curves: Floats, weights: Floats, available: Floats) -> Floats:
    """The weight that fits into each block at each order, shape (orders, blocks).

    Args:
        curves: ε of each job, shape (orders, jobs).
        weights: shape (jobs,).
        available: shape (orders, blocks).
    """
    turn = np.argsort(curves / weights, axis=1, kind="stable")
    asked = np.take_along_axis(curves, turn, axis=1)
    sums = np.cumsum(asked, axis=1)
    gained = np.concatenate([np.zeros((len(curves), 1)), np.cumsum(weights[turn], axis=1)], axis=1)
    if sums.size * available.shape[1] <= _AT_ONCE:
        fit = (sums[:, :, None] <= available[:, None, :]).sum(axis=1)
    else:
        pairs = zip(sums, available, strict=True)
        fit = np.array([np.searchsorted(row, there, side="right") for row, there in pairs])
    value: Floats = np.take_along_axis(gained, fit, axis=1)
    if (weights != weights[0]).any():
        value = np.maximum(value, _heaviest(curves, weights, available))
    return value


def _heaviest(curves: Floats, weights: Floats, available: Floats) -> Floats:
    """The weight of the heaviest single job that fits, shape (orders, blocks); 0 when none does."""
    turn = np.argsort(curves, axis=1, kind="stable")
    most = np.maximum.accumulate(weights[turn], axis=1)
    most = np.concatenate([np.zeros((len(curves), 1)), most], axis=1)
    rows = [
        most[order][np.searchsorted(curves[order][turn[order]], available[order], side="right")]
        for order in range(len(curves))
    ]
    return np.array(rows)
