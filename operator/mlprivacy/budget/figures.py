"""Numbers as people read and type them in findings and remedies."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def exact(value: float) -> str:
    """The number as short as it can be written without changing it, so that what a remedy says can be typed."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def at_most(bound: float) -> str:
    """Three digits of a bound, rounded down where need be: what a remedy says must be within it."""
    return _within(bound, ROUND_FLOOR)


def at_least(bound: float) -> str:
    """Three digits of a bound, rounded up where need be."""
    return _within(bound, ROUND_CEILING)


def _within(bound: float, rounding: str) -> str:
    near = float(f"{bound:.3g}")
    if near != bound and (near < bound) != (rounding == ROUND_FLOOR):
        near = float(Context(prec=3, rounding=rounding).create_decimal(Decimal(bound)))
    return f"{near:.0f}" if 1000 <= near < 1_000_000 else f"{near:.3g}"
