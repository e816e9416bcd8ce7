"""What is left of a budget, in the words people read: shares, jobs that fit, when, and the largest ε that could be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.budget.accounting.events import Gaussian, Repeated
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.curves import add, capacity, fits, scale
from mlprivacy.budget.left import Block, jobs_left, largest_grant, sentence, what_is_left
from mlprivacy.budget.orders import DEFAULT_ORDERS

ROOM = capacity(DEFAULT_ORDERS, 10, 1e-8)
NOTHING = (0.0,) * len(DEFAULT_ORDERS)


def block(used: float = 0, unlocked: float = 1, seconds: float | None = None, name: str = "week-1") -> Block:
    """A block of three orders; the second is the cheapest for the demands below."""
    return Block(name, (used, used, used), (-5.0, 100.0, 50.0), unlocked, seconds)


def said(demand: tuple[float, ...], *blocks: Block) -> str:
    return sentence(what_is_left(blocks, demand), len(blocks))


def test_the_sentence_that_people_read() -> None:
    assert said((1.0, 8.0, 8.0), block(), block()) == (
        "Uses 8 % of each block, 12 such jobs fit. It would be granted now."
    )
    assert said((1.0, 8.0, 8.0), block(used=85)) == "Uses 8 % of the block, 1 such job fits. It would be granted now."


def test_a_job_that_waits_says_for_what_and_how_long() -> None:
    """It needs 8 % unlocked; 2 % are, and all will be in 100 days."""
    assert said((1.0, 8.0, 8.0), block(), block(unlocked=0.02, seconds=8_640_000, name="week-2")).endswith(
        "It would be granted in 6 days, when enough of week-2 is unlocked."
    )
    assert said((1.0, 8.0, 8.0), block(unlocked=0.02)).endswith(
        "It waits until more of week-1 is unlocked by other jobs' arrival."
    )


def test_a_job_that_never_fits_says_so() -> None:
    found = what_is_left([block(), block(used=99, name="week-2")], (1.0, 8.0, 8.0))
    assert (found.jobs, found.wait, found.never) == (0, None, ("week-2",))
    assert sentence(found, 2) == (
        "Uses 8 % of each block, no such job fits. It can never be granted: week-2 has too little left."
    )
    assert "no order of the budget bounds it" in said((math.inf,) * 3, block())
    assert said((1.0, 101.0, 101.0), block()).startswith("Needs more than the whole block. It can never be granted")
    with pytest.raises(ValueError, match="demands no block"):
        what_is_left([], (1.0,))


@given(st.floats(0.5, 50), st.integers(0, 40))
def test_as_many_fit_as_are_said_to_and_not_one_more(sigma: float, before: int) -> None:
    demand = curve_of(Gaussian(sigma), DEFAULT_ORDERS)
    consumed = scale(demand, before)
    more = jobs_left(consumed, demand, ROOM)
    if more:
        assert fits(add(consumed, scale(demand, more - 1)), demand, ROOM)
    assert not fits(add(consumed, scale(demand, more + 1)), demand, ROOM)


def test_jobs_that_cost_nothing_fit_without_end() -> None:
    assert jobs_left(NOTHING, NOTHING, ROOM) == 1_000_000_000
    assert jobs_left(NOTHING, (math.inf,) * 28, ROOM) == 0


def test_the_largest_epsilon_that_could_be_granted() -> None:
    def make(sigma: float) -> Repeated:
        return Repeated(Gaussian(sigma), 100)

    blocks = [Block("a", NOTHING, ROOM), Block("b", scale(ROOM, 0.0), tuple(value / 2 for value in ROOM))]
    found = largest_grant(blocks, DEFAULT_ORDERS, make, 1e-8)
    assert found is not None
    sigma, epsilon = found
    assert all(fits(b.consumed, curve_of(make(sigma), DEFAULT_ORDERS), b.capacity) for b in blocks)
    assert not fits(NOTHING, curve_of(make(sigma * 0.999), DEFAULT_ORDERS), blocks[1].capacity)
    assert 0 < epsilon < 10
    full = [Block("full", tuple(max(value, 0) for value in ROOM), ROOM)]
    assert largest_grant(full, DEFAULT_ORDERS, make, 1e-8) is None
