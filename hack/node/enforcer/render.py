"""Write a `Ruleset` as text for `nft -f -` that replaces the enforcer's own table, no other, in one transaction.

Two maps by pod address lead to one chain per distinct set of rules, so that the cost of a packet does not grow with the
number of pods. Replies never get that far. A chain returns for what it allows and goes to `deny` for the rest.

A table that is there is changed in place, and only where it differs. Were it deleted and made anew, even in one
transaction, a packet on its way through the old rules would miss in the old maps and pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from node.enforcer.model import Addresses, Allow, Allows, Ports, Ruleset
from node.enforcer.spans import Spans

TABLE: Final = "mlprivacy_enforcer"
# nft refuses longer ones.
_COMMENT_CHARS: Final = 120

REMOVE: Final = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
"""Deletes the table, whether it is there or not."""

_TYPES: Final = {
    "ingress4": ("map", "ipv4_addr : verdict"),
    "ingress6": ("map", "ipv6_addr : verdict"),
    "egress4": ("map", "ipv4_addr : verdict"),
    "egress6": ("map", "ipv6_addr : verdict"),
    "own4": ("set", "ipv4_addr . ipv4_addr"),
    "own6": ("set", "ipv6_addr . ipv6_addr"),
}
_PEER_FIELDS: Final = {"ingress": "saddr", "egress": "daddr"}
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


@dataclass(frozen=True)
class Table:
    """What the table holds besides its hooks: text by name."""

    chains: Mapping[str, str]
    """One chain per distinct set of rules. The name says what is in it: equal names, equal chains."""
    elements: Mapping[str, Mapping[str, str]]
    """Per map or set its elements: by key, what follows the key."""


def lay_out(ruleset: Ruleset) -> Table:
    """The table of a ruleset. Equal rulesets give equal tables."""
    names: dict[tuple[str, Allows], str] = {}
    elements: dict[str, dict[str, str]] = {name: {} for name in _TYPES}
    for direction, isolations in (("ingress", ruleset.ingress), ("egress", ruleset.egress)):
        for address, isolation in isolations.items():
            key = (direction, isolation.allows)
            if key not in names:
                names[key] = f"{direction}-{_digest(isolation.allows)}"
            comment = isolation.pod[:_COMMENT_CHARS]
            elements[f"{direction}{address.version}"][str(address)] = f' comment "{comment}" : jump {names[key]}'
    for source, destination in ruleset.own:
        elements[f"own{source.version}"][f"{source} . {destination}"] = ""
    chains = {name: _chain(name, _PEER_FIELDS[direction], allows) for (direction, allows), name in names.items()}
    return Table(chains, elements)


def replace(table: Table) -> str:
    """Text that puts this table in the place of whatever is there."""
    collections = (_collection(name, table.elements[name]) for name in _TYPES)
    # Chains come before the maps that name them.
    body = [_DENY, *(table.chains[name] for name in sorted(table.chains)), *collections, _HOOKS]
    return f"{REMOVE}table inet {TABLE} {{\n{''.join(body)}}}\n"


def change(before: Table, after: Table) -> str:
    """Text that makes `after` of a table that is `before`; it touches nothing that stays. Empty if all stays."""
    new = [after.chains[name] for name in sorted(after.chains.keys() - before.chains.keys())]
    lines = [f"table inet {TABLE} {{\n{''.join(new)}}}"] if new else []
    for name in _TYPES:
        old, wanted = before.elements[name], after.elements[name]
        out = sorted(key for key in old if wanted.get(key) != old[key])
        into = sorted(key for key in wanted if old.get(key) != wanted[key])
        if out:
            lines.append(f"delete element inet {TABLE} {name} {{ {', '.join(out)} }}")
        if into:
            lines.append(f"add element inet {TABLE} {name} {{ {', '.join(key + wanted[key] for key in into)} }}")
    lines += [f"delete chain inet {TABLE} {name}" for name in sorted(before.chains.keys() - after.chains.keys())]
    return "".join(f"{line}\n" for line in lines)


def _collection(name: str, elements: Mapping[str, str]) -> str:
    listed = ", ".join(key + elements[key] for key in sorted(elements))
    return f"  {_TYPES[name][0]} {name} {{\n    type {_TYPES[name][1]}\n" + (
        f"    elements = {{ {listed} }}\n  }}\n" if listed else "  }\n"
    )


def _digest(allows: Allows) -> str:
    return sha256(repr(allows).encode()).hexdigest()[:16]


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
