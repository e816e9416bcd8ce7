"""Statement 9: why a block's capacity is ε − ln(1/δ)/(α−1) and nothing tighter. An explicit adaptive adversary.

Both mechanisms of the adversary have two outcomes. The first is cheap; on each of its outcomes the adversary goes on
with another mechanism, which spends what the block has left at another order. Every job is granted, since some order
has room. The δ that the whole sequence really has at the block's ε is added up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlprivacy.budget.curves import capacity, kappa

EPSILON, DELTA = 10.0, 1e-7
ORDERS = (5.0, 64.0)


@dataclass(frozen=True)
class TwoOutcomes:
    """Shows "yes" with probability p, and with p·e^−loss on the neighbouring data."""

    p: float
    loss: float

    @property
    def loss_of_no(self) -> float:
        return math.log1p(-self.p) - math.log1p(-self.p * math.exp(-self.loss))

    def renyi(self, order: float) -> float:
        q = self.p * math.exp(-self.loss)
        return max(_divergence(order, self.p, q), _divergence(order, q, self.p))


def _divergence(order: float, p: float, q: float) -> float:
    yes = order * math.log(p) + (1 - order) * math.log(q)
    no = order * math.log1p(-p) + (1 - order) * math.log1p(-q)
    top = max(yes, no)
    return (top + math.log(math.exp(yes - top) + math.exp(no - top))) / (order - 1)


def tighter(order: float) -> float:
    """What one order alone could spend by the conversion that people's ε comes from."""
    return EPSILON - math.log1p(-1 / order) + math.log(order * DELTA) / (order - 1)


def ours(order: float) -> float:
    return capacity((order,), EPSILON, DELTA)[0]


def last_job(order: float, first: TwoOutcomes, loss: float, room: Callable[[float], float]) -> TwoOutcomes:
    """The job that, after this loss, spends all that is left at the order, where it hurts most."""
    target = EPSILON - math.log1p(-1 / order) - loss  # the loss at which (1 − e^(ε − loss)) is dearest to the order
    left = (room(order) - first.renyi(order)) * (1 - 1e-12)  # the sum must not round up past the capacity
    low, high = -650.0, -1e-9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if TwoOutcomes(math.exp(middle), target).renyi(order) <= left else (low, middle)
    return TwoOutcomes(math.exp(low), target)


def delta_of(first: TwoOutcomes, room: Callable[[float], float]) -> float:
    """δ at EPSILON of the whole sequence; every job in it is within ``room`` at some order."""
    total = 0.0
    for order, chance, loss in (
        (ORDERS[1], first.p, first.loss),
        (ORDERS[0], 1 - first.p, first.loss_of_no),
    ):
        second = last_job(order, first, loss, room)
        assert first.renyi(order) + second.renyi(order) <= room(order)  # granted
        total += chance * second.p * -math.expm1(EPSILON - loss - second.loss)
    return total


def test_statement_9_a_tighter_capacity_breaks_the_promise() -> None:
    first = TwoOutcomes(p=1e-3, loss=0.3)
    assert delta_of(first, tighter) > 1.7 * DELTA
    assert delta_of(first, ours) < DELTA


@given(st.floats(-12, -0.2), st.floats(0.05, 6))
def test_statement_9_ours_keeps_it_whatever_the_first_job(log_p: float, loss: float) -> None:
    first = TwoOutcomes(math.exp(log_p), loss)
    assume(all(first.renyi(order) + 0.01 < ours(order) for order in ORDERS))
    assert delta_of(first, ours) <= kappa(ORDERS, EPSILON, DELTA) * DELTA


@pytest.mark.parametrize("order", [5.0, 64.0])
def test_one_order_alone_may_use_the_tighter_one(order: float) -> None:
    """It is the union over orders that breaks it: a lone job that fills one order has δ exactly."""
    nothing = TwoOutcomes(p=0.5, loss=0.0)
    job = last_job(order, nothing, 0.0, tighter)
    assert job.p * -math.expm1(EPSILON - job.loss) == pytest.approx(DELTA, rel=1e-3)
