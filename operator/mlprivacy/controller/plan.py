"""What to do next for one job. Pure: from its status, its decision and what was seen of its workload."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from mlprivacy.api.reasons import POD_WAITS, ConditionType, Reason
from mlprivacy.controller import sealing
from mlprivacy.controller.sealing import Unsealed
from mlprivacy.controller.silence import Silence
from mlprivacy.kube.conditions import ConditionStatus, get_condition, is_true, timestamp
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.model import Decision, Verdict

QueueCondition = tuple[ConditionStatus, Reason, str]
NEW_ATTEMPT = "a new attempt follows"
_TOO_LATE = "DeadlineExceeded"  # a Job's own word
CHANGED = "what the job asks for changed; the attempt ends and a new one follows"


class Step(StrEnum):
    """The next thing to do."""

    REST = "rest"  # nothing but to report
    START = "start"  # controls, receipt, claim, workload
    KEEP = "keep"  # it runs: repair what drifted
    STOP = "stop"  # suspend the workload
    END = "end"  # delete a stopped attempt, so that a new one can follow
    WAIT = "wait"  # something is on its way out
    CONFIRM_LOST = "confirm-lost"  # the attempt's Job is not to be seen: look again, live
    HOLD = "hold"  # the attempt ended at its seal: report that, and wait for the moment of the next
    FINISH = "finish"  # the attempt ended: report it for good
    EXPIRE = "expire"  # the time to live is over: delete what was rendered


class Phase(StrEnum):
    """Where the job stands, for its conditions."""

    REFUSED = "refused"
    HELD = "held"
    WAITING = "waiting"  # it is allowed, and waits for privacy budget or for its turn in a queue
    STOPPED = "stopped"
    STARTING = "starting"
    UNSEALED = "unsealed"  # its pod does not get past the seal probe, so nothing of the user's runs; it is tried again
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
    sealed: bool = False  # a pod of it got past its seal
    unsealed: Unsealed | None = None  # a pod of it did not
    silence: Silence | None = None  # the sidecar of a pod of it is not heard, and the pod runs
    down: str = ""  # the sentence for a program that runs while its sidecar does not
    waits: tuple[Reason, str] | None = None  # why a pod of it does not get to run, and the sentence
    restarted: tuple[tuple[str, str], ...] = ()  # name and uid of pods whose gateway was started more than once


@dataclass(frozen=True)
class Plan:
    """The step, where the job stands, and the attempt concerned. ``again`` is seconds until the next look.

    ``queue`` is the condition Queued, None for a job in no queue; ``stalled`` says that nothing changes without people.
    """

    step: Step
    phase: Phase
    attempt: int
    reason: Reason
    message: str = ""
    seen: Seen | None = None
    again: float | None = None
    queue: QueueCondition | None = None
    stalled: bool = False


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
    seal_retry: timedelta = sealing.FIRST_PAUSE,
) -> Plan:
    """The next step of a TrainingJob.

    A job that was not sealed is told so until an attempt of it is: not that it is on its way, in every pause between.

    Args:
        status: of the TrainingJob, raw.
        decision: the decision in force.
        attempts: the Jobs that exist for it, any order.
        suspend: ``spec.suspend``.
        pods_alive: whether a pod of it may still run.
        ttl_seconds: after the end, when rendered objects are deleted; None keeps them.
        controls_left: whether any rendered object exists.
        now: the time.
        seal_retry: the first pause before another attempt of a job whose pod was not sealed.
    """
    plan = _plan_training(
        status, decision, attempts, suspend=suspend, pods_alive=pods_alive, ttl_seconds=ttl_seconds,
        controls_left=controls_left, now=now, seal_retry=seal_retry,
    )  # fmt: skip
    said = sealing.told(status.get("conditions"))
    waits = plan.step in (Step.START, Step.KEEP, Step.WAIT) and plan.phase in (Phase.STARTING, Phase.STOPPED)
    on_its_way = waits and plan.reason in (Reason.PROGRESSING, Reason.ATTEMPT_CREATED, *POD_WAITS)
    if said is None or not on_its_way or (plan.seen is not None and plan.seen.sealed):
        return plan
    return replace(plan, phase=Phase.UNSEALED, reason=said.reason, message=said.message)


def _plan_training(
    status: Mapping[str, Any],
    decision: Decision,
    attempts: Sequence[Seen],
    *,
    suspend: bool,
    pods_alive: bool,
    ttl_seconds: int | None,
    controls_left: bool,
    now: datetime,
    seal_retry: timedelta,
) -> Plan:
    claimed = int(status.get("attempt") or 0)
    current = max(attempts, key=lambda a: a.number, default=None)
    stopped = is_true(status.get("conditions"), ConditionType.SUSPENDED)
    if status.get("finishedAt"):
        return _after_the_end(status, current, claimed, ttl_seconds, controls_left, now)
    if current is not None and current.deleting:
        return _leaving(decision, current, claimed, suspend=suspend, stopped=stopped)
    if current is not None and current.finished:
        if _over(current, claimed):
            return _ended(current)
        return _hold(status, decision, current, claimed, suspend=suspend, now=now, retry=seal_retry)
    if decision.verdict is not Verdict.ALLOW or suspend:
        started = claimed > 1 or bool(status.get("startedAt"))
        return _stop(decision, current, claimed, suspend=suspend, started=started)
    if _muted(status) and (current is None or (current.suspended and current.digest == decision.digest)):
        told = str((get_condition(status.get("conditions"), ConditionType.SUSPENDED) or {}).get("message") or "")
        return Plan(Step.REST, Phase.STOPPED, claimed, Reason.SIDECAR_SILENT, told, seen=current)
    if current is None:
        return _begin(status, claimed, pods_alive, stopped=stopped)
    if current.number < claimed or current.suspended:
        # The next number is claimed before the old attempt is deleted: an attempt that goes is never taken for lost.
        return Plan(
            Step.END, Phase.STOPPED, max(claimed, current.number + 1), Reason.PROGRESSING, NEW_ATTEMPT, seen=current
        )
    if current.digest != decision.digest:
        return Plan(Step.STOP, Phase.STOPPED, current.number, Reason.PROGRESSING, CHANGED, seen=current)
    if current.unsealed is not None:  # its Job has not said so yet
        lost = current.unsealed
        return Plan(Step.KEEP, Phase.UNSEALED, current.number, lost.reason, lost.sentence, seen=current)
    if current.silence is not None:
        return _unheard(current, current.silence, training=True)
    if current.down:
        return Plan(Step.KEEP, Phase.RUNNING, current.number, Reason.SIDECAR_SILENT, current.down, seen=current)
    return _going(current)


def _going(seen: Seen) -> Plan:
    """It runs, or is on its way, unless kubelet or scheduler say why it is not."""
    if not seen.running and seen.waits is not None:
        reason, sentence = seen.waits
        return Plan(Step.KEEP, Phase.STARTING, seen.number, reason, sentence, seen=seen)
    phase = Phase.RUNNING if seen.running else Phase.STARTING
    return Plan(Step.KEEP, phase, seen.number, Reason.ATTEMPT_CREATED, seen=seen)


def _unheard(current: Seen, silence: Silence, *, training: bool) -> Plan:
    """A pod of it runs and its sidecar is not heard. That its Job calls it ready is not asked: it is not while the
    sidecar does not answer the kubelet either. Serving goes on: the gateway is the only way to the model anyway.
    """
    number, reason = current.number, Reason.SIDECAR_SILENT
    if training and silence.too_long:
        return Plan(Step.STOP, Phase.STOPPED, number, reason, silence.when_stopped(), seen=current)
    return Plan(Step.KEEP, Phase.RUNNING, number, reason, silence.while_it_runs(training=training), seen=current)


def _muted(status: Mapping[str, Any]) -> bool:
    """Whether it was stopped since nobody heard its sidecar: an attempt more is a decision of people's."""
    told = get_condition(status.get("conditions"), ConditionType.SUSPENDED) or {}
    return told.get("status") == "True" and told.get("reason") == Reason.SIDECAR_SILENT


def plan_inference(decision: Decision, seen: Seen | None, *, suspend: bool, replicas: int) -> Plan:
    """The next step of an InferenceJob that asks for ``replicas``."""
    if decision.verdict is not Verdict.ALLOW or suspend:
        return _stop(decision, seen, 1 if seen else 0, suspend=suspend, started=seen is not None)
    if seen is not None and seen.deleting:
        return Plan(Step.WAIT, Phase.STARTING, 1, Reason.PROGRESSING, seen=seen, again=1.0)
    if seen is None or seen.digest != decision.digest or (seen.suspended and replicas > 0):
        return Plan(Step.START, Phase.STARTING, 1, Reason.PROGRESSING, seen=seen)
    phase = Phase.RUNNING if seen.running else Phase.STARTING
    if seen.unsealed is not None:
        lost = seen.unsealed
        sentence = f"{lost.sentence} Nothing of the user's runs in the pod {lost.pod}, which tries again by itself."
        return Plan(Step.KEEP, phase if seen.running else Phase.UNSEALED, 1, lost.reason, sentence, seen=seen)
    if seen.silence is not None:
        found = _unheard(seen, seen.silence, training=False)
        return replace(found, phase=phase)  # replicas are not served while they are not ready
    if seen.down:
        return Plan(Step.KEEP, Phase.RUNNING, 1, Reason.SIDECAR_SILENT, seen.down, seen=seen)
    return _going(seen)


def _over(current: Seen, claimed: int) -> bool:
    """Whether an attempt that ended is the job's end. One that ended at its seal never ran, and one whose successor is
    claimed was given up, unless it ended well all the same.
    """
    if current.finished == "Complete":
        return True
    return claimed <= current.number and (current.unsealed is None or current.reason == _TOO_LATE)


def _hold(
    status: Mapping[str, Any],
    decision: Decision,
    current: Seen,
    claimed: int,
    *,
    suspend: bool,
    now: datetime,
    retry: timedelta,
) -> Plan:
    """The attempt ended at its seal. The next one is claimed at once, so that a Job that is gone is not taken for a
    lost attempt; it is made when its moment has come, and at once where the job was edited.
    """
    number = max(claimed, current.number + 1)
    if decision.verdict is not Verdict.ALLOW or suspend:
        return Plan(Step.HOLD, Phase.STOPPED, number, _why_stopped(decision, suspend), seen=current)
    said = sealing.told(status.get("conditions"))
    due = sealing.next_attempt_at(sealing.moment(current.finished_at) or now, said.since if said else None, retry)
    wait = (due - now).total_seconds()
    if current.unsealed is not None:
        reason, message = current.unsealed.reason, _hold_sentence(current.unsealed, number, due)
    elif said is not None:
        reason, message = said.reason, said.message
    else:  # a successor was claimed for another reason
        return Plan(Step.END, Phase.STOPPED, number, Reason.PROGRESSING, NEW_ATTEMPT, seen=current)
    if wait <= 0 or current.digest != decision.digest:
        return Plan(Step.END, Phase.UNSEALED, number, reason, message, seen=current)
    return Plan(Step.HOLD, Phase.UNSEALED, number, reason, message, seen=current, again=wait + 0.1)


def _hold_sentence(lost: Unsealed, number: int, due: datetime) -> str:
    return f"{lost.sentence} Nothing of the user's ran. Attempt {number} is made at {timestamp(due)}."


def _leaving(decision: Decision, current: Seen, claimed: int, *, suspend: bool, stopped: bool) -> Plan:
    """A Job is being deleted: by us after a stop, or by others, which shows once it is gone."""
    ours = current.number < claimed or stopped
    if ours or suspend or decision.verdict is not Verdict.ALLOW:
        reason = _why_stopped(decision, suspend)
        return Plan(Step.WAIT, Phase.STOPPED, claimed, reason, seen=current, again=1.0)
    phase = Phase.RUNNING if current.running else Phase.STARTING
    return Plan(Step.WAIT, phase, claimed, Reason.ATTEMPT_CREATED, seen=current, again=1.0)


def _ended(current: Seen) -> Plan:
    if current.finished == "Complete":
        return Plan(Step.FINISH, Phase.SUCCEEDED, current.number, Reason.SUCCEEDED, current.message, seen=current)
    reason = Reason.DEADLINE_EXCEEDED if current.reason == _TOO_LATE else Reason.FAILED
    return Plan(Step.FINISH, Phase.FAILED, current.number, reason, current.message, seen=current)


def _why_stopped(decision: Decision, suspend: bool) -> Reason:
    if decision.verdict is not Verdict.ALLOW:
        return Reason.NO_LONGER_ALLOWED
    return Reason.SUSPENDED_BY_USER if suspend else Reason.PROGRESSING


def _stop(decision: Decision, current: Seen | None, claimed: int, *, suspend: bool, started: bool) -> Plan:
    """It may not run. ``started`` says whether anything of it ever did."""
    if current is None and not started:
        if decision.verdict is Verdict.ALLOW:
            return Plan(Step.REST, Phase.STOPPED, claimed, Reason.SUSPENDED_BY_USER)
        phase, reason = standing(decision)
        return Plan(Step.REST, phase, claimed, reason)
    reason = _why_stopped(decision, suspend)
    number = max(claimed, current.number if current else 0)
    if current is None or current.suspended:
        return Plan(Step.REST, Phase.STOPPED, number, reason, seen=current)
    return Plan(Step.STOP, Phase.STOPPED, number, reason, seen=current)


def _begin(status: Mapping[str, Any], claimed: int, pods_alive: bool, *, stopped: bool) -> Plan:
    """No Job is to be seen: the first attempt, one that was claimed and not made, one after a stop, or a lost one."""
    started = bool(claimed and status.get("startedAt"))
    if started and not stopped:
        return Plan(Step.CONFIRM_LOST, Phase.FAILED, claimed, Reason.FAILED)
    if pods_alive:
        phase = Phase.STOPPED if stopped else Phase.STARTING
        return Plan(Step.WAIT, phase, claimed, Reason.PROGRESSING, "pods of the last attempt are ending", again=1.0)
    number = claimed if claimed and not started else claimed + 1
    return Plan(Step.START, Phase.STARTING, number, Reason.PROGRESSING)


def _after_the_end(
    status: Mapping[str, Any],
    current: Seen | None,
    claimed: int,
    ttl_seconds: int | None,
    controls_left: bool,
    now: datetime,
) -> Plan:
    """It ended for good; how it ended is what its conditions say, whatever became of the Job since."""
    told = get_condition(status.get("conditions"), ConditionType.COMPLETED) or {}
    good = told.get("status") == "True"
    phase, reason = (Phase.SUCCEEDED, Reason.SUCCEEDED) if good else (Phase.FAILED, Reason.FAILED)
    with contextlib.suppress(ValueError):
        reason = Reason(str(told.get("reason")))
    rest = Plan(Step.REST, phase, claimed, reason, str(told.get("message") or ""), seen=current)
    if ttl_seconds is None or (current is None and not controls_left):
        return rest
    due = parse_time(str(status["finishedAt"])) + timedelta(seconds=ttl_seconds)
    if now >= due:
        return replace(rest, step=Step.EXPIRE)
    return replace(rest, again=(due - now).total_seconds() + 0.1)
