"""Why a pod does not get to run, in the words of the scheduler or of the kubelet. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# What every pod says while it starts.
_ON_ITS_WAY: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class Waiting:
    """``reason`` is a word such as Unschedulable or ImagePullBackOff; ``message`` may be empty."""

    reason: str
    message: str

    def sentence(self) -> str:
        """Both, as a person reads them."""
        return f"{self.reason}: {self.message}" if self.message else self.reason


def waiting_of(status: Mapping[str, Any]) -> Waiting | None:
    """What keeps a pod with this status from running; None when nothing does, or nothing that lasts."""
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason") or "")
        if reason not in _ON_ITS_WAY:
            name = str(container.get("name") or "")
            message = _plain(waiting.get("message"))
            return Waiting(reason, f"container {name}: {message}" if message else f"container {name}")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False" and condition.get("reason"):
            return Waiting(str(condition["reason"]), _plain(condition.get("message")))
    return None


def _plain(text: object, limit: int = 300) -> str:
    line = " ".join(str(text or "").split()).rstrip(".")
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
