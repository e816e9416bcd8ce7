"""Rows 3, 4, 31: the ways into a running pod, and the subresources of what runs."""

import json
from typing import Any

import pytest

BY_GUARD = "guard (ephemeral-containers|label-chain)"


@pytest.mark.parametrize(
    "way", ["exec?command=sh&stdout=1", "attach?stdout=1", "portforward", "proxy", "proxy/metrics"]
)
def test_row_3_31_nobody_connects_to_a_pod(scene: Any, ward: Any, way: str) -> None:
    ns, trainer, server = ward
    for person in (*scene.attackers, scene.admin):
        for pod in (trainer, server):
            for method in ("GET", "POST"):
                path = f"/api/v1/namespaces/{ns}/pods/{pod['metadata']['name']}/{way}"
                scene.refused(person.ask(method, path), "guard connect")


@pytest.mark.parametrize("name", ["mlp-triage", "mlp-triage:8080", "http:mlp-triage:gateway", "https:mlp-triage:15021"])
def test_row_31_the_api_server_is_no_proxy_to_a_service(scene: Any, ward: Any, name: str) -> None:
    ns, _, _ = ward
    for person in (*scene.attackers, scene.admin):
        for method in ("GET", "POST", "PUT", "DELETE"):
            path = f"/api/v1/namespaces/{ns}/services/{name}/proxy/v1/predict"
            scene.refused(person.ask(method, path), "guard connect")


def test_row_3_no_ephemeral_container_joins(scene: Any, ward: Any) -> None:
    ns, trainer, server = ward
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "registry.example/sh:1"}]}}
    for pod in (trainer, server):
        target = f"pods/{pod['metadata']['name']}"
        for how in ("strategic", "merge"):
            scene.refused(
                scene.heidi.patch(ns, target, debug, how, "ephemeralcontainers"),
                BY_GUARD,
            )
            scene.refused(scene.mallory.patch(ns, target, debug, how, "ephemeralcontainers"), "rbac")
        whole = json.loads(json.dumps(pod))
        del whole["metadata"]["resourceVersion"]
        whole["spec"] |= debug["spec"]
        scene.refused(scene.heidi.put(ns, target, whole, "ephemeralcontainers"), BY_GUARD)
        # Through these two the API server takes none at all.
        scene.refused(scene.heidi.put(ns, target, whole), "schema|guard label-chain")
        scene.heidi.put(ns, target, whole, "status")
        assert "ephemeralContainers" not in scene.admin.read(ns, target)["spec"]


def test_row_4_resize_and_binding(scene: Any, ward: Any) -> None:
    ns, trainer, _ = ward
    name = trainer["metadata"]["name"]
    bigger = {"spec": {"containers": [{"name": "trainer", "resources": {"limits": {"cpu": "64"}}}]}}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "labels": {"a": "b"}},
               "target": {"kind": "Node", "name": "mallorys-own"}}  # fmt: skip
    for how in ("strategic", "apply"):
        body = (
            bigger if how == "strategic" else {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **bigger}
        )
        scene.refused(scene.heidi.patch(ns, f"pods/{name}", body, how, "resize"), "guard label-chain|schema")
    scene.refused(scene.heidi.post(ns, f"pods/{name}", "binding", binding), "guard pod-binding")
    scene.refused(scene.heidi.create(ns, binding), "guard pod-binding")
    scene.refused(scene.mallory.create(ns, binding), "rbac")


@pytest.mark.parametrize("controller", ["horizontal-pod-autoscaler", "statefulset-controller", "cronjob-controller"])
def test_row_4_no_autoscaler_scales_a_governed_workload(scene: Any, ward: Any, controller: str) -> None:
    """A HorizontalPodAutoscaler may be made; the controller behind it is none of the label chain."""
    ns, _, _ = ward
    scaler = scene.acting_as(f"system:serviceaccount:kube-system:{controller}")
    (replicas,) = [r["metadata"]["name"] for r in scene.admin.items(ns, "replicasets")]
    for person in (scaler, *scene.attackers):
        for target in ("deployments/mlp-triage", f"replicasets/{replicas}"):
            for how in ("merge", "json"):
                body = {"spec": {"replicas": 9}}
                if how == "json":
                    body = [{"op": "replace", "path": "/spec/replicas", "value": 9}]
                by = "guard rendered-objects|guard label-chain" + ("|rbac" if person is scaler else "")
                scene.refused(person.patch(ns, target, body, how, "scale"), by)
                scene.refused(person.patch(ns, target, body, how), by)


def test_row_4_the_status_of_a_governed_pod_is_its_nodes_to_tell(scene: Any, ward: Any) -> None:
    """A forged address would lead clients' data elsewhere; a forged end would end the training."""
    ns, trainer, server = ward
    forged = (
        {"podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]},
        {"hostIP": "10.9.9.9", "hostIPs": [{"ip": "10.9.9.9"}]},
        {"phase": "Succeeded"},
        {"phase": "Failed", "containerStatuses": []},
        {"initContainerStatuses": []},
    )
    for pod in (trainer, server):
        for status in forged:
            answer = scene.heidi.patch(ns, f"pods/{pod['metadata']['name']}", {"status": status}, "merge", "status")
            scene.refused(answer, "guard label-chain")
        plug = {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "another"}}}
        for sub in ("", "status"):
            scene.refused(
                scene.heidi.patch(ns, f"pods/{pod['metadata']['name']}", plug, "merge", sub), "guard label-chain"
            )
    assert scene.admin.read(ns, f"pods/{server['metadata']['name']}")["status"]["podIP"] == server["status"]["podIP"]


def test_row_4_the_status_of_a_job_is_the_operators_memory(scene: Any, ward: Any) -> None:
    ns, _, _ = ward
    before = scene.admin.read(ns, "trainingjobs/study")["status"]
    for status in ({"attempt": 9}, {"finishedAt": "2020-01-01T00:00:00Z"}, {"conditions": []}):
        for target in ("trainingjobs/study", "inferencejobs/triage"):
            scene.refused(scene.heidi.patch(ns, target, {"status": status}, "merge", "status"), "guard ownership")
            scene.refused(scene.mallory.patch(ns, target, {"status": status}, "merge", "status"), "rbac")
            scene.allowed(scene.mallory.patch(ns, target, {"status": status}))  # through the object itself: no effect
    job = scene.admin.read(ns, "trainingjobs/study")
    assert (job["status"]["attempt"], "finishedAt" in job["status"]) == (before["attempt"], False)
    done = {"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}], "succeeded": 1}
    scene.refused(
        scene.heidi.patch(ns, "jobs/mlp-study-1", {"status": done}, "merge", "status"), "guard rendered-objects"
    )


@pytest.mark.parametrize("grace", [0, 61, 3600])
def test_row_4_no_eviction_and_no_delete_that_outlives_the_policy(scene: Any, ward: Any, grace: int) -> None:
    ns, trainer, _ = ward
    name = trainer["metadata"]["name"]
    eviction = {"kind": "Eviction", "metadata": {"name": name}, "deleteOptions": {"gracePeriodSeconds": grace}}
    for person in scene.attackers:
        scene.refused(person.delete(ns, f"pods/{name}", gracePeriodSeconds=grace), "guard grace")
        path = f"/api/v1/namespaces/{ns}/pods/{name}"
        scene.refused(person.ask("DELETE", path, gracePeriodSeconds=grace), "guard grace")
        scene.refused(person.ask("DELETE", f"/api/v1/namespaces/{ns}/pods", gracePeriodSeconds=grace), "guard grace")
        for version in ("policy/v1", "policy/v1beta1"):
            scene.refused(
                person.post(ns, f"pods/{name}", "eviction", {"apiVersion": version, **eviction}), "guard grace"
            )
    assert "deletionTimestamp" not in scene.admin.read(ns, f"pods/{name}")["metadata"]
