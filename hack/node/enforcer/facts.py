"""What enforcement needs to know of pods, namespaces and policies, taken out of the objects of the API."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from node.enforcer.model import Address

Object = dict[str, Any]


@dataclass(frozen=True)
class NamedPort:
    """A named container port."""

    name: str
    protocol: str
    number: int


@dataclass(frozen=True)
class Pod:
    """A pod with a network of its own, and the addresses that are its alone."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    ports: tuple[NamedPort, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def live_pods(objects: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """The pods that policies are about, by namespace and name: not of the host's network, not ended, with an address.

    An address that two pods claim (one of them is about to end) belongs to the younger.
    """
    candidates = [obj for obj in objects if _has_own_network(obj)]
    owners: dict[Address, int] = {}
    for index in sorted(range(len(candidates)), key=lambda at: _age_key(candidates[at])):
        owners.update(dict.fromkeys(_addresses(candidates[index]), index))
    pods = []
    for index, obj in enumerate(candidates):
        addresses = tuple(address for address in _addresses(obj) if owners[address] == index)
        if addresses:
            pods.append(_pod(obj, addresses))
    return sorted(pods, key=lambda pod: (pod.namespace, pod.name))


def namespace_labels(objects: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, str]]:
    """The labels of each namespace."""
    return {obj["metadata"]["name"]: obj["metadata"].get("labels") or {} for obj in objects}


def _has_own_network(obj: Mapping[str, Any]) -> bool:
    ended = (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    return not ended and not (obj.get("spec") or {}).get("hostNetwork")


def _age_key(obj: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = obj["metadata"]
    return (metadata.get("creationTimestamp") or "", metadata.get("namespace") or "", metadata["name"])


def _addresses(obj: Mapping[str, Any]) -> list[Address]:
    status = obj.get("status") or {}
    texts = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    if not texts and status.get("podIP"):
        texts = [status["podIP"]]
    return [ip_address(text) for text in dict.fromkeys(texts)]


def _pod(obj: Mapping[str, Any], addresses: tuple[Address, ...]) -> Pod:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    # An init container that is restarted for ever (a native sidecar) serves beside the others; the rest have ended.
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    ports = tuple(
        NamedPort(port["name"], port.get("protocol") or "TCP", port["containerPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("name")
    )
    return Pod(metadata.get("namespace") or "", metadata["name"], metadata.get("labels") or {}, addresses, ports)


# -- what an informer keeps: a change of anything else wakes nobody ---------------------------------------------------


def essence_of_pod(obj: Object) -> Object:
    """The pod with nothing but what `live_pods` reads."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    containers = [{"ports": c.get("ports")} for c in spec.get("containers") or ()]
    init = [{key: c.get(key) for key in ("ports", "restartPolicy")} for c in spec.get("initContainers") or ()]
    return {
        "metadata": _identity(obj, "creationTimestamp"),
        "spec": {"hostNetwork": spec.get("hostNetwork"), "containers": containers, "initContainers": init},
        "status": {key: status.get(key) for key in ("phase", "podIP", "podIPs")},
    }


def essence_of_namespace(obj: Object) -> Object:
    """The namespace's name and labels."""
    return {"metadata": _identity(obj)}


def essence_of_policy(obj: Object) -> Object:
    """The policy's name and spec."""
    return {"metadata": _identity(obj), "spec": obj.get("spec") or {}}


def _identity(obj: Object, *more: str) -> Object:
    metadata = obj["metadata"]
    return {key: metadata[key] for key in ("name", "namespace", "labels", *more) if key in metadata}
