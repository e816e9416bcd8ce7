"""The Workload that is made for a job, and how Kueue's own are read."""

import copy
import json
from pathlib import Path

import pytest
import yaml
from builders import decide, training_job

from mlprivacy.controller.kueue.workload import (
    Priority,
    Wanted,
    as_kept,
    build,
    label_of,
    pod_sets_of,
    read,
)
from mlprivacy.controls.render import render
from mlprivacy.policy.engine import parse_job
from mlprivacy.workloads.context import RenderContext, RenderSettings

WAITING = yaml.safe_load((Path(__file__).parent / "waiting-workload.yaml").read_text(encoding="utf-8"))
JOB = training_job()
SETTINGS = RenderSettings(
    operator_namespace="mlprivacy-system",
    dataplane_image="registry.example/dataplane@sha256:" + "d" * 64,
    canary="10.0.0.1:15019:15019",
    seal_key="a2V5",
)


def template(job=JOB):
    """The rendered pod template of the first attempt."""
    decision = decide(job)
    kind, parsed = parse_job(job)
    context = RenderContext(kind, "diagnosis", "research", "uid-1", parsed.spec, decision, 1, SETTINGS)
    return render(context).workload["spec"]["template"]


def wanted(**fields):
    base = {
        "job": "diagnosis", "namespace": "research", "uid": "uid-1", "queue": "team", "attempt": 1,
        "digest": "sha256:aa", "pod_sets": pod_sets_of(template()),
    }  # fmt: skip
    return Wanted(**base | fields)


def test_the_pod_set_counts_every_container_that_is_rendered_and_shows_nothing_else():
    job = copy.deepcopy(JOB)
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "2", "nvidia.com/gpu": "1"}}
    container["env"] = [{"name": "TOKEN", "value": "hush"}]
    (pod_set,) = pod_sets_of(template(job))

    spec = pod_set["template"]["spec"]
    assert (pod_set["name"], pod_set["count"]) == ("main", 1)
    assert [c["name"] for c in spec["initContainers"]] == ["mlprivacy-seal", "mlprivacy-accountant"]
    assert spec["initContainers"][1]["restartPolicy"] == "Always"  # a native sidecar counts beside the trainer
    assert spec["containers"][0]["resources"] == container["resources"]
    shown = json.dumps(pod_set)
    assert "hush" not in shown
    assert "mlprivacy.dev/" not in shown
    assert "volume" not in shown


def test_a_workload_is_owned_by_its_job_and_queued_under_its_name():
    made = build(wanted(), "v1beta2")
    (owner,) = made["metadata"]["ownerReferences"]
    assert made["apiVersion"] == "kueue.x-k8s.io/v1beta2"
    assert made["metadata"]["name"] == "mlp-diagnosis-1"
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "TrainingJob",
        "diagnosis",
        "uid-1",
        True,
    )
    assert made["metadata"]["labels"]["kueue.x-k8s.io/job-uid"] == "uid-1"
    assert (made["spec"]["queueName"], made["spec"]["active"]) == ("team", True)
    assert "mlprivacy.dev/rendered" not in made["metadata"]["labels"]  # it makes no pods


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("v1beta1", {"priorityClassName": "urgent", "priorityClassSource": "kueue.x-k8s.io/workloadpriorityclass"}),
        (
            "v1beta2",
            {"priorityClassRef": {"group": "kueue.x-k8s.io", "kind": "WorkloadPriorityClass", "name": "urgent"}},
        ),
    ],
)
def test_each_version_of_the_api_names_a_priority_class_in_its_own_way(version, named):
    spec = build(wanted(priority_class="urgent"), version, Priority("urgent", 100))["spec"]
    assert spec["priority"] == 100
    assert {k: v for k, v in spec.items() if k.startswith("priorityClass")} == named


def test_what_is_compared_changes_with_what_the_pods_ask_for_and_with_the_priority():
    more = copy.deepcopy(JOB)
    more["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "8"}}
    digests = {
        wanted().pod_sets_digest,
        wanted(pod_sets=pod_sets_of(template(more))).pod_sets_digest,
        wanted(priority_class="urgent").pod_sets_digest,
    }
    assert len(digests) == 3
    assert wanted(attempt=7).pod_sets_digest == wanted().pod_sets_digest


def test_a_workload_that_waits_for_its_checks_is_read():
    one = read(WAITING)
    assert (one.owner, one.attempt, one.number) == (("diagnosis", "uid-trainingjob-diagnosis"), 1, 1)
    assert (one.queue, one.cluster_queue, one.active) == ("team", "team-a", True)
    assert (one.reserved, one.admitted, one.evicted, one.finished) == (True, False, False, False)
    assert [(c.name, c.state) for c in one.checks] == [("dws-prov", "Ready"), ("privacy-budget", "Pending")]


def test_what_is_kept_reads_the_same_and_is_small():
    kept = as_kept(copy.deepcopy(WAITING))
    assert read(kept) == read(WAITING)
    assert "podSets" not in kept["spec"]
    assert "managedFields" not in kept["metadata"]


def test_an_owner_counts_only_as_controller_and_of_our_group():
    other = copy.deepcopy(WAITING)
    other["metadata"]["ownerReferences"][0]["apiVersion"] = "kubeflow.org/v1"
    assert read(other).owner == ("", "")
    other = copy.deepcopy(WAITING)
    other["metadata"]["ownerReferences"][0]["controller"] = False
    assert read(other).owner == ("", "")


def test_a_workload_just_made_has_no_status():
    bare = {k: v for k, v in WAITING.items() if k != "status"}
    one = read(as_kept(copy.deepcopy(bare)))
    assert (one.reserved, one.admitted, one.checks, one.cluster_queue) == (False, False, (), "")


def test_a_label_that_is_absent_is_empty():
    assert label_of(JOB, "kueue.x-k8s.io/queue-name") == ""
