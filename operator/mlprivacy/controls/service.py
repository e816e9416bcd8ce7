"""Service: the only way to a model server is the gateway's port."""

from __future__ import annotations

from typing import Any

from mlprivacy.controls.base import Control
from mlprivacy.workloads.context import RenderContext


def _objects(context: RenderContext) -> tuple[dict[str, Any], ...]:
    if context.kind != "InferenceJob":
        return ()
    port = context.inference.port
    return (
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": context.metadata(context.object_name),
            "spec": {
                "type": "ClusterIP",
                "selector": context.pod_selector()["matchLabels"],
                "ports": [{"name": "gateway", "port": port, "targetPort": port, "protocol": "TCP"}],
            },
        },
    )


CONTROL = Control(id="service", order=70, objects=_objects)
