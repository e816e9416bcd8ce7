"""What runs in a job's pods: the program, whatever a probe says of the pod, and the sidecar beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlprivacy.api import names
from mlprivacy.api.reasons import POD_WAITS, Reason
from mlprivacy.kube.waiting import Waiting, waiting_of

_SIDECARS: Final = (names.CONTAINER_ACCOUNTANT, names.CONTAINER_GATEWAY)


def running_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a pod's status says, in few bytes: ``runs`` when a container of the user's does; ``down`` names the sidecar
    that does not meanwhile; ``restarted`` when the gateway was started more than once;
    ``waits`` is why nothing of the user's runs, in the words of kubelet or scheduler.
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
    if not found.get("runs") and (why := waiting_of(status)):
        found["waits"] = [why.reason, why.message]
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


def waiting(pods: Sequence[Mapping[str, Any]]) -> tuple[Reason, str] | None:
    """Why the first of them that waits does not get to run: a reason for the conditions, and the sentence."""
    for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"])):
        found = (pod.get("status") or {}).get("waits")
        if found and "deletionTimestamp" not in pod["metadata"]:
            why = Waiting(*found)
            reason = Reason(why.reason) if why.reason in POD_WAITS else Reason.POD_WAITING
            return reason, f"the pod {pod['metadata']['name']} waits: {why.sentence()}"
    return None
