"""The waiting jobs: who is tried when, who is granted, who stays. The controller and the simulator run this same code.

A job that can not run is parked at one block that can not take it. Grants only ever take from blocks, so that nothing
changes for a parked job until that very block unlocks or is given something back: a decision looks at the jobs of those
blocks and at the new ones, and comes to what a pass over all of them would. Jobs with the same curve at the same block
are looked at together.
"""

from __future__ import annotations

import bisect
import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mlprivacy.budget.curves import Curve
from mlprivacy.budget.schedulers import waits
from mlprivacy.budget.schedulers.base import (
    Block,
    Decision,
    Demand,
    SchedulerError,
    Waiting,
    check_demand,
    check_values,
)
from mlprivacy.budget.schedulers.jobs import Job, Key, Policy
from mlprivacy.budget.schedulers.table import Table, Where, indices
from mlprivacy.budget.schedulers.unlocking import Counts, Everything, Floats, Unlocking

_CURVES_KEPT: Final = 4096  # arrays of curves that are remembered
_MANY: Final = 16  # jobs from which on they are compared with their blocks all at once


@dataclass(eq=False, slots=True)
class _Bucket:
    """Jobs of one kind parked at one block, those tried first in front."""

    block: int
    heap: list[tuple[Key, int, Job]] = field(default_factory=list)
    gone: int = 0

    def drop(self) -> None:
        """One of them no longer waits. They are swept out when they are the larger half."""
        self.gone += 1
        if 2 * self.gone > len(self.heap):
            self.heap = [item for item in self.heap if not item[2].gone]
            heapq.heapify(self.heap)
            self.gone = 0

    def head(self) -> Job | None:
        """The first that still waits."""
        while self.heap and self.heap[0][2].gone:
            heapq.heappop(self.heap)
            self.gone -= 1
        return self.heap[0][2] if self.heap else None


class Queue:
    """Blocks and waiting jobs under one policy: a `Scheduler`.

    Args:
        policy: in which order jobs are tried.
        orders: how many Rényi orders the curves have; 1 for basic composition.
        unlocking: which part of a capacity may be spent; all by default.
        quotas: the share (0 to 1) of each block that a namespace may have.
        tolerance: ε by which a sum may pass its limit, for rounding.
    """

    def __init__(
        self,
        policy: Policy,
        orders: int,
        *,
        unlocking: Unlocking | None = None,
        quotas: Mapping[str, float] | None = None,
        tolerance: float = 0.0,
    ) -> None:
        self.policy = policy
        self.table = Table(orders, unlocking or Everything(), quotas, tolerance)
        self._now = -math.inf
        self._count = 0
        self._jobs: dict[str, Job] = {}
        self._new: list[Job] = []
        self._parked: dict[int, dict[object, _Bucket]] = {}
        self._changed: set[int] = set()
        self._deadlines: list[tuple[float, int, Job]] = []
        self._granted: list[int] = []  # numbers of granted jobs, ascending, that came after the oldest that waits
        self._curves: dict[Curve, Floats] = {}

    # -- what comes and goes ---------------------------------------------------------------------------------------

    def add_block(self, block: Block) -> None:
        """A new block, or the state of one as the ledger has it now.

        Raises:
            SchedulerError: a curve of the wrong length or with a value that is none.
        """
        self._changed.add(self.table.put(block, max(self._now, block.created)))

    def add_blocks(
        self,
        ids: Sequence[str],
        capacity: Curve,
        used: Floats,
        used_by: Mapping[str, Floats],
        arrived: Counts,
        created: Floats,
    ) -> None:
        """Many new blocks of one capacity at once (`Table.fill` gives the shapes).

        Raises:
            SchedulerError: an array has another shape, a value is none, or a block is there.
        """
        first = len(self.table.ids)
        now = max(self._now, float(created.max(initial=-math.inf)))
        self.table.fill(ids, capacity, used, used_by, arrived, created, now)
        self._changed.update(range(first, first + len(ids)))

    def submit(self, demand: Demand, *, counts: bool = True) -> None:
        """A job that waits from now on.

        Args:
            demand: what it asks for.
            counts: whether it is an arrival on its blocks; it is not when it is submitted again after a restart.

        Raises:
            SchedulerError: the demand makes no sense, a block is not there, or a job of this id waits already.
        """
        check_demand(demand)
        if demand.id in self._jobs:
            raise SchedulerError(f"A job {demand.id} waits already.")
        where = self.table.where(demand.blocks)
        curve, kind = self._curve(demand)
        job = Job(demand, self._count, where, curve, kind)
        self._count += 1
        if self.policy.fixed:
            (job.key,) = self.policy.keys(self.table, (), (job,))
        self._jobs[demand.id] = job
        self._new.append(job)
        if math.isfinite(demand.timeout):
            heapq.heappush(self._deadlines, (demand.arrival + demand.timeout, job.number, job))
        if counts:
            self._arrive(where, demand.arrival)

    def _curve(self, demand: Demand) -> tuple[Floats, object]:
        if demand.own:
            columns = [demand.own.get(name, demand.curve) for name in demand.blocks]
            for curve in columns:
                check_values(f"the job {demand.id}", curve, self.table.orders)
            return np.ascontiguousarray(np.array(columns).T), object()
        array = self._curves.get(demand.curve)
        if array is None:
            check_values(f"the job {demand.id}", demand.curve, self.table.orders)
            if len(self._curves) >= _CURVES_KEPT:
                self._curves.clear()
            array = self._curves[demand.curve] = np.array(demand.curve)
        return array, (demand.curve, demand.namespace if demand.namespace in self.table.quotas else "")

    def _arrive(self, where: Where, at: float) -> None:
        table = self.table
        if table.unlocking.by_arrival:
            locked = indices(where)[table.part[where] < 1]
            table.arrived[where] += 1
            if locked.size:
                table.unlock(where, max(self._now, at))
                self._changed.update(locked.tolist())
        else:
            table.arrived[where] += 1

    def withdraw(self, job_id: str) -> None:
        """The job no longer waits. Nothing happens when it did not."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        job.gone = True
        if (buckets := self._parked.get(job.parked)) is not None and (bucket := buckets.get(job.kind)) is not None:
            bucket.drop()
            if not bucket.heap:
                del buckets[job.kind]
                if not buckets:
                    del self._parked[job.parked]

    def take(self, blocks: Sequence[str], curve: Curve, namespace: str = "") -> None:
        """A job that never waited here has taken this of each block. Raises SchedulerError as `give_back` does."""
        check_values("what is taken", curve, self.table.orders)
        self.table.take(self.table.where(blocks), np.array(curve), namespace)

    def fits(self, demand: Demand) -> bool:
        """Whether every block could take a demand that does not wait here, as all is unlocked now.

        Raises:
            SchedulerError: as `submit` does.
        """
        check_demand(demand)
        curve, _ = self._curve(demand)
        return self.table.lacking(self.table.where(demand.blocks), curve, demand.namespace) < 0

    def give_back(self, blocks: Sequence[str], curve: Curve, namespace: str = "") -> None:
        """What a job was granted and did not use is there again on each of these blocks, for the next decision.

        Raises:
            SchedulerError: a block is not there, or the curve has the wrong length or a value that is none.
        """
        check_values("what is given back", curve, self.table.orders)
        where = self.table.where(blocks)
        self.table.take(where, -np.array(curve), namespace)
        self._changed.update(indices(where).tolist())

    def wait_of(self, job_id: str) -> Waiting | None:
        """What a job waits for, as the last decision left it; None when it does not wait or was not looked at yet."""
        job = self._jobs.get(job_id)
        if job is None or job.parked < 0:
            return None
        return waits.explain(self.table, [job], self._now, self._granted)[0]

    def waiting(self) -> tuple[str, ...]:
        """The ids of the jobs that wait, in the order in which they came."""
        return tuple(self._jobs)

    # -- decisions -------------------------------------------------------------------------------------------------

    def decide(self, now: float, *, explain: bool = True) -> Decision:
        """Grant what can be granted at this time. A clock that goes backwards stands still.

        Args:
            now: seconds.
            explain: whether to say of every other job what it waits for.

        Raises:
            SchedulerError: the time is not a number.
        """
        if not math.isfinite(now):
            raise SchedulerError("The time of a decision is a number of seconds.")
        self._now = max(self._now, now)
        expired = tuple(self._expire())
        if self.table.unlocking.by_time:
            self._changed.update(self.table.unlock_all(self._now))
        granted = tuple(self._in_turn() if self.policy.fixed else self._together())
        self._changed.clear()
        self._new.clear()
        self._forget()
        said = waits.explain(self.table, list(self._jobs.values()), self._now, self._granted) if explain else ()
        return Decision(granted, expired, said)

    def earliest(self, job_id: str) -> float | None:
        """When all blocks of a waiting job will have unlocked enough, if nothing else takes it; None: can not be told.

        Raises:
            SchedulerError: no such job waits.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise SchedulerError(f"No job {job_id} waits.")
        return waits.earliest(self.table, job)

    def _expire(self) -> Iterator[str]:
        while self._deadlines and self._deadlines[0][0] <= self._now:
            job = heapq.heappop(self._deadlines)[2]
            if not job.gone:
                self.withdraw(job.demand.id)
                yield job.demand.id

    def _open(self) -> Iterator[_Bucket]:
        """Buckets at changed blocks whose jobs the block could take."""
        found: list[tuple[_Bucket, Job]] = []
        for at in self._changed & self._parked.keys():
            buckets = self._parked[at]
            for kind, bucket in list(buckets.items()):
                if (job := bucket.head()) is None:
                    del buckets[kind]
                else:
                    found.append((bucket, job))
            if not buckets:
                del self._parked[at]
        if len(found) > _MANY:
            blocks = np.array([bucket.block for bucket, _ in found])
            fit = self.table.fits_each(blocks, np.array([job.column(bucket.block) for bucket, job in found]).T)
            found = [found[at] for at in np.flatnonzero(fit).tolist()]
        for bucket, job in found:
            if self.table.fits_at(bucket.block, job.column(bucket.block), job.demand.namespace):
                yield bucket

    def _in_turn(self) -> Iterator[str]:
        """Under fixed keys: the heads of the open buckets and the new jobs, always the smallest key first."""
        heap: list[tuple[Key, int, Job, _Bucket | None]] = [
            (job.key, job.number, job, None) for job in self._new if not job.gone
        ]
        for bucket in self._open():
            key, number, job = bucket.heap[0]
            heap.append((key, number, job, bucket))
        heapq.heapify(heap)
        while heap:
            _, _, job, source = heapq.heappop(heap)
            if source is not None:
                # What was granted since may have filled the block; then all of the bucket stay where they are.
                if not self.table.fits_at(source.block, job.column(source.block), job.demand.namespace):
                    continue
                heapq.heappop(source.heap)
                job.parked = -1
            yield from self._try(job)
            if source is not None and (following := source.head()) is not None:
                heapq.heappush(heap, (following.key, following.number, following, source))

    def _together(self) -> Iterator[str]:
        """Under keys that look at all waiting jobs: every job that might run, in the order of the keys of now."""
        tried = [job for job in self._new if not job.gone]
        for bucket in self._open():
            tried += [job for _, _, job in bucket.heap if not job.gone]
            bucket.heap.clear()
            bucket.gone = 0
        # Grants only take: who does not fit now does not fit later in this decision either. And where one job fits
        # alone there is nothing to order.
        for job in tried:
            job.parked = -1
        fit = [job for job in tried if self._place(job) < 0]
        keys = self.policy.keys(self.table, list(self._jobs.values()), fit) if len(fit) > 1 else [()] * len(fit)
        for _, _, job in sorted(zip(keys, (job.number for job in fit), fit, strict=True)):
            yield from self._try(job)

    def _try(self, job: Job) -> Iterator[str]:
        demand = job.demand
        if self._place(job) < 0:
            self.table.take(job.where, job.curve, demand.namespace)
            self.withdraw(demand.id)
            bisect.insort(self._granted, job.number)
            yield demand.id

    def _place(self, job: Job) -> int:
        """Park the job at a block that can not take it, whose index is returned; −1 when all blocks can."""
        at = self.table.lacking(job.where, job.curve, job.demand.namespace)
        if at >= 0:
            job.parked = at
            bucket = self._parked.setdefault(at, {}).setdefault(job.kind, _Bucket(at))
            heapq.heappush(bucket.heap, (job.key, job.number, job))
        return at

    def _forget(self) -> None:
        """Drop the granted jobs that no waiting job was passed over by."""
        oldest = next(iter(self._jobs.values())).number if self._jobs else self._count
        del self._granted[: bisect.bisect_left(self._granted, oldest)]
