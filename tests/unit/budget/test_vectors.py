"""Published figures, to their printed digits: Opacus, TensorFlow Privacy, dp-accounting. By RDP and by PLD."""

from __future__ import annotations

import math

import pytest

from mlprivacy.accountant.worker import pld_epsilon
from mlprivacy.budget.accounting.events import Event, Gaussian, Repeated, dp_sgd, with_trials
from mlprivacy.budget.accounting.mixture import binomial, renyi
from mlprivacy.budget.accounting.rdp import FINE_ORDERS, curve_of, epsilon_for_people
from mlprivacy.budget.curves import epsilon_of
from mlprivacy.budget.planner import steps_of

MNIST = dp_sgd(256 / 60_000, steps_of(60, 60_000, 256), 1.1)


@pytest.mark.parametrize(
    ("event", "rdp", "pld", "digits"),
    [
        pytest.param(dp_sgd(0.04, 2250, 1.5), 7.329335, 6.768787, 6, id="opacus"),
        pytest.param(dp_sgd(150 / 60_000, 6_000, 1.3), 0.7242234026, 0.640111, 6, id="tf-privacy"),
        pytest.param(Repeated(Gaussian(0.7), 2), 10.8602036, 10.1224946, 7, id="two-gaussians"),
        pytest.param(MNIST, 2.5967, 2.3818, 4, id="mnist-tutorial"),
    ],
)
def test_epsilon_at_delta_1e_5(event: Event, rdp: float, pld: float, digits: int) -> None:
    unit = 10.0**-digits
    assert epsilon_for_people(event, 1e-5) == pytest.approx(rdp, abs=unit if rdp < 1 else unit / 2)
    assert pld_epsilon(event, 1e-5, 1e-4) == pytest.approx(pld, abs=unit / 2)


def test_the_mnist_tutorial_by_the_conversion_of_2017() -> None:
    """ε(α) + ln(1/δ)/(α − 1) (Mironov 2017, proposition 3), which the tutorial printed before tighter ones."""
    curve = curve_of(MNIST, FINE_ORDERS)
    epsilon = min(loss + math.log(1e5) / (order - 1) for order, loss in zip(FINE_ORDERS, curve, strict=True))
    assert epsilon == pytest.approx(3.008, abs=5e-4)


def test_rdp_of_fifty_steps() -> None:
    """dp-accounting's test: q=0.01, σ=2.5, ×50, whole and fractional orders."""
    curve = curve_of(dp_sgd(0.01, 50, 2.5), (1.5, 2.5, 5.0, 50.0, 100.0))
    assert curve == pytest.approx((6.70579741e-4, 1.08548710e-3, 2.18075656e-3, 2.38460375e-2, 167.416308), rel=5e-9)


def test_the_exact_curve_is_that_of_opacus() -> None:
    """Fractional orders exactly, by quadrature: 7.32911117143, where the bound of dp-accounting gives 7.329335."""
    step = renyi(FINE_ORDERS, binomial(1, 0.04, 1.5))
    assert epsilon_of(FINE_ORDERS, tuple(2250 * loss for loss in step), 1e-5) == pytest.approx(7.32911117143, abs=1e-10)


@pytest.mark.parametrize(("drawn", "epsilon"), [("geometric", 2.66), ("logarithmic", 2.14), ("fixed", 7.46)])
def test_thirty_trials_of_a_job_of_epsilon_1_11(drawn: str, epsilon: float) -> None:
    """The MNIST job at σ=2, the best of 30 runs on average, against 30 runs composed one by one."""
    base = dp_sgd(256 / 60_000, 14_063, 2.0)
    assert epsilon_for_people(base, 1e-5) == pytest.approx(1.11, abs=5e-3)
    assert epsilon_for_people(with_trials(base, 30, drawn), 1e-5) == pytest.approx(epsilon, abs=5e-3)


def test_the_float_trap_of_steps() -> None:
    """90 epochs at q = 0.04 are 2250 steps; in floats, 90 // 0.04 is 2249."""
    assert steps_of(90, 2500, 100) == 2250
    assert 90 // 0.04 == 2249
    assert steps_of(60, 60_000, 256) == 14_063
    assert steps_of("0.1", 10, 1) == 1
    assert steps_of(0.3, 10, 1) == 3  # 0.3 is read as it is written, not as the float a little below
