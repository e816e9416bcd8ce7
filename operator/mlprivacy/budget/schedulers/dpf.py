"""Dominant private block fairness: the smallest share of the blocks first (Luo et al., OSDI 2021, sections 4 and 5).

DPF-N and DPF-T are this order with `unlocking.PerArrival` and `unlocking.OverTime`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from mlprivacy.budget.schedulers import shares
from mlprivacy.budget.schedulers.jobs import Job, Key
from mlprivacy.budget.schedulers.table import Table, indices

_KEPT: Final = 65536  # shares that are remembered


@dataclass(frozen=True)
class Dpf:
    """Higher priority, then the smaller share over the weight, ties by the second largest share and so on.

    Attributes:
        share: the published one, or the one by the cheapest usable order.
    """

    share: shares.Share = "dominant"
    name: str = "DPF"
    fixed: bool = True
    _known: dict[object, shares.Counts] = field(default_factory=dict, repr=False, compare=False)

    def keys(self, table: Table, waiting: Sequence[Job], asked: Sequence[Job]) -> list[Key]:
        """(−priority, share, how often, next share, …)."""
        return [(-job.demand.priority, *shares.ranked(self._shares(table, job), job.demand.weight)) for job in asked]

    def _shares(self, table: Table, job: Job) -> shares.Counts:
        if job.curve.ndim > 1:
            return shares.of_demand(table, job.where, job.curve, self.share)
        kinds = table.kinds[job.where]
        if (kinds != kinds[0]).any():
            return shares.of_demand(table, job.where, job.curve, self.share)
        # Every block has the same capacity: the shares of one, each as often as there are blocks.
        capacity = table.capacity[:, indices(job.where)[0]]
        known = (job.demand.curve, capacity.tobytes())
        one = self._known.get(known)
        if one is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            one = self._known[known] = shares.of_block(job.curve, capacity, self.share)
        return tuple((share, count * len(kinds)) for share, count in one)
