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
    """Every kind that ships, in the order of its name."""
    return tuple(kind for kind in modelled_kinds() if kind.served)


@cache
def modelled_kinds() -> tuple[KindInfo[Any], ...]:
    """Every kind that has a model, those that nothing serves yet included, in the order of its name."""
    found: list[KindInfo[Any]] = []
    for module in pkgutil.iter_modules(package.__path__):
        kind = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "KIND", None)
        if isinstance(kind, KindInfo):
            found.append(kind)
    return tuple(sorted(found, key=lambda k: k.kind))


@cache
def kind_named(kind: str) -> KindInfo[Any] | None:
    """The kind called ``kind``, also one that does not ship yet; None when there is none."""
    return next((k for k in modelled_kinds() if k.kind == kind), None)
