"""What a control is: objects made before the workload, and changes to its pod. Found by the folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlprivacy.controls as package
from mlprivacy.workloads.context import RenderContext


def _no_objects(_: RenderContext) -> tuple[dict[str, Any], ...]:
    return ()


def _no_change(_: RenderContext, __: dict[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Control:
    """One control. ``order`` decides when it acts: lower first.

    ``objects`` returns what is made before the workload; ``pod`` changes the pod template in place.
    """

    id: str
    order: int
    objects: Callable[[RenderContext], tuple[dict[str, Any], ...]] = _no_objects
    pod: Callable[[RenderContext, dict[str, Any]], None] = _no_change


@cache
def all_controls() -> tuple[Control, ...]:
    """Every control, in the order in which it acts: each module of this folder that has a ``CONTROL``."""
    found = [
        control
        for module in pkgutil.iter_modules(package.__path__)
        if isinstance(
            control := getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "CONTROL", None), Control
        )
    ]
    return tuple(sorted(found, key=lambda c: (c.order, c.id)))
