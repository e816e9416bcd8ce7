"""Rényi divergences between a mixture of shifted Gaussians and the one at 0, both ways, by quadrature in one dimension.

One step of DP-SGD shows a unit's rows through noise: with k rows, each drawn with probability q and clipped to 1, the
sum is shifted by Binomial(k, q). The pair (mixture, Gaussian at 0) bounds every such step in any dimension
(Choquette-Choo, Ganesh, Steinke and Thakurta 2024, arXiv 2310.15526, section 4; for k = 1 it is the pair of Mironov,
Talwar and Zhang 2019, arXiv 1908.10530, theorem 4). Adding a unit and removing it are the two directions of the
divergence; the larger counts.

The integrand is analytic, so that the trapezoidal rule on a grid over its whole support converges geometrically
(Trefethen and Weideman 2014, SIAM Review 56(3)); the tests hold it to dp-accounting at whole and fractional orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.curves import Curve

Floats = NDArray[np.float64]

_TAIL: Final = 12.0  # standard deviations beyond the outermost peak; what is left out is below 1e-30 of a peak
_COARSE: Final = 1.0  # step, in standard deviations, of the grid on which the peaks are looked for
_FINE: Final = 5  # parts that a coarse step is cut into where the integrand counts
_NEGLIGIBLE: Final = 55.0  # e-folds below the highest peak at which a coarse cell is left out
_POLE: Final = 0.5  # largest fine step, in σ²/gap: the ratio of densities has zeros at a distance of π·σ²/gap
_TERMS_MAX: Final = 1 << 22  # points times components; an order that needs more gets the bound of the largest shift
_CELL_MAX: Final = 1 << 15  # fine points of one coarse cell times components, likewise
_CHUNK: Final = 1 << 20  # numbers held at once


@dataclass(frozen=True)
class Mixture:
    """N(shift, σ²) with each of the shifts at its probability.

    Attributes:
        sigma: standard deviation of the noise, above 0, in units of the clipping bound.
        shifts: shape (m,), ascending, the first 0 or more, the last above 0.
        logs: shape (m,), natural logarithms of their probabilities, which sum to 1.
        gap: the widest distance between two shifts that compete at the same point.
    """

    sigma: float
    shifts: Floats
    logs: Floats
    gap: float

    @property
    def mean(self) -> float:
        """The mean shift."""
        return float(np.sum(np.exp(self.logs) * self.shifts))

    def log_ratio(self, x: Floats) -> Floats:
        """ln(mixture(x) / N(0, σ²)(x)): shape (n,) from shape (n,)."""
        rows = max(1, _CHUNK // len(self.shifts))
        return np.concatenate([self._log_ratio(x[i : i + rows]) for i in range(0, len(x), rows)])

    def _log_ratio(self, x: Floats) -> Floats:
        slope = self.shifts / (self.sigma * self.sigma)
        terms = np.multiply.outer(x, slope)
        terms += self.logs - slope * self.shifts / 2
        top = terms.max(axis=1)
        terms -= top[:, None]
        np.exp(terms, out=terms)
        ratio: Floats = top + np.log(terms.sum(axis=1))
        near = np.flatnonzero((np.abs(x) + self.shifts[-1]) * slope[-1] < 1)
        if near.size:
            # Near 1 the ratio's distance from 1 is summed instead: small sampling rates need the digits.
            tilt = (x[near, None] - self.shifts / 2) * slope
            ratio[near] = np.log1p((np.exp(self.logs) * np.expm1(tilt)).sum(axis=1))
        return ratio


def binomial(rows: int, rate: float, sigma: float) -> Mixture:
    """The shifts 0 … rows under Binomial(rows, rate), 0 < rate < 1. Its weights are log-concave: neighbours compete."""
    shifts = np.arange(rows + 1, dtype=np.float64)
    lgamma = np.array([math.lgamma(n + 1) for n in range(rows + 1)])
    logs = lgamma[rows] - lgamma - lgamma[::-1] + shifts * math.log(rate) + (rows - shifts) * math.log1p(-rate)
    return Mixture(sigma, shifts, logs, 1.0)


def renyi(orders: Sequence[float], mixture: Mixture) -> Curve:
    """The larger of the two divergences at each order.

    Where the quadrature would take too long (many rows at a high order, shifts far apart), the divergence of the
    largest shift alone, α·shift²/(2·σ²), bounds it: the divergence is quasi-convex (van Erven and Harremoës 2014,
    arXiv 1206.2459).
    """
    largest, sigma = float(mixture.shifts[-1]), mixture.sigma
    most = _TERMS_MAX / len(mixture.shifts) * _COARSE * sigma
    fits = _parts(mixture) * len(mixture.shifts) <= _CELL_MAX
    kept = [order for order in orders if fits and order * largest + 2 * _TAIL * sigma <= most]
    x, ratio = _coarse(max(kept), mixture) if kept else (np.empty(0), np.empty(0))
    curve = []
    for order in orders:
        bound = order * largest * largest / (2 * sigma * sigma)
        if order in kept:
            moment = max(_log_moment(power, mixture, x, ratio) for power in (order, 1 - order))
            bound = min(bound, moment / (order - 1))
        curve.append(bound)
    return tuple(curve)


def divergence(order: float, mixture: Mixture, direction: Literal["remove", "add"]) -> float:
    """One of the two: D(mixture ‖ Gaussian) when a unit is removed, D(Gaussian ‖ mixture) when one is added."""
    x, ratio = _coarse(order, mixture)
    return _log_moment(order if direction == "remove" else 1 - order, mixture, x, ratio) / (order - 1)


def _coarse(order: float, mixture: Mixture) -> tuple[Floats, Floats]:
    """A coarse grid that holds every peak up to this order, and the log-ratio on it.

    The exponent is stationary at α times a mean of the shifts, and at 1 − α times one below the plain mean.
    """
    low = -(order * mixture.mean + _TAIL * mixture.sigma)
    high = order * float(mixture.shifts[-1]) + _TAIL * mixture.sigma
    step = _COARSE * mixture.sigma
    x = np.arange(low, high + step, step)
    return x, mixture.log_ratio(x)


def _parts(mixture: Mixture) -> int:
    """How many fine points a coarse cell needs."""
    return max(_FINE, math.ceil(_COARSE * mixture.gap / (_POLE * mixture.sigma)))


def _log_moment(power: float, mixture: Mixture, x: Floats, ratio: Floats) -> float:
    """ln E[(mixture/Gaussian)^power], the expectation over the Gaussian at 0.

    With the order for ``power`` that is (order − 1)·D(mixture ‖ Gaussian), with 1 − order the same of
    D(Gaussian ‖ mixture). ``ratio`` is the log-ratio on the coarse grid ``x``: the exponent is concave up to the
    ratio's own curvature, so that a peak can not hide between two of its points.
    """
    sigma = mixture.sigma
    exponent = power * ratio - x * x / (2 * sigma * sigma)
    cells = np.flatnonzero(exponent > exponent.max() - _NEGLIGIBLE)
    coarse, parts = _COARSE * sigma, _parts(mixture)
    fine = (x[cells][:, None] + (np.arange(parts) - parts / 2) * (coarse / parts)).ravel()
    fine_ratio = mixture.log_ratio(fine)
    weight = -(fine * fine) / (2 * sigma * sigma) + math.log(coarse / parts / (sigma * math.sqrt(2 * math.pi)))
    exponent = power * fine_ratio + weight
    top = float(exponent.max())
    log_moment = top + math.log(float(np.exp(exponent - top).sum()))
    if log_moment < 1:
        # Near 1 the moment loses its digits. E[ratio − 1] is 0, so that taking power·(ratio − 1) off leaves the moment
        # as it is and makes every term positive.
        excess = np.exp(exponent) - np.exp(weight) - power * (np.exp(weight + fine_ratio) - np.exp(weight))
        small = np.abs(fine_ratio) < 1
        excess[small] = np.exp(weight[small]) * (
            np.expm1(power * fine_ratio[small]) - power * np.expm1(fine_ratio[small])
        )
        log_moment = math.log1p(max(0.0, float(excess.sum())))
    return max(0.0, log_moment)
