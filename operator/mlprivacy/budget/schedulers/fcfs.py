"""First come, first served: the default. A job that does not fit does not hold up those behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlprivacy.budget.schedulers.jobs import Job, Key
from mlprivacy.budget.schedulers.table import Table


@dataclass(frozen=True)
class Fcfs:
    """Higher priority, then earlier arrival."""

    name: str = "FCFS"
    fixed: bool = True

    def keys(self, table: Table, waiting: Sequence[Job], asked: Sequence[Job]) -> list[Key]:
        """(−priority, arrival)."""
        return [(-job.demand.priority, job.demand.arrival) for job in asked]
