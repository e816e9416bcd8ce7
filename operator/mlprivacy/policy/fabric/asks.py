"""What a raw pod template asks for that could move data past NetworkPolicy: devices, networks, claims, host access."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

NETWORKS: Final = "k8s.v1.cni.cncf.io/networks"
"""The annotation by which a pod asks Multus for further networks."""
PLAIN: Final = ("cpu", "memory", "ephemeral-storage")
MOST: Final = 16  # networks, and claims, of one template that are followed

_SHORT = re.compile(
    r"(?:(?P<namespace>[a-z0-9]([-a-z0-9]*[a-z0-9])?)/)?(?P<name>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)(@[A-Za-z0-9_.-]+)?"
)
_HOST = {"hostNetwork": "hostNetwork", "hostIPC": "hostIPC", "hostPID": "hostPID"}
_CLAIMS = {"resourceClaimName": "ResourceClaim", "resourceClaimTemplateName": "ResourceClaimTemplate"}
_CAPABILITIES = frozenset({"NET_ADMIN", "NET_RAW", "SYS_RAWIO", "SYS_ADMIN", "ALL"})


class Resource(NamedTuple):
    """One extended resource that a container asks for; ``path`` is that of its limits or requests."""

    path: str
    name: str


class Attachment(NamedTuple):
    """One further network by the name of its NetworkAttachmentDefinition."""

    namespace: str
    name: str

    @property
    def ref(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Claimed(NamedTuple):
    """One entry of ``resourceClaims``: a ResourceClaim, or the template of one, of the job's namespace."""

    path: str
    kind: str
    name: str


class HostAccess(NamedTuple):
    """A field that reaches the host: ``what`` is its name for people."""

    path: str
    what: str


@dataclass(frozen=True)
class Asks:
    """Everything of one template. ``networks`` is None when the annotation can not be read."""

    resources: tuple[Resource, ...] = ()
    networks: tuple[Attachment, ...] | None = ()
    claims: tuple[Claimed, ...] = ()
    devices: tuple[HostAccess, ...] = ()  # host paths of RDMA devices
    host: tuple[HostAccess, ...] = ()
    ipc_lock: tuple[str, ...] = ()  # paths of capabilities.add

    @cached_property
    def rdma_resources(self) -> tuple[Resource, ...]:
        """The resources whose name says that they are RDMA devices."""
        return tuple(r for r in self.resources if is_rdma_name(r.name))

    @property
    def looks_further(self) -> bool:
        """True when objects of the cluster must be looked at to judge what is asked for."""
        return bool(self.rdma_resources or self.networks or self.networks is None or self.claims or self.devices)


NOTHING: Final = Asks()
NETWORKS_PATH: Final = "spec.template.metadata.annotations"


def is_rdma_name(resource: str) -> bool:
    """True for ``rdma/...`` and for every name in which rdma, infiniband or roce is a word of its own or a part."""
    name = resource.lower()
    return "rdma" in name or "infiniband" in name or "roce" in re.split(r"[^a-z0-9]", name)


def asks_of(template: Any, namespace: str) -> Asks:
    """What a raw template asks for, in a job of ``namespace``. Takes any JSON; never raises."""
    whole = _mapping(template)
    spec = _mapping(whole.get("spec"))
    annotations = _mapping(_mapping(whole.get("metadata")).get("annotations"))
    resources: dict[Resource, None] = {}
    host: list[HostAccess] = []
    ipc_lock: list[str] = []
    for key, what in _HOST.items():
        if spec.get(key) not in (None, False):
            host.append(HostAccess(f"spec.template.spec.{key}", what))
    for group in ("initContainers", "containers"):
        for index, container in _mappings(spec.get(group)):
            path = f"spec.template.spec.{group}[{index}]"
            asked = container.get("resources")
            if asked is not None:
                resources |= dict.fromkeys(_extended(asked, f"{path}.resources"))
            security = container.get("securityContext")
            if security is not None:
                _security(security, f"{path}.securityContext", host, ipc_lock)
    files = list(_device_files(spec.get("volumes")))
    host += (access for access, _ in files)
    devices = tuple(access for access, rdma in files if rdma)
    claims = tuple(_claims(spec.get("resourceClaims")))
    networks = networks_of(annotations.get(NETWORKS), namespace) if NETWORKS in annotations else ()
    if not (resources or networks != () or claims or host or ipc_lock):
        return NOTHING
    return Asks(tuple(resources), networks, claims[:MOST], devices, tuple(host), tuple(ipc_lock))


def networks_of(value: Any, namespace: str) -> tuple[Attachment, ...] | None:
    """The networks of the annotation: ``a,ns/b@net1`` or a JSON list of name, namespace. None: can not be read."""
    if not isinstance(value, str) or len(value) > 8192:
        return None
    text = value.strip()
    if not text:
        return ()
    found: dict[Attachment, None] = {}
    if text[0] == "[":
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            return None
        for entry in entries:
            # Other keys (mac, infiniband-guid, cni-args) change what the network's owner set up.
            if not isinstance(entry, dict) or not entry.keys() <= {"name", "namespace", "interface"}:
                return None
            name, place = entry.get("name"), entry.get("namespace") or namespace
            if not isinstance(name, str) or not name or not isinstance(place, str):
                return None
            found[Attachment(place, name)] = None
    else:
        for part in text.split(","):
            match = _SHORT.fullmatch(part.strip())
            if match is None:
                return None
            found[Attachment(match["namespace"] or namespace, match["name"])] = None
    return None if len(found) > MOST else tuple(found)


def _extended(resources: Any, path: str) -> Iterator[Resource]:
    for part in ("limits", "requests"):
        for name in _mapping(_mapping(resources).get(part)):
            text = str(name)
            if text not in PLAIN and not text.startswith("hugepages-"):
                yield Resource(f"{path}.{part}", text)


def _security(context: Any, path: str, host: list[HostAccess], ipc_lock: list[str]) -> None:
    fields = _mapping(context)
    if fields.get("privileged") not in (None, False):
        host.append(HostAccess(f"{path}.privileged", "privileged"))
    added = _mapping(fields.get("capabilities")).get("add")
    names = [str(c).upper().removeprefix("CAP_") for c in added] if isinstance(added, list) else []
    dangerous = [n for n in names if n in _CAPABILITIES]
    if dangerous:
        host.append(HostAccess(f"{path}.capabilities.add", ", ".join(dangerous)))
    if "IPC_LOCK" in names:
        ipc_lock.append(f"{path}.capabilities.add")


def _device_files(volumes: Any) -> Iterator[tuple[HostAccess, bool]]:
    """Host paths that hold device files, and whether one is of RDMA devices in particular."""
    for index, volume in _mappings(volumes):
        where = _mapping(volume.get("hostPath")).get("path")
        if isinstance(where, str):
            parts = [p for p in where.split("/") if p not in ("", ".")]
            if not parts or parts[0] == "dev" or ".." in parts:
                path = f"spec.template.spec.volumes[{index}].hostPath"
                yield HostAccess(path, f"the host path /{'/'.join(parts)[:80]}"), "infiniband" in parts


def _claims(entries: Any) -> Iterator[Claimed]:
    for index, entry in _mappings(entries):
        for key, kind in _CLAIMS.items():
            name = entry.get(key)
            if isinstance(name, str) and name:
                yield Claimed(f"spec.template.spec.resourceClaims[{index}].{key}", kind, name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, (dict, Mapping)) else {}


def _mappings(value: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, (dict, Mapping)):
                yield index, item
