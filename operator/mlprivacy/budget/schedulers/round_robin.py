"""Round-robin: what is unlocked is dealt out evenly, in parts, to all that wait. For comparison, in the simulator only.

A job that has collected part of its demand and never gets the rest has wasted it, which is what the paper shows with
it (RR-N, Luo et al., OSDI 2021, section 6.1). Basic composition only: even parts of a Rényi curve are not defined.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mlprivacy.budget.schedulers.base import Block, Decision, Demand, SchedulerError, check_demand
from mlprivacy.budget.schedulers.unlocking import Floats, PerArrival

_ROUNDING: Final = 1e-8  # ε below which a remainder is nothing; sim.numerical_delta of the paper's simulator


@dataclass(eq=False, slots=True)
class _Pot:
    """One block: what is unlocked and not dealt out, and what each waiting job still needs of it."""

    capacity: float
    arrived: int
    unlocked: float = 0.0
    left: float = 0.0
    needs: dict[str, float] = field(default_factory=dict)


class RoundRobin:
    """RR-N: each job that asks for a block unlocks an N-th of it, and the waiting jobs share it max-min fairly.

    Args:
        n: jobs over which a block is unlocked.
    """

    def __init__(self, n: float) -> None:
        self._unlocking = PerArrival(n)
        self._pots: dict[str, _Pot] = {}
        self._jobs: dict[str, set[str]] = {}  # of each waiting job, the blocks that have not given all yet
        self._deadlines: list[tuple[float, str]] = []
        self._came: list[Demand] = []

    def add_block(self, block: Block) -> None:
        """A new block. Raises SchedulerError when its capacity is a curve over several orders."""
        if len(block.capacity) != 1:
            raise SchedulerError("Round-robin knows basic composition only; choose a workload without Rényi curves.")
        self._pots[block.id] = _Pot(block.capacity[0], block.arrived)

    def submit(self, demand: Demand) -> None:
        """A new waiting job. Raises SchedulerError when the demand makes no sense."""
        check_demand(demand)
        self._came.append(demand)

    def decide(self, now: float, *, explain: bool = True) -> Decision:
        """Deal out what the jobs that came have unlocked. It can not say what a job waits for."""
        expired = tuple(self._expire(now))
        granted: list[str] = []
        for demand in self._came:
            granted += self._deal(demand)
        self._came.clear()
        return Decision(tuple(granted), expired)

    def _expire(self, now: float) -> Iterator[str]:
        while self._deadlines and self._deadlines[0][0] <= now:
            _, job = self._deadlines.pop(0)
            if job in self._jobs:
                self._give_up(job)
                yield job

    def _give_up(self, job: str) -> None:
        for name in self._jobs.pop(job):
            del self._pots[name].needs[job]

    def _deal(self, demand: Demand) -> Iterator[str]:
        pots = [(name, self._pots[name]) for name in demand.blocks]
        closed = any(self._closed(pot) for _, pot in pots)
        for _, pot in pots:
            pot.arrived += 1
            part = min(1.0, pot.arrived / self._unlocking.n)
            pot.left += pot.capacity * part - pot.unlocked
            pot.unlocked = pot.capacity * part
        if not closed:
            self._jobs[demand.id] = set(demand.blocks)
            if math.isfinite(demand.timeout):
                self._deadlines.append((demand.arrival + demand.timeout, demand.id))
            for name, pot in pots:
                asked = demand.own.get(name, demand.curve)
                pot.needs[demand.id] = asked[0]
        for name, pot in pots:
            yield from self._share(name, pot)
            if self._closed(pot):
                for job in list(pot.needs):
                    self._give_up(job)

    def _closed(self, pot: _Pot) -> bool:
        return pot.arrived > self._unlocking.n and pot.left < _ROUNDING

    def _share(self, name: str, pot: _Pot) -> Iterator[str]:
        if not pot.needs or pot.left <= 0:
            return
        jobs = list(pot.needs)
        needs = np.array([pot.needs[job] for job in jobs])
        given = fair(needs, pot.left)
        pot.left = max(0.0, pot.left - float(given.sum()))
        for job, rest in zip(jobs, (needs - given).tolist(), strict=True):
            if rest >= _ROUNDING:
                pot.needs[job] = rest
                continue
            del pot.needs[job]
            self._jobs[job].discard(name)
            if not self._jobs[job]:
                del self._jobs[job]
                yield job


def fair(needs: Floats, amount: float) -> Floats:
    """Max-min fair parts of an amount: nobody gets more than its need, and the unmet all get the same.

    Args:
        needs: shape (n,), each above 0.
        amount: what there is.
    """
    if needs.sum() <= amount:
        return needs.copy()
    ascending = np.sort(needs)
    before = np.concatenate(([0.0], np.cumsum(ascending)[:-1]))
    levels = (amount - before) / np.arange(len(needs), 0, -1)
    met = int(np.flatnonzero(ascending > levels)[0])
    return np.asarray(np.minimum(needs, levels[met]))
