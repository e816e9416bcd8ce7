"""The planner by example: one row per branch. What it does over a life is in test_plan_life.py."""

from dataclasses import replace
from datetime import timedelta

import pytest
from builders import NOW, decide, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.plan import Phase, Seen, Step, plan_inference, plan_training
from mlprivacy.controller.sealing import Unsealed

ALLOWED = decide(training_job())
REFUSED = decide(training_job(purpose="marketing"))
HELD = decide(training_job(), leave_out=["Dataset/visits"])
JOB = Seen("mlp-diagnosis-1", "uid-1", 1, ALLOWED.digest, suspended=False, running=True)
STARTED = {"attempt": 1, "startedAt": "2026-06-01T11:00:00Z"}
SUSPENDED = {"conditions": [{"type": "Suspended", "status": "True", "reason": "SuspendedByUser"}]}
ENDED = {
    **STARTED,
    "finishedAt": "2026-06-01T11:59:00Z",
    "conditions": [{"type": "Completed", "status": "False", "reason": "DeadlineExceeded", "message": "too slow"}],
}
LOST = Unsealed("mlp-diagnosis-1-x", 3, "The canary answered.")
HELD_AT_SEAL = replace(JOB, running=False, finished="Failed", finished_at="2026-06-01T11:59:30Z", unsealed=LOST)
SECOND = replace(JOB, name="mlp-diagnosis-2", uid="uid-2", number=2)
STALLED = {"type": "Stalled", "status": "True", "reason": "SealNotEnforced", "message": "The canary answered."}
UNSEALED = {"attempt": 2, "conditions": [STALLED | {"lastTransitionTime": "2026-06-01T11:59:30Z"}]}
TRIED_AGAIN = UNSEALED | {"startedAt": "2026-06-01T11:59:59Z"}


def plan(decision=ALLOWED, jobs=(), status=None, **options):
    given = {"suspend": False, "pods_alive": False, "ttl_seconds": None, "controls_left": True, "now": NOW} | options
    return plan_training(status or {}, decision, jobs, **given)


TABLE = {
    "refused, nothing started": (plan(REFUSED), Step.REST, Phase.REFUSED, 0, Reason.REFUSED),
    "held, nothing started": (plan(HELD), Step.REST, Phase.HELD, 0, Reason.DATASET_NOT_FOUND),
    "suspended from the beginning": (plan(suspend=True), Step.REST, Phase.STOPPED, 0, Reason.SUSPENDED_BY_USER),
    "first attempt": (plan(), Step.START, Phase.STARTING, 1, Reason.PROGRESSING),
    "claimed, not made": (plan(status={"attempt": 1}), Step.START, Phase.STARTING, 1, Reason.PROGRESSING),
    "claimed, not made, then refused": (
        plan(REFUSED, status={"attempt": 1}),
        Step.REST,
        Phase.REFUSED,
        1,
        Reason.REFUSED,
    ),
    "runs": (plan(jobs=[JOB], status=STARTED), Step.KEEP, Phase.RUNNING, 1, Reason.ATTEMPT_CREATED),
    "made, not ready": (
        plan(jobs=[replace(JOB, running=False)], status=STARTED),
        Step.KEEP,
        Phase.STARTING,
        1,
        Reason.ATTEMPT_CREATED,
    ),
    "not allowed any more": (plan(REFUSED, [JOB], STARTED), Step.STOP, Phase.STOPPED, 1, Reason.NO_LONGER_ALLOWED),
    "suspended by its user": (
        plan(jobs=[JOB], status=STARTED, suspend=True),
        Step.STOP,
        Phase.STOPPED,
        1,
        Reason.SUSPENDED_BY_USER,
    ),
    "stopped and stays so": (
        plan(HELD, [replace(JOB, suspended=True)], STARTED),
        Step.REST,
        Phase.STOPPED,
        1,
        Reason.NO_LONGER_ALLOWED,
    ),
    "stopped, its Job deleted by others": (
        plan(HELD, status=STARTED | SUSPENDED),
        Step.REST,
        Phase.STOPPED,
        1,
        Reason.NO_LONGER_ALLOWED,
    ),
    "edited": (
        plan(jobs=[replace(JOB, digest="sha256:old")], status=STARTED),
        Step.STOP,
        Phase.STOPPED,
        1,
        Reason.PROGRESSING,
    ),
    "allowed again": (
        plan(jobs=[replace(JOB, suspended=True)], status=STARTED | SUSPENDED),
        Step.END,
        Phase.STOPPED,
        2,
        Reason.PROGRESSING,
    ),
    "next claimed, old one still there": (
        plan(jobs=[replace(JOB, suspended=True)], status={"attempt": 2}),
        Step.END,
        Phase.STOPPED,
        2,
        Reason.PROGRESSING,
    ),
    "old one on its way out": (
        plan(jobs=[replace(JOB, deleting=True)], status={"attempt": 2} | SUSPENDED),
        Step.WAIT,
        Phase.STOPPED,
        2,
        Reason.PROGRESSING,
    ),
    "deleted by others, not gone yet": (
        plan(jobs=[replace(JOB, deleting=True)], status=STARTED),
        Step.WAIT,
        Phase.RUNNING,
        1,
        Reason.ATTEMPT_CREATED,
    ),
    "pods of the old one end": (
        plan(status={"attempt": 2} | SUSPENDED, pods_alive=True),
        Step.WAIT,
        Phase.STOPPED,
        2,
        Reason.PROGRESSING,
    ),
    "next attempt": (plan(status={"attempt": 2} | SUSPENDED), Step.START, Phase.STARTING, 2, Reason.PROGRESSING),
    "stopped Job deleted by others, resumed": (
        plan(status=STARTED | SUSPENDED),
        Step.START,
        Phase.STARTING,
        2,
        Reason.PROGRESSING,
    ),
    "not to be seen": (plan(status=STARTED), Step.CONFIRM_LOST, Phase.FAILED, 1, Reason.FAILED),
    "not to be seen, pods alive": (
        plan(status=STARTED, pods_alive=True),
        Step.CONFIRM_LOST,
        Phase.FAILED,
        1,
        Reason.FAILED,
    ),
    "ended well": (
        plan(jobs=[replace(JOB, finished="Complete")], status=STARTED),
        Step.FINISH,
        Phase.SUCCEEDED,
        1,
        Reason.SUCCEEDED,
    ),
    "ended well though refused now": (
        plan(REFUSED, [replace(JOB, finished="Complete")], STARTED),
        Step.FINISH,
        Phase.SUCCEEDED,
        1,
        Reason.SUCCEEDED,
    ),
    "failed": (
        plan(jobs=[replace(JOB, finished="Failed")], status=STARTED),
        Step.FINISH,
        Phase.FAILED,
        1,
        Reason.FAILED,
    ),
    "too slow": (
        plan(jobs=[replace(JOB, finished="Failed", reason="DeadlineExceeded")], status=STARTED),
        Step.FINISH,
        Phase.FAILED,
        1,
        Reason.DEADLINE_EXCEEDED,
    ),
    "ended at its seal": (
        plan(jobs=[HELD_AT_SEAL], status=STARTED),
        Step.HOLD,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "ended at its seal, its Job has not said so yet": (
        plan(jobs=[replace(JOB, running=False, unsealed=LOST)], status=STARTED),
        Step.KEEP,
        Phase.UNSEALED,
        1,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "held at the seal, the moment of the next has come": (
        plan(jobs=[HELD_AT_SEAL], status=UNSEALED, now=NOW + timedelta(seconds=31)),
        Step.END,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "held at the seal, its pod is gone": (
        plan(jobs=[replace(HELD_AT_SEAL, unsealed=None)], status=UNSEALED),
        Step.HOLD,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "held at the seal, its Job deleted by others": (
        plan(status=UNSEALED),
        Step.START,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "held at the seal, then edited": (
        plan(jobs=[replace(HELD_AT_SEAL, digest="sha256:old")], status=UNSEALED),
        Step.END,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "held at the seal, then refused": (
        plan(REFUSED, [HELD_AT_SEAL], UNSEALED),
        Step.HOLD,
        Phase.STOPPED,
        2,
        Reason.NO_LONGER_ALLOWED,
    ),
    "held at the seal, then suspended by its user": (
        plan(jobs=[HELD_AT_SEAL], status=UNSEALED, suspend=True),
        Step.HOLD,
        Phase.STOPPED,
        2,
        Reason.SUSPENDED_BY_USER,
    ),
    "held at the seal, the old one on its way out": (
        plan(jobs=[replace(HELD_AT_SEAL, deleting=True)], status=UNSEALED),
        Step.WAIT,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "tried again, not sealed yet": (
        plan(jobs=[replace(SECOND, running=False)], status=TRIED_AGAIN),
        Step.KEEP,
        Phase.UNSEALED,
        2,
        Reason.SEAL_NOT_ENFORCED,
    ),
    "tried again and sealed": (
        plan(jobs=[replace(SECOND, running=False, sealed=True)], status=TRIED_AGAIN),
        Step.KEEP,
        Phase.STARTING,
        2,
        Reason.ATTEMPT_CREATED,
    ),
    "tried again and runs": (
        plan(jobs=[SECOND], status=TRIED_AGAIN),
        Step.KEEP,
        Phase.RUNNING,
        2,
        Reason.ATTEMPT_CREATED,
    ),
    "tried again, then failed by itself": (
        plan(jobs=[replace(SECOND, finished="Failed", sealed=True)], status=TRIED_AGAIN),
        Step.FINISH,
        Phase.FAILED,
        2,
        Reason.FAILED,
    ),
    "too slow to be sealed": (
        plan(jobs=[replace(HELD_AT_SEAL, reason="DeadlineExceeded")], status=STARTED),
        Step.FINISH,
        Phase.FAILED,
        1,
        Reason.DEADLINE_EXCEEDED,
    ),
    "after the end the reason stays": (
        plan(jobs=[], status=ENDED),
        Step.REST,
        Phase.FAILED,
        1,
        Reason.DEADLINE_EXCEEDED,
    ),
    "its time to live is over": (
        plan(status=ENDED, ttl_seconds=60),
        Step.EXPIRE,
        Phase.FAILED,
        1,
        Reason.DEADLINE_EXCEEDED,
    ),
    "expired already": (
        plan(status=ENDED, ttl_seconds=60, controls_left=False),
        Step.REST,
        Phase.FAILED,
        1,
        Reason.DEADLINE_EXCEEDED,
    ),
}


@pytest.mark.parametrize("row", TABLE)
def test_training(row):
    found, step, phase, attempt, reason = TABLE[row]
    assert (found.step, found.phase, found.attempt, found.reason) == (step, phase, attempt, reason)


def test_the_time_to_live_is_met_by_looking_again():
    found = plan(jobs=[JOB], status=ENDED, ttl_seconds=90)
    assert found.step is Step.REST
    assert timedelta(seconds=30) < timedelta(seconds=found.again) < timedelta(seconds=31)


def test_the_next_attempt_after_one_that_was_not_sealed_is_met_by_looking_again():
    found = plan(jobs=[HELD_AT_SEAL], status=UNSEALED)
    assert timedelta(seconds=30) < timedelta(seconds=found.again) < timedelta(seconds=31)
    assert found.message == "The canary answered. Nothing of the user's ran. Attempt 2 is made at 2026-06-01T12:00:30Z."


SERVER = Seen("mlp-api", "uid", 1, ALLOWED.digest, suspended=False, running=True)


@pytest.mark.parametrize(
    ("decision", "seen", "suspend", "replicas", "step", "phase"),
    [
        (ALLOWED, None, False, 1, Step.START, Phase.STARTING),
        (ALLOWED, SERVER, False, 1, Step.KEEP, Phase.RUNNING),
        (ALLOWED, replace(SERVER, running=False), False, 1, Step.KEEP, Phase.STARTING),
        (ALLOWED, replace(SERVER, digest="sha256:old"), False, 1, Step.START, Phase.STARTING),
        (ALLOWED, replace(SERVER, suspended=True), False, 1, Step.START, Phase.STARTING),
        (ALLOWED, replace(SERVER, suspended=True, running=False), False, 0, Step.KEEP, Phase.STARTING),
        (ALLOWED, replace(SERVER, deleting=True), False, 1, Step.WAIT, Phase.STARTING),
        (ALLOWED, SERVER, True, 1, Step.STOP, Phase.STOPPED),
        (ALLOWED, None, True, 1, Step.REST, Phase.STOPPED),
        (REFUSED, SERVER, False, 1, Step.STOP, Phase.STOPPED),
        (REFUSED, replace(SERVER, suspended=True), False, 1, Step.REST, Phase.STOPPED),
        (REFUSED, None, False, 1, Step.REST, Phase.REFUSED),
        (HELD, None, False, 1, Step.REST, Phase.HELD),
    ],
)
def test_inference(decision, seen, suspend, replicas, step, phase):
    found = plan_inference(decision, seen, suspend=suspend, replicas=replicas)
    assert (found.step, found.phase) == (step, phase)


@pytest.mark.parametrize(("running", "phase"), [(False, Phase.UNSEALED), (True, Phase.RUNNING)])
def test_a_replica_that_is_not_sealed_is_told_whether_or_not_another_serves(running, phase):
    found = plan_inference(ALLOWED, replace(SERVER, running=running, unsealed=LOST), suspend=False, replicas=1)
    assert (found.step, found.phase, found.reason) == (Step.KEEP, phase, Reason.SEAL_NOT_ENFORCED)
    assert found.message.startswith("The canary answered. Nothing of the user's runs in the pod mlp-diagnosis-1-x")
