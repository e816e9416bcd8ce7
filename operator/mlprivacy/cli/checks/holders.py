"""holders: who may weaken what protects people, and who may approve what others ask for, as the bindings say.

No such resource is served, so `kubectl auth can-i` says no whoever asks. The guards ask the API server with the group
of the resource and without a namespace: only what a ClusterRoleBinding gives counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from mlprivacy.api.names import GROUP, WEAKEN_RESOURCE, WEAKEN_VERB
from mlprivacy.cli.checks.base import Check, Found, Site, ok, warn
from mlprivacy.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES

APPROVE_VERB: Final = "approve"
ASKED: Final = (
    (WEAKEN_VERB, WEAKEN_RESOURCE.split(".", maxsplit=1)[0]),
    (APPROVE_VERB, "policyexceptions"),
    (APPROVE_VERB, "privacybudgets"),
)
_EVERYBODY: Final = ("system:authenticated", "system:unauthenticated", "system:serviceaccounts")


async def _run(site: Site) -> AsyncIterator[Found]:
    roles = {r["metadata"]["name"]: r.get("rules") or [] for r in await site.client.list(CLUSTERROLES)}
    bindings = await site.client.list(CLUSTERROLEBINDINGS)
    for verb, resource in ASKED:
        held = holders(roles, bindings, verb, resource)
        what = f"the verb {verb} on {resource}.{GROUP}"
        if not held:
            yield warn(
                f"nobody holds {what} by a binding",
                "bind the ClusterRole mlprivacy-privacy-officer to the group of your privacy office",
            )
            continue
        text = "; ".join(f"{who} (by {', '.join(by)})" for who, by in held.items())
        if wide := [who for who in held if who.split(" ", 1)[1].startswith(_EVERYBODY)]:
            yield warn(f"{what} is held by {', '.join(wide)}, so by everybody there. All: {text}", "unbind that")
        else:
            yield ok(f"{what} is held by {text}")


def holders(
    roles: Mapping[str, Iterable[Mapping[str, Any]]], bindings: Iterable[Mapping[str, Any]], verb: str, resource: str
) -> dict[str, list[str]]:
    """Who holds a verb in the whole cluster, as ``Group privacy-office``, and by which ClusterRoles."""
    giving = {name for name, rules in roles.items() if any(_gives(rule, verb, resource) for rule in rules)}
    held: dict[str, list[str]] = {}
    for binding in bindings:
        role = binding["roleRef"]["name"]
        for subject in binding.get("subjects") or () if role in giving else ():
            place = f"{subject['namespace']}/" if subject.get("namespace") else ""
            by = held.setdefault(f"{subject['kind']} {place}{subject['name']}", [])
            if role not in by:
                by.append(role)
    return dict(sorted(held.items()))


def _gives(rule: Mapping[str, Any], verb: str, resource: str) -> bool:
    """A rule that names single objects counts too: it gives the verb for these."""
    return all(
        {wanted, "*"} & set(rule.get(key) or ())
        for key, wanted in (("apiGroups", GROUP), ("resources", resource), ("verbs", verb))
    )


CHECK = Check("holders", 76, "who may weaken and who may approve", _run)
