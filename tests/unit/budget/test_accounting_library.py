"""Our curves against dp-accounting: the same at every order, and never below its privacy loss distributions."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.accountant.worker import pld_epsilon, rdp_curve
from mlprivacy.budget.accounting.events import (
    Composed,
    Event,
    Gaussian,
    GaussianMixture,
    Laplace,
    Repeated,
    SampledGaussian,
    Selected,
    ZeroConcentrated,
    dp_sgd,
)
from mlprivacy.budget.accounting.mixture import Mixture, binomial, divergence, renyi
from mlprivacy.budget.accounting.rdp import FINE_ORDERS, curve_of, epsilon_for_people
from mlprivacy.budget.accounting.sampled import sampled_gaussian
from mlprivacy.budget.orders import DEFAULT_ORDERS

ORDERS = tuple(sorted({*FINE_ORDERS, *DEFAULT_ORDERS}))


@pytest.fixture(autouse=True)
def quiet_library() -> None:
    logging.getLogger("absl").setLevel(logging.ERROR)


@pytest.mark.parametrize(
    ("rate", "sigma"),
    [(0.04, 1.5), (0.01, 2.5), (256 / 60_000, 1.1), (1e-4, 0.6), (0.01, 0.4), (0.9, 3.0), (0.3, 0.5), (1.0, 2.0)],
)
def test_dp_sgd_at_every_order(rate: float, sigma: float) -> None:
    """To nine digits wherever the library's series converges; where it gives up, ours is the exact value."""
    ours = np.array(curve_of(dp_sgd(rate, 100, sigma), ORDERS))
    theirs = np.array(rdp_curve(dp_sgd(rate, 100, sigma), list(ORDERS)))
    there = np.isfinite(theirs)
    assert ours[there] == pytest.approx(theirs[there], rel=1e-9)
    assert np.isfinite(ours).all()


@pytest.mark.parametrize(
    "event",
    [
        Laplace(1.0),
        Repeated(Laplace(3.0), 7),
        ZeroConcentrated(0.1, 0.2),
        Composed((Gaussian(2.0), Laplace(4.0), dp_sgd(0.01, 100, 1.0))),
        Selected(Gaussian(3.0), 10.0, 1.0),
        Selected(dp_sgd(0.01, 100, 1.0), 30.0, 0.0),
        Selected(Gaussian(3.0), 10.0, 2.5),
        Selected(Gaussian(3.0), 10.0, math.inf),
    ],
)
def test_other_events_at_the_fine_orders(event: Event) -> None:
    assert curve_of(event, FINE_ORDERS) == pytest.approx(rdp_curve(event, list(FINE_ORDERS)), rel=1e-8)


@given(st.floats(1e-6, 0.999), st.floats(0.3, 20))
@settings(max_examples=50, deadline=None)
def test_the_quadrature_is_the_closed_form_at_whole_orders(rate: float, sigma: float) -> None:
    orders = (2.0, 3.0, 7.0, 32.0, 128.0, 1024.0)
    assert renyi(orders, binomial(1, rate, sigma)) == pytest.approx(
        sampled_gaussian(orders, rate, sigma), rel=1e-6, abs=1e-15
    )


@pytest.mark.parametrize(
    ("rows", "rate", "sigma"), [(2, 0.01, 1.0), (5, 256 / 60_000, 1.1), (10, 0.05, 2.0), (3, 0.9, 3.0)]
)
def test_several_rows_against_the_library_s_loss_distribution(rows: int, rate: float, sigma: float) -> None:
    """One step, both directions: ln Σ p·e^((α−1)·loss)/(α − 1) over the library's distribution of the loss.

    At low orders: higher ones live on losses so rare that the library folds them into its infinity.
    """
    mixture = binomial(rows, rate, sigma)
    theirs = privacy_loss_distribution.from_mixture_gaussian_mechanism(
        sigma, list(mixture.shifts), list(np.exp(mixture.logs)), value_discretization_interval=2e-3
    )
    orders = (1.5, 2.0, 2.5)
    directions = []
    for pmf in (theirs._pmf_remove, theirs._pmf_add):
        dense = pmf.to_dense_pmf()
        losses = (dense._lower_loss + np.arange(dense.size)) * dense._discretization
        directions.append([float(np.log(np.sum(dense._probs * np.exp((a - 1) * losses))) / (a - 1)) for a in orders])
    expected = [max(pair) for pair in zip(*directions, strict=True)]
    assert renyi(orders, mixture) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(("rows", "rate", "sigma"), [(2, 0.01, 1.0), (30, 0.004, 1.1), (5, 0.5, 0.3), (4, 1e-5, 5.0)])
def test_a_finer_grid_changes_nothing(rows: int, rate: float, sigma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = (1.5, 2.0, 8.0, 64.0)
    coarse = renyi(orders, binomial(rows, rate, sigma))
    monkeypatch.setattr("mlprivacy.budget.accounting.mixture._FINE", 40)
    monkeypatch.setattr("mlprivacy.budget.accounting.mixture._COARSE", 0.5)
    assert coarse == pytest.approx(renyi(orders, binomial(rows, rate, sigma)), rel=1e-9)


def test_where_the_quadrature_would_take_too_long_it_is_a_bound() -> None:
    """500 rows at order 1024: the largest shift alone, α·k²/2σ²; at order 2 the quadrature, far below it."""
    curve = curve_of(SampledGaussian(0.001, 1.0, 500), (2.0, 1024.0))
    assert curve[1] == pytest.approx(1024 * 500**2 / 2)
    assert curve[0] < 2 * 500**2 / 2 * 0.99


def test_a_mixture_made_to_take_for_ever_gets_the_bound() -> None:
    """Two shifts a million standard deviations apart would need a grid of 1e8 points."""
    absurd = GaussianMixture(1.0, (0.0, 1e6), (0.5, 0.5))
    assert curve_of(absurd, (1.5, 2.0)) == pytest.approx((1.5 * 1e12 / 2, 2 * 1e12 / 2))


@given(st.floats(1e-4, 1), st.floats(0.5, 5), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_more_rows_of_a_unit_never_cost_less(rate: float, sigma: float, rows: int) -> None:
    fewer = curve_of(SampledGaussian(rate, sigma, rows), DEFAULT_ORDERS)
    more = curve_of(SampledGaussian(rate, sigma, rows + 1), DEFAULT_ORDERS)
    assert all(a <= b * (1 + 1e-9) for a, b in zip(fewer, more, strict=True))


def test_a_mixture_of_one_unit_s_rows_is_the_same_by_either_name() -> None:
    rows = SampledGaussian(0.02, 1.2, 4)
    mixture = binomial(4, 0.02, 1.2)
    probabilities = tuple(float(p) for p in np.exp(mixture.logs))
    written = GaussianMixture(1.2, tuple(mixture.shifts), tuple(p / math.fsum(probabilities) for p in probabilities))
    assert curve_of(written, (2.0, 4.5, 16.0)) == pytest.approx(curve_of(rows, (2.0, 4.5, 16.0)), rel=1e-9)


@pytest.mark.parametrize("direction", ["remove", "add"])
def test_each_direction_against_a_plain_sum(direction: str) -> None:
    """Shifts 0, 1 and 3 at odd probabilities, order 2.5: the integral over a very fine grid."""
    sigma, order = 1.3, 2.5
    shifts, probabilities = np.array([0.0, 1.0, 3.0]), np.array([0.7, 0.2, 0.1])
    x = np.arange(-25, 35, 1e-3)
    q = np.exp(-(x**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    density = np.exp(-((x[:, None] - shifts) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    p = density @ probabilities
    over, under = (p, q) if direction == "remove" else (q, p)
    expected = math.log(float(np.sum(over**order * under ** (1 - order)) * 1e-3)) / (order - 1)
    mixture = Mixture(sigma, shifts, np.log(probabilities), gap=3.0)
    assert divergence(order, mixture, direction) == pytest.approx(expected, rel=1e-9)
    assert renyi((order,), mixture)[0] >= expected * (1 - 1e-9)


EVENTS = st.one_of(
    st.builds(Gaussian, st.floats(0.5, 20)),
    st.builds(Laplace, st.floats(0.5, 20)),
    st.builds(dp_sgd, st.floats(1e-4, 0.2), st.integers(1, 3000), st.floats(0.7, 4)),
    st.builds(lambda a, b: Composed((a, b)), st.builds(Gaussian, st.floats(1, 9)), st.builds(Laplace, st.floats(1, 9))),
)


@given(EVENTS, st.sampled_from([1e-5, 1e-8]))
@settings(max_examples=25, deadline=None)
def test_statement_3_rdp_is_never_below_pld(event: Event, delta: float) -> None:
    interval = max(1e-4, epsilon_for_people(event, delta) / 5_000)
    assert pld_epsilon(event, delta, interval) <= epsilon_for_people(event, delta) + interval


@pytest.mark.parametrize(("rows", "delta"), [(2, 1e-5), (4, 1e-8)])
def test_statement_3_rdp_is_never_below_pld_with_several_rows(rows: int, delta: float) -> None:
    event = dp_sgd(0.005, 500, 1.2, rows)
    assert 0 < pld_epsilon(event, delta, 5e-3) <= epsilon_for_people(event, delta)


@pytest.mark.parametrize(
    ("rate", "sigma"), [(5e-6, 1e6), (5e-6, 1e5), (1e-9, 1e5), (1e-3, 1e6), (1e-2, 1e6), (1e-3, 1e5)]
)
def test_a_loss_too_small_for_its_series_is_bounded_by_the_next_whole_order(rate: float, sigma: float) -> None:
    """A sum that rounds to less than 1 would be a negative loss; a billion steps would add it up."""
    orders = (1.5, 2.5, 3.5, 9.9, 20.5)
    exact = [order * rate * rate / (2 * sigma * sigma) for order in orders]  # the first term, all that counts here
    assert all(
        value >= least * (1 - 1e-6) for value, least in zip(sampled_gaussian(orders, rate, sigma), exact, strict=True)
    )
