"""Runs a workload through a scheduler and counts what is granted."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Literal

from mlprivacy.budget.orders import PRIVATEKUBE_ORDERS, Orders
from mlprivacy.budget.schedulers import shares
from mlprivacy.budget.schedulers.base import Block, Scheduler
from mlprivacy.budget.schedulers.dpack import Dpack
from mlprivacy.budget.schedulers.dpf import Dpf
from mlprivacy.budget.schedulers.fcfs import Fcfs
from mlprivacy.budget.schedulers.jobs import Policy
from mlprivacy.budget.schedulers.queue import Queue
from mlprivacy.budget.schedulers.round_robin import RoundRobin
from mlprivacy.budget.schedulers.unlocking import Everything, PerArrival
from mlprivacy.budget.simulate import curvemix, workloads
from mlprivacy.budget.simulate.workloads import Workload

PolicyName = Literal["fcfs", "rr", "dpf", "dpack"]
WorkloadName = Literal["single-block", "multi-block", "multi-block-renyi", "dpack-mix"]


@dataclass(frozen=True)
class Asked:
    """What to simulate.

    Attributes:
        workload: by name.
        policy: by name.
        n: jobs over which a block is unlocked; FCFS and `dpack-mix` unlock everything at once.
        mice: the part of small demands; `dpack-mix` has none.
        seed: of the first run; each further one counts up.
        repeat: how many runs.
        share: by which DPF orders.
        orders: of the Rényi workloads.
        mix: what varies between the jobs of `dpack-mix`.
    """

    workload: WorkloadName
    policy: PolicyName
    n: float = 175
    mice: float = 0.75
    seed: int = 1
    repeat: int = 20
    share: shares.Share = "dominant"
    orders: Orders = PRIVATEKUBE_ORDERS
    mix: curvemix.Mix = curvemix.MIX


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes:
        granted_all: jobs granted in each run.
        times: seconds of each grant, in the first run.
        arrived_all: jobs that there were in each.
        seconds: wall time of all runs.
    """

    granted_all: tuple[int, ...]
    times: tuple[float, ...]
    arrived_all: tuple[int, ...]
    seconds: float

    @property
    def granted(self) -> float:
        """The mean."""
        return statistics.fmean(self.granted_all)


def simulate(asked: Asked) -> Result:
    """All runs. Raises SchedulerError when the policy does not know Rényi curves, or N is below 1."""
    begun = time.perf_counter()
    runs = [one(workload_of(asked, seed), asked, seed) for seed in range(asked.seed, asked.seed + asked.repeat)]
    return Result(
        granted_all=tuple(len(times) for times, _ in runs),
        times=runs[0][0],
        arrived_all=tuple(arrived for _, arrived in runs),
        seconds=time.perf_counter() - begun,
    )


def workload_of(asked: Asked, seed: int) -> Workload:
    """The workload of one run."""
    if asked.workload == "single-block":
        return workloads.single_block(asked.mice)
    if asked.workload == "multi-block":
        return workloads.multi_block(asked.mice)
    if asked.workload == "multi-block-renyi":
        return workloads.multi_block_renyi(asked.mice, asked.orders)
    return curvemix.dpack_mix(asked.mix, seed, asked.orders)


def scheduler_of(asked: Asked, workload: Workload) -> Scheduler:
    """The scheduler of one run."""
    if asked.policy == "rr":
        return RoundRobin(asked.n)
    everything = asked.policy == "fcfs" or bool(workload.jobs)
    policy: Policy = Fcfs()
    if asked.policy != "fcfs":
        policy = Dpf(asked.share) if asked.policy == "dpf" else Dpack()
    return Queue(
        policy,
        len(workload.capacity),
        unlocking=Everything() if everything else PerArrival(asked.n),
        tolerance=workload.tolerance,
    )


def one(workload: Workload, asked: Asked, seed: int) -> tuple[tuple[float, ...], int]:
    """The time of each grant, and how many jobs there were.

    Decides at each arrival, or once where all jobs wait from the start.
    """
    scheduler = scheduler_of(asked, workload)
    times: list[float] = []
    arrived = 0
    for event in workload.events(seed):
        if isinstance(event, Block):
            scheduler.add_block(event)
            continue
        arrived += 1
        scheduler.submit(event)
        if not workload.jobs:
            times += [event.arrival] * len(scheduler.decide(event.arrival, explain=False).granted)
    if workload.jobs:
        times += [0.0] * len(scheduler.decide(0.0, explain=False).granted)
    return tuple(times), arrived
