"""What is next for a job in a queue, from its Workloads as seen. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.kueue import workload as w
from mlprivacy.controller.kueue.check import pending
from mlprivacy.controller.kueue.workload import Queued, Wanted


class Do(StrEnum):
    """What to do before an attempt starts."""

    CREATE = "create"  # make the Workload
    REMOVE = "remove"  # one is in the way: of an earlier version of the job, or a second one
    RENUMBER = "renumber"  # it was made for an earlier attempt and goes on for this one
    RELEASE = "release"  # it was evicted, and nothing of the job runs any more: give its quota back
    ASK = "ask"  # quota is reserved: ask for the privacy budget
    WAIT = "wait"  # for Kueue
    GO = "go"  # it is admitted


@dataclass(frozen=True, slots=True)
class Turn:
    """The next thing to do, and the sentence for the job's condition. ``workload`` is the one concerned."""

    do: Do
    message: str = ""
    reason: Reason = Reason.QUEUED
    workload: Queued | None = None
    again: float | None = None
    stalled: bool = False


def of_job(found: Sequence[Queued], name: str, uid: str) -> list[Queued]:
    """The Workloads that stand for this very job, the newest last."""
    prefix = f"mlp-{name}-"
    own = [one for one in found if one.owner == (name, uid) and one.name.startswith(prefix) and one.number]
    return sorted(own, key=lambda one: one.number)


def before_start(wanted: Wanted, found: Sequence[Queued], ours: frozenset[str]) -> Turn:
    """What stands between the job and its next attempt.

    One Workload at a time stands for a job. One that was evicted goes on for the next attempt, so that the job keeps
    its place in the queue and Kueue its count of evictions; an edit of the job, a suspension and the end of an attempt
    make a new one.

    Args:
        wanted: what the job wants. Nothing of it runs.
        found: its Workloads, the newest last.
        ours: names of the AdmissionChecks that ask for the privacy budget.
    """
    open_ = [one for one in found if not one.finished]
    if not open_:
        taken = next((one for one in found if one.name == wanted.name), None)
        if taken is not None:  # somebody declared it finished, and the attempt never was
            return Turn(Do.REMOVE, "its Workload is finished although it never ran; a new one follows", workload=taken)
        return Turn(Do.CREATE)
    if len(open_) > 1:
        return Turn(Do.REMOVE, "one Workload at a time stands for a job", workload=open_[0])
    (one,) = open_
    if one.deleting:
        return Turn(Do.WAIT, f"the Workload {one.name} is being deleted; a new one follows", workload=one, again=1.0)
    if (one.queue, one.digest, one.pod_sets) != (wanted.queue, wanted.digest, wanted.pod_sets_digest):
        return Turn(Do.REMOVE, "the job was changed, so it queues anew", workload=one)
    if one.attempt != wanted.attempt:
        return Turn(Do.RENUMBER, workload=one)
    if one.evicted and (one.reserved or one.reserves):
        return Turn(Do.RELEASE, workload=one)
    if not one.active:
        return _deactivated(one)
    if not one.reserved:
        return _waits_for_quota(one)
    if pending(one, ours):
        return Turn(Do.ASK, workload=one)
    if one.admitted:
        place = f" in the ClusterQueue {one.cluster_queue}" if one.cluster_queue else ""
        return Turn(Do.GO, f"Kueue admitted the Workload {one.name}{place}", Reason.ADMITTED, workload=one)
    return _waits_for_checks(one)


def while_it_runs(found: Sequence[Queued], *, queued: bool) -> str | None:
    """Why an attempt that runs must stop, as a sentence; None when it may go on.

    Args:
        found: the job's Workloads, the newest last.
        queued: whether the attempt was started through the queue.
    """
    if not queued:
        return None
    open_ = [one for one in found if not one.finished]
    if not open_:
        return "its Workload is gone or was declared finished, so it holds no quota any more"
    one = open_[-1]
    if one.evicted:
        reason, message = one.said(w.EVICTED)
        return f"Kueue evicted the Workload {one.name} ({reason}): {message}"
    if one.deleting:
        return f"the Workload {one.name} is being deleted"
    if not one.active:
        return f"the Workload {one.name} was deactivated (spec.active)"
    if not one.admitted:
        reason, message = one.said(w.ADMITTED)
        return f"the Workload {one.name} is not admitted any more ({reason or 'no reason'}): {message}"
    return None


def _deactivated(one: Queued) -> Turn:
    _, message = one.said(w.EVICTED)
    said = f": {message.rstrip('.')}" if message else ""
    sentence = (
        f"the Workload {one.name} was deactivated{said}. Change the job, or set spec.active of the Workload to true; "
        "it queues again then"
    )
    return Turn(Do.WAIT, sentence, Reason.DEACTIVATED, workload=one, stalled=True)


def _waits_for_quota(one: Queued) -> Turn:
    _, message = one.said(w.QUOTA_RESERVED)
    said = f": {message}" if message else ""
    return Turn(Do.WAIT, f"it waits for quota in the queue {one.queue} as Workload {one.name}{said}", workload=one)


def _waits_for_checks(one: Queued) -> Turn:
    open_ = [c for c in one.checks if c.state != "Ready"]
    said = "; ".join(f"{c.name} is {c.state}" + (f" ({c.message})" if c.message else "") for c in open_[:4])
    waits = f"for the checks of its queue: {said}" if said else "for Kueue to admit it"
    return Turn(Do.WAIT, f"its Workload {one.name} has quota and waits {waits}", workload=one)
