"""Storage: scratch that dies with the pod; the data's place, read-only; the output's place."""

from __future__ import annotations

from typing import Any

from mlprivacy.api import names
from mlprivacy.controls.base import Control
from mlprivacy.workloads.context import RenderContext, container_list

VOLUME_TMP = "mlprivacy-tmp"
VOLUME_OUTPUT = "mlprivacy-output"
VOLUME_DATA = "mlprivacy-data-"


def _pod(context: RenderContext, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    medium: dict[str, Any] = {"medium": "Memory"} if context.obligations.scratch_in_memory else {}
    volumes = [v for v in spec.get("volumes") or [] if isinstance(v, dict)]
    if context.obligations.scratch_in_memory:
        for volume in volumes:
            if isinstance(volume.get("emptyDir"), dict):
                volume["emptyDir"]["medium"] = "Memory"
    mounts: list[dict[str, Any]] = []
    volumes.append({"name": VOLUME_TMP, "emptyDir": dict(medium)})
    if context.kind == "TrainingJob":
        for index, dataset in enumerate(context.training.datasets):
            volumes.append({"name": f"{VOLUME_DATA}{index}", "emptyDir": dict(medium)})
            mounts.append({"name": f"{VOLUME_DATA}{index}", "mountPath": dataset.mount_path, "readOnly": True})
        volumes.append({"name": VOLUME_OUTPUT, "emptyDir": dict(medium)})
        mounts.append({"name": VOLUME_OUTPUT, "mountPath": context.training.output.path})
        # The trainer reaches the accountant's socket here, and nothing else of the sidecar's.
        mounts.append({"name": names.VOLUME_RUN, "mountPath": names.MOUNT_RUN})
    spec["volumes"] = volumes
    for group in ("initContainers", "containers"):
        for container in container_list(spec, group):
            own = [m for m in container.get("volumeMounts") or [] if isinstance(m, dict)]
            if not any(str(m.get("mountPath", "")).rstrip("/") == "/tmp" for m in own):  # noqa: S108
                own.append({"name": VOLUME_TMP, "mountPath": "/tmp"})  # noqa: S108
            container["volumeMounts"] = own + [dict(m) for m in mounts]


CONTROL = Control(id="storage", order=40, pod=_pod)
