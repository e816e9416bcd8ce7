"""What to do next for one job. Pure: from its status, its decision and what was seen of its workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.kube.conditions import is_true
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.model import Decision, Verdict


class Step(StrEnum):
    """The next thing to do."""

    REST = "rest"  # nothing but to report
    START = "start"  # controls, receipt, claim, workload
    KEEP = "keep"  # it runs: repair what drifted
    STOP = "stop"  # suspend the workload
    END = "end"  # delete a stopped attempt, so that a new one can follow
    WAIT = "wait"  # something is on its way out
    CONFIRM_LOST = "confirm-lost"  # the attempt's Job is not to be seen: look again, live
    FINISH = "finish"  # the attempt ended: report it for good
    EXPIRE = "expire"  # the time to live is over: delete what was rendered


class Phase(StrEnum):
    """Where the job stands, for its conditions."""

    REFUSED = "refused"
    HELD = "held"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Seen:
    """One workload as seen: a Job of one attempt, or the Deployment (``number`` 1)."""

    name: str
    uid: str
    number: int
    digest: str
    suspended: bool
    running: bool
    deleting: bool = False
    finished: str | None = None  # Complete | Failed
    reason: str = ""
    message: str = ""
    finished_at: str | None = None


@dataclass(frozen=True)
class Plan:
    """The step, where the job stands, and the attempt concerned. ``again`` is seconds until the next look."""

    step: Step
    phase: Phase
    attempt: int
    reason: Reason
    message: str = ""
    seen: Seen | None = None
    again: float | None = None


def standing(decision: Decision) -> tuple[Phase, Reason]:
    """Phase and reason of a job that has nothing running and may not run."""
    if decision.verdict is Verdict.DENY:
        return Phase.REFUSED, Reason.REFUSED
    return Phase.HELD, decision.blocking[0].reason if decision.blocking else Reason.PENDING


def plan_training(
    status: Mapping[str, Any],
    decision: Decision,
    attempts: Sequence[Seen],
    *,
    suspend: bool,
    pods_alive: bool,
    ttl_seconds: int | None,
    controls_left: bool,
    now: datetime,
) -> Plan:
    """The next step of a TrainingJob.

    Args:
        status: of the TrainingJob, raw.
        decision: the decision in force.
        attempts: the Jobs that exist for it, any order.
        suspend: ``spec.suspend``.
        pods_alive: whether a pod of it may still run.
        ttl_seconds: after the end, when rendered objects are deleted; None keeps them.
        controls_left: whether any rendered object exists.
        now: the time.
    """
    claimed = int(status.get("attempt") or 0)
    current = max(attempts, key=lambda a: a.number, default=None)
    if status.get("finishedAt"):
        return _after_the_end(status, current, claimed, ttl_seconds, controls_left, now)
    if current is not None and current.deleting:
        return Plan(Step.WAIT, Phase.STOPPED, current.number, _why_stopped(decision, suspend), seen=current, again=1.0)
    if current is not None and current.finished:
        good = current.finished == "Complete"
        reason = (
            Reason.SUCCEEDED
            if good
            else Reason.DEADLINE_EXCEEDED
            if current.reason == "DeadlineExceeded"
            else Reason.FAILED
        )
        phase = Phase.SUCCEEDED if good else Phase.FAILED
        return Plan(Step.FINISH, phase, current.number, reason, current.message, seen=current)
    if decision.verdict is not Verdict.ALLOW or suspend:
        return _stop(decision, current, claimed, suspend)
    if current is None:
        return _begin(status, claimed, pods_alive)
    if current.digest != decision.digest:
        message = "what the job asks for changed; the attempt ends and a new one follows"
        step = Step.END if current.suspended else Step.STOP
        return Plan(step, Phase.STOPPED, current.number, Reason.PROGRESSING, message, seen=current)
    if current.suspended:
        return Plan(Step.END, Phase.STOPPED, current.number, Reason.PROGRESSING, "a new attempt follows", seen=current)
    phase = Phase.RUNNING if current.running else Phase.STARTING
    return Plan(Step.KEEP, phase, current.number, Reason.ATTEMPT_CREATED, seen=current)


def plan_inference(decision: Decision, seen: Seen | None, *, suspend: bool) -> Plan:
    """The next step of an InferenceJob."""
    if decision.verdict is not Verdict.ALLOW or suspend:
        return _stop(decision, seen, 1 if seen else 0, suspend)
    if seen is not None and seen.deleting:
        return Plan(Step.WAIT, Phase.STARTING, 1, Reason.PROGRESSING, seen=seen, again=1.0)
    if seen is None or seen.digest != decision.digest or seen.suspended:
        return Plan(Step.START, Phase.STARTING, 1, Reason.PROGRESSING, seen=seen)
    phase = Phase.RUNNING if seen.running else Phase.STARTING
    return Plan(Step.KEEP, phase, 1, Reason.ATTEMPT_CREATED, seen=seen)


def _why_stopped(decision: Decision, suspend: bool) -> Reason:
    if decision.verdict is not Verdict.ALLOW:
        return Reason.NO_LONGER_ALLOWED
    return Reason.SUSPENDED_BY_USER if suspend else Reason.PROGRESSING


def _stop(decision: Decision, current: Seen | None, claimed: int, suspend: bool) -> Plan:
    if current is None and not claimed:
        if decision.verdict is Verdict.ALLOW:
            return Plan(Step.REST, Phase.STOPPED, 0, Reason.SUSPENDED_BY_USER)
        phase, reason = standing(decision)
        return Plan(Step.REST, phase, 0, reason)
    reason = _why_stopped(decision, suspend)
    number = current.number if current else claimed
    if current is None or current.suspended:
        return Plan(Step.REST, Phase.STOPPED, number, reason, seen=current)
    return Plan(Step.STOP, Phase.STOPPED, number, reason, seen=current)


def _begin(status: Mapping[str, Any], claimed: int, pods_alive: bool) -> Plan:
    """No Job is to be seen: the first attempt, one that was claimed and not made, one after a stop, or a lost one."""
    stopped = is_true(status.get("conditions"), ConditionType.SUSPENDED)
    if pods_alive:
        return Plan(
            Step.WAIT, Phase.STARTING, claimed, Reason.PROGRESSING, "pods of the last attempt are ending", again=1.0
        )
    if claimed and status.get("startedAt") and not stopped:
        return Plan(Step.CONFIRM_LOST, Phase.FAILED, claimed, Reason.FAILED)
    number = claimed if claimed and not status.get("startedAt") else claimed + 1
    return Plan(Step.START, Phase.STARTING, number, Reason.PROGRESSING)


def _after_the_end(
    status: Mapping[str, Any],
    current: Seen | None,
    claimed: int,
    ttl_seconds: int | None,
    controls_left: bool,
    now: datetime,
) -> Plan:
    good = is_true(status.get("conditions"), ConditionType.COMPLETED)
    phase, reason = (Phase.SUCCEEDED, Reason.SUCCEEDED) if good else (Phase.FAILED, Reason.FAILED)
    if ttl_seconds is None or (current is None and not controls_left):
        return Plan(Step.REST, phase, claimed, reason, seen=current)
    due = parse_time(str(status["finishedAt"])) + timedelta(seconds=ttl_seconds)
    if now >= due:
        return Plan(Step.EXPIRE, phase, claimed, reason, seen=current)
    return Plan(Step.REST, phase, claimed, reason, seen=current, again=(due - now).total_seconds() + 0.1)
