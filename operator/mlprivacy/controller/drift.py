"""Drift: which rendered objects are still as we left them, by what their watch shows."""

from __future__ import annotations

from collections.abc import Iterable

from mlprivacy.controller.children import CONTROL_RESOURCES, Children, frozen_part
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.client import Object

_Name = tuple[str, str]  # kind, name


class Stamps:
    """What each rendered object looked like when it was last written: its version, or a workload's frozen part."""

    def __init__(self) -> None:
        self._of: dict[JobKey, dict[_Name, str]] = {}

    def put(self, key: JobKey, objects: Iterable[Object]) -> None:
        """Remember objects as the API server stored them. The floor belongs to the namespace and is left out."""
        self._of[key] = {(o["kind"], o["metadata"]["name"]): _stamp(o) for o in objects}

    def drop(self, key: JobKey) -> None:
        """Forget a job."""
        self._of.pop(key, None)

    def known(self, key: JobKey) -> bool:
        """Whether anything was remembered since this process began."""
        return key in self._of

    def drifted(self, key: JobKey, uid: str, children: Children) -> list[str]:
        """``Kind/name`` of what is gone or was changed. The watch may lag: a repair of what is fine does nothing."""
        seen: dict[_Name, str] = {}
        for kind in (*(r.kind for r in CONTROL_RESOURCES), "Job", "Deployment"):
            for obj in children.of(kind, key, uid):
                seen[kind, obj["metadata"]["name"]] = obj.get("frozen") or str(obj["metadata"].get("resourceVersion"))
        return [
            f"{kind}/{name}" for (kind, name), stamp in self._of.get(key, {}).items() if seen.get((kind, name)) != stamp
        ]


def _stamp(obj: Object) -> str:
    if obj["kind"] in ("Job", "Deployment"):
        return frozen_part(obj)
    return str(obj["metadata"].get("resourceVersion"))
