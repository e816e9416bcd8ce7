"""How much of a block's capacity may be spent yet: all of it, a part for each job that asked, or a part over time.

The rules for arrivals and time are those of DPF-N and DPF-T (Luo et al., Privacy Budget Scheduling, OSDI 2021,
sections 4.2 and 4.4; for Rényi curves section 5.2: every order is unlocked by the same part).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.schedulers.base import SchedulerError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Unlocking(Protocol):
    """A rule. It reads what is known of a block and nothing else, so that a restart changes nothing."""

    @property
    def by_arrival(self) -> bool:
        """Whether a job that asks for a block unlocks some of it."""

    @property
    def by_time(self) -> bool:
        """Whether time unlocks."""

    def part(self, arrived: Counts, created: Floats, now: float) -> Floats:
        """The unlocked part of each block, shape (n,), 0 to 1, from how many asked for it and when it was created."""

    def when(self, part: float, arrived: int, created: float) -> tuple[float | None, int | None]:
        """When a block will have unlocked this part: the time, and how many more jobs must ask; None: does not tell."""


@dataclass(frozen=True)
class Everything:
    """All of a block from its creation on."""

    by_arrival: bool = False
    by_time: bool = False

    def part(self, arrived: Counts, created: Floats, now: float) -> Floats:
        """All."""
        return np.ones(len(arrived))

    def when(self, part: float, arrived: int, created: float) -> tuple[float | None, int | None]:
        """Now."""
        return created, 0


@dataclass(frozen=True)
class PerArrival:
    """DPF-N: an N-th of the capacity for each of the first N jobs that ask for the block."""

    n: float
    by_arrival: bool = True
    by_time: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.n) and self.n >= 1):
            raise SchedulerError(f"N is {self.n:g}; a block is unlocked over 1 job or more.")

    def part(self, arrived: Counts, created: Floats, now: float) -> Floats:
        """arrived / N, at most 1."""
        return np.minimum(1.0, arrived / self.n)

    def when(self, part: float, arrived: int, created: float) -> tuple[float | None, int | None]:
        """After ⌈part·N⌉ jobs in all."""
        return None, max(0, math.ceil(part * self.n) - arrived)


@dataclass(frozen=True)
class OverTime:
    """DPF-T: evenly over the lifetime of a block (seconds), all of it at the end."""

    lifetime: float
    by_arrival: bool = False
    by_time: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lifetime) and self.lifetime > 0):
            raise SchedulerError(f"The lifetime is {self.lifetime:g}; a block is unlocked over some time.")

    def part(self, arrived: Counts, created: Floats, now: float) -> Floats:
        """(now − created) / lifetime, within 0 and 1."""
        return np.clip((now - created) / self.lifetime, 0.0, 1.0)

    def when(self, part: float, arrived: int, created: float) -> tuple[float | None, int | None]:
        """At created + part·lifetime."""
        return created + part * self.lifetime, None
