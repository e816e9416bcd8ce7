"""What others change or remove of the rendered objects is put right, in a namespace whose guards only report.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import json

import pytest

pytestmark = pytest.mark.cluster
NAMES = {"serviceaccount": "mlp-study", "networkpolicy": "mlp-study", "configmap": "mlp-study-decision"}
HARM = {
    "serviceaccount": {"automountServiceAccountToken": True},
    "networkpolicy": {"spec": {"egress": [{}], "podSelector": {"matchLabels": {"app": "other"}}}},
    "configmap": {"data": {"digest": "sha256:" + "0" * 64}},
}


def essence(obj):
    return {key: obj.get(key) for key in ("spec", "data", "automountServiceAccountToken")} | {
        key: obj["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")
    }


@pytest.fixture
def running(lax):
    lax.apply(lax.training_job())
    lax.running()
    return lax


@pytest.mark.parametrize("kind", NAMES)
def test_a_control_that_was_changed_is_repaired(running, kind):
    before = running.get(kind, NAMES[kind])
    stranger = {"metadata": {"ownerReferences": [*before["metadata"]["ownerReferences"], _stranger()]}}
    running.patch(kind, NAMES[kind], HARM[kind])
    running.eventually(lambda: essence(running.get(kind, NAMES[kind])) == essence(before), f"the {kind} as it was")
    running.patch(kind, NAMES[kind], stranger)
    running.eventually(lambda: essence(running.get(kind, NAMES[kind])) == essence(before), "its only owner")
    assert running.condition(running.job(), "ControlsReady")["status"] == "True"
    assert running.job()["status"]["attempt"] == 1


def _stranger():
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-4000-8000-000000000000"}


@pytest.mark.parametrize("kind", NAMES)
def test_a_control_that_was_deleted_is_made_again(running, kind):
    before = running.get(kind, NAMES[kind])
    running.delete(kind, NAMES[kind])

    def again():
        found = running.get(kind, NAMES[kind])
        return found and found["metadata"]["uid"] != before["metadata"]["uid"] and essence(found) == essence(before)

    running.eventually(again, f"the {kind} again")

    def told():
        listed = running.cluster.kubectl("get", "events.events.k8s.io", "-n", running.namespace, "-o", "json").stdout
        notes = [e["note"] for e in json.loads(listed)["items"] if e["reason"] == "ControlsDrifted"]
        return any(NAMES[kind] in note for note in notes)

    running.eventually(told, "an Event that says what was repaired")


def test_the_floor_is_kept_changed_or_deleted(lax):
    floor = lax.eventually(lambda: lax.get("networkpolicy", "mlprivacy-default-deny"), "the floor")
    lax.patch("networkpolicy", "mlprivacy-default-deny", {"spec": {"egress": [{}], "ingress": [{}]}})
    lax.eventually(lambda: essence(lax.get("networkpolicy", "mlprivacy-default-deny")) == essence(floor), "it closed")
    lax.delete("networkpolicy", "mlprivacy-default-deny")
    lax.eventually(lambda: lax.get("networkpolicy", "mlprivacy-default-deny"), "it again")


@pytest.mark.parametrize(("label", "value"), [("attempt", "7"), ("job-uid", None), ("training-job", "other")])
def test_labels_of_the_running_job_are_restored(running, label, value):
    before = running.get("job", "mlp-study-1")
    running.patch("job", "mlp-study-1", {"metadata": {"labels": {f"mlprivacy.dev/{label}": value}}})
    running.eventually(lambda: essence(running.get("job", "mlp-study-1")) == essence(before), "the Job as it was")
    assert running.job()["status"]["attempt"] == 1


def test_a_job_that_others_delete_is_a_lost_attempt_and_never_a_second_run(running):
    running.delete("job", "mlp-study-1")
    job = running.until("Stalled", "True", "Failed")
    assert "deleted by others" in running.condition(job, "Stalled")["message"]
    assert job["status"]["attempt"] == 1
    assert not running.all("jobs")
