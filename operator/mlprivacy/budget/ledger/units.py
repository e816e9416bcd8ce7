"""What the ledger counts in: whole billionths of ε. Rounded up when spent, down when there is room for it.

Whole numbers add up to the same sum in every order, a refund takes back exactly what was reserved, and JSON keeps
them as they are. A reservation of n curves overstates ε by n billionths at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget import curves

Units = tuple[int, ...]
"""Billionths of ε at each order, aligned with the orders."""

PER_EPSILON: Final = 1_000_000_000
# Stands for "no bound", and for all that is larger. Ten times what any promise can hold (spec.epsilon is at most 1000),
# and small enough that 900,000 of them fit into 64 bits.
UNBOUNDED: Final = 10_000_000_000_000


def to_units(curve: Sequence[float]) -> Units:
    """A loss in billionths, rounded up; UNBOUNDED where it is that large, or infinite.

    Raises:
        ValueError: when a value is negative or not a number.
    """
    return tuple(_up(value) for value in curve)


def _up(value: float) -> int:
    if not value >= 0:  # also true of NaN
        raise ValueError(f"a privacy loss is 0 or more, and this is {value:g}")
    return UNBOUNDED if value * PER_EPSILON >= UNBOUNDED else math.ceil(value * PER_EPSILON)


@lru_cache(maxsize=256)
def row_of(units: Units) -> NDArray[np.int64]:
    """The same as an array that nobody can write to: a curve is checked, reserved and settled again and again."""
    row = np.array(units, np.int64)
    row.flags.writeable = False
    return row


def from_units(units: Sequence[int]) -> curves.Curve:
    """A loss as ε, for people and for conversions; infinite where it is UNBOUNDED."""
    return tuple(math.inf if value >= UNBOUNDED else value / PER_EPSILON for value in units)


def capacity_units(orders: Sequence[float], epsilon: float, delta: float) -> Units:
    """What a block may hold at each order under (ε, δ), rounded down; 0 where the order is of no use.

    The filter's capacity at δ/max(1, κ) (curves.effective_delta), so that the filter as a whole keeps (ε, δ).

    Raises:
        ValueError: when ε or δ is no promise.
    """
    effective = curves.effective_delta(orders, epsilon, delta)
    room = curves.capacity(orders, epsilon, effective)
    return tuple(max(0, math.floor(value * PER_EPSILON)) for value in room)


def decimal(value: float) -> str:
    """A number as the ledger writes it: the shortest text that reads back as the same number, whole ones without .0."""
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
