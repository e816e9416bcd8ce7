"""nodes: simulated nodes prove objects and order, never a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sized

from mlprivacy.cli.checks.base import Check, Found, Site, ok, warn
from mlprivacy.kube.client import Object
from mlprivacy.kube.resources import DEPLOYMENTS, NODES

_FLAG = "--simulated-nodes"


async def _run(site: Site) -> AsyncIterator[Found]:
    nodes = await site.client.list(NODES)
    simulated = sorted(n["metadata"]["name"] for n in nodes if is_simulated(n))
    controller = await site.find(DEPLOYMENTS, "mlprivacy-controller", site.namespace)
    told = controller is not None and _FLAG in str(controller["spec"]["template"]["spec"])
    if simulated:
        some = f"{', '.join(simulated[:3])}{', ...' if len(simulated) > 3 else ''}"
        are = "is" if len(simulated) == 1 else "are"
        yield warn(
            f"{len(simulated)} of {_count(nodes)} {are} simulated ({some}): pods there prove objects and order, never "
            "a process",
            "use real nodes for anything but development",
        )
    elif told:
        yield warn(f"the controller runs with {_FLAG}, and the nodes are real: no heartbeat is expected", "turn it off")
    elif nodes:
        yield ok(f"{_count(nodes)}, none of them simulated")
    else:
        yield warn("there is no node, so no pod can start", "add one")


def _count(nodes: Sized) -> str:
    return f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"


def is_simulated(node: Object) -> bool:
    """True for a node played by kwok."""
    metadata = node["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return "kwok.x-k8s.io/node" in annotations or labels.get("type") == "kwok"


CHECK = Check("nodes", 80, "whether pods are real", _run)
