"""Threat 33: no Service of anybody's leads to a governed pod, past the one that the operator renders."""

import json
from typing import Any

import pytest

SELECTS = [
    pytest.param({"mlprivacy.dev/training-job": "visits"}, id="its job"),
    pytest.param({"app": "x", "mlprivacy.dev/rendered": "training"}, id="its job and more"),
    pytest.param({"app.kubernetes.io/managed-by": "mlprivacy"}, id="who made it"),
    pytest.param({"batch.kubernetes.io/job-name": "mlp-visits-1"}, id="its Job"),
    pytest.param({"job-name": "mlp-visits-1", "app.kubernetes.io/managed-by": "mlprivacy"}, id="its Job and maker"),
    pytest.param({"batch.kubernetes.io/controller-uid": "5d3f0a52-0000-4000-8000-000000000001"}, id="its Job's uid"),
    pytest.param({"pod-template-hash": "6c9f"}, id="its ReplicaSet"),
]
MISSES = [{"app": "x"}, {"app": "x", "pod-template-hash": "6c9f"}, {"job-name": "mine"}, {}]


def service(selector: dict[str, str], name: str = "leak") -> dict[str, Any]:
    spec = {"type": "NodePort", "selector": selector, "ports": [{"port": 15021}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("selector", SELECTS)
def test_a_service_that_selects_governed_pods_is_refused(world: Any, selector: dict[str, str]) -> None:
    world.create_refused(world.common, service(selector), "foreign-services")
    world.try_out(world.namespace(None), service(selector), by=world.attacker)


@pytest.mark.parametrize("selector", MISSES, ids=str)
def test_one_that_can_select_none_passes(world: Any, selector: dict[str, str]) -> None:
    world.try_out(world.common, service(selector), by=world.attacker)


def test_a_service_is_not_turned_to_them_later(world: Any) -> None:
    ns = world.namespace()
    world.create(ns, service({"app": "x"}))

    patch = json.dumps({"spec": {"selector": {"app": None, "mlprivacy.dev/rendered": "training"}}})
    world.refused("patch", "service", "leak", "-n", ns, "--type=merge", "-p", patch, policy="foreign-services")


def test_one_from_before_is_not_widened_and_can_be_taken_down(world: Any) -> None:
    ns = world.namespace(None)
    world.create(ns, service({"mlprivacy.dev/rendered": "training"}))
    world.cluster.kubectl("label", "namespace", ns, "mlprivacy.dev/enforce=enforce")

    ports = json.dumps({"spec": {"ports": [{"port": 15020}]}})
    world.refused("patch", "service", "leak", "-n", ns, "--type=merge", "-p", ports, policy="foreign-services")
    world.allowed("annotate", "service", "leak", "-n", ns, "seen=yes")
    world.allowed("delete", "service", "leak", "-n", ns)


def test_the_operators_own_passes(world: Any, manifests: Any) -> None:
    world.try_out(world.common, manifests.rendered("Service", "other"))


def test_endpoints_of_a_governed_pod_are_not_written_by_hand(world: Any) -> None:
    target = {"kind": "Pod", "name": "mlp-visits-1-x", "namespace": world.common}
    endpoint = {"addresses": ["192.0.2.1"], "targetRef": target}
    written = {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "leak", "labels": {"kubernetes.io/service-name": "leak"}},
        "endpoints": [endpoint], "ports": [{"port": 15021}],
    }  # fmt: skip
    world.try_refused(world.common, written, "foreign-services", by=None)
    target["name"] = "mine"
    world.try_out(world.common, written, by=None)
