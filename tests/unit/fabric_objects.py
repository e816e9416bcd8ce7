"""Devices and networks in the shapes that their projects write, and a job that uses one. ``decide_with`` decides on it.

Shapes: the NetworkAttachmentDefinition that sriov-network-operator renders (bindata/manifests/cni-config), its CRDs
(api/v1), the example of rdma-cni (examples/rdma_net_crd.yaml), the README of ib-sriov-cni, the ConfigMap of
k8s-rdma-shared-dev-plugin (deployment/k8s/base/configmap.yaml), MultiNetworkPolicy v1beta1, resource.k8s.io/v1.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from builders import IMAGE, clinic_world, data_class, facts_of, health_class, policy, template, training_job

from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.fabric.asks import NETWORKS, asks_of
from mlprivacy.policy.fabric.objects import Fabric, select
from mlprivacy.policy.model import Action, Decision, Finding

Raw = dict[str, Any]
RESOURCE = "openshift.io/mlx_rdma"
PROBE = "mlprivacy.node-restriction.kubernetes.io/ipsec-packet-offload"
LIMITS = "spec.template.spec.containers[0].resources.limits"
ANNOTATIONS = "spec.template.metadata.annotations"
IPAM = {"type": "whereabouts", "range": "10.60.0.0/16"}


def sriov_plugin(**fields: Any) -> Raw:
    """The first plugin of the chain, as the SR-IOV operator writes it."""
    return {"type": "sriov", "vlan": 100, "spoofchk": "on", "trust": "off", "link_state": "auto", "ipam": IPAM} | fields


def network(*plugins: Raw, name: str = "rdma-net", namespace: str = "research", resource: str | None = RESOURCE) -> Raw:
    """A NetworkAttachmentDefinition; without plugins sriov then rdma."""
    chain = list(plugins) or [sriov_plugin(), {"type": "rdma"}]
    config = {"cniVersion": "1.0.0", "name": name, "plugins": chain}
    notes = {} if resource is None else {"k8s.v1.cni.cncf.io/resourceName": resource}
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace, "annotations": notes},
        "spec": {"config": json.dumps(config)},
    }


def ib_network(**fields: Any) -> Raw:
    """An InfiniBand network, with one plugin and no chain (README of ib-sriov-cni)."""
    raw = network()
    plugin = {"type": "ib-sriov", "pkey": "0x8010", "rdmaIsolation": True, "ibKubernetesEnabled": True, "ipam": IPAM}
    raw["spec"]["config"] = json.dumps({"cniVersion": "0.3.1", "name": "rdma-net"} | plugin | fields)
    return raw


def node(name: str = "gpu-1", resource: str = RESOURCE, **labels: str) -> Raw:
    """A node that offers eight devices and that a probe saw encrypting an hour before NOW."""
    known = {"kubernetes.io/hostname": name, "pool": "rdma", PROBE: "20260601T110000Z"} | labels
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": {k: v for k, v in known.items() if v}},
        "status": {"allocatable": {"cpu": "64", "memory": "512Gi", resource: "8"}},
    }


def pool(mode: str | None = "exclusive", **selector: str) -> Raw:
    """A SriovNetworkPoolConfig for the nodes of the pool ``rdma``."""
    spec: Raw = {"maxUnavailable": 1, "nodeSelector": {"matchLabels": selector or {"pool": "rdma"}}}
    return {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovNetworkPoolConfig",
        "metadata": {"name": "worker", "namespace": "sriov-network-operator"},
        "spec": spec | ({"rdmaMode": mode} if mode else {}),
    }


def node_state(mode: str | None = "exclusive", name: str = "gpu-1") -> Raw:
    """The SriovNetworkNodeState of a node."""
    return {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovNetworkNodeState",
        "metadata": {"name": name, "namespace": "sriov-network-operator", "uid": f"uid-state-{name}"},
        "spec": {"system": {"rdmaMode": "exclusive"}},
        "status": {"syncStatus": "Succeeded", "system": {"rdmaMode": mode} if mode else {}},
    }


def sriov_network(**spec: Any) -> Raw:
    """The SriovNetwork from which ``rdma-net`` is written."""
    body: Raw = {
        "networkNamespace": "research",
        "resourceName": "mlx_rdma",
        "vlan": 100,
        "spoofChk": "on",
        "trust": "off",
    }
    return {
        "apiVersion": "sriovnetwork.openshift.io/v1",
        "kind": "SriovNetwork",
        "metadata": {"name": "rdma-net", "namespace": "sriov-network-operator"},
        "spec": body | spec,
    }


def network_policy(name: str = "closed", target: str = "research/rdma-net", **spec: Any) -> Raw:
    """A MultiNetworkPolicy that closes a network in both directions."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1beta1",
        "kind": "MultiNetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": "research",
            "annotations": {"k8s.v1.cni.cncf.io/policy-for": target},
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} | spec,
    }


def shared_config(namespace: str = "kube-system", *resources: str) -> Raw:
    """The ConfigMap of the shared device plugin."""
    entries = [
        {"resourceName": r, "rdmaHcaMax": 1000, "devices": ["ib0", "ib1"]} for r in resources or ("hca_shared_a",)
    ]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rdma-devices", "namespace": namespace},
        "data": {"config.json": json.dumps({"periodicUpdateInterval": 300, "configList": entries})},
    }


def claim_template(name: str = "nic", expression: str = 'device.attributes["dra.net"].rdma == true') -> Raw:
    """A ResourceClaimTemplate of resource.k8s.io/v1."""
    exactly = {"deviceClassName": "dranet", "count": 1, "selectors": [{"cel": {"expression": expression}}]}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": "research"},
        "spec": {"spec": {"devices": {"requests": [{"name": "nic", "exactly": exactly}]}}},
    }


def device_class(name: str = "dranet", expression: str = 'device.driver == "dra.net"') -> Raw:
    """A DeviceClass of resource.k8s.io/v1."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }


ISOLATED = (network(), node(), pool(), node_state(), sriov_network(), network_policy(), shared_config())


def rdma_job(resource: str | None = RESOURCE, networks: str | None = "rdma-net", **spec: Any) -> Raw:
    """A job that asks for one device and its network."""
    container: Raw = {"name": "trainer", "image": IMAGE, "command": ["python", "/app/train.py"]}
    if resource:
        container["resources"] = {"limits": {resource: "1"}, "requests": {resource: "1"}}
    body = template(**{"containers": [container]} | spec)
    if networks is not None:
        body["metadata"] = {"annotations": {NETWORKS: networks}}
    return training_job(template=body)


def rdma_policy(**parameters: Any) -> Raw:
    """A policy that admits the device and judges further networks by the rdma rules."""
    base = {
        "special-category.minimumAssurance": "Declared",
        "pod-hardening.extendedResources": f"nvidia.com/gpu,{RESOURCE},rdma/hca_shared_a",
        "pod-hardening.secondaryNetworks": "true",
    }
    return policy(parameters=base | {k.replace("_", "-").replace("--", "."): v for k, v in parameters.items()})


def classes(health: str = "ExclusiveOnly", other: str = "Allow", **spec: Any) -> tuple[Raw, Raw]:
    """The two classes of the job, with what they say of RDMA."""
    return (
        health_class(**{"network": {"egress": "Sealed", "rdma": health}} | spec),
        data_class("demographic", network={"egress": "Sealed", "rdma": other}),
    )


def fabric_of(job: Raw, *objects: Raw, complete: bool = True) -> Fabric:
    """The facts of these objects for this job; without ``complete`` a kind with no object is not known."""

    def source(kind: str) -> list[Raw] | None:
        found = [o for o in objects if o["kind"] == kind]
        return found or ([] if complete else None)

    return select(asks_of(job["spec"]["template"], job["metadata"]["namespace"]), job["metadata"]["namespace"], source)


def decide_with(
    job: Raw,
    *objects: Raw,
    world: tuple[Raw, ...] = (),
    complete: bool = True,
    namespaces: Mapping[str, str] | None = None,
    **parameters: Any,
) -> Decision:
    """The decision on ``job`` with these objects; keywords are parameters, such as ``rdma_fallback__action``."""
    known = world or classes()
    facts = facts_of(clinic_world(rdma_policy(**parameters), *known))
    labels = {k: dict(v) | (dict(namespaces or {}) if k == "research" else {}) for k, v in facts.namespaces.items()}
    return evaluate(job, replace(facts, namespaces=labels, fabric=fabric_of(job, *objects, complete=complete)))


def swapped(changed: Raw, *more: Raw) -> tuple[Raw, ...]:
    """The isolated world with the object of this kind and name replaced."""
    key = (changed["kind"], changed["metadata"]["name"])
    kept = [o for o in ISOLATED if (o["kind"], o["metadata"]["name"]) != key]
    return (*kept, changed, *more)


def lacking(*kinds: str) -> tuple[Raw, ...]:
    """The isolated world without the objects of these kinds."""
    return tuple(o for o in ISOLATED if o["kind"] not in kinds)


def problems(decision: Decision) -> list[Finding]:
    """The findings that say something against the job; rdma-drift only writes down what it rests on."""
    return [f for f in decision.findings if f.action is not Action.EVIDENCE]
