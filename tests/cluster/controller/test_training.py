"""A TrainingJob from apply to its end, on the real API server.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import json
from datetime import UTC, datetime

import pytest

pytestmark = pytest.mark.cluster
GROUP = "mlprivacy.dev"


def test_an_allowed_job_is_accepted_and_its_controls_come_before_it(world):
    world.apply(world.training_job())
    world.cluster.kubectl(
        "wait", "--for=condition=Accepted", "trainingjobs.mlprivacy.dev/study", "-n", world.namespace, "--timeout=60s"
    )
    job = world.started()

    created = next(e for e in world.written("jobs", verb="create") if "dryRun" not in e.raw["requestURI"])
    floor, own = "mlprivacy-default-deny", "mlp-study"
    before = {
        (resource, event.name)
        for resource in ("networkpolicies", "serviceaccounts", "configmaps")
        for event in world.written(resource)
        if event.completed <= created.received and event.code < 300
    }
    assert before >= {
        ("networkpolicies", floor),
        ("networkpolicies", own),
        ("serviceaccounts", own),
        ("configmaps", "mlp-study-decision"),
    }
    assert [r["kind"] for r in job["status"]["rendered"]][-1] == "Job"


def test_what_is_rendered_is_what_is_stored(world):
    world.apply(world.training_job())
    job = world.started()
    uid = job["metadata"]["uid"]

    found = world.rendered()
    batch, policy = found["jobs"][0], found["networkpolicies"][0]
    assert batch["metadata"]["name"] == "mlp-study-1"
    assert batch["spec"]["backoffLimit"] == 0
    pod = batch["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == ["mlprivacy-seal", "mlprivacy-accountant"]
    assert pod["serviceAccountName"] == "mlp-study"
    assert pod["automountServiceAccountToken"] is False
    assert policy["spec"]["podSelector"]["matchLabels"] == {f"{GROUP}/rendered": "training", f"{GROUP}/job-uid": uid}
    assert not policy["spec"].get("egress")
    assert found["serviceaccounts"][0]["automountServiceAccountToken"] is False
    assert found["configmaps"][0]["data"]["digest"] == job["status"]["decision"]["digest"]
    for objects in found.values():
        for obj in objects:
            if obj["kind"] != "Pod":
                assert obj["metadata"]["ownerReferences"][0]["uid"] == uid
                assert obj["metadata"]["annotations"][f"{GROUP}/decision-digest"] == job["status"]["decision"]["digest"]


def test_the_receipt_names_who_asked(world, stack):
    world.apply(world.training_job())
    job = world.started()
    writer, number, _ = job["status"]["receipt"].split("/")

    records = [
        json.loads(line)
        for segment in stack.audit_directory.rglob("*")
        if segment.is_file() and writer in str(segment)
        for line in segment.read_bytes().splitlines()
        if line.startswith(b"{")
    ]
    record = next(r for r in records if r.get("seq") == int(number))
    assert record["subject"]["uid"] == job["metadata"]["uid"]
    assert record["data"]["requestedBy"] == job["metadata"]["annotations"][f"{GROUP}/requested-by"]


def test_status_says_that_nodes_are_simulated(world):
    world.apply(world.training_job())
    job = world.running()
    assert world.condition(job, "Running")["reason"] == "Simulated"
    assert world.condition(job, "Ready")["status"] == "True"
    assert world.condition(job, "DataReady") | {"reason": "NoDataGate", "status": "False"} == world.condition(
        job, "DataReady"
    )
    assert job["status"]["assurance"] == {"achieved": "Declared", "required": "Declared"}


def test_jobs_before_their_data_settle(worlds):
    world = worlds()
    world.apply(world.training_job())
    job = world.until("Accepted", "Unknown", "DatasetNotFound")
    assert world.condition(job, "ResolvedRefs")["status"] == "False"
    assert world.condition(job, "Stalled")["status"] == "False"
    assert not world.rendered()["jobs"]

    world.data()
    world.started()


def test_a_job_that_ends_well_is_completed_and_expires(lax):
    lax.apply(lax.training_job(ttlSecondsAfterFinished=1))
    lax.running()
    lax.end_pod(lax.pod(), "Succeeded")

    job = lax.until("Completed", "True", "Succeeded")
    assert job["status"]["finishedAt"]
    lax.eventually(lambda: not any(lax.rendered().values()), "nothing rendered after the time to live")
    assert lax.condition(lax.job(), "Completed")["reason"] == "Succeeded"
    assert lax.get("networkpolicies", "mlprivacy-default-deny")


def test_a_job_that_fails_stalls(lax):
    lax.apply(lax.training_job())
    lax.running()
    lax.end_pod(lax.pod(), "Failed")
    job = lax.until("Stalled", "True", "Failed")
    assert lax.condition(job, "Completed")["status"] == "False"
    assert job["status"]["attempt"] == 1


def test_a_deadline_ends_the_job_and_stays_the_reason(world):
    world.apply(world.training_job(activeDeadlineSeconds=3))
    world.until("Completed", "False", "DeadlineExceeded")
    # Another look at the ended job must not forget why.
    world.patch("trainingjobs.mlprivacy.dev", "study", {"metadata": {"labels": {"touched": "yes"}}})
    world.eventually(lambda: world.job()["status"].get("finishedAt"), "the end")
    assert world.condition(world.job(), "Completed")["reason"] == "DeadlineExceeded"


def test_suspending_stops_the_pods_and_resuming_is_a_new_attempt(world):
    world.apply(world.training_job())
    world.running()
    world.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"suspend": True}})
    world.until("Suspended", "True", "SuspendedByUser")
    assert world.get("jobs", "mlp-study-1")["spec"]["suspend"] is True
    world.eventually(lambda: not world.all("pods"), "no pods")

    world.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"suspend": False}})
    job = world.running(attempt=2)
    assert [j["metadata"]["name"] for j in world.all("jobs")] == ["mlp-study-2"]
    assert world.condition(job, "Suspended")["status"] == "False"
    assert job["status"]["startedAt"]


def test_a_job_that_begins_suspended_renders_nothing(world):
    world.apply(world.training_job(suspend=True))
    job = world.until("Suspended", "True", "SuspendedByUser")
    assert "attempt" not in job["status"]
    assert not any(world.rendered().values())
    assert "finalizers" not in job["metadata"]

    world.delete("trainingjobs.mlprivacy.dev", "study")
    world.eventually(lambda: not world.job(), "the job to be gone")


def test_deleting_leaves_the_floor_only(world):
    world.apply(world.training_job())
    world.running()
    world.delete("trainingjobs.mlprivacy.dev", "study")
    world.eventually(lambda: not world.job(), "the job to be gone")
    assert not any(world.rendered().values())
    assert [p["metadata"]["name"] for p in world.all("networkpolicies")] == ["mlprivacy-default-deny"]


def test_a_job_made_anew_under_its_old_name_starts_with_attempt_1(world):
    world.apply(world.training_job())
    first = world.running()
    world.delete("trainingjobs.mlprivacy.dev", "study")
    world.eventually(lambda: not world.job(), "the job to be gone")
    world.apply(world.training_job())
    second = world.running()
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    labels = world.get("jobs", "mlp-study-1")["metadata"]["labels"]
    assert labels[f"{GROUP}/job-uid"] == second["metadata"]["uid"]


def test_a_namespace_with_running_jobs_can_be_deleted(worlds):
    world = worlds()
    world.data()
    world.apply(world.training_job())
    world.running()
    world.cluster.delete_namespace(world.namespace)
    world.eventually(lambda: world.cluster.get("namespace", world.namespace) is None, "the namespace to be gone")


def test_an_edit_is_a_new_attempt_under_a_new_decision(world):
    world.apply(world.training_job())
    first = world.running()
    world.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"activeDeadlineSeconds": 1234}})
    second = world.running(attempt=2)
    assert second["status"]["decision"]["digest"] != first["status"]["decision"]["digest"]
    assert [j["spec"]["activeDeadlineSeconds"] for j in world.all("jobs")] == [1234]


def test_a_template_that_the_api_server_refuses_stalls(world):
    container = {"name": "trainer", "image": "registry.example/trainer@sha256:" + "c" * 64}
    wrong = {**container, "resources": {"limits": {"cpu": "plenty"}}}
    world.apply(world.training_job(template={"spec": {"containers": [wrong]}}))
    job = world.until("Stalled", "True", "TemplateRejected")
    assert (
        "cpu" in world.condition(job, "Stalled")["message"] or "quantit" in world.condition(job, "Stalled")["message"]
    )
    assert not world.rendered()["jobs"]

    world.apply(world.training_job(template={"spec": {"containers": [container]}}))
    world.started()


def test_nothing_is_written_while_nothing_changes(world):
    world.apply(world.training_job())
    world.running()
    begun = datetime.now(UTC)
    world.pause(6)
    events = [
        e
        for e in world.cluster.audit_events(user=world.controller, since=begun, subresource=None)
        if e.namespace == world.namespace and e.verb not in ("get", "list", "watch")
    ]
    assert [(e.verb, e.resource, e.name) for e in events] == []


def test_a_job_that_fits_no_node_says_so_in_the_scheduler_s_words(world):
    job = world.training_job()
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100k"}}
    world.apply(job)

    found = world.until("Running", "False", "Unschedulable")

    for type in ("Running", "Ready"):
        told = world.condition(found, type)
        assert (told["status"], told["reason"]) == ("False", "Unschedulable")
        assert "Insufficient cpu" in told["message"]
    assert world.condition(found, "ControlsReady")["status"] == "True"
