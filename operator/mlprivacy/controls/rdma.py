"""RDMA: where a decision takes it away, the pod has neither the device nor the further networks, and NCCL knows."""

from __future__ import annotations

from typing import Any

from mlprivacy.controls.base import Control
from mlprivacy.policy.fabric.asks import NETWORKS, is_rdma_name
from mlprivacy.workloads.context import RenderContext, container_list

VARIABLE = "NCCL_IB_DISABLE"


def _pod(context: RenderContext, pod: dict[str, Any]) -> None:
    removed = context.obligations.rdma_removed
    if removed is None:
        return
    annotations = pod["metadata"].get("annotations")
    if isinstance(annotations, dict):
        annotations.pop(NETWORKS, None)
    for group in ("initContainers", "containers"):
        for container in container_list(pod["spec"], group):
            resources = container.get("resources")
            for part in ("limits", "requests"):
                asked = resources.get(part) if isinstance(resources, dict) else None
                if isinstance(resources, dict) and isinstance(asked, dict):
                    resources[part] = {k: v for k, v in asked.items() if k not in removed and not is_rdma_name(str(k))}
            env = container.get("env")
            asked_env = env if isinstance(env, list) else []
            kept = [e for e in asked_env if not isinstance(e, dict) or e.get("name") != VARIABLE]
            container["env"] = [*kept, {"name": VARIABLE, "value": "1"}]


# Before the sidecars, which are ours and never ask for a device.
CONTROL = Control(id="rdma", order=45, pod=_pod)
