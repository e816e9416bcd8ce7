"""namespaces: which are governed and how hard, and whether a foreign NetworkPolicy opens what the operator closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlprivacy.api.names import LABEL_ENFORCE, LABEL_MANAGED_BY, LABEL_RENDERED, MANAGED_BY
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, warn
from mlprivacy.kube.resources import NAMESPACES, NETWORKPOLICIES

_MODES = ("enforce", "warn", "audit")


async def _run(site: Site) -> AsyncIterator[Found]:
    governed: dict[str, str] = {
        n["metadata"]["name"]: n["metadata"]["labels"][LABEL_ENFORCE]
        for n in await site.client.list(NAMESPACES, label_selector=LABEL_ENFORCE)
    }
    if not governed:
        yield warn(
            "no namespace is governed, so every job is held",
            f"label one: kubectl label namespace NAME {LABEL_ENFORCE}=enforce",
        )
        return
    for mode in _MODES:
        names = sorted(name for name, value in governed.items() if value == mode)
        if names:
            yield ok(f"{mode}: {', '.join(names)}")
    for name, value in sorted(governed.items()):
        if value not in _MODES:
            yield bad(
                f"{name} is labelled {value!r}, which is no mode: jobs are judged as under enforce, and no webhook or "
                "guard is bound there",
                f"label it with one of {', '.join(_MODES)}",
            )
    for name in sorted(governed):
        foreign = [p for p in await site.client.list(NETWORKPOLICIES, name) if opens(p)]
        for policy in foreign:
            yield bad(
                f"the NetworkPolicy {name}/{policy['metadata']['name']} also selects the operator's pods; policies add "
                "up, so it opens what was closed",
                f"add to its podSelector: matchExpressions: [{{key: {LABEL_RENDERED}, operator: DoesNotExist}}]",
            )


def opens(policy: Mapping[str, Any]) -> bool:
    """True for a policy that is not the operator's and does not exclude rendered pods."""
    if (policy["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGED_BY:
        return False
    expressions = (policy["spec"].get("podSelector") or {}).get("matchExpressions") or []
    return {"key": LABEL_RENDERED, "operator": "DoesNotExist"} not in [
        {"key": e.get("key"), "operator": e.get("operator")} for e in expressions
    ]


CHECK = Check("namespaces", 70, "what is governed, and how hard", _run)
