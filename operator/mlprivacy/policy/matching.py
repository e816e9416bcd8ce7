"""Matching of dotted keys: a grant covers itself and everything below it, and nothing that merely begins alike."""

from __future__ import annotations

from collections.abc import Iterable


def covers(granted: str, asked: str) -> bool:
    """True when ``asked`` is ``granted`` or lies below it: ``a.b`` covers ``a.b.c``, never ``a.bX`` or ``a``."""
    return asked == granted or asked.startswith(granted + ".")


def covered_by_any(granted: Iterable[str], asked: str) -> bool:
    """True when one of ``granted`` covers ``asked``."""
    for item in granted:  # noqa: SIM110 - a loop is faster, and this is asked often
        if covers(item, asked):
            return True
    return False
