"""Threats 1, 4, 7, 32, 33, 37: the guarded labels, on whatever is a pod or makes pods, and on their subresources."""

import json
from typing import Any

import pytest

FORGED = {"mlprivacy.dev/rendered": "training", "mlprivacy.dev/job-uid": "5d3f0a52-0000-4000-8000-000000000001"}
MAKERS = (
    "Deployment",
    "ReplicaSet",
    "DaemonSet",
    "StatefulSet",
    "Job",
    "CronJob",
    "ReplicationController",
    "PodTemplate",
)


@pytest.mark.parametrize("label", ["rendered", "job-uid", "attempt", "floor", "anything-new"])
def test_a_plain_pod_may_not_carry_a_guarded_label(world: Any, manifests: Any, label: str) -> None:
    pod = manifests.governed_pod("forged") if label == "rendered" else manifests.plain_pod()
    pod["metadata"]["labels"][f"mlprivacy.dev/{label}"] = "training"

    said = world.create_refused(world.common, pod, "label-chain")

    assert "put on and taken off by the operator alone" in said


@pytest.mark.parametrize("kind", MAKERS)
def test_no_workload_may_make_pods_with_a_guarded_label(world: Any, manifests: Any, kind: str) -> None:
    """Cluster administrators are refused as well; PodTemplates are not even in `edit`."""
    by = None if kind == "PodTemplate" else world.attacker

    # A Job gets its template's labels itself, by which mlprivacy-rendered-objects sees it too.
    world.create_refused(world.common, manifests.workload(kind, labels=FORGED), "label-chain|rendered-objects", by=by)
    world.try_out(world.common, manifests.workload(kind), by=by)


@pytest.mark.parametrize("label", ["training-job", "inference-job"])
@pytest.mark.parametrize("kind", ["Pod", "Job", "Deployment"])
def test_an_existing_workload_can_not_be_adopted_in_this_release(
    world: Any, manifests: Any, kind: str, label: str
) -> None:
    labels = {f"mlprivacy.dev/{label}": "visits"}
    body = manifests.plain_pod(labels=labels) if kind == "Pod" else manifests.workload(kind, labels)

    said = world.create_refused(world.common, body, "label-chain")

    assert "Move the pod template into spec.template" in said


def test_a_whole_forged_governed_pod_is_refused(world: Any, manifests: Any) -> None:
    """Also with a forged owner, and with the labels by which a Job controller would adopt it."""
    pod = manifests.governed_pod("forged")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "mlp-visits-1", "uid": FORGED["mlprivacy.dev/job-uid"]}
    pod["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    pod["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = owner["uid"]

    world.create_refused(world.common, pod, "label-chain")
    world.create_refused(world.common, pod, "label-chain", by=None)


def test_a_plain_job_gets_no_guarded_label_later(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    job = manifests.workload("Job")
    job["spec"]["suspend"] = True
    world.create(ns, job)
    template = {"template": {"metadata": {"labels": FORGED}}}

    labelled = ("label", "job", "plain", "-n", ns, "mlprivacy.dev/rendered=training")
    world.refused(*labelled, policy="label-chain|rendered-objects")
    world.refused("patch", "job", "plain", "-n", ns, "-p", json.dumps({"spec": template}), policy="label-chain")
    world.allowed("label", "job", "plain", "-n", ns, "team=a")


GUARDED = ("rendered", "training-job", "job-uid", "attempt")
PATCHES = {
    "removes the label": {"metadata": {"labels": {"mlprivacy.dev/rendered": None}}},
    "removes every label": {"metadata": {"labels": {f"mlprivacy.dev/{label}": None for label in GUARDED}}},
    "moves it under an older policy": {"metadata": {"labels": {"mlprivacy.dev/job-uid": "other"}}},
    "adds a label of its own": {"metadata": {"labels": {"app": "shop"}}},
    "makes the garbage collector delete it": {
        "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "no", "uid": "no"}]}
    },
    "holds it back with a finalizer": {"metadata": {"finalizers": ["example.com/hold"]}},
    "changes its image": {"spec": {"containers": [{"name": "trainer", "image": "registry.example/evil:1"}]}},
}


def test_a_running_governed_pod_is_changed_by_nobody(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    pod = world.running_pod(ns, manifests.rendered_job())

    for patch in PATCHES.values():
        world.refused("patch", "pod", pod, "-n", ns, "-p", json.dumps(patch), policy="label-chain")
        world.refused("patch", "pod", pod, "-n", ns, "-p", json.dumps(patch), policy="label-chain", by=None)


def test_a_patch_of_a_governed_pods_status_touches_nothing_guarded(world: Any, manifests: Any) -> None:
    """Reports of a network plugin (conditions, its annotations) pass: such a plugin is nobody we could name."""
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    pod = world.running_pod(ns, manifests.rendered_job())
    on_status = ("patch", "pod", pod, "-n", ns, "--subresource=status", "--type=merge", "-p")
    guarded = [patch for patch in PATCHES.values() if {"labels", "finalizers"} & set(patch.get("metadata", ()))]
    guarded.append({"metadata": {"annotations": {"mlprivacy.dev/decision-digest": "sha256:other"}}})

    for patch in guarded:
        world.refused(*on_status, json.dumps(patch), policy="label-chain", by=None)
    # The API server itself keeps owners out of a status patch.
    owner = json.dumps(PATCHES["makes the garbage collector delete it"])
    assert "no change" in world.allowed(*on_status, owner, by=None)
    world.allowed(*on_status, json.dumps({"metadata": {"annotations": {"example.com/ip": "10.0.0.1"}}}), by=None)
    world.allowed(*on_status, json.dumps({"status": {"message": "seen"}}), by=None)


def test_a_governed_pod_is_not_resized(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    job = manifests.rendered_job()
    job["spec"]["template"]["spec"]["nodeSelector"] = {"nowhere": "yes"}  # simulated nodes resize nothing
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    world.create(ns, job, by=world.operator)
    pod = world.eventually(lambda: world.pods(ns), "the Job's pod")[0]["metadata"]["name"]
    more = {"spec": {"containers": [{"name": "trainer", "resources": {"requests": {"cpu": "2"}}}]}}
    command = ("patch", "pod", pod, "-n", ns, "--subresource=resize", "-p", json.dumps(more))

    assert "cannot" in world.do(*command).stderr  # `edit` holds no right on pods/resize
    world.refused(*command, policy="label-chain", by=None)


def test_a_governed_workload_is_scaled_by_the_operator_alone(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount", "triage"), by=world.operator)
    world.running_pod(ns, manifests.rendered_deployment())
    own = world.get("pods", world.pods(ns)[0]["metadata"]["name"], ns)["metadata"]["ownerReferences"][0]["name"]

    said = world.do("scale", "deployment/mlp-triage", "-n", ns, "--replicas=5").stderr
    assert "mlprivacy-label-chain" in said or "mlprivacy-rendered-objects" in said
    said = world.do("scale", f"replicaset/{own}", "-n", ns, "--replicas=5").stderr
    assert "mlprivacy-label-chain" in said or "mlprivacy-rendered-objects" in said
    assert world.get("deployments", "mlp-triage", ns)["spec"]["replicas"] == 1


def test_a_dry_run_gets_the_same_answer(world: Any, manifests: Any) -> None:
    ns = world.common

    world.try_refused(ns, manifests.governed_pod("forged"), "label-chain", by=world.attacker)
    world.try_refused(ns, manifests.workload("Deployment", labels=FORGED), "label-chain", by=world.attacker)


def test_pods_are_bound_by_a_scheduler(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.plain_pod("idle", schedulerName="none"))
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "idle"},
        "target": {"kind": "Node", "name": "x"},
    }
    where = f"/api/v1/namespaces/{ns}/pods/idle/binding"

    world.refused("create", "--raw", where, "-f", "-", policy="pod-binding", by=None, body=binding)
    world.refused(
        "create", "--raw", f"/api/v1/namespaces/{ns}/bindings", "-f", "-", policy="pod-binding", by=None, body=binding
    )
