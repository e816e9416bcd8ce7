"""Mechanisms: what is accounted, what is refused and with which sentence, the JSON form, groups and trials."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.budget.accounting.events import (
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
    dp_sgd,
    for_groups,
    stability_of,
    with_trials,
)
from mlprivacy.budget.accounting.rdp import curve_of, delta_warning, epsilon_for_people, noise_for
from mlprivacy.budget.accounting.serialised import dump, parse
from mlprivacy.budget.orders import DEFAULT_ORDERS

GAUSSIAN = {"class_name": "GaussianDpEvent", "noise_multiplier": 1.1}
NOISE = st.floats(0.01, 1e6)
ONE: st.SearchStrategy[Event] = st.one_of(
    st.just(NoOp()),
    st.builds(Gaussian, NOISE),
    st.builds(Laplace, NOISE),
    st.builds(SampledGaussian, st.floats(1e-9, 1), NOISE, st.integers(1, 100)),
    st.builds(ZeroConcentrated, st.floats(0, 100), st.floats(0, 100)),
    st.just(GaussianMixture(1.5, (0.0, 1.0, 4.0), (0.5, 0.25, 0.25))),
)
EVENTS = st.recursive(
    ONE,
    lambda inner: st.one_of(
        st.builds(Repeated, inner, st.integers(1, 10**9)),
        st.builds(lambda events: Composed(tuple(events)), st.lists(inner, max_size=4)),
        st.builds(Selected, inner, st.floats(1, 1e9), st.sampled_from([0.0, 1.0, 2.5, math.inf])),
    ),
    max_leaves=6,
)


@given(EVENTS)
def test_every_event_survives_json(event: Event) -> None:
    back = parse(json.loads(json.dumps(dump(event), allow_nan=False)))
    assert curve_close(back, event)


def curve_close(a: Event, b: Event) -> bool:
    """The same event, noise multipliers to the last digits (1/√(1/σ²) rounds)."""
    if isinstance(a, SampledGaussian) and isinstance(b, SampledGaussian):
        same = (a.sampling_rate, a.rows) == (b.sampling_rate, b.rows)
        return same and math.isclose(a.noise_multiplier, b.noise_multiplier, rel_tol=1e-12)
    if isinstance(a, Repeated) and isinstance(b, Repeated):
        return a.count == b.count and curve_close(a.event, b.event)
    if isinstance(a, Composed) and isinstance(b, Composed):
        return len(a.events) == len(b.events) and all(map(curve_close, a.events, b.events))
    if isinstance(a, Selected) and isinstance(b, Selected):
        return (a.mean, a.shape) == (b.mean, b.shape) and curve_close(a.event, b.event)
    return a == b


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NonPrivateDpEvent", "without noise"),
        ("UnsupportedDpEvent", "not known"),
        ("SampledWithoutReplacementDpEvent", "fixed size .* Poisson sampling"),
        ("SampledWithReplacementDpEvent", "with replacement"),
        ("RandomizedResponseDpEvent", "adds or removes one"),
        ("SingleEpochTreeAggregationDpEvent", "adds or removes one"),
        ("DiscreteLaplaceDpEvent", "no Rényi bound"),
        ("TruncatedSubsampledGaussianDpEvent", "cut off"),
        ("ShuffledDpEvent", "none of the events that can be accounted"),
        ("GaussianDifferentialPrivacyEvent", "none of the events that can be accounted"),
    ],
)
def test_statement_3_what_can_not_be_accounted_is_refused_and_never_0(name: str, reason: str) -> None:
    body = {"class_name": name, "sample_size": 10, "source_dataset_size": 100, "event": GAUSSIAN}
    for nested in (body, {"class_name": "ComposedDpEvent", "events": [GAUSSIAN, body]}):
        with pytest.raises(Refused, match=f"{name} is refused: .*{reason}"):
            parse(nested)


@pytest.mark.parametrize("relation", ["REPLACE_ONE", "REPLACE_SPECIAL", 1, None])
def test_statement_3_one_neighbouring_relation(relation: object) -> None:
    assert parse({**GAUSSIAN, "neighboring_relation": "ADD_OR_REMOVE_ONE"}) == Gaussian(1.1)
    with pytest.raises(Refused, match=r"neighbouring relation .* adds or removes one unit"):
        parse({**GAUSSIAN, "neighboring_relation": relation})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "JSON object"),
        ([], "JSON object"),
        ({}, "class_name"),
        ({"class_name": "GaussianDpEvent"}, "needs the field `noise_multiplier`"),
        ({**GAUSSIAN, "noise": 1}, "no field `noise`"),
        ({**GAUSSIAN, "noise_multiplier": "1.1"}, "not a number"),
        ({**GAUSSIAN, "noise_multiplier": True}, "not a number"),
        ({**GAUSSIAN, "noise_multiplier": math.nan}, "noise multiplier is nan"),
        ({**GAUSSIAN, "noise_multiplier": "Infinity"}, "noise multiplier is inf"),
        ({**GAUSSIAN, "noise_multiplier": 10**400}, "too large"),
        ({**GAUSSIAN, "noise_multiplier": 0}, "less noise protects nobody"),
        ({**GAUSSIAN, "module_name": "os"}, "module_name is refused"),
        ({"class_name": "SelfComposedDpEvent", "event": GAUSSIAN, "count": 0}, "0 steps"),
        ({"class_name": "SelfComposedDpEvent", "event": GAUSSIAN, "count": 1.5}, "whole number"),
        ({"class_name": "ComposedDpEvent", "events": {}}, "is a list"),
        ({"class_name": "PoissonSampledDpEvent", "sampling_probability": 1.5, "event": GAUSSIAN}, "at most 1"),
        ({"class_name": "PoissonSampledDpEvent", "sampling_probability": 0, "event": GAUSSIAN}, "above 0"),
        (
            {
                "class_name": "PoissonSampledDpEvent",
                "sampling_probability": 0.1,
                "event": {"class_name": "LaplaceDpEvent", "noise_multiplier": 1},
            },
            "GaussianDpEvents only",
        ),
        ({"class_name": "RepeatAndSelectDpEvent", "event": GAUSSIAN, "mean": 0.5, "shape": 1}, "0.5 runs"),
        ({"class_name": "ZCDpEvent", "rho": -1}, "0 or more"),
        (
            {
                "class_name": "MixtureOfGaussiansDpEvent",
                "standard_deviation": 1,
                "sensitivities": [0, 1],
                "sampling_probs": [0.5, 0.4],
            },
            "sum to 1",
        ),
    ],
)
def test_json_that_is_refused(body: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        parse(body)


def test_json_that_is_too_deep_or_too_large() -> None:
    deep: dict[str, Any] = GAUSSIAN
    for _ in range(40):
        deep = {"class_name": "SelfComposedDpEvent", "event": deep, "count": 1}
    for body in (deep, {"class_name": "ComposedDpEvent", "events": [GAUSSIAN] * 1000}):
        with pytest.raises(Refused, match="deeper than 32 or has more than 1000 parts"):
            parse(body)


def test_gaussians_over_one_sample_are_one_gaussian() -> None:
    """Two releases of σ = 1 from the same Poisson sample weigh as one of σ = 1/√2."""
    twice = {"class_name": "SelfComposedDpEvent", "event": {**GAUSSIAN, "noise_multiplier": 1.0}, "count": 2}
    found = parse({"class_name": "PoissonSampledDpEvent", "sampling_probability": 0.1, "event": twice})
    assert isinstance(found, SampledGaussian)
    assert found.noise_multiplier == pytest.approx(1 / math.sqrt(2))


@given(st.integers(1, 6), st.floats(0.5, 5))
@settings(deadline=None)
def test_groups_cost_no_less_than_one(size: int, sigma: float) -> None:
    for event in (Gaussian(sigma), Laplace(sigma), ZeroConcentrated(sigma, 0.1), dp_sgd(0.01, 10, sigma)):
        one, group = curve_of(event, DEFAULT_ORDERS), curve_of(for_groups(event, size), DEFAULT_ORDERS)
        assert all(a <= b * (1 + 1e-9) for a, b in zip(one, group, strict=True))


def test_groups_of_gaussian_and_laplace_noise_are_exact() -> None:
    assert for_groups(Gaussian(3.0), 3) == Gaussian(1.0)
    assert for_groups(Composed((Laplace(4.0), NoOp())), 2) == Composed((Laplace(2.0), NoOp()))
    assert for_groups(Selected(Gaussian(2.0), 5, 1), 2) == Selected(Gaussian(1.0), 5, 1)
    assert for_groups(ZeroConcentrated(1.0, 2.0), 2) == ZeroConcentrated(4.0, 6.0)
    assert stability_of([1, 2, 5]) == 10
    with pytest.raises(Refused, match="stability of 0"):
        for_groups(Gaussian(1.0), 0)
    with pytest.raises(Refused, match="stability of 0"):
        stability_of([1, 0])
    with pytest.raises(Refused, match="whole group"):
        for_groups(GaussianMixture(1.5, (0.0, 1.0), (0.5, 0.5)), 2)


def test_trials_that_are_refused() -> None:
    assert with_trials(Gaussian(1.0), 1) == Gaussian(1.0)
    for trials, drawn in ((0, "geometric"), (3, "uniform")):
        with pytest.raises(Refused, match="trials"):
            with_trials(Gaussian(1.0), trials, drawn)


@given(st.floats(0.2, 20), st.sampled_from([1e-5, 1e-8]), st.sampled_from([0.001, 0.02, 1.0]), st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_derived_noise_keeps_the_ceiling_and_no_less_would(
    epsilon: float, delta: float, rate: float, rows: int
) -> None:
    def make(sigma: float) -> Event:
        return dp_sgd(rate, 200, sigma, rows)

    sigma = noise_for(epsilon, delta, make)
    assert epsilon_for_people(make(sigma), delta) <= epsilon
    assert epsilon_for_people(make(sigma * 0.9999), delta) > epsilon


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-5), (-1, 1e-5), (math.nan, 1e-5), (1, 0), (1, 1), (1e6, 1e-5)])
def test_a_ceiling_that_is_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon|delta"):
        noise_for(epsilon, delta, Gaussian)


def test_a_ceiling_that_no_noise_keeps() -> None:
    with pytest.raises(Refused, match="no noise multiplier up to 100000 keeps epsilon within 1e-08"):
        noise_for(1e-8, 1e-9, lambda sigma: Repeated(Gaussian(sigma), 10**9))
    with pytest.raises(Refused, match=r"Rényi accounting shows no epsilon below 0\.01"):
        noise_for(0.01, 1e-9, Gaussian)
    with pytest.raises(Refused, match="train for fewer steps"):
        noise_for(0.1, 1e-9, lambda sigma: Repeated(Gaussian(sigma), 10**9))


def test_statement_6_delta_is_at_most_one_in_a_hundred_people() -> None:
    assert delta_warning(1 / (100 * 60_000), 60_000) is None
    assert "at most 1/(100 N) = 1.7e-07" in (delta_warning(1e-5, 60_000) or "")
    assert "publishing whole records would satisfy it" in (delta_warning(1e-4, 60_000) or "")
