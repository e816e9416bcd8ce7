"""Rényi curves: a privacy loss as one ε for each order of a budget, and when a block can take one more.

A curve says that a mechanism is (α, ε(α))-Rényi private at each order α of the budget (Mironov 2017, arXiv
1702.07476). Curves add up under composition, adaptive composition included (proposition 1 there); a filter over them
stays valid when later jobs depend on earlier results (Feldman and Zrnic 2021, arXiv 2008.11193).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Curve = tuple[float, ...]
"""ε at each order, aligned with the orders. ``math.inf`` where the mechanism has no bound at that order."""


def check_curve(orders: Sequence[float], curve: Sequence[float]) -> Curve:
    """The curve as a tuple.

    Raises:
        ValueError: when it has another length than the orders, or a value that is negative or not a number.
    """
    if len(curve) != len(orders):
        raise ValueError(f"the curve has {len(curve)} values and the budget has {len(orders)} Rényi orders")
    for order, value in zip(orders, curve, strict=True):
        if not value >= 0:  # also true of NaN
            raise ValueError(f"the curve has the value {value:g} at order {order:g}; a privacy loss is 0 or more")
    return tuple(float(value) for value in curve)


def add(a: Curve, b: Curve) -> Curve:
    """The loss of both together. Raises ValueError when the curves have different lengths."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def scale(curve: Curve, k: float) -> Curve:
    """The loss of the same mechanism ``k`` times. Raises ValueError when ``k`` is negative, infinite or NaN."""
    if not (math.isfinite(k) and k >= 0):
        raise ValueError(f"a mechanism can not run {k:g} times")
    return tuple(x * k if k else 0.0 for x in curve)


def check_guarantee(epsilon: float, delta: float) -> None:
    """Refuse an (ε, δ) that is no promise.

    Raises:
        ValueError: unless ε is finite and above 0 and δ lies between 0 and 1, both excluded.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon is {epsilon:g}; it must be a finite number above 0")
    check_delta(delta)


def check_delta(delta: float) -> None:
    """Refuse a δ that is no promise.

    Raises:
        ValueError: unless it lies between 0 and 1, both excluded.
    """
    if not 0 < delta < 1:
        raise ValueError(
            f"delta is {delta:g}; it must lie above 0 and below 1, at most 1/(100 N) for N people, for instance 1e-8"
        )


def capacity(orders: Sequence[float], epsilon: float, delta: float) -> Curve:
    """What a block may spend at each order so that it keeps (ε, δ): ε − ln(1/δ)/(α−1) (Mironov 2017, proposition 3).

    An order whose value is 0 or less is unusable. The tighter conversion that `epsilon_of` uses for people is *not*
    valid here: a block accepts when *some* order has room, and the δ of the orders then add up. With this formula they
    add up to `kappa` times δ, with the tighter one to as much as the number of orders times δ.

    Raises:
        ValueError: when ε or δ is no promise.
    """
    check_guarantee(epsilon, delta)
    return tuple(epsilon + math.log(delta) / (order - 1) for order in orders)


def kappa(orders: Sequence[float], epsilon: float, delta: float) -> float:
    """κ: a filter over these orders promises (ε, κ·δ). Sum of (1 − 1/α)^α / (α − 1) over the usable orders.

    At order α a loss of `capacity` gives δ_α = δ·(1 − 1/α)^α/(α − 1) (Canonne, Kamath and Steinke 2020, arXiv
    2004.00010, proposition 12); the union over the orders bounds a filter that accepts when any of them has room.

    Raises:
        ValueError: when ε or δ is no promise.
    """
    room = capacity(orders, epsilon, delta)
    return math.fsum(
        math.exp(order * math.log1p(-1 / order)) / (order - 1)
        for order, value in zip(orders, room, strict=True)
        if value > 0
    )


def effective_delta(orders: Sequence[float], epsilon: float, delta: float) -> float:
    """The δ to compute the `capacity` from, so that the filter promises (ε, δ): δ, or δ/κ where κ is above 1.

    A smaller δ leaves no more orders usable, so that κ does not grow again.

    Raises:
        ValueError: when ε or δ is no promise.
    """
    return delta / max(1.0, kappa(orders, epsilon, delta))


def fits(consumed: Curve, demand: Curve, capacity: Curve) -> bool:
    """Whether the block takes the demand: at some usable order, what is consumed and demanded is within the capacity.

    What is granted is then deducted at *all* orders. Raises ValueError when the curves have different lengths.
    """
    return any(room > 0 and used + asked <= room for used, asked, room in zip(consumed, demand, capacity, strict=True))


def epsilon_of(orders: Sequence[float], curve: Curve, delta: float) -> float:
    """ε at this δ, for people to read; ``math.inf`` when no order gives one.

    The smallest over the orders of ε(α) + ln(1 − 1/α) − ln(α·δ)/(α − 1) (Canonne, Kamath and Steinke 2020, arXiv
    2004.00010, proposition 12), never below 0; and 0 where the loss is so small that δ ≥ √(1 − e^−ε(α)) covers it
    (Bretagnolle and Huber's bound on the total variation). The same as dp-accounting's conversion.

    Raises:
        ValueError: when δ is not between 0 and 1.
    """
    check_delta(delta)
    best = math.inf
    for order, loss in zip(orders, curve, strict=True):
        if delta * delta + math.expm1(-loss) > 0:
            return 0.0
        if order > 1.01:  # nearer to 1 the formula loses its digits
            best = min(best, loss + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    return max(0.0, best)
