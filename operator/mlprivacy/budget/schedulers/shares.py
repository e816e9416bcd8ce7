"""How large a demand is beside the blocks it asks for: the shares by which DPF orders the waiting jobs.

`dominant` is the published share: the largest, over blocks and usable orders, of what is asked to what the block has
(Luo et al., OSDI 2021, section 5.2). On curves of DP-SGD the order that decides is then one at which nobody would run
the job: where the block has hardly any capacity, or the curve explodes. `cheapest` takes, of each block, the order at
which the demand is smallest beside the capacity, and then the largest over the blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

import numpy as np

from mlprivacy.budget.schedulers.table import Table, Where
from mlprivacy.budget.schedulers.unlocking import Floats

Share = Literal["dominant", "cheapest"]
Counts = tuple[tuple[float, int], ...]
"""Shares, largest first, with how often each occurs."""
Ranked = tuple[float, ...]
"""The same, flat: compares as the full lists of shares would, largest first (ties by the second largest, and so on)."""


def of_block(curve: Floats, capacity: Floats, kind: Share) -> Counts:
    """The shares of one block, from two curves of shape (orders,); infinite when the block has no usable order."""
    usable = capacity > 0
    values = (curve[usable] / capacity[usable]).tolist() or [float("inf")]
    return _sorted(Counter(values if kind == "dominant" else [min(values)]).items())


def of_demand(table: Table, where: Where, curve: Floats, kind: Share) -> Counts:
    """The shares over all blocks of a demand. The curve has the shape (orders,) or (orders, blocks)."""
    index = np.arange(where.start, where.stop) if isinstance(where, slice) else where
    if curve.ndim == 1:
        # One curve for all: blocks of one capacity have the same shares, and a budget gives all its blocks the same.
        _, first, times = np.unique(table.kinds[index], return_index=True, return_counts=True)
        found = [
            (share, count * int(often))
            for at, often in zip(first, times, strict=True)
            for share, count in of_block(curve, table.capacity[:, index[at]], kind)
        ]
    else:
        found = [
            pair for at, block in enumerate(index) for pair in of_block(curve[:, at], table.capacity[:, block], kind)
        ]
    return _sorted(found)


def ranked(counts: Counts, weight: float) -> Ranked:
    """The shares divided by the weight (above 0) of the job, for comparison."""
    return tuple(x for share, count in counts for x in (share / weight, count))


def _sorted(pairs: Iterable[tuple[float, int]]) -> Counts:
    total: Counter[float] = Counter()
    for share, count in pairs:
        total[share] += count
    return tuple(sorted(total.items(), reverse=True))
