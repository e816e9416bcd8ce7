"""Identity: each job has an account of its own, without a token and without any right."""

from __future__ import annotations

from typing import Any

from mlprivacy.controls.base import Control
from mlprivacy.workloads.context import RenderContext


def _objects(context: RenderContext) -> tuple[dict[str, Any], ...]:
    return (
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": context.metadata(context.object_name),
            "automountServiceAccountToken": False,
        },
    )


def _pod(context: RenderContext, pod: dict[str, Any]) -> None:
    pod["spec"]["serviceAccountName"] = context.object_name
    pod["spec"]["automountServiceAccountToken"] = False
    pod["spec"]["enableServiceLinks"] = False


CONTROL = Control(id="identity", order=20, objects=_objects, pod=_pod)
