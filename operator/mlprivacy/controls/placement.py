"""Placement: where a decision binds a job to regions, the scheduler may choose only nodes there."""

from __future__ import annotations

from typing import Any

from mlprivacy.controls.base import Control
from mlprivacy.workloads.context import RenderContext

REGION_KEY = "topology.kubernetes.io/region"


def _pod(context: RenderContext, pod: dict[str, Any]) -> None:
    regions = context.obligations.regions
    if regions is None:
        return
    wanted = {"key": REGION_KEY, "operator": "In", "values": list(regions)}
    affinity = pod["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": [{}]})
    # Terms are alternatives, so the region goes into every one of them.
    for term in required.get("nodeSelectorTerms") or []:
        term.setdefault("matchExpressions", []).append(dict(wanted))


CONTROL = Control(id="placement", order=60, pod=_pod)
