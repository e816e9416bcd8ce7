"""Pods that do not get past their seal, on the real API server, in the statuses that a kubelet writes.

Nodes are simulated, and no probe runs: each pod is kept in its first init container until the test reports its end.
"""

import json

import pytest

pytestmark = pytest.mark.cluster
HOLD = "kwok.mlprivacy.dev/hold"
IMAGE = "registry.example/trainer@sha256:" + "c" * 64
OPEN = "The pod is not sealed: the canary still answered over TCP and UDP."
WAITING = {"waiting": {"reason": "PodInitializing"}}
CRASHING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}


def held_template(name):
    """A template whose pods stay in their seal probe on a simulated node."""
    return {"metadata": {"annotations": {HOLD: "true"}}, "spec": {"containers": [{"name": name, "image": IMAGE}]}}


def sealing_pod(world, attempt=None):
    """The one pod that is at its seal probe."""
    selector = "mlprivacy.dev/rendered" + (f",mlprivacy.dev/attempt={attempt}" if attempt else "")

    def look():
        found = [p for p in world.all("pods", selector) if p["status"].get("initContainerStatuses")]
        return found[0] if len(found) == 1 else None

    return world.eventually(look, f"a pod at its seal {selector}")


def container(name, state, last=None, restarts=0):
    return {
        "name": name, "state": state, "lastState": last or {}, "restartCount": restarts, "ready": False,
        "started": False, "image": IMAGE, "imageID": "",
    }  # fmt: skip


def ended(code, words):
    """As a kubelet has it: the words are what the probe wrote into /dev/termination-log."""
    at = "2026-06-01T12:00:00Z"
    return {
        "terminated": {"exitCode": code, "reason": "Error", "message": words, "startedAt": at, "finishedAt": at},
    }  # fmt: skip


def report(world, pod, phase, seal, **others):
    """Writes a pod's status: its seal probe's, while nothing after it ever began unless ``others`` says so."""
    sidecar = next(c["name"] for c in pod["spec"]["initContainers"] if c["name"] != "mlprivacy-seal")
    user = pod["spec"]["containers"][0]["name"]
    world.end_pod(
        pod, phase,
        initContainerStatuses=[seal, container(sidecar, others.get("sidecar", WAITING))],
        containerStatuses=[container(user, others.get("user", WAITING))],
    )  # fmt: skip


def go(world, pod):
    """Lets a pod past its seal."""
    world.cluster.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", world.namespace, f"{HOLD}-")


def records(stack, uid):
    """The controller's records about a job that was not sealed."""
    return [
        record["data"]
        for segment in stack.audit_directory.rglob("*.jsonl")
        for line in segment.read_bytes().splitlines()
        if (record := json.loads(line))["kind"] == "unsealed" and record["subject"]["uid"] == uid
    ]


def events(world, reason):
    done = world.cluster.kubectl("get", "events", "-n", world.namespace, "-o", "json")
    return [e for e in json.loads(done.stdout)["items"] if e["reason"] == reason]


@pytest.mark.slow
def test_a_job_that_is_not_sealed_is_held_and_resolves_by_itself(lax, stack):
    lax.apply(lax.training_job(template=held_template("trainer")))
    lax.started()
    first = sealing_pod(lax)
    report(lax, first, "Failed", container("mlprivacy-seal", ended(3, OPEN)))

    job = lax.until("Stalled", "True", "SealNotEnforced")
    lax.eventually(lambda: "Attempt 2" in lax.condition(lax.job(), "Stalled")["message"], "the hold")
    job = lax.job()
    assert lax.condition(job, "Stalled")["message"].startswith(OPEN)
    for type in ("Ready", "Running", "Completed"):
        assert (lax.condition(job, type)["status"], lax.condition(job, type)["reason"]) == ("False", "SealNotEnforced")
    assert lax.condition(job, "Accepted")["status"] == "True"
    assert "finishedAt" not in job["status"]
    assert lax.eventually(lambda: events(lax, "SealNotEnforced"), "the Event")[0]["type"] == "Warning"
    (record,) = lax.eventually(lambda: records(stack, job["metadata"]["uid"]), "the audit record")
    assert record == {
        "attempt": 1, "pod": first["metadata"]["name"], "reason": "SealNotEnforced", "exitCode": 3, "message": OPEN,
    }  # fmt: skip
    assert [j["metadata"]["name"] for j in lax.all("jobs")] == ["mlp-study-1"]  # evidence, until the next is made

    # By itself, after its pause; until it is sealed the job is not said to be on its way.
    job = lax.started(attempt=2)
    assert lax.condition(job, "Stalled")["status"] == "True"
    assert lax.condition(job, "Ready")["status"] == "False"
    second = sealing_pod(lax, attempt=2)
    go(lax, second)
    job = lax.until("Running", "True")
    assert lax.condition(job, "Stalled")["status"] == "False"
    assert lax.condition(job, "Ready")["status"] == "True"
    assert [j["metadata"]["name"] for j in lax.all("jobs")] == ["mlp-study-2"]
    lax.eventually(lambda: events(lax, "Sealed"), "the Event that it goes on")


def test_an_unconfirmed_seal_sends_people_to_the_collector_and_an_edit_tries_again_at_once(lax):
    words = "The pod looks sealed, but the collector did not confirm in time that its canary was alive."
    lax.apply(lax.training_job(template=held_template("trainer")))
    lax.started()
    report(lax, sealing_pod(lax), "Failed", container("mlprivacy-seal", ended(4, words)))
    job = lax.until("Stalled", "True", "SealNotConfirmed")
    assert lax.condition(job, "Ready")["message"].startswith(words)

    lax.eventually(lambda: lax.job()["status"]["attempt"] == 2, "the hold")
    lax.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"activeDeadlineSeconds": 4321}})
    lax.started(attempt=2)
    assert [j["spec"]["activeDeadlineSeconds"] for j in lax.all("jobs")] == [4321]


def test_a_held_job_is_suspended_resumed_and_deleted_like_any_other(lax):
    lax.apply(lax.training_job(template=held_template("trainer")))
    lax.started()
    report(lax, sealing_pod(lax), "Failed", container("mlprivacy-seal", ended(3, OPEN)))
    lax.until("Stalled", "True", "SealNotEnforced")
    lax.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"suspend": True}})
    job = lax.until("Suspended", "True", "SuspendedByUser")
    assert lax.condition(job, "Stalled")["status"] == "False"
    lax.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"suspend": False}})
    lax.until("Stalled", "True", "SealNotEnforced")
    lax.delete("trainingjobs.mlprivacy.dev", "study")
    lax.eventually(lambda: not lax.job(), "the job to be gone")
    assert not any(lax.rendered().values())


def test_an_attempt_in_which_the_users_code_began_is_never_made_again_for_its_seal(lax):
    lax.apply(lax.training_job(template=held_template("trainer")))
    lax.started()
    lost = container("mlprivacy-seal", ended(3, OPEN))
    report(lax, sealing_pod(lax), "Failed", lost, sidecar=ended(137, ""), user=ended(137, ""))
    job = lax.until("Completed", "False", "Failed")
    assert job["status"]["finishedAt"]


def test_a_served_model_that_is_not_sealed_says_so_until_it_is(lax, stack):
    lax.apply(lax.serving_scope(), lax.inference_job(template=held_template("server")))

    def stalled(status, reason):
        job = lax.inference()
        found = lax.condition(job, "Stalled")
        return job if (found.get("status"), found.get("reason")) == (status, reason) else None

    pod = sealing_pod(lax)
    again = container("mlprivacy-seal", CRASHING, ended(3, OPEN), restarts=1)
    report(lax, pod, "Pending", again)
    job = lax.eventually(lambda: stalled("True", "SealNotEnforced"), "the hold")
    assert lax.condition(job, "Stalled")["message"].startswith(OPEN)
    for type in ("Ready", "Running"):
        assert (lax.condition(job, type)["status"], lax.condition(job, type)["reason"]) == ("False", "SealNotEnforced")
    assert lax.eventually(lambda: events(lax, "SealNotEnforced"), "the Event")
    lax.eventually(lambda: len(records(stack, job["metadata"]["uid"])) == 1, "one audit record")

    # The probe is started again: what it said last holds until it ends well.
    report(lax, pod, "Pending", container("mlprivacy-seal", {"running": {}}, ended(4, "not confirmed"), restarts=2))
    lax.eventually(lambda: stalled("True", "SealNotConfirmed"), "the other reason")
    go(lax, pod)
    job = lax.eventually(lambda: stalled("False", "Progressing"), "the end of the hold")
    lax.eventually(lambda: lax.condition(lax.inference(), "Running").get("status") == "True", "the model to be served")
    lax.eventually(lambda: events(lax, "Sealed"), "the Event that it goes on")


def test_a_job_whose_image_can_not_be_pulled_says_so_in_the_kubelet_s_words(lax):
    lax.apply(lax.training_job(template=held_template("trainer")))
    pulling = {"waiting": {"reason": "ErrImagePull", "message": "registry.example: no such host"}}
    running = {"running": {"startedAt": "2026-06-01T12:00:00Z"}}
    sealed = container("mlprivacy-seal", ended(0, "sealed"))
    report(lax, sealing_pod(lax), "Pending", sealed, sidecar=running, user=pulling)

    job = lax.until("Running", "False", "ErrImagePull")

    assert "container trainer: registry.example: no such host" in lax.condition(job, "Running")["message"]
    assert lax.condition(job, "Ready")["status"] == "False"
    assert lax.condition(job, "ControlsReady")["status"] == "True"
