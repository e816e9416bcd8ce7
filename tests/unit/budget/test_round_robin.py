"""Round-robin deals out what is unlocked evenly, and wastes what a job collects in vain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.budget.schedulers.base import Block, Demand, SchedulerError
from mlprivacy.budget.schedulers.round_robin import RoundRobin, fair


def dealer(n: float, *blocks: str) -> RoundRobin:
    found = RoundRobin(n)
    for name in blocks:
        found.add_block(Block(name, (10.0,)))
    return found


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=20), st.floats(0, 50))
def test_parts_are_max_min_fair(needs: list[float], amount: float) -> None:
    given_out = fair(np.array(needs), amount)
    assert float(given_out.sum()) == pytest.approx(min(sum(needs), amount))
    unmet = [part for part, need in zip(given_out, needs, strict=True) if part < need * (1 - 1e-9)]
    assert all(part == pytest.approx(max(given_out)) for part in unmet)


def test_a_job_is_granted_when_it_has_collected_all_of_its_blocks() -> None:
    queue = dealer(4, "a", "b")
    queue.submit(Demand("both", ("a", "b"), (4.0,)))
    assert queue.decide(0.0).granted == ()  # 2.5 of each
    queue.submit(Demand("small", ("a",), (1.0,)))
    assert queue.decide(1.0).granted == ("small",)
    queue.submit(Demand("other", ("b",), (1.0,)))
    assert "both" in queue.decide(2.0).granted


def test_what_was_collected_in_vain_is_gone() -> None:
    queue = dealer(2, "a")
    queue.submit(Demand("large", ("a",), (8.0,), timeout=5.0))
    queue.decide(0.0)  # it has 5 now
    assert queue.decide(5.0).expired == ("large",)
    queue.submit(Demand("other", ("a",), (6.0,), arrival=6.0))
    assert queue.decide(6.0).granted == ()  # only the other half was left


def test_curves_over_several_orders_are_refused() -> None:
    with pytest.raises(SchedulerError, match="basic composition only"):
        RoundRobin(10).add_block(Block("a", (1.0, math.inf)))
