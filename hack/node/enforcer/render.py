"""Write a `Ruleset` as text for `nft -f -` that replaces the enforcer's own table, no other, in one transaction.

Two maps by pod address lead to one chain per distinct set of rules, so that the cost of a packet does not grow with the
number of pods. Replies never get that far. A chain returns for what it allows and goes to `deny` for the rest.

A table that is there is changed in place. Were it deleted and made anew, even in one transaction, a packet on its way
through the old rules would miss in the old maps and pass: an address that stays in a map is never missed.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from node.enforcer.model import Address, Addresses, Allow, Allows, Isolation, Ports, Ruleset
from node.enforcer.spans import Spans

TABLE: Final = "mlprivacy_enforcer"
# nft refuses longer ones.
_COMMENT_CHARS: Final = 120

REMOVE: Final = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Deletes the table, whether it is there or not."""

_DENY: Final = """\
  chain deny {
    meta l4proto tcp counter reject with tcp reset
    meta l4proto { udp, sctp } counter reject with icmpx admin-prohibited
    counter drop
  }
"""
# What the node sends is never asked about: there is no chain on the output hook.
_HOOKS: Final = """\
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr . ip daddr @own4 accept
    ip6 saddr . ip6 daddr @own6 accept
    ip saddr vmap @egress4
    ip6 saddr vmap @egress6
    ip daddr vmap @ingress4
    ip6 daddr vmap @ingress6
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iif "lo" accept
    ct state established,related accept
    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
    ip6 saddr fe80::/10 meta l4proto { tcp, udp, sctp } goto deny
    ip saddr vmap @egress4
    ip6 saddr vmap @egress6
  }
"""


def render(ruleset: Ruleset, previous: frozenset[str] | None = None) -> str:
    """The text. Equal arguments give equal texts.

    `previous` are the chains of the ruleset that is loaded now (`chains`), whose table is changed in place; without
    them the table is replaced whatever it holds.
    """
    made, collections = _parts(ruleset)
    # Chains come before the maps that name them.
    body = [_DENY, *(made[name] for name in sorted(made)), *collections.values(), _HOOKS]
    if previous is None:
        return f"{REMOVE}table inet {TABLE} {{\n{''.join(body)}}}\n"
    emptied = [f"flush chain inet {TABLE} {name}" for name in ("deny", "forward", "input", *sorted(previous))]
    emptied += [f"flush {head.split()[0]} inet {TABLE} {head.split()[1]}" for head in collections]
    unused = [f"delete chain inet {TABLE} {name}" for name in sorted(previous - made.keys())]
    return "\n".join([*emptied, f"table inet {TABLE} {{\n{''.join(body)}}}", *unused, ""])


def chains(ruleset: Ruleset) -> frozenset[str]:
    """Names of the chains that `render` makes for these rules, besides those that are always there."""
    return frozenset(_parts(ruleset)[0])


def _parts(ruleset: Ruleset) -> tuple[dict[str, str], dict[str, str]]:
    """Chains by name, and maps and sets by their head."""
    made: dict[str, str] = {}
    collections = dict(
        [
            *_maps("ingress", "saddr", ruleset.ingress, made),
            *_maps("egress", "daddr", ruleset.egress, made),
            *_own(ruleset.own),
        ]
    )
    return made, collections


def _maps(
    direction: str, peer_field: str, isolations: Mapping[Address, Isolation], chains: dict[str, str]
) -> Iterator[tuple[str, str]]:
    elements: dict[int, list[str]] = {4: [], 6: []}
    for address in sorted(isolations, key=lambda a: (a.version, int(a))):
        isolation = isolations[address]
        chain = _chain_name(direction, isolation.allows)
        if chain not in chains:
            chains[chain] = _chain(chain, peer_field, isolation.allows)
        comment = isolation.pod[:_COMMENT_CHARS]
        elements[address.version].append(f'{address} comment "{comment}" : jump {chain}')
    yield _collection(f"map {direction}4", "ipv4_addr : verdict", elements[4])
    yield _collection(f"map {direction}6", "ipv6_addr : verdict", elements[6])


def _own(pairs: Iterable[tuple[Address, Address]]) -> Iterator[tuple[str, str]]:
    elements: dict[int, list[str]] = {4: [], 6: []}
    for source, destination in sorted(pairs, key=lambda pair: (pair[0].version, int(pair[0]), int(pair[1]))):
        elements[source.version].append(f"{source} . {destination}")
    yield _collection("set own4", "ipv4_addr . ipv4_addr", elements[4])
    yield _collection("set own6", "ipv6_addr . ipv6_addr", elements[6])


def _collection(head: str, kind: str, elements: list[str]) -> tuple[str, str]:
    listed = f"    elements = {{ {', '.join(elements)} }}\n" if elements else ""
    return head, f"  {head} {{\n    type {kind}\n{listed}  }}\n"


def _chain_name(direction: str, allows: Allows) -> str:
    return f"{direction}-{sha256(repr(allows).encode()).hexdigest()[:12]}"


def _chain(name: str, peer_field: str, allows: Allows) -> str:
    lines = [f"    {rule}\n" for allow in allows for rule in _rules(allow, peer_field)]
    return f"  chain {name} {{\n{''.join(lines)}    goto deny\n  }}\n"


def _rules(allow: Allow, peer_field: str) -> Iterator[str]:
    for peers in _peers(allow.peers, peer_field):
        for ports in _ports(allow.ports):
            yield " ".join((*peers, *ports, "return"))


def _peers(peers: Addresses | None, peer_field: str) -> Iterator[tuple[str, ...]]:
    if peers is None:
        yield ()
        return
    if peers.v4:
        yield ("ip", peer_field, _listed(peers.v4, IPv4Address))
    if peers.v6:
        yield ("ip6", peer_field, _listed(peers.v6, IPv6Address))


def _ports(ports: Ports | None) -> Iterator[tuple[str, ...]]:
    if ports is None:
        yield ()
        return
    for protocol, spans in ports.by_protocol().items():
        if spans:
            yield (protocol.lower(), "dport", _listed(spans, int))


def _listed(spans: Spans, shown: type[IPv4Address] | type[IPv6Address] | type[int]) -> str:
    texts = (f"{shown(first)}" if first == last else f"{shown(first)}-{shown(last)}" for first, last in spans)
    return f"{{ {', '.join(texts)} }}"
