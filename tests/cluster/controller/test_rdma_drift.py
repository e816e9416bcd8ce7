"""rdma-drift: a further network is closed when the job begins; whoever opens it later has the job suspended.

Nodes are simulated: a pod there proves objects and their order, never a process or a network.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlprivacy.kube.resources import MULTINETWORKPOLICIES, NETWORKATTACHMENTS

pytestmark = pytest.mark.cluster

CLOSED = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def definition(resource: Any) -> dict[str, Any]:
    """A definition of another project's kind, without its schema."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": resource.plural, "kind": resource.kind, "singular": resource.kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture
def networks(worlds: Any) -> Iterator[Any]:
    """A world with a closed network, and a policy under which a job may name it."""
    world = worlds()
    definitions = [definition(NETWORKATTACHMENTS), definition(MULTINETWORKPOLICIES)]
    policy = f"networks-{world.mark}"
    world.apply(*definitions)
    for one in definitions:
        world.cluster.kubectl("wait", "--for=condition=Established", "crd", one["metadata"]["name"], "--timeout=60s")
    place = {"namespace": world.namespace}
    world.apply(
        world.klass(network={"egress": "Sealed", "rdma": "Deny"}),
        world.scope(),
        world.dataset(),
        {
            "apiVersion": "mlprivacy.dev/v1alpha1",
            "kind": "PrivacyPolicy",
            "metadata": {"name": policy},
            "spec": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
                "parameters": {"pod-hardening.secondaryNetworks": "true"},
            },
        },
        {
            "apiVersion": NETWORKATTACHMENTS.api_version,
            "kind": NETWORKATTACHMENTS.kind,
            "metadata": {"name": "fast", **place},
            "spec": {
                "config": json.dumps({"cniVersion": "1.0.0", "name": "fast", "type": "macvlan", "master": "eth1"})
            },
        },
        {
            "apiVersion": MULTINETWORKPOLICIES.api_version,
            "kind": MULTINETWORKPOLICIES.kind,
            "metadata": {"name": "closed", "annotations": {"k8s.v1.cni.cncf.io/policy-for": "fast"}, **place},
            "spec": CLOSED,
        },
    )
    yield world
    world.cluster.kubectl("delete", "privacypolicies.mlprivacy.dev", policy)
    for one in definitions:
        world.cluster.kubectl("delete", "crd", one["metadata"]["name"], "--wait=false")


def job(world: Any) -> Any:
    raw = world.training_job()
    raw["spec"]["template"]["metadata"] = {"annotations": {"k8s.v1.cni.cncf.io/networks": "fast"}}
    return raw


def test_a_network_that_is_opened_while_the_job_runs_suspends_it_and_closed_again_resumes(networks: Any) -> None:
    networks.apply(job(networks))
    networks.started()

    networks.patch("multi-networkpolicies.k8s.cni.cncf.io", "closed", {"spec": {"egress": [{}]}})
    stopped = networks.until("Suspended", "True", "NoLongerAllowed")
    assert "rdma-multinetpol" in json.dumps(stopped["status"]["decision"]["findings"])

    networks.patch("multi-networkpolicies.k8s.cni.cncf.io", "closed", {"spec": {"egress": None}})
    networks.started(2)


def test_a_network_that_becomes_a_device_is_refused_by_the_class(networks: Any) -> None:
    networks.apply(job(networks))
    networks.started()
    device = {"metadata": {"annotations": {"k8s.v1.cni.cncf.io/resourceName": "openshift.io/mlx_rdma"}}}
    networks.patch("network-attachment-definitions.k8s.cni.cncf.io", "fast", device)
    stopped = networks.until("Suspended", "True", "NoLongerAllowed")
    assert "rdma-detect" in json.dumps(stopped["status"]["decision"]["findings"])
