"""Threats 10, 33, 34: what the operator rendered is not made, changed, deleted or given away by others."""

import json
from typing import Any

import pytest

SMALL = ("ServiceAccount", "NetworkPolicy", "ConfigMap", "Service")
CHANGES = {
    "a label off": {"metadata": {"labels": {"mlprivacy.dev/rendered": None}}},
    "a label on": {"metadata": {"labels": {"app": "x"}}},
    "a dangling owner": {
        "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "no", "uid": "no"}]}
    },
    "a finalizer": {"metadata": {"finalizers": ["example.com/hold"]}},
    "an annotation": {"metadata": {"annotations": {"mlprivacy.dev/decision-digest": "sha256:other"}}},
}


@pytest.fixture(scope="module")
def home(guarded: Any) -> str:
    """A governed namespace with one of each rendered object, as the operator left them."""
    name: str = guarded.namespace()
    return name


@pytest.fixture
def ns(world: Any, manifests: Any, home: str) -> str:
    if world.get("deployments", "mlp-triage", home) is None:
        for job in ("visits", "triage"):
            for kind in SMALL:
                world.create(home, manifests.rendered(kind, job), by=world.operator)
        world.create(home, manifests.floor(), by=world.operator)
        world.create(home, manifests.rendered_job(), by=world.operator)
        world.create(home, manifests.rendered_deployment(), by=world.operator)
    return home


OBJECTS = [
    "serviceaccount/mlp-visits",
    "networkpolicy/mlp-visits",
    "networkpolicy/mlprivacy-default-deny",
    "configmap/mlp-visits-decision",
    "service/mlp-visits",
    "job/mlp-visits-1",
    "deployment/mlp-triage",
]


@pytest.mark.parametrize("target", OBJECTS)
@pytest.mark.xdist_group("rendered")
def test_others_neither_change_nor_delete_it(world: Any, ns: str, target: str) -> None:
    denied = "rendered-objects|label-chain|foreign-network-policy"
    for patch in CHANGES.values():
        world.refused("patch", target, "-n", ns, "--type=merge", "-p", json.dumps(patch), policy=denied)
    world.refused(
        "patch", target, "-n", ns, "--type=merge", "-p", json.dumps(CHANGES["a label on"]), policy=denied, by=None
    )
    world.refused("delete", target, "-n", ns, "--wait=false", policy="rendered-objects")
    world.refused("delete", target, "-n", ns, "--wait=false", "--cascade=orphan", policy="rendered-objects")
    world.refused("delete", target, "-n", ns, "--wait=false", policy="rendered-objects", by=None)


@pytest.mark.xdist_group("rendered")
def test_others_do_not_delete_them_by_the_dozen(world: Any, ns: str) -> None:
    for kind in ("jobs", "deployments", "networkpolicies", "services", "configmaps", "replicasets"):
        world.refused("delete", kind, "--all", "-n", ns, "--wait=false", policy="rendered-objects")


@pytest.mark.xdist_group("rendered")
def test_the_replica_set_behind_a_deployment_is_guarded_too(world: Any, ns: str) -> None:
    def found() -> str:
        sets: str = world.cluster.kubectl("get", "replicasets", "-n", ns, "-o", "name").stdout.strip()
        return sets

    target = world.eventually(found, "the ReplicaSet")
    patch = json.dumps({"spec": {"replicas": 7}})
    world.refused("patch", target, "-n", ns, "-p", patch, policy="rendered-objects|label-chain")
    world.refused("delete", target, "-n", ns, "--wait=false", policy="rendered-objects")
    world.refused("delete", target, "-n", ns, "--wait=false", "--cascade=orphan", policy="rendered-objects", by=None)


@pytest.mark.xdist_group("rendered")
def test_a_rendered_service_is_not_edited_past_the_gateway(world: Any, ns: str) -> None:
    past = {"spec": {"ports": [{"port": 8080, "targetPort": 9999}]}}
    away = {"spec": {"selector": {"mlprivacy.dev/rendered": None, "mlprivacy.dev/job-uid": None, "app": "plain"}}}

    for patch in (past, away):
        world.refused("patch", "service", "mlp-triage", "-n", ns, "-p", json.dumps(patch), policy="rendered-objects")


@pytest.mark.parametrize("kind", [*SMALL, "floor"])
def test_its_names_and_labels_are_not_taken_beforehand(world: Any, manifests: Any, kind: str) -> None:
    body = manifests.floor() if kind == "floor" else manifests.rendered(kind, "not-yet")
    denied = "rendered-objects|foreign-network-policy|foreign-services"  # which of several is shown is not defined
    world.create_refused(world.common, body, denied)

    unlabelled = {**body, "metadata": {"name": body["metadata"]["name"]}}
    world.create_refused(world.common, unlabelled, denied)
    renamed = {**body, "metadata": {**body["metadata"], "name": "mine"}}
    world.create_refused(world.common, renamed, denied)
    generated = {**body, "metadata": {"generateName": "mlp-"}}
    world.create_refused(world.common, generated, denied)


def test_the_floors_name_is_not_taken_by_a_policy_that_is_none(world: Any, manifests: Any) -> None:
    harmless = manifests.floor()
    harmless["metadata"]["labels"] = {}
    harmless["spec"]["podSelector"]["matchExpressions"][0]["operator"] = "DoesNotExist"

    world.create_refused(world.common, harmless, "rendered-objects")
    harmless["metadata"]["name"] = "mine"
    world.try_out(world.common, harmless, by=world.attacker)


def test_objects_of_other_names_are_free(world: Any) -> None:
    ns = world.namespace()
    world.allowed("create", "configmap", "mlpipeline", "-n", ns)
    world.allowed("create", "service", "clusterip", "mine", "-n", ns, "--tcp=80")
    world.allowed("create", "serviceaccount", "mine", "-n", ns)
    world.allowed("delete", "configmap", "mlpipeline", "-n", ns)


@pytest.mark.xdist_group("rendered")
def test_the_operator_changes_and_repairs_what_it_rendered(world: Any, manifests: Any, ns: str) -> None:
    for kind in SMALL:
        body = manifests.rendered(kind)
        body["metadata"]["annotations"] = {"mlprivacy.dev/decision-digest": "sha256:" + "e" * 64}
        world.allowed("apply", "--server-side", "--force-conflicts", "-n", ns, "-f", "-", by=world.operator, body=body)


@pytest.mark.xdist_group("rendered")
def test_no_endpoint_is_added_to_a_rendered_service(world: Any, ns: str) -> None:
    """`edit` holds no right on endpoints since Kubernetes 1.22; whoever has one is refused by the guard."""
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mine", "labels": {"kubernetes.io/service-name": "mlp-triage"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.7"]}],
        "ports": [{"port": 8080}],
    }
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "mlp-else"}}

    assert "cannot create resource" in world.do("create", "-n", ns, "-f", "-", body=slice_).stderr
    world.create_refused(ns, slice_, "rendered-endpoints", by=None)
    world.create_refused(ns, endpoints, "rendered-endpoints", by=None)
    moved = {**slice_, "metadata": {"name": "moved", "labels": {"kubernetes.io/service-name": "mine"}}}
    world.create(ns, moved, by=None)
    world.refused("label", "--overwrite", "endpointslice", "moved", "-n", ns, "kubernetes.io/service-name=mlp-triage",
                  policy="rendered-endpoints", by=None)  # fmt: skip
