"""What a workload kind is to the operator: one small interface, found by the folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any, Protocol, runtime_checkable

import mlprivacy.workloads as package
from mlprivacy.workloads.context import RenderContext


@runtime_checkable
class Workload(Protocol):
    """Renders the workload itself; the controls are made around it."""

    kind: str  # the kind of ours that it serves
    resource_kind: str  # the kind that is made

    def name(self, context: RenderContext) -> str:
        """Name of the object that is made."""

    def pod(self, context: RenderContext) -> dict[str, Any]:
        """The pod template before any control: metadata and spec, from the pruned template."""

    def wrap(self, context: RenderContext, pod: dict[str, Any]) -> dict[str, Any]:
        """The object that makes the pod."""


@cache
def workload_for(kind: str) -> Workload:
    """The workload that serves a kind of ours.

    Raises:
        LookupError: when there is none.
    """
    for module in pkgutil.iter_modules(package.__path__):
        found = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "WORKLOAD", None)
        if isinstance(found, Workload) and found.kind == kind:
            return found
    raise LookupError(f"no workload serves the kind {kind}")
