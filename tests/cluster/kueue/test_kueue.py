"""Jobs in queues of Kueue on a real API server, and the answers of the privacy budget's check.

Matrix: Kueue (absent, installed later) × the budget's answer (granted, short wait, long wait, refused) × what Kueue
does (admits, queues again, deactivates, evicts) × what people do (suspend, edit, delete). Kueue's own part is played by
`queue_manager.py`; the tests run in order, as the definitions are installed once.
"""

import json
import time
from typing import Any

import pytest
from queue_manager import API, WORKLOADS, condition, is_true

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CHECK = "privacy-budget"
CONTROLLER = "system:serviceaccount:mlprivacy-system:mlprivacy-controller"


def test_without_kueue_the_label_is_ignored_and_the_job_says_so(unqueued: Any) -> None:
    world = unqueued
    world.apply(world.queued_job())
    world.running()

    told = world.condition(world.job(), "Queued")
    assert (told["status"], told["reason"]) == ("False", "QueueNotServed")
    assert "kueue.x-k8s.io/queue-name is ignored" in told["message"]

    def event() -> bool:
        done = world.cluster.kubectl("get", "events.events.k8s.io", "-n", world.namespace, "-o", "json")
        return "QueueNotServed" in done.stdout

    world.eventually(event, "an Event")


def test_kueue_that_is_installed_later_is_noticed_and_only_its_own_checks_are_answered(installed: Any) -> None:
    other = {
        "apiVersion": API,
        "kind": "AdmissionCheck",
        "metadata": {"name": "provisioning"},
        "spec": {"controllerName": "kueue.x-k8s.io/provisioning-request"},
    }
    mine = {**other, "metadata": {"name": "second"}, "spec": {"controllerName": "mlprivacy.dev/privacy-budget"}}
    installed.cluster.apply(other, mine)

    def status(name: str) -> Any:
        return installed.cluster.get("admissionchecks.kueue.x-k8s.io", name).get("status")

    while not status("second"):
        time.sleep(0.2)
    assert status(CHECK)["conditions"][0]["status"] == "True"
    assert status("provisioning") is None
    installed.cluster.kubectl("delete", "admissionchecks.kueue.x-k8s.io", "second")


def test_a_job_waits_in_its_queue_starts_when_admitted_and_gives_its_quota_back_at_the_end(world: Any) -> None:
    world.budget("Reserved", "BudgetHeld", "3 blocks hold its loss")
    container = world.training_job()["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "2", "memory": "1Gi"}}
    world.apply(world.queued_job(template={"spec": {"containers": [container]}}))

    workload = world.workload()
    job = world.until("Queued", "True", "Queued")
    assert "quota in the queue team" in world.condition(job, "Ready")["message"]
    assert not world.rendered()["jobs"]
    assert world.asked() == []  # nothing is reserved for a job without quota

    (owner,) = workload["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("TrainingJob", job["metadata"]["uid"], True)
    (pod_set,) = workload["spec"]["podSets"]
    template = pod_set["template"]
    assert (workload["spec"]["queueName"], pod_set["name"], pod_set["count"]) == ("team", "main", 1)
    assert "mlprivacy.dev" not in json.dumps(template)  # no guarded label, no volume, no environment
    beside = [c["name"] for c in template["spec"]["initContainers"] if c["resources"]["requests"]]
    assert beside == ["mlprivacy-seal", "mlprivacy-accountant"]
    assert template["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "2"

    world.admitted()
    assert world.kueue.check("mlp-study-1", CHECK)["message"] == "3 blocks hold its loss"
    job = world.running()
    assert world.condition(job, "Queued")["reason"] == "Admitted"
    assert world.asked() == [1]
    world.workload("mlp-study-1", lambda one: is_true(one, "PodsReady"))

    world.end_as_its_node(world.pod())
    world.until("Completed", "True")
    ended = world.workload("mlp-study-1", lambda one: is_true(one, "Finished"))
    assert condition(ended, "Finished")["reason"] == "Succeeded"


def test_a_long_wait_for_budget_gives_the_quota_back_and_queues_again(world: Any) -> None:
    world.budget("Waiting", "WaitingForBudget", "block 2026-W05 is used up until others release", again=120.0)
    world.apply(world.queued_job())
    world.workload()
    world.kueue.reserve("mlp-study-1")
    check = world.check("Retry")
    assert (check["requeueAfterSeconds"], "used up" in check["message"]) == (120, True)

    world.kueue.sync("mlp-study-1")
    freed = world.workload("mlp-study-1", lambda one: condition(one, "QuotaReserved").get("status") == "False")
    assert "admission" not in freed["status"]
    assert (condition(freed, "Requeued")["status"], condition(freed, "Requeued")["reason"]) == (
        "False",
        "AdmissionCheck",
    )
    assert world.kueue.check("mlp-study-1", CHECK)["state"] == "Pending"
    assert not world.rendered()["jobs"]

    world.budget("Reserved", "BudgetHeld", "3 blocks hold its loss")
    world.kueue.backoff_over("mlp-study-1")
    world.admitted()
    world.running(attempt=1)
    assert world.asked() == [1]


def test_a_short_wait_keeps_the_quota(world: Any) -> None:
    world.budget("Waiting", "BudgetLocked", "more unlocks in 2 s", again=2.0)
    world.apply(world.queued_job())
    world.workload()
    world.kueue.reserve("mlp-study-1")
    world.check("Pending", message="more unlocks")
    assert world.condition(world.until("Queued", "True"), "Queued")["reason"] == "BudgetLocked"

    world.budget("Reserved", "BudgetHeld", "3 blocks hold its loss")
    world.check("Ready")
    assert is_true(world.kueue.get("mlp-study-1"), "QuotaReserved")


def test_a_job_that_can_never_have_its_budget_is_deactivated_until_people_change_it(world: Any) -> None:
    world.budget("Refused", "BudgetExhausted", "at most epsilon 1.2 can be had")
    world.apply(world.queued_job())
    first = world.workload()
    world.kueue.reserve("mlp-study-1")
    world.check("Rejected", message="at most epsilon 1.2")
    world.kueue.sync("mlp-study-1")

    job = world.until("Stalled", "True", "Deactivated")
    assert "at most epsilon 1.2 can be had" in world.condition(job, "Stalled")["message"]
    freed = world.workload("mlp-study-1", lambda one: condition(one, "QuotaReserved").get("status") == "False")
    assert not freed["spec"]["active"]

    world.budget("Reserved", "BudgetHeld", "2 blocks hold its loss")
    world.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"privacy": {"epsilon": 1}}})
    again = world.workload("mlp-study-1", lambda one: one["metadata"]["uid"] != first["metadata"]["uid"])
    assert again["spec"]["active"]
    world.admitted()
    world.running(attempt=1)


def test_an_evicted_job_stops_gives_its_quota_back_and_goes_on_with_a_new_attempt(world: Any) -> None:
    world.apply(world.queued_job())
    world.admitted()
    world.running()
    uid = world.kueue.get("mlp-study-1")["metadata"]["uid"]

    world.kueue.evict("mlp-study-1", "Preempted", "Preempted to accommodate a workload of higher priority")
    freed = world.workload("mlp-study-1", lambda one: condition(one, "QuotaReserved").get("status") == "False")
    assert not world.all("pods", "mlprivacy.dev/rendered")  # quota is given back by a job that has stopped
    assert condition(freed, "Requeued")["status"] == "True"
    assert condition(freed, "Admitted")["status"] == "False"
    assert (freed["metadata"]["uid"], freed["metadata"]["labels"]["mlprivacy.dev/attempt"]) == (uid, "2")
    world.until("Queued", "True", "Queued")

    world.admitted()
    world.running(attempt=2)
    assert world.asked() == [1, 2]


def test_a_suspended_job_stands_in_no_queue_and_queues_anew(world: Any) -> None:
    world.apply(world.queued_job())
    world.admitted()
    world.running()
    world.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"suspend": True}})
    world.no_workload()
    assert not world.all("pods", "mlprivacy.dev/rendered")

    world.patch("trainingjobs.mlprivacy.dev", "study", {"spec": {"suspend": False}})
    world.admitted("mlp-study-2")
    world.running(attempt=2)


def test_a_job_whose_workload_is_deleted_stops_and_queues_anew(world: Any) -> None:
    world.apply(world.queued_job())
    world.admitted()
    world.running()
    world.delete(WORKLOADS, "mlp-study-1")
    world.workload("mlp-study-2")
    assert not world.all("pods", "mlprivacy.dev/rendered")
    world.until("Queued", "True", "Queued")


def test_a_deleted_job_takes_its_workload_along(world: Any) -> None:
    world.apply(world.queued_job())
    world.workload()
    world.delete("trainingjobs.mlprivacy.dev", "study")
    world.no_workload()


def test_the_priority_class_is_that_of_the_label(world: Any) -> None:
    world.apply(world.queued_job(labels={"kueue.x-k8s.io/priority-class": "urgent"}))
    told = world.until("Queued", "True")
    assert "WorkloadPriorityClass urgent does not exist" in world.condition(told, "Queued")["message"]
    world.apply({"apiVersion": API, "kind": "WorkloadPriorityClass", "metadata": {"name": "urgent"}, "value": 100})
    spec = world.workload()["spec"]
    assert (spec["priority"], spec["priorityClassRef"]["name"]) == (100, "urgent")


@pytest.mark.parametrize(
    ("ceiling", "state", "said"),
    [
        (None, "Ready", "not governed"),
        ("enforce", "Rejected", "stands for no TrainingJob"),
        ("audit", "Ready", "let pass, since the mode of the namespace is Audit"),
    ],
)
def test_a_workload_of_others_is_let_pass_only_where_nothing_is_governed(
    installed: Any, world: Any, ceiling: str | None, state: str, said: str
) -> None:
    other = type(world)(installed, ceiling)
    template = {"spec": {"containers": [{"name": "main", "image": "registry.example/any"}]}}
    spec = {"queueName": "team", "podSets": [{"name": "main", "count": 1, "template": template}]}
    metadata = {"name": "job-x", "namespace": other.namespace}
    other.apply({"apiVersion": API, "kind": "Workload", "metadata": metadata, "spec": spec})
    other.kueue.checks = [CHECK, "provisioning"]
    other.kueue.reserve("job-x")
    other.check(state, "job-x", said)
    assert other.kueue.check("job-x", "provisioning")["state"] == "Pending"
    other.close()


def test_the_operators_account_writes_workloads_of_its_own_and_no_others(world: Any) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": "registry.example/any"}]}}
    metadata = {"name": "mlp-x-1", "namespace": world.namespace}
    spec = {"queueName": "team", "podSets": [{"name": "main", "count": 1, "template": template}]}
    foreign = {"apiVersion": API, "kind": "Workload", "metadata": metadata, "spec": spec}
    refused = world.cluster.kubectl("create", "-f", "-", input=foreign, as_user=CONTROLLER, check=False)
    assert refused.returncode != 0
    assert "mlprivacy-operator-scope" in refused.stderr
