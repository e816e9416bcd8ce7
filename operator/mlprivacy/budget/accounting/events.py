"""Mechanisms whose privacy loss can be accounted, one frozen type each. What is not here is refused, never counted 0.

All are meant under one neighbouring relation, AddOrRemoveOne: one privacy unit is added or removed. Sampling is Poisson
sampling. Noise is in units of the sensitivity: a Gaussian's noise multiplier is its standard deviation over the
clipping bound, a Laplace's is its scale over the L1 sensitivity.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NOISE_MIN: Final = 0.01  # below it no order of a budget gives a loss that means anything
NOISE_MAX: Final = 1e6
STEPS_MAX: Final = 1_000_000_000
ROWS_MAX: Final = 10_000  # rows of one unit; bounds the work of the quadrature
COMPONENTS_MAX: Final = 1_000  # of a mixture


class Refused(ValueError):
    """The mechanism can not be accounted. The message is a sentence: what, why, what to do."""


@dataclass(frozen=True)
class NoOp:
    """Looks at no data. (ε, δ) = (0, 0)."""


@dataclass(frozen=True)
class Gaussian:
    """Gaussian noise on a function of the data, all of it used. Raises Refused on a noise multiplier out of range."""

    noise_multiplier: float

    def __post_init__(self) -> None:
        _check_noise("noise multiplier", self.noise_multiplier)


@dataclass(frozen=True)
class Laplace:
    """Laplace noise of scale ``noise_multiplier`` times the L1 sensitivity. Raises Refused when it is out of range."""

    noise_multiplier: float

    def __post_init__(self) -> None:
        _check_noise("noise multiplier", self.noise_multiplier)


@dataclass(frozen=True)
class SampledGaussian:
    """One step of DP-SGD: rows drawn by Poisson sampling, each clipped, Gaussian noise on the sum.

    Attributes:
        sampling_rate: the probability of each row to be drawn, above 0 and up to 1.
        noise_multiplier: standard deviation of the noise over the clipping bound of one row.
        rows: the most rows that one privacy unit has. Each is drawn and clipped by itself.
    """

    sampling_rate: float
    noise_multiplier: float
    rows: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.sampling_rate <= 1:
            raise Refused(
                f"the sampling rate is {self.sampling_rate:g}; it must be above 0 and at most 1: "
                "the batch size over the number of records, so make the batch no larger than the data"
            )
        _check_noise("noise multiplier", self.noise_multiplier)
        if self.rows < 1 or self.rows > ROWS_MAX:
            raise Refused(f"{self.rows} rows per unit are refused; write a whole number from 1 to {ROWS_MAX}")


@dataclass(frozen=True)
class GaussianMixture:
    """Gaussian noise on a sum that one unit shifts by a random amount.

    Attributes:
        standard_deviation: of the noise, above 0.
        sensitivities: shape (m,), the amounts, 0 or more, ascending.
        probabilities: shape (m,), of each, above 0, summing to 1.
    """

    standard_deviation: float
    sensitivities: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_noise("standard deviation", self.standard_deviation)
        if not 0 < len(self.sensitivities) <= COMPONENTS_MAX or len(self.sensitivities) != len(self.probabilities):
            raise Refused(
                f"a mixture needs as many probabilities as sensitivities, 1 to {COMPONENTS_MAX}; "
                f"there are {len(self.probabilities)} and {len(self.sensitivities)}"
            )
        ascending = all(a < b for a, b in itertools.pairwise(self.sensitivities))
        if not ascending or not (self.sensitivities[0] >= 0 and math.isfinite(self.sensitivities[-1])):
            raise Refused("the sensitivities of a mixture must be finite, 0 or more, and ascend")
        if not all(p > 0 for p in self.probabilities) or abs(math.fsum(self.probabilities) - 1) > 1e-9:
            raise Refused("the probabilities of a mixture must be above 0 and sum to 1")


@dataclass(frozen=True)
class ZeroConcentrated:
    """(ξ, ρ)-zCDP: ε(α) = ξ + ρ·α (Bun and Steinke 2016, arXiv 1605.02065)."""

    rho: float
    xi: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rho", self.rho), ("xi", self.xi)):
            if not (math.isfinite(value) and value >= 0):
                raise Refused(f"{name} of zCDP is {value:g}; it must be a finite number, 0 or more")


@dataclass(frozen=True)
class Repeated:
    """The same mechanism ``count`` times, each with fresh noise."""

    event: Event
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or self.count > STEPS_MAX:
            raise Refused(f"{self.count} steps are refused; write a whole number from 1 to {STEPS_MAX}")


@dataclass(frozen=True)
class Composed:
    """Several mechanisms over the same units."""

    events: tuple[Event, ...]


@dataclass(frozen=True)
class Selected:
    """The best of a random number of runs, and only that is released (Papernot and Steinke 2022, arXiv 2110.03620).

    Attributes:
        event: one run.
        mean: the mean number of runs, at least 1.
        shape: of the distribution of the number of runs: 1 is geometric, 0 logarithmic, infinity Poisson; any other
            above −1 a truncated negative binomial.
    """

    event: Event
    mean: float
    shape: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 1 <= self.mean <= 1e9):
            raise Refused(f"a mean of {self.mean:g} runs is refused; write a number from 1 to 1e9")
        if not self.shape > -1:  # also true of NaN
            raise Refused(f"the shape {self.shape:g} is refused; write 1 (geometric), 0 (logarithmic) or infinity")


Event = (
    NoOp | Gaussian | Laplace | SampledGaussian | GaussianMixture | ZeroConcentrated | Repeated | Composed | Selected
)

TRIAL_SHAPES: Final[dict[str, float]] = {"geometric": 1.0, "logarithmic": 0.0, "poisson": math.inf}
"""How the number of trials is drawn → the shape of Selected."""


def dp_sgd(sampling_rate: float, steps: int, noise_multiplier: float, rows_per_unit: int = 1) -> Event:
    """DP-SGD with Poisson sampling.

    Args:
        sampling_rate: expected batch size over the number of records; fixed and public.
        steps: optimiser steps.
        noise_multiplier: standard deviation of the noise over the clipping bound of one row.
        rows_per_unit: the most rows a unit has. 1 also where whole units are drawn and clipped.

    Raises:
        Refused: when one of them is out of range.
    """
    return Repeated(SampledGaussian(sampling_rate, noise_multiplier, rows_per_unit), steps)


def with_trials(event: Event, trials: int, drawn: str = "geometric") -> Event:
    """The best of ``trials`` runs on average.

    Args:
        event: one run.
        trials: the mean number of runs; 1 is the run itself.
        drawn: ``geometric``, ``logarithmic`` or ``poisson``: how the number of runs is drawn, which is what makes the
            selection cheap; ``fixed``: exactly so many runs, all of which may be looked at, composed one by one.

    Raises:
        Refused: on any other way to draw, or a number out of range.
    """
    if trials < 1:
        raise Refused(f"{trials} trials are refused; write 1 or more")
    if trials == 1:
        return event
    if drawn == "fixed":
        return Repeated(event, trials)
    if drawn not in TRIAL_SHAPES:
        raise Refused(f"trials drawn by {drawn!r} are not accounted; write {', '.join(TRIAL_SHAPES)} or fixed")
    return Selected(event, float(trials), TRIAL_SHAPES[drawn])


def for_groups(event: Event, size: int) -> Event:
    """The same mechanism as it looks to groups of ``size`` units: the charge behind a step of stability ``size``.

    A pre-processing step has stability c when adding or removing one unit adds or removes at most c units of what it
    hands on (McSherry 2009, PINQ, section 3.4). Noise is relative to c times the sensitivity; DP-SGD has c times the
    rows; zCDP is (ξ·c·Σ 1/i, ρ·c²) (Bun and Steinke 2016, proposition 1.9).

    Raises:
        Refused: when the size is below 1, or the mechanism has no group form here (a mixture with other shifts).
    """
    if size < 1:
        raise Refused(f"a stability of {size} is refused; write the most units one unit can change, 1 or more")
    if size == 1:
        return event
    match event:
        case NoOp():
            return event
        case Gaussian(noise_multiplier=sigma):
            return Gaussian(sigma / size)
        case Laplace(noise_multiplier=scale):
            return Laplace(scale / size)
        case SampledGaussian():
            return SampledGaussian(event.sampling_rate, event.noise_multiplier, event.rows * size)
        case ZeroConcentrated(rho=rho, xi=xi):
            harmonic = math.fsum(1 / i for i in range(1, size + 1))
            return ZeroConcentrated(rho * size * size, xi * size * harmonic)
        case Repeated(event=inner, count=count):
            return Repeated(for_groups(inner, size), count)
        case Composed(events=events):
            return Composed(tuple(for_groups(inner, size) for inner in events))
        case Selected(event=inner, mean=mean, shape=shape):
            return Selected(for_groups(inner, size), mean, shape)
        case GaussianMixture():
            raise Refused(
                f"a mixture of Gaussians says how one unit shifts the sum, and nothing of {size} units together; "
                "write the mixture of the whole group"
            )


def stability_of(steps: Sequence[int]) -> int:
    """The stability of pre-processing steps one after the other: their product.

    Raises:
        Refused: when one is below 1.
    """
    for step in steps:
        if step < 1:
            raise Refused(f"a stability of {step} is refused; write the most units one unit can change, 1 or more")
    return math.prod(steps)


def _check_noise(name: str, value: float) -> None:
    if not NOISE_MIN <= value <= NOISE_MAX:
        raise Refused(
            f"the {name} is {value:g}; it must be from {NOISE_MIN:g} to {NOISE_MAX:g}: "
            "less noise protects nobody, more leaves nothing to learn"
        )
