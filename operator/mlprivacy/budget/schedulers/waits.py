"""What waiting jobs wait for: which block, at which order, how much is missing and when it would be unlocked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.schedulers.base import Reason, Waiting
from mlprivacy.budget.schedulers.jobs import Job
from mlprivacy.budget.schedulers.table import Table, indices
from mlprivacy.budget.schedulers.unlocking import Floats

_AT_ONCE: Final = 1024  # jobs looked at together


def explain(table: Table, jobs: Sequence[Job], now: float, granted: Sequence[int]) -> tuple[Waiting, ...]:
    """What each job waits for at the block where it is parked.

    Args:
        table: the blocks.
        jobs: all parked.
        now: seconds.
        granted: the numbers of the jobs that were granted, ascending.
    """
    said: list[Waiting] = []
    for start in range(0, len(jobs), _AT_ONCE):
        said += _explain(table, jobs[start : start + _AT_ONCE], now, granted)
    return tuple(said)


def _explain(table: Table, jobs: Sequence[Job], now: float, granted: Sequence[int]) -> list[Waiting]:
    at = np.array([job.parked for job in jobs], dtype=np.intp)
    curves = np.array([job.column(job.parked) for job in jobs]).T
    room = table.capacity[:, at]
    sums = table.used[:, at] + curves
    reasons = _reasons(table, jobs, at, curves, sums)
    # What the block would have to unlock, as a part of its capacity; for a job that is too large, of an empty block.
    amount = np.where(np.array([reason is Reason.TOO_LARGE for reason in reasons]), curves, sums)
    limit = np.where(np.array([reason is Reason.LOCKED for reason in reasons]), table.limit[:, at], room)
    for column, (job, reason) in enumerate(zip(jobs, reasons, strict=True)):
        if reason is Reason.QUOTA:
            theirs = table.used_by[job.demand.namespace][:, job.parked] + curves[:, column]
            amount[:, column] = theirs
            limit[:, column] = table.share_of[job.demand.namespace][:, job.parked]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(room > 0, amount / room, np.inf)
    order = part.argmin(axis=0)
    each = np.arange(len(jobs))
    with np.errstate(invalid="ignore"):
        missing = np.where(room[order, each] > 0, amount[order, each] - limit[order, each], np.inf)
    passed = len(granted) - np.searchsorted(np.array(granted), [job.number for job in jobs], side="right")
    found = zip(order.tolist(), missing.tolist(), part[order, each].tolist(), passed.tolist(), strict=True)
    return [_waiting(table, job, reason, what, now) for job, reason, what in zip(jobs, reasons, found, strict=True)]


def _reasons(table: Table, jobs: Sequence[Job], at: NDArray[np.intp], curves: Floats, sums: Floats) -> list[Reason]:
    room = np.where(table.capacity[:, at] > 0, table.capacity[:, at] + table.tolerance, -np.inf)
    empty = np.any(curves <= room, axis=0)
    whole = np.any(sums <= room, axis=0)
    unlocked = np.any(sums <= table.limit[:, at], axis=0)
    reasons = []
    for i, job in enumerate(jobs):
        namespace = job.demand.namespace
        if not empty[i]:
            reasons.append(Reason.TOO_LARGE)
        elif not whole[i]:
            reasons.append(Reason.EXHAUSTED)
        elif not unlocked[i]:
            reasons.append(Reason.LOCKED)
        elif namespace in table.quotas and not table.fits_at(job.parked, curves[:, i], namespace):
            reasons.append(Reason.QUOTA)
        else:
            reasons.append(Reason.LOCKED)
    return reasons


def _waiting(table: Table, job: Job, reason: Reason, what: tuple[int, float, float, int], now: float) -> Waiting:
    order, missing, part, passed_over = what
    when: tuple[float | None, int | None] = (None, None)
    if reason is Reason.LOCKED and part <= 1:
        when = table.unlocking.when(part, int(table.arrived[job.parked]), float(table.created[job.parked]))
    return Waiting(
        id=job.demand.id,
        reason=reason,
        block=table.ids[job.parked],
        order=order,
        missing=missing,
        unlocks_at=when[0],
        unlocks_after=when[1],
        age=max(0.0, now - job.demand.arrival),
        passed_over=passed_over,
    )


def earliest(table: Table, job: Job) -> float | None:
    """The time at which every block of the job has unlocked enough, if nothing else takes it. None: can not be told."""
    where, blocks = job.where, indices(job.where)
    amount = job.curve[:, None] if job.curve.ndim == 1 else job.curve
    room = table.capacity[:, where]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(room > 0, (table.used[:, where] + amount) / room, np.inf).min(axis=0)
    latest = -math.inf
    for block, part in zip(blocks.tolist(), parts.tolist(), strict=True):
        if part > 1:
            return None
        at, _ = table.unlocking.when(part, int(table.arrived[block]), float(table.created[block]))
        if at is None:
            return None
        latest = max(latest, at)
    return latest
