"""The three things that keep an RDMA device to its pod: the plugin chain, the network namespace, the segregation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlprivacy.policy.fabric.asks import NETWORKS_PATH
from mlprivacy.policy.fabric.objects import Raw, labels, mapping, name_of, selects, spec
from mlprivacy.policy.fabric.use import Network, Use, sentences, touch
from mlprivacy.policy.parameters import EVERYTHING
from mlprivacy.policy.rule import Raised, breach, missing

if TYPE_CHECKING:
    from mlprivacy.policy.case import Case

DEFAULT_PARTITION = 0x7FFF  # every InfiniBand port is in it


def chain_problems(use: Use) -> Iterator[Raised]:
    """The path through SR-IOV: each device comes with a network that moves it into the pod's namespace."""
    taken = {n.resource for n in use.device_networks}
    complete = all(n.raw is not None for n in use.networks)  # else a network that is not known may take the device
    for resource in dict.fromkeys(use.resource_names) if complete else ():
        if resource not in taken:
            yield breach(
                use.path,
                f"no network of the job takes the device {resource}, so nothing moves it into the pod's network "
                "namespace",
                "name the NetworkAttachmentDefinition of the device in the annotation k8s.v1.cni.cncf.io/networks",
            )
    for claim in use.claims:
        yield breach(claim.path, "a claim of an RDMA device passes by the SR-IOV plugins", "remove the claim")
    for network in use.device_networks:
        if network.raw is None:
            yield missing(
                NETWORKS_PATH,
                f"the NetworkAttachmentDefinition {network.asked.ref} does not exist (yet), or is not known",
                "create it, or correct the name",
            )
        elif network.chain is None:
            yield missing(
                NETWORKS_PATH,
                f"spec.config of the NetworkAttachmentDefinition {network.asked.ref} can not be read",
                "ask its owner to mend it: a JSON object with type or plugins",
            )
        elif not chained(network.chain):
            types = " then ".join(str(p.get("type") or "?")[:40] for p in network.chain)
            yield breach(
                NETWORKS_PATH,
                f"the plugins of {network.asked.ref} are {types}, which leaves its RDMA device in the node's namespace",
                "use a network with the plugins sriov then rdma, or ib-sriov with rdmaIsolation: true",
            )


def chained(chain: tuple[Raw, ...]) -> bool:
    """True for ``sriov`` directly followed by ``rdma``, and for ``ib-sriov`` with ``rdmaIsolation``, alone."""
    types = [str(p.get("type") or "") for p in chain]
    if types[0] == "ib-sriov":
        return chain[0].get("rdmaIsolation") is True and "rdma" not in types
    return types[:2] == ["sriov", "rdma"]


def netns_problems(case: Case, use: Use) -> Iterator[Raised]:
    """Every node that may run the job keeps RDMA devices apart by network namespace, and is meant to."""
    if not use.device_networks:
        return
    touch(case, "SriovNetworkPoolConfig", "SriovNetworkNodeState")
    fabric = case.facts.fabric
    nodes = case.fabric_nodes
    if nodes is None or fabric.pools is None or fabric.node_states is None:
        yield missing(
            use.path,
            "the nodes and their SR-IOV state are not known (yet), so it is not known whether RDMA devices are kept "
            "apart there",
            "wait until they are read; offline, add Nodes, SriovNetworkPoolConfigs and SriovNetworkNodeStates",
        )
        return
    if not nodes:
        yield missing(use.path, f"no node is known that offers {', '.join(use.resource_names) or 'the device'}")
        return
    modes = {name_of(s): mode_of(s) for s in fabric.node_states}
    shared = [n for n in nodes if modes.get(name_of(n)) == "shared"]
    meant = [s for p in fabric.pools if (s := _exclusive_selector(p)) is not None]
    unmeant = [n for n in nodes if not any(selects(s, labels(n)) for s in meant)]
    unsaid = [n for n in nodes if modes.get(name_of(n)) not in ("shared", "exclusive")]
    if shared:
        yield breach(
            use.path,
            "RDMA devices are shared among network namespaces on the nodes "
            f"{sentences(name_of(n) for n in shared)} (SriovNetworkNodeState status.system.rdmaMode)",
            "choose nodes in exclusive mode by nodeSelector, or ask the platform to set rdmaMode: exclusive",
        )
    elif unmeant:
        yield breach(
            use.path,
            f"no SriovNetworkPoolConfig with rdmaMode: exclusive selects {sentences(name_of(n) for n in unmeant)}",
            "choose nodes of such a pool by nodeSelector, or ask the platform to set rdmaMode: exclusive",
        )
    elif unsaid:
        yield missing(
            use.path,
            f"the SriovNetworkNodeState of {sentences(name_of(n) for n in unsaid)} does not say in which mode RDMA is",
            "wait until the SR-IOV operator has reported it",
        )


def mode_of(state: Raw) -> str:
    """``status.system.rdmaMode`` of a SriovNetworkNodeState; empty when it is not said."""
    return str(mapping(mapping(state.get("status")).get("system")).get("rdmaMode") or "")


def _exclusive_selector(pool: Raw) -> Raw | None:
    """What selects the nodes of a pool that is meant to be exclusive; None for any other, and for one without nodes."""
    body = spec(pool)
    selector = body.get("nodeSelector")
    return mapping(selector) if body.get("rdmaMode") == "exclusive" and selector is not None else None


def segregation_problems(case: Case, use: Use) -> Iterator[Raised]:
    """Each device network is in a VLAN of its own, or in an InfiniBand partition of the tenant's."""
    for network in use.device_networks:
        for plugin in network.chain or ():
            kind = plugin.get("type")
            if kind == "sriov":
                yield from _vlan(case, network, plugin)
            elif kind == "ib-sriov":
                yield from _partition(case, network, plugin)


def _vlan(case: Case, network: Network, plugin: Raw) -> Iterator[Raised]:
    vlan = plugin.get("vlan")
    if type(vlan) is not int or not 1 <= vlan <= 4094:
        yield breach(
            NETWORKS_PATH,
            f"the network {network.asked.ref} is in no VLAN, so whoever is on the wire shares it",
            "use a network whose NetworkAttachmentDefinition has a vlan from 1 to 4094",
        )
        return
    words = case.words("rdma-segregation", "vlans")
    listed = tenant_set(words)
    # An empty list is what two lists without a common entry leave: then no VLAN is anybody's.
    if words != EVERYTHING and str(vlan) not in listed.get(case.namespace, ()):
        yield breach(
            NETWORKS_PATH,
            f"the VLAN {vlan} of {network.asked.ref} is not one of those of the namespace {case.namespace}",
            "use a network of your own, or ask the privacy office to add it to rdma-segregation.vlans",
        )


def _partition(case: Case, network: Network, plugin: Raw) -> Iterator[Raised]:
    key = partition(plugin.get("pkey"))
    if key is None or key == DEFAULT_PARTITION:
        yield breach(
            NETWORKS_PATH,
            f"the network {network.asked.ref} is in no InfiniBand partition of its own (pkey)",
            "use a network whose NetworkAttachmentDefinition has the pkey of your tenant",
        )
        return
    listed = tenant_set(case.words("rdma-segregation", "pkeys")).get(case.namespace)
    if listed is None:
        yield missing(
            NETWORKS_PATH,
            f"which InfiniBand partitions belong to the namespace {case.namespace} is not known",
            f"ask the privacy office to list them in rdma-segregation.pkeys, as {case.namespace}=0x0010",
        )
    elif key not in {partition(text) for text in listed}:
        yield breach(
            NETWORKS_PATH,
            f"the pkey of {network.asked.ref} is not one of those of the namespace {case.namespace}",
            "use a network of your own, or ask the privacy office to add it to rdma-segregation.pkeys",
        )


def partition(value: Any) -> int | None:
    """The partition of a pkey such as 0x8010, without the bit of full membership; None when it is no pkey."""
    try:
        number = int(str(value), 16)
    except ValueError:
        return None
    return number & 0x7FFF if 0 < number <= 0xFFFF and number & 0x7FFF else None


def tenant_set(entries: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """``NAMESPACE=VALUE`` entries -> the values of each namespace. What is not of that form is nobody's."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        namespace, _, value = entry.partition("=")
        if namespace and value:
            found[namespace] = (*found.get(namespace, ()), value)
    return found


def isolation_problems(case: Case, use: Use) -> Iterator[tuple[str, Raised]]:
    """All three, each with the id of its rule."""
    for item in chain_problems(use):
        yield "rdma-vf-chain", item
    for item in netns_problems(case, use):
        yield "rdma-netns", item
    for item in segregation_problems(case, use):
        yield "rdma-segregation", item
