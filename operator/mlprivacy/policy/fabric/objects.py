"""What the cluster says of devices and further networks: raw objects of other projects, chosen and read with care."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mlprivacy.policy.fabric.asks import Asks

Raw = Mapping[str, Any]

# Kind to API group. Versions: the newest that the projects serve (kube/resources.py).
KINDS: Final[Mapping[str, str]] = {
    "NetworkAttachmentDefinition": "k8s.cni.cncf.io",
    "MultiNetworkPolicy": "k8s.cni.cncf.io",
    "SriovNetwork": "sriovnetwork.openshift.io",
    "SriovNetworkPoolConfig": "sriovnetwork.openshift.io",
    "SriovNetworkNodeState": "sriovnetwork.openshift.io",
    "ResourceClaim": "resource.k8s.io",
    "ResourceClaimTemplate": "resource.k8s.io",
    "DeviceClass": "resource.k8s.io",
    "Node": "",
    "ConfigMap": "",
}
"""Kinds of other projects that decide what an RDMA device can reach. Of ConfigMaps only ``rdma-devices``."""
CLUSTER_SCOPED: Final = frozenset({"DeviceClass", "Node"})
SHARED_CONFIG: Final = "rdma-devices"
"""Name of the ConfigMap of k8s-rdma-shared-dev-plugin, as its own manifests have it."""

Source = Callable[[str], Sequence[Raw] | None]
"""All objects of one kind; None when they can not be known (not readable, not read yet)."""


@dataclass(frozen=True)
class Fabric:
    """What is known. A list is None where it is *not known*, and empty where there is no such object.

    Single objects are by namespace and name (claims and templates by kind, namespace and name).
    """

    networks: Mapping[tuple[str, str], Raw] = field(default_factory=dict)
    claims: Mapping[tuple[str, str, str], Raw] = field(default_factory=dict)
    device_classes: Mapping[str, Raw] = field(default_factory=dict)
    network_policies: tuple[Raw, ...] | None = None
    sriov_networks: tuple[Raw, ...] | None = None
    pools: tuple[Raw, ...] | None = None
    node_states: tuple[Raw, ...] | None = None
    nodes: tuple[Raw, ...] | None = None
    shared_configs: tuple[Raw, ...] | None = None


UNKNOWN: Final = Fabric()


def select(asks: Asks, namespace: str, source: Source) -> Fabric:
    """The objects on which the judgement of these asks rests. Nothing of another namespace's networks and claims."""
    if not asks.looks_further:
        return UNKNOWN
    wanted = {(n.namespace, n.name) for n in asks.networks or () if n.namespace == namespace}
    networks = {k: raw for raw in source("NetworkAttachmentDefinition") or () if (k := _key(raw)) in wanted}
    claims: dict[tuple[str, str, str], Raw] = {}
    for kind in sorted({c.kind for c in asks.claims}):
        names = {c.name for c in asks.claims if c.kind == kind}
        for raw in source(kind) or ():
            place, name = _key(raw)
            if place == namespace and name in names:
                claims[(kind, place, name)] = raw
    classes = {name for raw in claims.values() for name in class_names(raw)}
    return Fabric(
        networks=networks,
        claims=claims,
        device_classes={name: raw for raw in source("DeviceClass") or () if (name := _key(raw)[1]) in classes}
        if classes
        else {},
        network_policies=_of(source("MultiNetworkPolicy"), lambda raw: _key(raw)[0] == namespace) if wanted else None,
        sriov_networks=_of(source("SriovNetwork"), lambda raw: made_by(raw) in wanted) if wanted else None,
        pools=_of(source("SriovNetworkPoolConfig")),
        node_states=_of(source("SriovNetworkNodeState")),
        nodes=_of(source("Node")),
        shared_configs=_of(source("ConfigMap"), lambda raw: _key(raw)[1] == SHARED_CONFIG),
    )


def _of(found: Iterable[Raw] | None, wanted: Callable[[Raw], bool] | None = None) -> tuple[Raw, ...] | None:
    if found is None:
        return None
    return tuple(sorted((raw for raw in found if wanted is None or wanted(raw)), key=_key))


def _key(raw: Raw) -> tuple[str, str]:
    metadata = mapping(raw.get("metadata"))
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")


def mapping(value: Any) -> Raw:
    """The value when it is a map, else an empty one."""
    return value if isinstance(value, (dict, Mapping)) else {}


def name_of(raw: Raw) -> str:
    """metadata.name."""
    return _key(raw)[1]


def namespace_of(raw: Raw) -> str:
    """metadata.namespace."""
    return _key(raw)[0]


def annotation(raw: Raw, key: str) -> str:
    """One annotation, empty when there is none."""
    return str(mapping(mapping(raw.get("metadata")).get("annotations")).get(key) or "")


def labels(raw: Raw) -> Raw:
    """metadata.labels."""
    return mapping(mapping(raw.get("metadata")).get("labels"))


def spec(raw: Raw) -> Raw:
    """spec."""
    return mapping(raw.get("spec"))


def made_by(sriov_network: Raw) -> tuple[str, str]:
    """Namespace and name of the NetworkAttachmentDefinition that the SR-IOV operator makes of a SriovNetwork."""
    place, name = _key(sriov_network)
    return str(spec(sriov_network).get("networkNamespace") or place), name


def plugins(network: Raw) -> tuple[Raw, ...] | None:
    """The CNI plugins of ``spec.config`` in their order; None when it can not be read."""
    config = spec(network).get("config")
    if not isinstance(config, str) or len(config) > 65_536:
        return None
    try:
        read = json.loads(config)
    except (ValueError, RecursionError):
        return None
    if not isinstance(read, dict):
        return None
    chain = read.get("plugins")
    if chain is None:
        return (read,) if isinstance(read.get("type"), str) else None
    if not isinstance(chain, list) or not chain or not all(isinstance(p, dict) for p in chain):
        return None
    return tuple(chain)


def class_names(claim: Raw) -> tuple[str, ...]:
    """Names of the DeviceClasses of a ResourceClaim or of a ResourceClaimTemplate (resource.k8s.io/v1)."""
    return tuple(dict.fromkeys(str(r.get("deviceClassName") or "") for r in _requests(claim)))


def says_rdma(raw: Raw) -> bool:
    """True when a claim, a template or a DeviceClass selects by an attribute of RDMA, or is named after it."""
    selectors = [s for r in _requests(raw) for s in _list(r.get("selectors"))] + _list(spec(raw).get("selectors"))
    words = [str(mapping(s.get("cel")).get("expression") or "") for s in selectors]
    words += [name_of(raw), *class_names(raw)]
    return any("rdma" in w.lower() or "infiniband" in w.lower() for w in words)


def _requests(raw: Raw) -> list[Raw]:
    body = spec(raw)
    devices = mapping(mapping(body.get("spec")).get("devices")) or mapping(body.get("devices"))
    found: list[Raw] = []
    for request in _list(devices.get("requests")):
        exactly = request.get("exactly")
        found += [mapping(exactly)] if exactly is not None else _list(request.get("firstAvailable")) or [request]
    return found


def _list(value: Any) -> list[Raw]:
    return [v for v in value if isinstance(v, (dict, Mapping))] if isinstance(value, list) else []


def shared_resources(config: Raw) -> frozenset[str] | None:
    """Names of the resources that a ConfigMap of the shared device plugin offers; None when it can not be read."""
    text = mapping(config.get("data")).get("config.json")
    try:
        read = json.loads(text) if isinstance(text, str) and len(text) <= 65_536 else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        return None
    return frozenset(
        f"{entry.get('resourcePrefix') or 'rdma'}/{entry.get('resourceName')}"
        for entry in _list(read.get("configList"))
        if "rdmaHcaMax" in entry
    )


def selects(selector: Any, found: Raw, *, unknown: bool = False) -> bool:
    """Whether a label selector selects these labels; ``unknown`` is the answer for an operator that is not known."""
    chosen = mapping(selector)
    if any(found.get(k) != v for k, v in mapping(chosen.get("matchLabels")).items()):
        return False
    return all(_holds(e, found, unknown) for e in _list(chosen.get("matchExpressions")))


def _holds(expression: Raw, found: Raw, unknown: bool) -> bool:
    value, values = found.get(str(expression.get("key"))), expression.get("values") or []
    match expression.get("operator"):
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case _:
            return unknown


def offers(node: Raw, resource: str) -> bool:
    """True when the node can give at least one of an extended resource."""
    amount = mapping(mapping(node.get("status")).get("allocatable")).get(resource)
    return str(amount or "0") != "0"
