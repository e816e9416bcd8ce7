"""A TrainingJob becomes a batch/v1 Job: one pod, one attempt, never retried without a decision."""

from __future__ import annotations

from typing import Any

from mlprivacy.api import names
from mlprivacy.workloads.context import RenderContext
from mlprivacy.workloads.template import base_pod


class BatchJob:
    """batch/v1 Job of one attempt."""

    kind = "TrainingJob"
    resource_kind = "Job"

    def name(self, context: RenderContext) -> str:
        """``mlp-NAME-ATTEMPT``."""
        return f"{context.object_name}-{context.attempt}"

    def pod(self, context: RenderContext) -> dict[str, Any]:
        """The user's template; restarts are new attempts, which the operator decides on."""
        pod = base_pod(context)
        pod["spec"]["restartPolicy"] = "Never"
        if context.gated:
            pod["spec"]["schedulingGates"] = [{"name": names.GATE_BUDGET}]
        return pod

    def wrap(self, context: RenderContext, pod: dict[str, Any]) -> dict[str, Any]:
        """The Job. It has no ttl of its own: the operator deletes, after the pods are gone.

        It selects its pods by guarded labels. By the label that the API server would choose (controller-uid), which
        anybody may put on a pod, a stranger's pod would be adopted and its success would end the training.
        """
        guarded = (names.LABEL_RENDERED, names.LABEL_JOB_UID, names.LABEL_ATTEMPT)
        spec: dict[str, Any] = {
            "manualSelector": True,
            "selector": {"matchLabels": {key: pod["metadata"]["labels"][key] for key in guarded}},
            "backoffLimit": 0,
            "parallelism": 1,
            "completions": 1,
            "completionMode": "NonIndexed",
            "podReplacementPolicy": "Failed",
            "suspend": context.training.suspend,
            "template": pod,
        }
        if context.training.active_deadline_seconds is not None:
            spec["activeDeadlineSeconds"] = context.training.active_deadline_seconds
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": context.metadata(self.name(context), attempt=True),
            "spec": spec,
        }


WORKLOAD = BatchJob()
