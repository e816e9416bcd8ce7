"""How one job uses RDMA: its devices and networks resolved, what its classes demand, and whether it is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mlprivacy.api.base import Sensitivity
from mlprivacy.policy.fabric.asks import NETWORKS_PATH, Asks, Attachment, Claimed, Resource, asks_of
from mlprivacy.policy.fabric.objects import Raw, annotation, class_names, offers, plugins, says_rdma, selects
from mlprivacy.policy.fabric.objects import labels as labels_of
from mlprivacy.policy.model import Dependency

if TYPE_CHECKING:
    from mlprivacy.policy.case import Case, ClassUse

RESOURCE_NAME: Final = "k8s.v1.cni.cncf.io/resourceName"
"""The annotation of a NetworkAttachmentDefinition that joins it to the resource of a device plugin."""
DEVICE_PLUGINS: Final = frozenset({"sriov", "ib-sriov", "rdma", "host-device", "ipoib"})
"""CNI plugins that hand a device to the pod, which the kernel's filters do not see."""


@dataclass(frozen=True)
class Network:
    """A network that the job asks for. ``raw`` is None where there is no such object (yet)."""

    asked: Attachment
    raw: Raw | None
    chain: tuple[Raw, ...] | None  # the CNI plugins; None where they can not be read

    @property
    def resource(self) -> str:
        """The resource whose device the network takes; empty when there is none."""
        return annotation(self.raw, RESOURCE_NAME) if self.raw is not None else ""

    @property
    def device(self) -> bool:
        """True when a device is handed to the pod, or when it is not known that none is."""
        if self.raw is None or self.chain is None or self.resource:
            return True
        return any(str(p.get("type")) in DEVICE_PLUGINS for p in self.chain)


@dataclass(frozen=True)
class Use:
    """What of a job is RDMA, or can not be told from it."""

    asks: Asks
    resources: tuple[Resource, ...]  # RDMA devices: by name, or because a network of the job takes the device
    networks: tuple[Network, ...]  # every network asked for, device or not
    claims: tuple[Claimed, ...]  # those known to be RDMA
    unknown_claims: tuple[Claimed, ...] = ()  # those that may be

    @property
    def device_networks(self) -> tuple[Network, ...]:
        """The networks that hand over a device."""
        return tuple(n for n in self.networks if n.device)

    @property
    def known(self) -> bool:
        """True when it is known that an RDMA device is asked for; else the rules that miss a fact hold the job."""
        networks = any(n.raw is not None and n.chain is not None for n in self.device_networks)
        return bool(self.resources or self.asks.devices or networks or self.claims)

    @property
    def rdma(self) -> bool:
        """True when an RDMA device is asked for, or a network that hands over a device, or it is not known which."""
        return self.known or bool(self.unknown_claims or self.device_networks or self.unreadable)

    @property
    def unreadable(self) -> bool:
        """True when the annotation of networks can not be read."""
        return self.asks.networks is None

    @property
    def path(self) -> str:
        """The field that asks first."""
        if self.resources:
            return self.resources[0].path
        if self.networks or self.unreadable:
            return NETWORKS_PATH
        if self.claims or self.unknown_claims:
            return (*self.claims, *self.unknown_claims)[0].path
        return self.asks.devices[0].path if self.asks.devices else "spec.template"

    @property
    def resource_names(self) -> tuple[str, ...]:
        """The RDMA resources, each once."""
        return tuple(dict.fromkeys(r.name for r in self.resources))


def use_of(case: Case) -> Use | None:
    """How the job uses devices and further networks; None when it asks for nothing of the kind."""
    asks = asks_of(case.template, case.namespace)
    if not (asks.looks_further or asks.resources or asks.host or asks.ipc_lock):
        return None
    fabric = case.facts.fabric
    networks = []
    for asked in asks.networks or ():
        case.touched.add(Dependency("NetworkAttachmentDefinition", asked.namespace, asked.name))
        raw = fabric.networks.get((asked.namespace, asked.name))
        networks.append(Network(asked, raw, None if raw is None else plugins(raw)))
    taken = {n.resource for n in networks if n.resource}
    named = set(asks.rdma_resources)
    claims = {claim: _is_rdma(case, claim) for claim in asks.claims}
    return Use(
        asks=asks,
        resources=tuple(r for r in asks.resources if r in named or r.name in taken),
        networks=tuple(networks),
        claims=tuple(claim for claim, answer in claims.items() if answer is True),
        unknown_claims=tuple(claim for claim, answer in claims.items() if answer is None),
    )


def _is_rdma(case: Case, claim: Claimed) -> bool | None:
    """True when a claim selects an RDMA device; None when it or its class is not known."""
    case.touched.add(Dependency(claim.kind, case.namespace, claim.name))
    fabric = case.facts.fabric
    raw = fabric.claims.get((claim.kind, case.namespace, claim.name))
    if raw is None:
        return None
    if says_rdma(raw):
        return True
    found = []
    for name in class_names(raw):
        case.touched.add(Dependency("DeviceClass", "", name))
        found.append(fabric.device_classes.get(name))
    if any(one is not None and says_rdma(one) for one in found):
        return True
    return None if None in found else False


def removed(case: Case) -> tuple[str, ...] | None:
    """The RDMA resources that rdma-fallback takes away; None where the job may have them, or is refused instead.

    It acts on what is known to be wrong. What is only not known holds the job, as everywhere.
    """
    use = case.fabric_use
    if use is None or not use.rdma or case.text("rdma-fallback", "action") != "Remove":
        return None
    refused = use.known and any(c.spec.network.rdma == "Deny" for c in case.classes)
    if not refused and not (exclusive(case) and any(not item.hold for _, item in case.isolation)):
        return None
    return use.resource_names


def rdma_of(case: Case) -> Use | None:
    """The job's use of RDMA as the rules judge it; None without any, and when rdma-fallback takes it away."""
    use = case.fabric_use
    if use is None or not use.rdma or case.rdma_removed is not None:
        return None
    return use


def exclusive(case: Case) -> tuple[ClassUse, ...]:
    """The classes that demand a device of one's own: ExclusiveOnly, Deny, and everything Restricted."""
    return tuple(
        c for c in case.classes if c.spec.network.rdma != "Allow" or c.spec.sensitivity is Sensitivity.RESTRICTED
    )


def names(classes: tuple[ClassUse, ...]) -> str:
    """The classes for people."""
    return ", ".join(c.name for c in classes)


def candidates(case: Case, use: Use) -> tuple[Raw, ...] | None:
    """The nodes that may run the job: they offer its devices and carry the labels of its nodeSelector; None: not known.

    Affinity is not looked at: it can only narrow the choice, and every node here must be good.
    """
    case.touched.add(Dependency("Node", "", "*"))
    nodes = case.facts.fabric.nodes
    if nodes is None:
        return None
    spec = case.template.get("spec")
    wanted = spec.get("nodeSelector") if isinstance(spec, dict) else None
    chosen = {"matchLabels": wanted} if isinstance(wanted, dict) else {}
    return tuple(n for n in nodes if all(offers(n, r) for r in use.resource_names) and selects(chosen, labels_of(n)))


def touch(case: Case, *kinds: str) -> None:
    """Remember that all objects of these kinds, wherever they are, decide."""
    case.touched.update(Dependency(kind, "", "*") for kind in kinds)


def sentences(items: Iterator[str]) -> str:
    """Several words for people, at most six."""
    found = list(items)
    return ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")
