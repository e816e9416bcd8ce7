"""Rényi curve of releasing the best of a random number of runs (Papernot and Steinke 2022, arXiv 2110.03620)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from mlprivacy.budget.curves import Curve

_HALVINGS: Final = 200


def best_of(orders: Sequence[float], curve: Curve, mean: float, shape: float) -> Curve:
    """The curve of the selection, from the curve of one run.

    Args:
        orders: Rényi orders above 1; the bound takes the best of them as its second order, so that finer is tighter.
        curve: one run's ε at each order.
        mean: mean number of runs, at least 1.
        shape: of the number of runs: infinity is Poisson (theorem 6), else truncated negative binomial (theorem 2),
            with 1 geometric and 0 logarithmic.
    """
    if all(loss == 0 for loss in curve):
        return curve  # whatever is selected saw no data
    if math.isinf(shape):
        return _poisson(orders, curve, mean)
    gamma = _gamma(mean, shape)
    second = min((1 - 1 / a) * loss - math.log(gamma) / a for a, loss in zip(orders, curve, strict=True))
    selected = [loss + math.log(mean) / (a - 1) + (1 + shape) * second for a, loss in zip(orders, curve, strict=True)]
    # A divergence never falls as its order rises: what holds at a higher order holds here.
    for i in range(len(selected) - 2, -1, -1):
        selected[i] = min(selected[i], selected[i + 1])
    return tuple(selected)


def _poisson(orders: Sequence[float], curve: Curve, mean: float) -> Curve:
    selected = []
    for order, loss in zip(orders, curve, strict=True):
        delta = _delta(orders, curve, math.log1p(1 / (order - 1)))
        selected.append(loss + mean * delta + math.log(mean) / (order - 1))
    return tuple(selected)


def _delta(orders: Sequence[float], curve: Curve, epsilon: float) -> float:
    """δ at this ε: the smallest over the orders of the two conversions that `curves.epsilon_of` inverts."""
    best = 0.0
    for order, loss in zip(orders, curve, strict=True):
        if loss == 0:
            return 0.0
        best = min(best, 0.5 * math.log1p(-math.exp(-loss)))
        if order > 1.01:
            best = min(best, (order - 1) * (loss - epsilon + math.log1p(-1 / order)) - math.log(order))
    return math.exp(best)


def mean_runs(gamma: float, shape: float) -> float:
    """Mean of the truncated negative binomial with success probability ``gamma`` (definition 1), 0 < gamma < 1."""
    if shape == 0:
        return (1 / gamma - 1) / -math.log(gamma)
    return shape * (1 / gamma - 1) / -math.expm1(shape * math.log(gamma))


def _gamma(mean: float, shape: float) -> float:
    """The success probability that gives this mean: the mean falls as it rises. 1 for a mean of 1."""
    if mean == 1:
        return 1.0
    low, high = -700.0, 0.0  # of its logarithm
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if mean_runs(math.exp(middle), shape) > mean:
            low = middle
        else:
            high = middle
    return math.exp(low)  # the smaller one: the bound grows as it falls
