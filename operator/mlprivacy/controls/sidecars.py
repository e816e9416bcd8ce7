"""Sidecars: the seal probe as the first init step, then the accountant or the gateway as a native sidecar."""

from __future__ import annotations

from typing import Any

from mlprivacy.api import names
from mlprivacy.controls.base import Control
from mlprivacy.controls.hardening import restricted
from mlprivacy.workloads.context import RenderContext, container_list

# Requests equal limits, so that a Guaranteed pod stays Guaranteed. The limit decides how long a start takes: imports
# are 0.1 s of a core (2.7 s at 50m), and the pod waits for both in turn. The probe's share costs nothing later: an init
# container's request counts only where it exceeds what runs afterwards.
_SEAL = {"cpu": "250m", "memory": "96Mi"}
_SIDECAR = {"cpu": "150m", "memory": "96Mi"}
_SIDECAR_IN_MEMORY = {"cpu": "150m", "memory": "160Mi"}  # its log is memory of its own, up to its limit of 48 MiB
_KEY = {"name": names.VOLUME_KEY, "mountPath": names.MOUNT_KEY}


def _resources(size: dict[str, str]) -> dict[str, Any]:
    return {"requests": dict(size), "limits": dict(size)}


def _environment(context: RenderContext, extra: dict[str, str]) -> list[dict[str, str]]:
    values = {names.ENV_ATTEMPT: names.attempt_id(context.uid, context.attempt), **extra}
    return [{"name": name, "value": value} for name, value in values.items()]


def seal_probe(context: RenderContext) -> dict[str, Any]:
    """Waits until the canary, which the collector confirms alive, is refused; fails the pod when it never is."""
    settings = context.settings
    return {
        "name": names.CONTAINER_SEAL,
        "image": settings.dataplane_image,
        "args": ["seal"],
        "env": _environment(
            context,
            {
                names.ENV_CANARY: settings.canary,
                names.ENV_SEAL_KEY: settings.seal_key,
                names.ENV_SEAL_DEADLINE: str(settings.seal_deadline_seconds),
            },
        ),
        "ports": [{"name": "mlp-seal", "containerPort": names.PORT_SEAL, "protocol": "TCP"}],
        "resources": _resources(_SEAL),
        "securityContext": restricted(names.UID_SIDECAR),
        "volumeMounts": [dict(_KEY)],
        # Its last words decide what the job's status says; where it ends without any, the end of its log will do.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def sidecar(context: RenderContext, trainer_uid: int) -> dict[str, Any]:
    """The accountant of training, or the gateway of inference: started and healthy before the user's container."""
    training = context.kind == "TrainingJob"
    ports = [{"name": "mlp-sidecar", "containerPort": names.PORT_SIDECAR, "protocol": "TCP"}]
    extra: dict[str, str] = {names.ENV_PEER_UID: str(trainer_uid)} if training else {}
    if not training:
        ports.append({"name": "mlp-gateway", "containerPort": context.inference.port, "protocol": "TCP"})
        extra[names.ENV_GATEWAY_PORT] = str(context.inference.port)
    return {
        "name": names.CONTAINER_ACCOUNTANT if training else names.CONTAINER_GATEWAY,
        "image": context.settings.dataplane_image,
        "args": ["accountant" if training else "gateway"],
        "restartPolicy": "Always",
        "env": _environment(context, extra),
        "ports": ports,
        "startupProbe": {
            "httpGet": {"path": "/startupz", "port": names.PORT_SIDECAR},
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        # No liveness probe: whatever the pod does, its sidecar is not started anew, since the program could take its
        # port meanwhile.
        # Patient, since a program that floods its sidecar on a busy node would otherwise make it look away.
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": names.PORT_SIDECAR},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        },
        "resources": _resources(_SIDECAR_IN_MEMORY if context.obligations.scratch_in_memory else _SIDECAR),
        "securityContext": restricted(names.UID_SIDECAR),
        "volumeMounts": [
            {"name": names.VOLUME_RUN, "mountPath": names.MOUNT_RUN},
            {"name": names.VOLUME_LOG, "mountPath": names.MOUNT_LOG},
            {**_KEY, "readOnly": True},
        ],
    }


def _pod(context: RenderContext, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    medium: dict[str, Any] = {"medium": "Memory"} if context.obligations.scratch_in_memory else {}
    spec["volumes"] = [
        *(spec.get("volumes") or []),
        {"name": names.VOLUME_RUN, "emptyDir": {"medium": "Memory"}},
        {"name": names.VOLUME_KEY, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": names.VOLUME_LOG, "emptyDir": {**medium, "sizeLimit": "256Mi"}},
    ]
    # The first container is the trainer: the accountant takes steps from its user id alone.
    containers = container_list(spec, "containers")
    trainer = int(containers[0]["securityContext"]["runAsUser"]) if containers else names.UID_WORKLOAD
    spec["initContainers"] = [seal_probe(context), sidecar(context, trainer), *(spec.get("initContainers") or [])]


# After storage and hardening, which act on the user's containers alone.
CONTROL = Control(id="sidecars", order=90, pod=_pod)
