"""A waiting job as the schedulers hold it, and what a policy is: the order in which jobs are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlprivacy.budget.schedulers.base import Demand
from mlprivacy.budget.schedulers.table import Table, Where
from mlprivacy.budget.schedulers.unlocking import Floats

Key = tuple[float, ...]
"""Smaller is tried first. Ties go by the order in which the jobs came."""


@dataclass(eq=False, slots=True)
class Job:
    """A waiting job, prepared: its blocks by index, its curve as an array.

    Attributes:
        demand: what it asks for.
        number: how many jobs came before it.
        where: the indices of its blocks.
        curve: shape (orders,), or (orders, blocks) where blocks are charged differently.
        kind: equal for jobs that a block takes alike.
        key: under a fixed policy.
        parked: index of a block that can not take it; −1 while it is tried.
        gone: granted, expired or withdrawn.
    """

    demand: Demand
    number: int
    where: Where
    curve: Floats
    kind: object
    key: Key = ()
    parked: int = -1
    gone: bool = False

    def column(self, block: int) -> Floats:
        """What the block of this index is charged, shape (orders,)."""
        if self.curve.ndim == 1:
            return self.curve
        if isinstance(self.where, slice):
            return self.curve[:, block - self.where.start]
        return self.curve[:, int(np.flatnonzero(self.where == block)[0])]


class Policy(Protocol):
    """In which order waiting jobs are tried. Higher priorities go first under every policy."""

    @property
    def name(self) -> str:
        """As in `spec.scheduling.policy`."""

    @property
    def fixed(self) -> bool:
        """Whether a job's key never changes, so that it is computed once, when the job comes."""

    def keys(self, table: Table, waiting: Sequence[Job], asked: Sequence[Job]) -> list[Key]:
        """The keys of the jobs that are asked for, in the light of all that wait (none of those, when fixed)."""
