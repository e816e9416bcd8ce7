"""How large a demand is beside the blocks it asks for: the shares by which DPF orders the waiting jobs.

`dominant` is the published share: the largest, over blocks and usable orders, of what is asked to what the block has
(Luo et al., OSDI 2021, section 5.2). On curves of DP-SGD the order that decides is then one at which nobody would run
the job: where the block has hardly any capacity, or the curve explodes. `cheapest` takes, of each block, the order at
which the demand is smallest beside the capacity, and then the largest over the blocks.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np

from mlprivacy.budget.schedulers.table import Table, Where
from mlprivacy.budget.schedulers.unlocking import Floats

Share = Literal["dominant", "cheapest"]
Ranked = tuple[float, ...]
"""Shares, largest first, each followed by how often it occurs: compares as the list of all of them would."""


def ranked(table: Table, where: Where, curve: Floats, kind: Share, weight: float) -> Ranked:
    """The shares of a demand, divided by its weight. Infinite where a block has no usable order.

    Args:
        table: the blocks.
        where: those of the demand.
        curve: shape (orders,), or (orders, blocks).
        kind: which share.
        weight: above 0.
    """
    shares: Counter[float] = Counter()
    if curve.ndim == 1:
        # One curve for all: blocks of one capacity have the same shares, and a budget gives all blocks the same.
        for one, times in zip(*np.unique(table.kinds[where], return_counts=True), strict=True):
            at = int(np.flatnonzero(table.kinds[where] == one)[0])
            for share, occurs in _shares(curve, table.capacity[:, where][:, at], kind).items():
                shares[share] += occurs * int(times)
    else:
        for at in range(curve.shape[1]):
            shares.update(_shares(curve[:, at], table.capacity[:, where][:, at], kind))
    return tuple(x for share in sorted(shares, reverse=True) for x in (share / weight, shares[share]))


def _shares(curve: Floats, capacity: Floats, kind: Share) -> Counter[float]:
    usable = capacity > 0
    values = (curve[usable] / capacity[usable]).tolist()
    if not values:
        return Counter([float("inf")])
    return Counter(values) if kind == "dominant" else Counter([min(values)])
