"""All kinds of the group, found by the folder: every module of this package that has a ``KIND``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import mlprivacy.api as package
from mlprivacy.api.base import KindInfo


@cache
def all_kinds() -> tuple[KindInfo[Any], ...]:
    """Every kind, in the order of its name."""
    found: list[KindInfo[Any]] = []
    for module in pkgutil.iter_modules(package.__path__):
        kind = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "KIND", None)
        if isinstance(kind, KindInfo):
            found.append(kind)
    return tuple(sorted(found, key=lambda k: k.kind))


@cache
def kind_named(kind: str) -> KindInfo[Any] | None:
    """The kind called ``kind``, or None."""
    return next((k for k in all_kinds() if k.kind == kind), None)
