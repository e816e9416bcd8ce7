"""Rényi curve of the Gaussian mechanism over a Poisson sample, one row a unit: one step of DP-SGD.

The figures are those of dp-accounting's RDP accountant to its printed digits, so that anybody can check them there:
exact at whole orders, and at fractional ones an upper bound (up to some percent) that takes every term of a series as
positive. `mixture` computes the exact value at every order; it takes over where the series does not converge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.accounting import mixture
from mlprivacy.budget.curves import Curve

Floats = NDArray[np.float64]

_TERMS_MAX: Final = 1000  # of the series; dp-accounting gives up there too
_BLOCK: Final = 64  # terms of the series computed at once
_STOP: Final = 30.0  # e-folds below the sum at which a term no longer counts
_ROUNDING: Final = 1e-10  # of a series that sums to about 1, of which a millionth may be lost; below it more is
_LARGE: Final = 25.0  # from here on erfc is taken from its asymptotic series


def sampled_gaussian(orders: Sequence[float], rate: float, sigma: float) -> Curve:
    """ε at each order of one step.

    Args:
        orders: Rényi orders above 1.
        rate: the probability of each row to be in the step's batch, 0 to 1.
        sigma: noise multiplier (standard deviation over the clipping bound), above 0.
    """
    if rate == 0:
        return (0.0,) * len(orders)
    if rate == 1:
        return tuple(order / (2 * sigma * sigma) for order in orders)
    curve = [_at(float(order), rate, sigma) for order in orders]
    open_ = [i for i, value in enumerate(curve) if math.isinf(value)]
    exact = mixture.renyi([orders[i] for i in open_], mixture.binomial(1, rate, sigma)) if open_ else ()
    for i, value in zip(open_, exact, strict=True):
        curve[i] = value
    return tuple(curve)


def _at(order: float, rate: float, sigma: float) -> float:
    """ε at one order; infinite where the series of a fractional one does not converge."""
    if not order.is_integer():
        moment = _fractional(order, rate, sigma)
        if moment > _ROUNDING:
            return moment / (order - 1)
        order = math.ceil(order)  # a sum so close to 1 has lost its digits; ε never falls as the order grows
    return _whole(int(order), rate, sigma) / (order - 1)


def _whole(order: int, rate: float, sigma: float) -> float:
    """ln Σ_i C(α, i)·(1 − q)^(α−i)·q^i·e^((i² − i)/2σ²) (Mironov, Talwar and Zhang 2019, arXiv 1908.10530, 3.3)."""
    i = np.arange(order + 1, dtype=np.float64)
    logs = _log_binomials(order) + i * math.log(rate) + (order - i) * math.log1p(-rate)
    growth = (i * i - i) / (2 * sigma * sigma)
    terms = logs + growth
    top = float(terms.max())
    moment = top + math.log(float(np.exp(terms - top).sum()))
    if moment < 1:  # the sum less 1, from terms that are all positive: no digits are lost
        excess = np.exp(terms) - np.exp(logs)
        small = growth < 1
        excess[small] = np.exp(logs[small]) * np.expm1(growth[small])
        moment = math.log1p(float(excess.sum()))
    return moment


@lru_cache(maxsize=256)
def _log_binomials(order: int) -> Floats:
    lgamma = np.array([math.lgamma(n + 1) for n in range(order + 1)])
    return np.asarray(lgamma[order] - lgamma - lgamma[::-1])


@lru_cache(maxsize=4096)
def _log_binomial(order: float, first: int) -> Floats:
    """ln |C(α, i)| for the block of i that begins at ``first``; the sign is dropped, as dp-accounting does."""
    return np.array(
        [math.lgamma(order + 1) - math.lgamma(i + 1) - math.lgamma(order - i + 1) for i in range(first, first + _BLOCK)]
    )


def _fractional(order: float, rate: float, sigma: float) -> float:
    """The logarithm of the two series of the same section 3.3, for orders that are no whole number; inf if they do
    not converge.
    """
    z0 = sigma * sigma * math.log(1 / rate - 1) + 0.5
    log_q, log_1q = math.log(rate), math.log1p(-rate)
    total, last0, last1 = -math.inf, -math.inf, -math.inf
    for first in range(0, _TERMS_MAX, _BLOCK):
        i = np.arange(first, first + _BLOCK, dtype=np.float64)
        j = order - i
        log_binomial = _log_binomial(order, first)
        s0 = log_binomial + i * log_q + j * log_1q + (i * i - i) / (2 * sigma * sigma)
        s0 += math.log(0.5) + log_erfc((i - z0) / (math.sqrt(2) * sigma))
        s1 = log_binomial + j * log_q + i * log_1q + (j * j - j) / (2 * sigma * sigma)
        s1 += math.log(0.5) + log_erfc((z0 - j) / (math.sqrt(2) * sigma))
        sums = np.logaddexp.accumulate(np.concatenate(([total], np.logaddexp(s0, s1))))[1:]
        falling = (s0 < np.concatenate(([last0], s0[:-1]))) & (s1 < np.concatenate(([last1], s1[:-1])))
        ends = np.flatnonzero(falling & (np.maximum(s0, s1) < sums - _STOP))
        if ends.size:
            return float(sums[ends[0]])
        total, last0, last1 = float(sums[-1]), float(s0[-1]), float(s1[-1])
    return math.inf


def log_erfc(z: Floats) -> Floats:
    """ln erfc(z), shape (n,), to double precision; by its asymptotic series (DLMF 7.12.1) where erfc itself is 0."""
    small = np.minimum(z, _LARGE)
    result = np.log([math.erfc(value) for value in small.tolist()])
    large = z > _LARGE
    if large.any():
        far = z[large]
        u = 1 / (2 * far * far)
        series = -u * (1 - 3 * u * (1 - 5 * u * (1 - 7 * u * (1 - 9 * u))))
        result[large] = -far * far - np.log(far * math.sqrt(math.pi)) + np.log1p(series)
    return np.asarray(result)
