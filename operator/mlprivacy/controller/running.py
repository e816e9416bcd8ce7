"""What runs in a job's pods: the program, whatever a probe says of the pod, and the sidecar beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlprivacy.api import names

_SIDECARS: Final = (names.CONTAINER_ACCOUNTANT, names.CONTAINER_GATEWAY)


def running_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a pod's status says, in few bytes: ``runs`` when a container of the user's does; ``down`` names the sidecar
    that does not meanwhile; ``restarted`` when the gateway was started more than once.
    """
    found: dict[str, Any] = {}
    if any("running" in (c.get("state") or {}) for c in status.get("containerStatuses") or ()):
        found["runs"] = True
    for container in status.get("initContainerStatuses") or ():
        name, state = container.get("name"), container.get("state") or {}
        if name not in _SIDECARS:
            continue
        if found.get("runs") and "running" not in state and state:
            found["down"] = name
        if name == names.CONTAINER_GATEWAY and container.get("restartCount"):
            found["restarted"] = True
    return found


def runs(pods: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a container of the user's runs in any of them. That the pod is not ready says nothing of that."""
    return any((p.get("status") or {}).get("runs") for p in pods)


def down(pods: Sequence[Mapping[str, Any]]) -> str:
    """The sentence for a program that runs while its sidecar does not; empty where none does so."""
    for pod in pods:
        found = (pod.get("status") or {}).get("down")
        if found and "deletionTimestamp" not in pod["metadata"]:
            return (
                f"it runs, and its sidecar {found} does not; kubectl describe pod says why, the kubelet tries it again"
            )
    return ""


def restarted(pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The pods whose gateway was started more than once: meanwhile the program may have taken its port."""
    return [
        pod
        for pod in pods
        if (pod.get("status") or {}).get("restarted")
        and "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
    ]
