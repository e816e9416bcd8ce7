"""DPack's synthetic mix of curves: Gaussian, Laplace and subsampled Gaussian, made alike in size and flatness.

Tholoniat et al., DPack, EuroSys 2025 (arXiv 2212.13228), section 6.2, and columbia/dpack (commit 706b990; files named
below are in privacypacking/utils). Of its zoo only the subsampled Laplace curves are left out: they need a bound of
another library. One setting is not in that repository, how many jobs compete: 100 for each block, which is
avg_num_tasks_per_block of config/default.yaml.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.budget.accounting.sampled import sampled_gaussian
from mlprivacy.budget.curves import Curve, capacity
from mlprivacy.budget.orders import PRIVATEKUBE_ORDERS, Orders
from mlprivacy.budget.simulate.workloads import Workload

Floats = NDArray[np.float64]

EPSILON: Final = 10.0  # config/default.yaml: epsilon, delta
DELTA: Final = 1e-7
SMALLEST, LARGEST = 0.01, 1.0  # generate_curves.py heterogeneous(): min_epsilon, max_epsilon
FLATNESS, FLATNESS_SPREAD = 0.05, 0.03  # heterogeneous_configs/*.yaml: range_avg, range_std
CENTRE: Final = 5.0  # zoo.py alpha_variance_frequencies(): the order around which best orders are drawn
MIDDLE: Final = (4.0, 5.0, 6.0, 8.0)  # zoo.py normalize_zoo(): the orders between which flatness is measured
UNUSABLE: Final = 100.0  # zoo.py: ε where a curve has none; no block has as much
JOBS_PER_BLOCK: Final = 100


@dataclass(frozen=True)
class Mix:
    """What varies between jobs.

    Attributes:
        size: ε at a curve's best order beside the capacity there (epsilon_min_avg; its spread is 0 in both sweeps).
        blocks: how many there are (max_blocks).
        asked: mean number of blocks that a kind of job asks for (block_avg).
        asked_spread: its standard deviation (block_std).
        order_spread: standard deviation of the best order's place among the orders (alpha_std).
    """

    size: float
    blocks: int
    asked: int
    asked_spread: float
    order_spread: float


def block_sweep(spread: float) -> Mix:
    """Jobs differ in how many blocks they ask for (heterogeneous_configs/blocks.yaml; spreads of 0 to 10)."""
    return Mix(size=0.05, blocks=20, asked=10, asked_spread=spread, order_spread=0.0)


def order_sweep(spread: float) -> Mix:
    """Jobs ask for the same block and differ in their best order (heterogeneous_configs/best_alphas.yaml; 0 to 8)."""
    return Mix(size=0.005, blocks=1, asked=1, asked_spread=0.0, order_spread=spread)


MIX: Final = block_sweep(3.0)
"""What `dpack-mix` stands for where no sweep is asked for."""


def dpack_mix(mix: Mix, seed: int, orders: Orders = PRIVATEKUBE_ORDERS) -> Workload:
    """All jobs wait at the start and are decided on at once (config/default.yaml: method offline).

    Args:
        mix: what varies.
        seed: how many blocks each kind of job asks for is drawn once, as in the repository.
        orders: those of the budget.
    """
    curves, best = normalised(orders, mix.size)
    weights = _weights(orders, best, mix.order_spread)
    random = Random(seed)  # noqa: S311 - a simulation
    counts = range(1, mix.blocks + 1)
    chances = (
        [math.exp(-((count - mix.asked) ** 2) / (2 * mix.asked_spread**2)) for count in counts]
        if (mix.asked_spread)
        else [float(count == mix.asked) for count in counts]
    )
    kinds = [(random.choices(counts, chances)[0], curve) for curve in curves]

    def draw(random: Random) -> tuple[int, Curve]:
        return random.choices(kinds, weights)[0]

    return Workload(
        name="dpack-mix",
        capacity=capacity(orders, EPSILON, DELTA),
        blocks=mix.blocks,
        block_every=math.inf,
        lasts=0.0,
        every=1.0,
        draw=draw,
        latest=False,  # RandomBlocks, the default of heterogeneous()
        jobs=JOBS_PER_BLOCK * max(mix.blocks, 20),  # max_blocks is 20 in both sweeps
    )


@lru_cache(maxsize=8)
def zoo(orders: Orders) -> tuple[tuple[str, Curve], ...]:
    """Family and curve of every mechanism of zoo.py build_zoo()."""
    return tuple((family, tuple(curve.tolist())) for family, curve in _zoo(orders))


def _zoo(orders: Orders) -> Iterator[tuple[str, Floats]]:
    alphas = np.array(orders)
    noises = np.geomspace(0.01, 10, 100)
    for sigma in noises:
        yield "gaussian", alphas / (2 * sigma**2)
    for sigma in np.geomspace(0.01, 10, 10):
        for size in np.geomspace(1_000, 100_000_000, 10):  # DP-FTRL: a Gaussian for each level of its tree
            yield "gaussian", alphas / (2 * sigma**2) * math.ceil(math.log(size))
    for scale in noises:
        yield "laplace", _laplace(alphas, float(scale))
    few = (0.05, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)
    for first in few:
        for second in few:
            yield "laplace and gaussian", _laplace(alphas, first) + alphas / (2 * second**2)
            yield "laplace", _laplace(alphas, first) + _laplace(alphas, second)
    for epochs in (1, 10, 100, 200):
        for rate in (0.001, 0.01, 0.05, 0.1, 0.2, 0.5):
            for sigma in (0.1, 0.5, 1.0, 2.0):
                yield "subsampled gaussian", np.array(sampled_gaussian(orders, rate, sigma)) * (epochs / rate)


def _laplace(alphas: Floats, scale: float) -> Floats:
    """Mironov 2017, proposition 6, with the larger exponential taken out so that it does not overflow."""
    larger = np.log(alphas / (2 * alphas - 1)) + (alphas - 1) / scale
    other = (alphas - 1) / alphas * np.exp(-(2 * alphas - 1) / scale)
    return np.asarray((larger + np.log1p(other)) / (alphas - 1))


@lru_cache(maxsize=8)
def normalised(orders: Orders, size: float) -> tuple[tuple[Curve, ...], tuple[float, ...]]:
    """The curves, shifted and bent so that the groups of one best order are alike in size and flatness; those orders.

    As zoo.py normalize_zoo(): beside the capacity, the least value becomes `size`, and the rest is stretched so that
    the difference between the orders 4 to 8 has the mean and spread of FLATNESS. Groups of a single curve drop out,
    having no spread.
    """
    room = np.array(capacity(orders, EPSILON, DELTA))
    usable = room > 0
    alphas = np.array(orders)[usable]
    beside = np.array([curve for _, curve in zoo(orders)])[:, usable] / room[usable]
    beside = beside[(beside.min(axis=1) > SMALLEST) & (beside.min(axis=1) < LARGEST)]
    best = alphas[beside.argmin(axis=1)]
    above = beside - beside.min(axis=1, keepdims=True)
    middle = above[:, np.isin(alphas, MIDDLE)]
    flatness = middle.max(axis=1) - middle.min(axis=1)
    curves: list[Curve] = []
    found: list[float] = []
    for order in alphas.tolist():
        group = best == order
        if group.sum() < 2:
            continue
        own = flatness[group]
        with np.errstate(divide="ignore", invalid="ignore"):  # flat curves, or all of a group alike: left out below
            wanted = FLATNESS + FLATNESS_SPREAD * (own - own.mean()) / own.std(ddof=1)
            bent = size + above[group] * (wanted / own)[:, None]
        for row in bent[np.isfinite(bent).all(axis=1) & (bent.min(axis=1) > 1e-10) & (bent.min(axis=1) < 1)]:
            curve = np.full(len(orders), UNUSABLE)
            curve[usable] = row * room[usable]
            curves.append(tuple(curve.tolist()))
            found.append(float(alphas[row.argmin()]))
    return tuple(curves), tuple(found)


def _weights(orders: Orders, best: tuple[float, ...], spread: float) -> list[float]:
    """How often each curve occurs: the place of its best order is discrete Gaussian around CENTRE, even within one.

    The repository's code has a plus before the exponent, and its comment and the paper a discrete Gaussian, which has
    a minus.
    """
    many = Counter(best)
    centre = orders.index(CENTRE)
    if not spread:
        return [float(order == CENTRE) / many[order] for order in best]
    return [math.exp(-((orders.index(order) - centre) ** 2) / (2 * spread**2)) / many[order] for order in best]
