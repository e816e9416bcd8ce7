"""An InferenceJob becomes a Deployment; its only open port is the gateway's."""

from __future__ import annotations

from typing import Any

from mlprivacy.workloads.context import RenderContext, container_list
from mlprivacy.workloads.template import base_pod


class ModelServer:
    """apps/v1 Deployment."""

    kind = "InferenceJob"
    resource_kind = "Deployment"

    def name(self, context: RenderContext) -> str:
        """``mlp-NAME``."""
        return context.object_name

    def pod(self, context: RenderContext) -> dict[str, Any]:
        """The user's template; the first container runs the model's image unless it names its own."""
        pod = base_pod(context)
        pod["spec"]["restartPolicy"] = "Always"
        containers = container_list(pod["spec"], "containers")
        if containers and context.inference.model.image:
            containers[0].setdefault("image", context.inference.model.image)
        return pod

    def wrap(self, context: RenderContext, pod: dict[str, Any]) -> dict[str, Any]:
        """The Deployment; suspended means no replica."""
        replicas = 0 if context.inference.suspend else context.inference.replicas
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": context.metadata(self.name(context)),
            "spec": {
                "replicas": replicas,
                "revisionHistoryLimit": 2,
                "selector": context.pod_selector(),
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": pod,
            },
        }


WORKLOAD = ModelServer()
