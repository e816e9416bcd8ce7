"""Hardening: the restricted profile of Pod Security, set on the pod and on every container of the user's."""

from __future__ import annotations

from typing import Any

from mlprivacy.api import names
from mlprivacy.controls.base import Control
from mlprivacy.workloads.context import RenderContext, container_list


def restricted(uid: int) -> dict[str, Any]:
    """A container security context: not root, no new privileges, read-only root, every capability dropped."""
    return {
        "runAsUser": uid,
        "runAsGroup": names.GID_POD,
        "runAsNonRoot": True,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _uid(context: dict[str, Any], key: str, default: int) -> int:
    value = context.get(key)
    valid = isinstance(value, int) and not isinstance(value, bool) and value > 0 and value != names.UID_SIDECAR
    return int(value) if valid and value is not None else default


def _pod(context: RenderContext, pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    asked = spec.get("securityContext") if isinstance(spec.get("securityContext"), dict) else {}
    uid = _uid(asked, "runAsUser", names.UID_WORKLOAD)
    gid = _uid(asked, "runAsGroup", names.GID_POD)
    spec["securityContext"] = {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "fsGroup": names.GID_POD,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec["terminationGracePeriodSeconds"] = context.settings.grace_seconds
    for group in ("initContainers", "containers"):
        for container in container_list(spec, group):
            own = container.get("securityContext")
            own = own if isinstance(own, dict) else {}
            container["securityContext"] = {
                **restricted(_uid(own, "runAsUser", uid)),
                "runAsGroup": _uid(own, "runAsGroup", gid),
            }


CONTROL = Control(id="hardening", order=50, pod=_pod)
