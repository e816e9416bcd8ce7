"""Which of a job's reservations are over, and how they end. Pure: from the plan and what is seen of its attempts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlprivacy.budget.ledger.state import Reservation
from mlprivacy.budget.ledger.transitions import Commit, Release, Stop
from mlprivacy.controller.plan import Plan, Seen, Step

_GOES_ON = (Step.START, Step.KEEP, Step.WAIT, Step.CONFIRM_LOST)


def ends(
    held: Iterable[Reservation], plan: Plan, attempts: Sequence[Seen], *, pods_alive: bool, finished: bool
) -> list[Commit | Release]:
    """The steps that end what is over.

    A reservation is spent whole, with two exceptions. One to which no pod was ever bound is given back: its pods wait
    behind their scheduling gate until they are bound, so nothing ran. And an attempt whose pod ended at its seal spent
    nothing, for a reason that no data had part in: the trainer never started. Nothing ends while a pod may be alive.

    Args:
        held: the job's reservations.
        plan: what is to be done next.
        attempts: the Jobs that exist.
        pods_alive: whether a pod of the job may still run.
        finished: whether the job is over for good.
    """
    seen = {attempt.number: attempt for attempt in attempts}
    return [
        _end(one, seen.get(one.reserve.attempt))
        for one in held
        if _over(one.reserve.attempt, seen.get(one.reserve.attempt), plan, pods_alive=pods_alive, finished=finished)
    ]


def _over(number: int, seen: Seen | None, plan: Plan, *, pods_alive: bool, finished: bool) -> bool:
    if seen is not None and seen.finished:
        return True
    if pods_alive:
        return False
    if seen is not None:
        return seen.suspended and not seen.running and not seen.deleting
    return finished or number < plan.attempt or plan.step not in _GOES_ON


def _end(held: Reservation, seen: Seen | None) -> Commit | Release:
    reserve = held.reserve
    ran = seen is not None and (seen.finished == "Complete" or seen.running or seen.sealed)
    if held.pod is None:
        if ran:  # somebody took the gate away
            return Commit(reserve.job.uid, reserve.attempt, "Unknown")
        return Release(reserve.job.uid, reserve.attempt, "NeverStarted" if seen is not None else "Withdrawn")
    if seen is not None and seen.finished == "Failed" and seen.unsealed is not None and not ran:
        nothing = (0,) * len(reserve.curve)
        return Commit(reserve.job.uid, reserve.attempt, "Operator", held.pod, nothing, ended=True)
    stop: Stop = "Planned" if seen is not None and seen.finished == "Complete" else "Unknown"
    return Commit(reserve.job.uid, reserve.attempt, stop, held.pod, ended=seen is not None and bool(seen.finished))


def lost(held: Iterable[Reservation]) -> list[Commit | Release]:
    """What ends the reservations of a job that is gone: nobody can say what ran, so all is spent."""
    return [Commit(one.reserve.job.uid, one.reserve.attempt, "Unknown", one.pod) for one in held]


def gone(held: Iterable[Reservation]) -> list[Commit | Release]:
    """What ends the reservations of a job that is being deleted and whose workload and pods are gone."""
    return [
        Commit(one.reserve.job.uid, one.reserve.attempt, "Unknown", one.pod)
        if one.pod is not None
        else Release(one.reserve.job.uid, one.reserve.attempt, "Withdrawn")
        for one in held
    ]
