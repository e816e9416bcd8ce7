"""Compile NetworkPolicies, pods and namespaces into a `Ruleset`: pure, and the one place that knows the API's meaning.

The rules are those of the API reference of networking.k8s.io/v1 NetworkPolicySpec.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, Literal

from node.enforcer.facts import Pod, live_pods, namespace_labels
from node.enforcer.model import Address, Addresses, Allow, Isolation, Ports, Ruleset, normalise
from node.enforcer.selectors import matches
from node.enforcer.spans import Span, subtract, union

Json = Mapping[str, Any]
Direction = Literal["Ingress", "Egress"]

ALL_PORTS: Final[Span] = (0, 65535)


class PolicyError(ValueError):
    """A policy that no API server would have accepted; the message names it and says what is wrong."""


def compile_policies(policies: Iterable[Json], pods: Iterable[Json], namespaces: Iterable[Json]) -> Ruleset:
    """What these policies mean for these pods; all arguments are objects as the API server returns them.

    Raises PolicyError for a policy that does not fit its schema.
    """
    cluster = _Cluster(live_pods(pods), namespace_labels(namespaces))
    allows: dict[Direction, dict[int, list[Allow]]] = {"Ingress": defaultdict(list), "Egress": defaultdict(list)}
    for policy in policies:
        metadata, spec = policy["metadata"], policy.get("spec") or {}
        try:
            namespace = metadata["namespace"]
            selected = list(cluster.select(namespace, spec.get("podSelector") or {}))
            for direction in policy_types(spec):
                rules = [_Rule.read(direction, rule, namespace, cluster) for rule in _rules(spec, direction)]
                for index in selected:
                    isolated = allows[direction][index]
                    for rule in rules:
                        isolated.extend(rule.allows(cluster.pods[index]))
        except (KeyError, TypeError, ValueError) as error:
            name = f"{metadata.get('namespace')}/{metadata.get('name')}"
            raise PolicyError(f"NetworkPolicy {name} can not be read: {type(error).__name__}: {error}") from error
    return Ruleset(
        ingress=_by_address(cluster, allows["Ingress"]),
        egress=_by_address(cluster, allows["Egress"]),
        own=frozenset(
            (source, destination)
            for index in allows["Ingress"].keys() | allows["Egress"].keys()
            for source in cluster.pods[index].addresses
            for destination in cluster.pods[index].addresses
            if source.version == destination.version
        ),
    )


def policy_types(spec: Json) -> tuple[Direction, ...]:
    """The directions a policy isolates: what it says, or else Ingress always and Egress if it has egress rules."""
    said = spec.get("policyTypes")
    if not said:
        return ("Ingress", "Egress") if spec.get("egress") else ("Ingress",)
    known: tuple[Direction, ...] = ("Ingress", "Egress")
    return tuple(direction for direction in known if direction in said)


def _rules(spec: Json, direction: Direction) -> Sequence[Json]:
    return spec.get(direction.lower()) or ()


def _by_address(cluster: "_Cluster", allows: Mapping[int, Sequence[Allow]]) -> dict[Address, Isolation]:
    isolations: dict[Address, Isolation] = {}
    for index in sorted(allows):
        pod = cluster.pods[index]
        isolation = Isolation(str(pod), normalise(allows[index]))
        isolations.update(dict.fromkeys(pod.addresses, isolation))
    return isolations


class _Cluster:
    """The pods, found by namespace and labels, and the addresses of peers."""

    def __init__(self, pods: Sequence[Pod], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self.pods = pods
        self._namespaces = namespaces
        self._addresses = [Addresses.of(pod.addresses) for pod in pods]
        self._peers: dict[tuple[str, str], Addresses] = {}
        self._by_namespace: dict[str, list[int]] = defaultdict(list)
        for index, pod in enumerate(pods):
            self._by_namespace[pod.namespace].append(index)

    def select(self, namespace: str, pod_selector: Json) -> Iterator[int]:
        """The pods of one namespace that a selector matches, as their index in `pods`."""
        for index in self._by_namespace.get(namespace, ()):
            if matches(pod_selector, self.pods[index].labels):
                yield index

    def select_anywhere(self, namespace_selector: Json, pod_selector: Json) -> Iterator[int]:
        """The same in all namespaces that a selector matches; one that is not known (yet) is matched by none."""
        for namespace, labels in self._namespaces.items():
            if matches(namespace_selector, labels):
                yield from self.select(namespace, pod_selector)

    def addresses(self, peer: Json, namespace: str) -> Addresses:
        """What a peer of a policy in this namespace means; policies often name the same peers."""
        key = (namespace, repr(peer))
        if key not in self._peers:
            self._peers[key] = self._resolve(peer, namespace)
        return self._peers[key]

    def _resolve(self, peer: Json, namespace: str) -> Addresses:
        block, namespaces, pods = (peer.get(key) for key in ("ipBlock", "namespaceSelector", "podSelector"))
        # None and {} differ: no selector at all, and one that matches everything.
        if block is not None:
            return _block(block)
        if namespaces is not None:
            chosen = self.select_anywhere(namespaces, pods or {})
        elif pods is not None:
            chosen = self.select(namespace, pods)
        else:
            raise ValueError("a peer has none of ipBlock, namespaceSelector, podSelector")
        return _union(self._addresses[index] for index in chosen)


@dataclass(frozen=True)
class _Rule:
    """One ingress or egress rule, with its peers already turned into addresses."""

    direction: Direction
    peers: Addresses | None
    ports: Sequence[Json]
    """Empty: any port of any protocol."""
    named: tuple[tuple[Address, Pod], ...]
    """For egress with named ports: the pod addresses among the peers."""

    @classmethod
    def read(cls, direction: Direction, rule: Json, namespace: str, cluster: _Cluster) -> "_Rule":
        said = rule.get("from" if direction == "Ingress" else "to")
        peers = _union(cluster.addresses(peer, namespace) for peer in said) if said else None
        ports = rule.get("ports") or ()
        named: tuple[tuple[Address, Pod], ...] = ()
        if direction == "Egress" and any(isinstance(port.get("port"), str) for port in ports):
            reachable = ((address, pod) for pod in cluster.pods for address in pod.addresses)
            named = tuple((address, pod) for address, pod in reachable if peers is None or address in peers)
        return cls(direction, peers, ports, named)

    def allows(self, pod: Pod) -> Iterator[Allow]:
        """What the rule allows a pod that its policy selects."""
        if not self.ports:
            yield Allow(self.peers, None)
            return
        if self.direction == "Ingress":
            yield Allow(self.peers, _ports(self.ports, pod))
            return
        yield Allow(self.peers, _ports(self.ports, None))
        for address, destination in self.named:
            yield Allow(Addresses.of([address]), _ports(self.ports, destination, numbers=False))


def _union(parts: Iterable[Addresses]) -> Addresses:
    v4: list[Span] = []
    v6: list[Span] = []
    for part in parts:
        v4 += part.v4
        v6 += part.v6
    return Addresses(union(v4), union(v6))


def _block(block: Json) -> Addresses:
    version, whole = _span(block["cidr"])
    excepted = [_span(text) for text in block.get("except") or ()]
    left = subtract(whole, [span for family, span in excepted if family == version])
    return Addresses(v4=left) if version == 4 else Addresses(v6=left)


def _span(cidr: str) -> tuple[int, Span]:
    network = ip_network(cidr, strict=False)
    return network.version, (int(network.network_address), int(network.broadcast_address))


def _ports(entries: Sequence[Json], pod: Pod | None, *, numbers: bool = True) -> Ports:
    """The ports that the entries of a rule mean; named ones are looked up in `pod`, and mean nothing without one."""
    spans: dict[str, list[Span]] = {"TCP": [], "UDP": [], "SCTP": []}
    for entry in entries:
        protocol, port = entry.get("protocol") or "TCP", entry.get("port")
        if isinstance(port, str):
            named = pod.ports if pod is not None else ()
            spans[protocol] += [(p.number, p.number) for p in named if (p.name, p.protocol) == (port, protocol)]
        elif numbers:
            spans[protocol].append(ALL_PORTS if port is None else (port, entry.get("endPort") or port))
    return Ports(union(spans["TCP"]), union(spans["UDP"]), union(spans["SCTP"]))
