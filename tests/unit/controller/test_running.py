"""What runs is read off the program, not off a pod's readiness; a sidecar that does not run beside it is told."""

from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, decide, inference_job, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.plan import Phase, Seen, Step, plan_inference, plan_training
from mlprivacy.controller.running import down, restarted, running_of, runs, waiting
from mlprivacy.controller.status import Outcome, job_status

RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-06-01T12:00:00Z"}}
CRASHING: dict[str, Any] = {"waiting": {"reason": "CrashLoopBackOff"}}
ENDED: dict[str, Any] = {"terminated": {"exitCode": 1}}


def status(sidecar: dict[str, Any], user: dict[str, Any], name: str = "accountant", restarts: int = 0) -> Any:
    seal = {"name": "mlprivacy-seal", "state": {"terminated": {"exitCode": 0}}}
    own = {"name": f"mlprivacy-{name}", "state": sidecar, "restartCount": restarts}
    return {"initContainerStatuses": [seal, own], "containerStatuses": [{"name": "trainer", "state": user}]}


def pod(kept: dict[str, Any], phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u", **metadata}, "status": {"phase": phase, **kept}}


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        ({}, {}),
        (status(RUNNING, {"waiting": {"reason": "PodInitializing"}}), {}),
        (status(RUNNING, RUNNING), {"runs": True}),
        (status(RUNNING, RUNNING, restarts=3), {"runs": True}),
        (status(CRASHING, RUNNING, restarts=3), {"runs": True, "down": "mlprivacy-accountant"}),
        (status(ENDED, RUNNING, restarts=3), {"runs": True, "down": "mlprivacy-accountant"}),
        (status(ENDED, ENDED), {}),
        (status(RUNNING, RUNNING, "gateway"), {"runs": True}),
        (status(RUNNING, RUNNING, "gateway", restarts=1), {"runs": True, "restarted": True}),
    ],
)
def test_what_a_status_says_of_what_runs(seen: Any, kept: Any) -> None:
    assert running_of(seen) == kept


def test_what_runs_is_asked_of_all_pods_and_what_ends_is_left_out() -> None:
    quiet, crashing = pod({}), pod({"runs": True, "down": "mlprivacy-gateway", "restarted": True})
    assert (runs([quiet]), runs([quiet, crashing])) == (False, True)
    assert "mlprivacy-gateway does not" in down([quiet, crashing])
    assert restarted([quiet, crashing]) == [crashing]
    leaving = pod(crashing["status"], deletionTimestamp="2026-06-01T12:00:00Z")
    assert (down([leaving]), restarted([leaving])) == ("", [])
    assert restarted([pod(crashing["status"] | {"phase": "Failed"}, "Failed")]) == []


def test_a_trainer_that_runs_while_its_accountant_crashes_is_said_to_run() -> None:
    decision = decide(training_job())
    seen = Seen("mlp-diagnosis-1", "uid-1", 1, decision.digest, suspended=False, running=True, sealed=True)
    before = {"attempt": 1, "startedAt": "2026-06-01T11:00:00Z"}
    found = plan_training(
        before, decision, [replace(seen, down="it runs, and its sidecar does not")], suspend=False, pods_alive=True,
        ttl_seconds=None, controls_left=True, now=NOW,
    )  # fmt: skip
    assert (found.step, found.phase, found.reason) == (Step.KEEP, Phase.RUNNING, Reason.SIDECAR_SILENT)
    outcome = Outcome(found.phase, found.reason, found.message, attempt=1)
    told = {c["type"]: c for c in job_status(training_job(), decision, outcome, NOW)["conditions"]}
    assert (told["Running"]["status"], told["Running"]["reason"]) == ("True", "SidecarSilent")
    assert "its sidecar does not" in told["Running"]["message"]


def test_a_model_server_that_runs_while_its_gateway_crashes_is_said_to_run() -> None:
    decision = decide(inference_job())
    seen = Seen("mlp-api", "uid-1", 1, decision.digest, suspended=False, running=True, sealed=True, down="sentence")
    found = plan_inference(decision, seen, suspend=False, replicas=1)
    assert (found.phase, found.reason, found.message) == (Phase.RUNNING, Reason.SIDECAR_SILENT, "sentence")


PULLING: dict[str, Any] = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes fit."}


def test_why_a_pod_does_not_get_to_run_is_kept_and_told() -> None:
    assert running_of(status(RUNNING, PULLING)) == {
        "waits": ["ImagePullBackOff", "container trainer: Back-off pulling image"]
    }
    kept = running_of({"conditions": [UNSCHEDULABLE]})
    assert waiting([pod({}), pod(kept, "Pending")]) == (
        Reason.UNSCHEDULABLE,
        "the pod p waits: Unschedulable: 0/1 nodes fit",
    )
    assert waiting([pod(kept, deletionTimestamp="2026-06-01T12:00:00Z")]) is None


def test_a_word_that_is_none_of_our_reasons_begins_the_message() -> None:
    assert waiting([pod({"waits": ["NetworkNotReady", ""]})]) == (
        Reason.POD_WAITING,
        "the pod p waits: NetworkNotReady",
    )


@pytest.mark.parametrize("kind", ["TrainingJob", "InferenceJob"])
def test_a_job_whose_pod_waits_is_not_said_to_be_well(kind: str) -> None:
    job = training_job() if kind == "TrainingJob" else inference_job()
    decision = decide(job)
    waits = (Reason.IMAGE_PULL_BACK_OFF, "the pod p waits: ImagePullBackOff")
    seen = Seen("mlp-x-1", "uid-1", 1, decision.digest, suspended=False, running=False, waits=waits)
    if kind == "TrainingJob":
        before = {"attempt": 1, "startedAt": "2026-06-01T11:00:00Z"}
        found = plan_training(
            before, decision, [seen], suspend=False, pods_alive=True, ttl_seconds=None, controls_left=True, now=NOW
        )
    else:
        found = plan_inference(decision, seen, suspend=False, replicas=1)
    assert (found.step, found.phase, found.reason) == (Step.KEEP, Phase.STARTING, Reason.IMAGE_PULL_BACK_OFF)
    in_place = ("True", Reason.CONTROLS_IN_PLACE, "made")
    outcome = Outcome(found.phase, found.reason, found.message, attempt=1, controls=in_place)
    told = {c["type"]: c for c in job_status(job, decision, outcome, NOW)["conditions"]}
    for type_ in ("Running", "Ready", "Stalled"):
        assert (told[type_]["status"], told[type_]["reason"]) == ("False", "ImagePullBackOff")
        assert "the pod p waits" in told[type_]["message"]


def test_one_replica_that_waits_does_not_hide_the_one_that_runs() -> None:
    decision = decide(inference_job())
    waits = (Reason.UNSCHEDULABLE, "sentence")
    seen = Seen("mlp-api", "uid-1", 1, decision.digest, suspended=False, running=True, sealed=True, waits=waits)
    assert plan_inference(decision, seen, suspend=False, replicas=2).phase is Phase.RUNNING


def test_a_second_attempt_that_waits_is_still_told_as_not_sealed() -> None:
    """Its pauses double from the moment at which that was first said."""
    decision = decide(training_job())
    waits = (Reason.UNSCHEDULABLE, "sentence")
    seen = Seen("mlp-x-2", "uid-1", 2, decision.digest, suspended=False, running=False, waits=waits)
    stalled = {"type": "Stalled", "status": "True", "reason": "SealNotEnforced", "message": "the canary answered"}
    found = plan_training(
        {"attempt": 2, "startedAt": "2026-06-01T11:00:00Z", "conditions": [stalled]}, decision, [seen], suspend=False,
        pods_alive=True, ttl_seconds=None, controls_left=True, now=NOW,
    )  # fmt: skip
    assert (found.phase, found.reason) == (Phase.UNSEALED, Reason.SEAL_NOT_ENFORCED)
