"""Texts that people write, made fit for terminals, statuses and Events."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` on one line, with a space for each escape, end of a line, turn of direction and the like."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
