"""Rényi curves: sums, capacities, the filter, and ε for people."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.budget.curves import (
    Curve,
    add,
    capacity,
    check_curve,
    effective_delta,
    epsilon_of,
    fits,
    kappa,
    scale,
)
from mlprivacy.budget.orders import DEFAULT_ORDERS, PRIVATEKUBE_ORDERS, check_orders

EPSILONS = st.floats(0.01, 100)
DELTAS = st.floats(1e-15, 0.1)


def gaussian(sigma: float) -> Curve:
    return tuple(order / (2 * sigma * sigma) for order in DEFAULT_ORDERS)


def test_the_default_orders_are_28_and_those_of_privatekube_12() -> None:
    assert (len(DEFAULT_ORDERS), len(PRIVATEKUBE_ORDERS)) == (28, 12)
    assert check_orders(DEFAULT_ORDERS) == DEFAULT_ORDERS
    assert set(PRIVATEKUBE_ORDERS) < set(DEFAULT_ORDERS)


@pytest.mark.parametrize("orders", [(), (1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (2.0, math.inf), (math.nan,)])
def test_orders_that_are_refused(orders: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="order"):
        check_orders(orders)


def test_capacity_is_the_published_formula() -> None:
    """10 − ln(1e7)/(α − 1): a printed table of it has 5.971 and 8.926, one up in the last digit."""
    room = capacity((3, 4, 5, 6, 8, 16, 32, 64), 10, 1e-7)
    assert [round(value, 3) for value in room] == [1.941, 4.627, 5.970, 6.776, 7.697, 8.925, 9.480, 9.744]


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf])
def test_an_epsilon_that_is_no_promise(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon is .* finite number above 0"):
        capacity(DEFAULT_ORDERS, epsilon, 1e-8)


@pytest.mark.parametrize("delta", [0, -1e-9, 1, 1e300, math.nan, math.inf])
def test_a_delta_that_is_no_promise(delta: float) -> None:
    for refused in (lambda: capacity(DEFAULT_ORDERS, 1, delta), lambda: epsilon_of((2.0,), (1.0,), delta)):
        with pytest.raises(ValueError, match="delta is"):
            refused()


def test_curves_add_up_and_infinity_stays() -> None:
    assert add((1.0, math.inf), (2.0, 3.0)) == (3.0, math.inf)
    assert scale((1.0, math.inf), 3) == (3.0, math.inf)
    assert scale((1.0, math.inf), 0) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"longer|shorter"):
        add((1.0,), (1.0, 2.0))
    with pytest.raises(ValueError, match="-1 times"):
        scale((1.0,), -1)


@pytest.mark.parametrize("curve", [(1.0,), (1.0, -0.1), (1.0, math.nan)])
def test_a_curve_that_is_refused(curve: Curve) -> None:
    with pytest.raises(ValueError, match="the curve has"):
        check_curve((2.0, 3.0), curve)


def test_a_block_takes_a_demand_when_some_usable_order_has_room() -> None:
    room = (-1.0, 2.0, 5.0)
    assert fits((0.0, 2.0, 4.0), (0.0, 1.0, 1.0), room)  # the last order
    assert not fits((0.0, 2.0, 4.5), (0.0, 1.0, 1.0), room)  # the first is unusable, though nothing is spent at it
    assert not fits((0.0, 0.0, 0.0), (math.inf, math.inf, math.inf), room)


def test_epsilon_of_the_gaussian_mechanism() -> None:
    """Two of σ=0.7 (TensorFlow Privacy's test): 10.8602036 at the orders of that library."""
    fine = tuple(1 + k / 10 for k in range(1, 100)) + tuple(float(k) for k in range(11, 64))
    twice = tuple(2 * order / (2 * 0.7**2) for order in fine)
    assert epsilon_of(fine, twice, 1e-5) == pytest.approx(10.8602036, abs=5e-8)


def test_no_loss_is_epsilon_0_and_no_bound_is_infinite() -> None:
    assert epsilon_of(DEFAULT_ORDERS, (0.0,) * 28, 1e-9) == 0
    assert epsilon_of(DEFAULT_ORDERS, (math.inf,) * 28, 1e-9) == math.inf


def test_statement_9_kappa_and_the_delta_that_makes_up_for_it() -> None:
    """(10, 1e-7) leaves the orders from 3 on usable, κ is below 1; the same orders at (1000, 1e-7) give more than 1."""
    usable = [order for order in DEFAULT_ORDERS if order >= 3]
    by_hand = sum((1 - 1 / a) ** a / (a - 1) for a in usable)
    assert kappa(DEFAULT_ORDERS, 10, 1e-7) == pytest.approx(by_hand)
    assert by_hand < 1
    assert effective_delta(DEFAULT_ORDERS, 10, 1e-7) == 1e-7
    assert kappa(DEFAULT_ORDERS, 1000, 1e-7) > 1
    assert effective_delta(DEFAULT_ORDERS, 1000, 1e-7) < 1e-7


@given(EPSILONS, DELTAS)
def test_statement_9_the_filter_promises_no_more_than_delta(epsilon: float, delta: float) -> None:
    """κ at the effective δ, times that δ, is within δ."""
    effective = effective_delta(DEFAULT_ORDERS, epsilon, delta)
    assert kappa(DEFAULT_ORDERS, epsilon, effective) * effective <= delta * (1 + 1e-12)


@given(EPSILONS, DELTAS, st.floats(0.3, 100))
def test_what_a_block_takes_is_within_its_epsilon(epsilon: float, delta: float, sigma: float) -> None:
    room = capacity(DEFAULT_ORDERS, epsilon, effective_delta(DEFAULT_ORDERS, epsilon, delta))
    if fits((0.0,) * 28, gaussian(sigma), room):
        assert epsilon_of(DEFAULT_ORDERS, gaussian(sigma), delta) <= epsilon


@given(EPSILONS, DELTAS, st.lists(st.floats(0.3, 100), max_size=6))
def test_the_order_of_demands_does_not_change_what_is_spent(epsilon: float, delta: float, sigmas: list[float]) -> None:
    forwards = backwards = (0.0,) * 28
    for sigma in sigmas:
        forwards = add(forwards, gaussian(sigma))
    for sigma in reversed(sigmas):
        backwards = add(gaussian(sigma), backwards)
    assert forwards == pytest.approx(backwards)
