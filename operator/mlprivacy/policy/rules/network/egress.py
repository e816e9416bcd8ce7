"""egress: a job reaches nothing but what a policy lists, and nothing at all where a class seals it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Demand, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, missing, oblige


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Seals egress as the strictest class says, and holds when the allow-list can not be read."""
    sealed = not case.classes or any(c.spec.network.egress == "Sealed" for c in case.classes)
    yield oblige(Demand.EGRESS, "Sealed" if sealed else "Allowlist")
    if sealed:
        return
    for entry in case.words("egress", "allow"):
        try:
            parse_entry(entry)
        except ValueError as problem:
            yield missing(
                "metadata.namespace",
                f"the policy's egress.allow has {entry!r}: {problem}",
                "ask the privacy office to write it as CIDR:PORT, such as 192.0.2.0/24:443",
            )


def parse_entry(entry: str) -> tuple[str, int]:
    """``192.0.2.0/24:443`` -> network and TCP port.

    Raises:
        ValueError: when it is not of that form.
    """
    network, _, port = entry.rpartition(":")
    cidr = str(ipaddress.ip_network(network.strip("[]"), strict=True))
    if not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"{port!r} is no port")
    return cidr, int(port)


def readable(entry: str) -> bool:
    """True when the entry can be rendered; in softer modes an unreadable one is only warned of, and opens nothing."""
    try:
        parse_entry(entry)
    except ValueError:
        return False
    return True


RULE = Rule(
    id="egress",
    family="network",
    action=Action.DENY,
    reason="What a job can not reach it can not send data to.",
    citations=("GDPR 32", "DPDP r.6(1)(b)"),
    remedy="bring what the job needs in through its image; egress is closed",
    check=check,
    parameters=(
        Parameter(
            "allow",
            "list",
            (),
            "CIDR:PORT pairs (TCP) that a job may reach where no class seals egress, comma-separated.",
            "intersection",
        ),
    ),
)
