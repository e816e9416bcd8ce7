"""Checks of an installation, found by the folder: each module below that has a ``CHECK``. Add one by adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from mlprivacy.cli.checks.base import Check


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check, in the order in which an installation is best mended."""
    found = [
        check
        for module in pkgutil.iter_modules(__path__)
        if isinstance(check := getattr(importlib.import_module(f"{__name__}.{module.name}"), "CHECK", None), Check)
    ]
    return tuple(sorted(found, key=lambda check: (check.order, check.name)))
