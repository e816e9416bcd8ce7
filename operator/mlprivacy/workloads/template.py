"""The pod template a workload begins with: the listed fields of the user's template, and guarded labels."""

from __future__ import annotations

import copy
from typing import Any

from mlprivacy.api import names
from mlprivacy.policy.template import prune_template
from mlprivacy.workloads.context import RenderContext, container_list


def base_pod(context: RenderContext) -> dict[str, Any]:
    """A fresh pod template: nothing but listed fields, no label of the user's."""
    pruned = copy.deepcopy(prune_template(context.spec.template))
    spec: dict[str, Any] = pruned.get("spec") or {}
    metadata = pruned.get("metadata") or {}
    annotations = {str(k): str(v) for k, v in (metadata.get("annotations") or {}).items()}
    annotations[names.ANNOTATION_DECISION] = context.decision.digest
    containers = container_list(spec, "containers")
    if containers:
        annotations["kubectl.kubernetes.io/default-container"] = str(containers[0].get("name", ""))
    return {
        "metadata": {"labels": context.labels(attempt=context.kind == "TrainingJob"), "annotations": annotations},
        "spec": spec,
    }
