"""The Rényi curve of any mechanism at any orders, and the ε and the noise that people read and write."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np

from mlprivacy.budget.accounting import mixture
from mlprivacy.budget.accounting.events import (
    NOISE_MIN,
    Composed,
    Event,
    Gaussian,
    GaussianMixture,
    Laplace,
    NoOp,
    Refused,
    Repeated,
    SampledGaussian,
    Selected,
    ZeroConcentrated,
)
from mlprivacy.budget.accounting.sampled import sampled_gaussian
from mlprivacy.budget.accounting.selection import best_of
from mlprivacy.budget.curves import Curve, add, check_guarantee, epsilon_of, scale
from mlprivacy.budget.orders import Orders

# What (ε, δ) for people are computed at: the default orders of dp-accounting's RDP accountant, so that they can be
# checked there. A budget's ledger keeps fewer orders and is never what a quoted ε comes from.
FINE_ORDERS: Final[Orders] = (
    *(1 + k / 10 for k in range(1, 100)),
    *(float(k) for k in range(11, 64)),
    128.0,
    256.0,
    512.0,
    1024.0,
)
EPSILON_MAX: Final = 1000.0  # a larger ε promises nothing that a sentence could say
NOISE_WANTED_MAX: Final = 1e5
_NEAR: Final = 0.02  # width of the bracket, over the noise, from which on only the orders around the best are computed
_NEIGHBOURS: Final = 8  # of them, on each side
_DIGITS: Final = 6  # significant ones of a derived noise multiplier


@lru_cache(maxsize=4096)
def curve_of(event: Event, orders: Orders) -> Curve:
    """ε at each order for one unit more or less.

    Shape: one value an order. Sources: Gaussian α/2σ² (Mironov 2017, arXiv 1702.07476, proposition 7), Laplace
    (proposition 6 there), sampling in `sampled` and `mixture`, selection in `selection`. Remembered for 4,096 pairs.
    """
    match event:
        case NoOp():
            return (0.0,) * len(orders)
        case Gaussian(noise_multiplier=sigma):
            return tuple(order / (2 * sigma * sigma) for order in orders)
        case Laplace(noise_multiplier=scale_):
            return tuple(_laplace(order, 1 / scale_) for order in orders)
        case SampledGaussian():
            return _sampled(event, orders)
        case GaussianMixture():
            return _mixture(event, orders)
        case ZeroConcentrated(rho=rho, xi=xi):
            return tuple(xi + rho * order for order in orders)
        case Repeated(event=inner, count=count):
            return scale(curve_of(inner, orders), count)
        case Composed(events=events):
            total: Curve = (0.0,) * len(orders)
            for inner in events:
                total = add(total, curve_of(inner, orders))
            return total
        case Selected(event=inner, mean=mean, shape=shape):
            # The bound looks for its second order among all of these, and is then read at those asked for.
            many = tuple(sorted({*orders, *FINE_ORDERS}))
            selected = dict(zip(many, best_of(many, curve_of(inner, many), mean, shape), strict=True))
            return tuple(selected[order] for order in orders)


def _sampled(event: SampledGaussian, orders: Orders) -> Curve:
    one = sampled_gaussian(orders, event.sampling_rate, event.noise_multiplier)
    if event.rows == 1:
        return one
    if event.sampling_rate == 1:
        return tuple(order * event.rows**2 / (2 * event.noise_multiplier**2) for order in orders)
    rows = mixture.renyi(orders, mixture.binomial(event.rows, event.sampling_rate, event.noise_multiplier))
    # One row's figure is a bound and not exact at fractional orders; more rows never cost less than one.
    return tuple(max(a, b) for a, b in zip(one, rows, strict=True))


def _mixture(event: GaussianMixture, orders: Orders) -> Curve:
    sigma, largest = event.standard_deviation, event.sensitivities[-1]
    if largest == 0:
        return (0.0,) * len(orders)
    if len(event.sensitivities) == 1:
        return tuple(order * largest * largest / (2 * sigma * sigma) for order in orders)
    shifts, logs = np.array(event.sensitivities), np.log(np.array(event.probabilities))
    return mixture.renyi(orders, mixture.Mixture(sigma, shifts, logs, gap=largest))


def _laplace(order: float, epsilon: float) -> float:
    """ε(α) of Laplace noise that is ε-differentially private (Mironov 2017, proposition 6)."""
    return epsilon + math.log1p((order - 1) * math.expm1(epsilon * (1 - 2 * order)) / (2 * order - 1)) / (order - 1)


def epsilon_for_people(event: Event, delta: float) -> float:
    """ε at this δ by Rényi accounting on fine orders: what is quoted. Infinite when no order gives one.

    Raises:
        ValueError: when δ is not between 0 and 1.
    """
    return epsilon_of(FINE_ORDERS, curve_of(event, FINE_ORDERS), delta)


def noise_for(epsilon: float, delta: float, make: Callable[[float], Event]) -> float:
    """The smallest noise multiplier that keeps (ε, δ), rounded up at the sixth digit.

    Args:
        epsilon: the ceiling.
        delta: the job's δ.
        make: the mechanism with a given noise multiplier, rows per unit, stability and trials included.

    Raises:
        Refused: when no noise up to 100,000 is enough, or ε is above 1,000.
        ValueError: when (ε, δ) is no promise.
    """
    check_ceiling(epsilon, delta)
    low, high = _bracket(epsilon, delta, make)
    orders = FINE_ORDERS
    while high - low > high * 10.0 ** -(_DIGITS + 1):
        if orders is FINE_ORDERS and high - low < _NEAR * high:
            orders = _around_best(make(high), delta)  # fewer orders give no smaller ε, so that the ceiling stays kept
        middle = (low + high) / 2
        if epsilon_of(orders, curve_of(make(middle), orders), delta) <= epsilon:
            high = middle
        else:
            low = middle
    return rounded_up(high)


def _bracket(epsilon: float, delta: float, make: Callable[[float], Event]) -> tuple[float, float]:
    """Two noise multipliers, the second of which keeps ε; the first does not, unless both are the smallest there is."""
    high = 1.0
    while epsilon_for_people(make(high), delta) > epsilon:
        if high == NOISE_WANTED_MAX:
            least = epsilon_of(FINE_ORDERS, (1e-12,) * len(FINE_ORDERS), delta)
            remedy = (
                f"at this delta Rényi accounting shows no epsilon below {least:.2g}; allow a larger one"
                if epsilon <= least
                else "train for fewer steps, on smaller batches, or allow a larger epsilon"
            )
            raise Refused(
                f"no noise multiplier up to {NOISE_WANTED_MAX:g} keeps epsilon within {epsilon:g} at delta {delta:g}; "
                f"{remedy}"
            )
        high = min(high * 2, NOISE_WANTED_MAX)
    if high > 1:
        return high / 2, high
    while high > NOISE_MIN:
        low = max(NOISE_MIN, high / 2)
        if epsilon_for_people(make(low), delta) > epsilon:
            return low, high
        high = low
    return high, high


def _around_best(event: Event, delta: float) -> Orders:
    """The fine orders next to the one that gives ε; with a little more or less noise the best is one of them."""
    curve = curve_of(event, FINE_ORDERS)
    each = [epsilon_of((order,), (loss,), delta) for order, loss in zip(FINE_ORDERS, curve, strict=True)]
    best = each.index(min(each))
    return FINE_ORDERS[max(0, best - _NEIGHBOURS) : best + _NEIGHBOURS + 1]


def rounded_up(value: float, digits: int = _DIGITS) -> float:
    """A value above 0 with so many significant digits, never below it."""
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    rounded = float(f"{value:.{digits}g}")
    return rounded if rounded >= value else float(f"{value + unit:.{digits}g}")


def check_ceiling(epsilon: float, delta: float) -> None:
    """Refuse an ε or δ that no job may ask for.

    Raises:
        Refused: when ε is above 1,000.
        ValueError: when (ε, δ) is no promise.
    """
    check_guarantee(epsilon, delta)
    if epsilon > EPSILON_MAX:
        raise Refused(f"epsilon {epsilon:g} promises nothing; write a ceiling of at most {EPSILON_MAX:g}")


def delta_warning(delta: float, units: int) -> str | None:
    """A sentence where δ is above 1/(100·N) for N units, else None."""
    most = 1 / (100 * units)
    if delta <= most:
        return None
    also = " With so large a delta, publishing whole records would satisfy it." if delta >= 1 / units else ""
    return (
        f"delta is {delta:g}; for {units} people or records it should be at most 1/(100 N) = {most:.2g}, "
        f"or the promise may fail for some of them.{also}"
    )
