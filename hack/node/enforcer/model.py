"""The model between NetworkPolicies and nftables: per isolated pod address, what it may send or receive."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from node.enforcer.spans import Spans, contains, union

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, order=True)
class Addresses:
    """A set of addresses of both families."""

    v4: Spans = ()
    v6: Spans = ()

    @classmethod
    def of(cls, addresses: Iterable[Address]) -> "Addresses":
        """Exactly these addresses."""
        known = list(addresses)
        return cls(
            union((int(a), int(a)) for a in known if a.version == 4),
            union((int(a), int(a)) for a in known if a.version == 6),
        )

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)

    def __contains__(self, address: Address) -> bool:
        return contains(self.v4 if address.version == 4 else self.v6, int(address))

    def __or__(self, other: "Addresses") -> "Addresses":
        return Addresses(union((*self.v4, *other.v4)), union((*self.v6, *other.v6)))


@dataclass(frozen=True, order=True)
class Ports:
    """A set of ports of each protocol that NetworkPolicy knows."""

    tcp: Spans = ()
    udp: Spans = ()
    sctp: Spans = ()

    def __bool__(self) -> bool:
        return bool(self.tcp or self.udp or self.sctp)

    def by_protocol(self) -> dict[str, Spans]:
        """The spans under the protocol's name as the API spells it; protocols without ports are there too."""
        return {"TCP": self.tcp, "UDP": self.udp, "SCTP": self.sctp}

    def contains(self, protocol: str, port: int) -> bool:
        """Whether this port of this protocol (as the API spells it) is in the set; other protocols never are."""
        return contains(self.by_protocol().get(protocol, ()), port)

    def __or__(self, other: "Ports") -> "Ports":
        return Ports(union((*self.tcp, *other.tcp)), union((*self.udp, *other.udp)), union((*self.sctp, *other.sctp)))


@dataclass(frozen=True)
class Allow:
    """One thing that is allowed: these peers on these ports. None means any: any address, any port of any protocol."""

    peers: Addresses | None
    ports: Ports | None

    def permits(self, peer: Address, protocol: str, port: int) -> bool:
        """Whether a packet from or to `peer` fits."""
        return (self.peers is None or peer in self.peers) and (
            self.ports is None or self.ports.contains(protocol, port)
        )


Allows = tuple[Allow, ...]
ANYTHING = Allow(None, None)


def normalise(allows: Iterable[Allow]) -> Allows:
    """The same meaning with one entry per set of ports, in an order that depends on nothing but the meaning's parts.

    Pods with equal entries share one chain, and a ruleset whose text did not change is not loaded again.
    """
    by_ports: dict[Ports | None, Addresses | None] = {}
    for allow in allows:
        known = by_ports.get(allow.ports, Addresses())
        by_ports[allow.ports] = None if known is None or allow.peers is None else known | allow.peers
    if by_ports.get(None, Addresses()) is None:
        return (ANYTHING,)
    kept = [Allow(peers, ports) for ports, peers in by_ports.items() if _matches_something(peers, ports)]
    return tuple(sorted(kept, key=lambda allow: (allow.ports or Ports(), allow.peers or Addresses())))


def _matches_something(peers: Addresses | None, ports: Ports | None) -> bool:
    return (peers is None or bool(peers)) and (ports is None or bool(ports))


@dataclass(frozen=True)
class Isolation:
    """That one pod address is isolated in one direction, and what is allowed nevertheless."""

    pod: str
    """`namespace/name`, for people who read the loaded table."""
    allows: Allows


@dataclass(frozen=True)
class Ruleset:
    """Everything that is enforced. An address that is missing is not isolated in that direction."""

    ingress: Mapping[Address, Isolation] = field(default_factory=dict)
    egress: Mapping[Address, Isolation] = field(default_factory=dict)
    own: frozenset[tuple[Address, Address]] = frozenset()
    """Source and destination that belong to one isolated pod: a pod always reaches itself."""

    def permits(self, source: Address, destination: Address, protocol: str, port: int) -> bool:
        """Whether the first packet of a connection passes; `protocol` is as the API spells it, or any other word.

        Not for packets that the node sends (they are never asked about) nor for neighbour discovery.
        """
        if (source, destination) in self.own:
            return True
        sender, receiver = self.egress.get(source), self.ingress.get(destination)
        return (sender is None or any(a.permits(destination, protocol, port) for a in sender.allows)) and (
            receiver is None or any(a.permits(source, protocol, port) for a in receiver.allows)
        )
