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
    affinity = _mapping(_mapping(pod["spec"].get("affinity")).get("nodeAffinity"))
    required = _mapping(affinity.get("requiredDuringSchedulingIgnoredDuringExecution"))
    asked = required.get("nodeSelectorTerms")
    # Terms are alternatives, so the region goes into every one of them. What is no term is left out.
    terms = [dict(term) for term in asked if isinstance(term, dict)] if isinstance(asked, list) else []
    terms = terms or [{}]
    for term in terms:
        expressions = term.get("matchExpressions")
        term["matchExpressions"] = [*(expressions if isinstance(expressions, list) else []), dict(wanted)]
    required["nodeSelectorTerms"] = terms
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required
    pod["spec"]["affinity"] = {"nodeAffinity": affinity}


def _mapping(value: Any) -> dict[str, Any]:
    """A copy of a map; an empty one for anything else that a template may hold there."""
    return dict(value) if isinstance(value, dict) else {}


CONTROL = Control(id="placement", order=60, pod=_pod)
