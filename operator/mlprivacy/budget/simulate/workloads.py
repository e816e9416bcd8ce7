"""The published workloads, with where each setting comes from.

PrivateKube: Luo et al., Privacy Budget Scheduling, OSDI 2021, and columbia/PrivateKube (commit 14f575e, files named
below are in evaluation/microbenchmark or simulator/dpsched). Two things differ from the repository, on purpose: demands
there are multiplied by a random 0.9999999 … 1 to break ties, while ties here go by the next largest share and then by
arrival, as in the paper; and its FCFS gives a job up that does not fit, which grants the same jobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from mlprivacy.budget.curves import Curve, capacity
from mlprivacy.budget.orders import PRIVATEKUBE_ORDERS, Orders
from mlprivacy.budget.schedulers.base import Block, Demand

Draw = Callable[[Random], tuple[int, Curve]]
"""How many blocks a job asks for, and the curve that each is charged."""


@dataclass(frozen=True)
class Workload:
    """Blocks and jobs over time.

    Attributes:
        name: as on the command line.
        capacity: of every block.
        blocks: how many there are at the start.
        block_every: seconds between later ones; infinite when there are none.
        lasts: seconds during which jobs arrive; 0 when `jobs` all wait from the start.
        every: mean seconds between arrivals, which are Poisson.
        draw: what a job asks for.
        latest: whether a job asks for the latest blocks, or for random ones.
        timeout: seconds that a job waits.
        jobs: how many wait from the start, decided on at once with everything unlocked.
        tolerance: ε by which sums may pass limits, for rounding.
    """

    name: str
    capacity: Curve
    blocks: int
    block_every: float
    lasts: float
    every: float
    draw: Draw
    latest: bool = True
    timeout: float = math.inf
    jobs: int = 0
    tolerance: float = 1e-8  # sim.numerical_delta: 1e-8 in both scripts; the budgets are normalised to ε = 1

    def events(self, seed: int) -> Iterator[Block | Demand]:
        """Blocks and demands in the order of time; the same for the same seed, whatever the scheduler does."""
        random = Random(seed)  # noqa: S311 - a simulation
        names = [f"block-{n}" for n in range(self.blocks)]
        for name in names:
            yield Block(name, self.capacity)
        for number in range(self.jobs):
            yield self._demand(random, names, number, 0.0)
        time, number, next_block = 0.0, 0, self.block_every
        while self.lasts and (time := time + random.expovariate(1 / self.every)) < self.lasts:
            while next_block <= time:
                names.append(f"block-{len(names)}")
                yield Block(names[-1], self.capacity, created=next_block)
                next_block += self.block_every
            yield self._demand(random, names, number, time)
            number += 1

    def _demand(self, random: Random, names: list[str], number: int, time: float) -> Demand:
        count, curve = self.draw(random)
        count = min(count, len(names))
        chosen = names[len(names) - count :] if self.latest else random.sample(names, count)
        return Demand(f"job-{number}", tuple(chosen), curve, arrival=time, timeout=self.timeout)


# microbench_single_block.py and microbench_multi_block.py: task.demand.epsilon.{mice,elephant}, of
# resource_master.block.init_epsilon = 1.0, and task.demand.num_blocks.{mice,elephant,mice_percentage}.
MICE: Final = 0.01
ELEPHANT: Final = 0.1
FEW_BLOCKS: Final = 1
MANY_BLOCKS: Final = 10
FEW_BLOCKS_PART: Final = 0.75


def single_block(mice: float = 0.75) -> Workload:
    """Figure 6: one block, basic composition (microbench_single_block.py).

    Args:
        mice: the part of small demands (task.demand.epsilon.mice_percentage; Figure 6 has 75 %).
    """
    return Workload(
        name="single-block",
        capacity=(1.0,),
        blocks=1,
        block_every=math.inf,
        lasts=100 * 2.25 * 1.05,  # dp_max_amount · num_arrivals_multiplier, at task.arrival_interval = 1 s
        every=1.0,
        draw=_basic(mice, few=1.0),  # num_blocks.mice_percentage is set to 100 there
        timeout=300.0,  # dp_timeout
    )


def multi_block(mice: float = 0.75) -> Workload:
    """Figure 8: a block every ten seconds, basic composition (microbench_multi_block.py).

    Args:
        mice: the part of small demands.
    """
    return Workload(
        name="multi-block",
        capacity=(1.0,),
        blocks=11,  # resource_master.block.init_amount
        block_every=10.0,  # resource_master.block.arrival_interval
        lasts=300.0,  # sim_duration, 30 blocks
        every=0.078125,  # dp_arrival_itvl_light, 12.8 jobs a second
        draw=_basic(mice, few=FEW_BLOCKS_PART),  # task.timeout.enabled is False there: no timeout
    )


def multi_block_renyi(mice: float = 0.75, orders: Orders = PRIVATEKUBE_ORDERS) -> Workload:
    """The Rényi form of the same, 234 jobs a second (microbench_multi_block.py with is_rdp).

    Args:
        mice: the part of small demands.
        orders: PrivateKube's, or others.
    """
    curves = tuple(gaussian(orders, epsilon, delta=1e-9) for epsilon in (MICE, ELEPHANT))  # DELTA in configs.py

    def draw(random: Random) -> tuple[int, Curve]:
        return _blocks(random, FEW_BLOCKS_PART), curves[random.random() >= mice]

    return Workload(
        name="multi-block-renyi",
        capacity=capacity(orders, 1.0, 1e-6),  # block.init_epsilon, block.init_delta
        blocks=11,
        block_every=10.0,
        lasts=300.0,
        every=0.004264781,  # dp_arrival_itvl_heavy
        draw=draw,
    )


def gaussian(orders: Orders, epsilon: float, delta: float) -> Curve:
    """The Gaussian mechanism whose noise is set from (ε, δ) by the classic bound σ = √(2 ln(1.25/δ))/ε.

    Dwork and Roth 2014, theorem A.1 (gaussian_dp2sigma in utils/rdp.py); its curve α/(2σ²) is Mironov 2017,
    corollary 3.
    """
    sigma = math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    return tuple(order / (2 * sigma * sigma) for order in orders)


def _basic(mice: float, few: float) -> Draw:
    def draw(random: Random) -> tuple[int, Curve]:
        return _blocks(random, few), ((MICE if random.random() < mice else ELEPHANT),)

    return draw


def _blocks(random: Random, few: float) -> int:
    return FEW_BLOCKS if random.random() < few else MANY_BLOCKS
