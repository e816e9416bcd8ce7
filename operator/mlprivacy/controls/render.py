"""render(context) -> objects. Pure: the same decision gives the same objects, in the order in which they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlprivacy.controls.base import all_controls
from mlprivacy.workloads.base import workload_for
from mlprivacy.workloads.context import RenderContext


@dataclass(frozen=True)
class Rendered:
    """``controls`` are made and read back first, in this order; ``workload`` is created last."""

    controls: tuple[dict[str, Any], ...]
    workload: dict[str, Any]

    @property
    def pod(self) -> dict[str, Any]:
        """The Pod that the workload will make, for a strict dry-run."""
        template = self.workload["spec"]["template"]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                # No fixed name: whoever may create pods could take it first, and the dry-run would fail.
                "generateName": self.workload["metadata"]["name"] + "-",
                "namespace": self.workload["metadata"]["namespace"],
                **template["metadata"],
            },
            "spec": template["spec"],
        }


def render(context: RenderContext) -> Rendered:
    """Everything that one job needs.

    Args:
        context: the job with an allowing decision.

    Returns:
        fresh objects; nothing of ``context`` is shared with them.
    """
    workload = workload_for(context.kind)
    pod = workload.pod(context)
    controls = all_controls()
    for control in controls:
        control.pod(context, pod)
    objects = tuple(item for control in controls for item in control.objects(context))
    return Rendered(objects, workload.wrap(context, pod))
