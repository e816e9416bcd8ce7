"""hosts: who may reach a node from a pod. Whoever can is past every control of the pods on that node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, warn
from mlprivacy.kube.resources import NAMESPACES, PODS

_LEVEL = "pod-security.kubernetes.io/enforce"
_SAFE = ("baseline", "restricted")
_SYSTEM = ("kube-system", "kube-public", "kube-node-lease")
_SHOWN = 5


async def _run(site: Site) -> AsyncIterator[Found]:
    namespaces = await site.client.list(NAMESPACES)
    governed = {n["metadata"]["name"] for n in namespaces if LABEL_ENFORCE in (n["metadata"].get("labels") or {})}
    if not governed:
        return  # the check of namespaces says so
    found = False
    for name in sorted(governed):
        for pod in await site.client.list(PODS, name):
            if fields := reaches_node(pod["spec"]):
                found = True
                yield bad(
                    f"the pod {name}/{pod['metadata']['name']} reaches its node ({', '.join(fields)}), and with it "
                    "every governed pod there",
                    "delete it; it was made before the namespace was governed, or by someone with the verb weaken",
                )
    if not found:
        yield ok("no pod of a governed namespace reaches its node")
    others = sorted(
        n["metadata"]["name"]
        for n in namespaces
        if n["metadata"]["name"] not in (*governed, *_SYSTEM, site.namespace)
        and (n["metadata"].get("labels") or {}).get(_LEVEL) not in _SAFE
    )
    if others:
        rest = len(others) - _SHOWN
        some = ", ".join(others[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
        yield warn(
            f"whoever may create pods in {some} can reach a node, and with it governed pods that run there: these "
            "namespaces are not governed and demand no level of Pod Security",
            f"kubectl label namespace NAME {_LEVEL}=baseline, where nothing needs more; or give governed pods nodes of "
            "their own",
        )
    else:
        yield ok("every other namespace demands at least the Pod Security level baseline")


def reaches_node(spec: Mapping[str, Any]) -> list[str]:
    """The fields by which a pod reaches its node."""
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    if any("hostPath" in volume for volume in spec.get("volumes") or []):
        found.append("hostPath")
    groups = ("initContainers", "containers", "ephemeralContainers")
    containers = [c for group in groups for c in spec.get(group) or []]
    if any((c.get("securityContext") or {}).get("privileged") for c in containers):
        found.append("privileged")
    return found


CHECK = Check("hosts", 76, "who may reach a node from a pod", _run)
