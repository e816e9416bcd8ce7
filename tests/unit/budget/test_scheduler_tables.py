"""What the schedulers compute over many blocks or many jobs at once is what a loop over them computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.budget.schedulers import table as tables
from mlprivacy.budget.schedulers.base import Block, Demand
from mlprivacy.budget.schedulers.dpack import best_orders
from mlprivacy.budget.schedulers.fcfs import Fcfs
from mlprivacy.budget.schedulers.jobs import Job
from mlprivacy.budget.schedulers.queue import Queue

ORDERS = 3
values = st.integers(0, 6).map(float)
columns = st.lists(st.tuples(*[values] * ORDERS), min_size=1, max_size=8)
limits = st.sampled_from([-math.inf, 0.0, 2.0, 4.0, 8.0])


@settings(max_examples=200)
@given(st.data(), columns, st.booleans())
def test_the_block_that_can_not_take_a_demand_is_found_among_many(
    data: st.DataObject, used: list[tuple[float, ...]], each_its_own: bool
) -> None:
    count = len(used)
    limit = [data.draw(st.tuples(*[limits] * ORDERS)) for _ in used]
    curves = [data.draw(st.tuples(*[values] * ORDERS)) for _ in range(count if each_its_own else 1)]
    curve = np.array(curves).T if each_its_own else np.array(curves[0])
    fit = [
        any(u + c <= li for u, c, li in zip(used[at], curves[at if each_its_own else 0], limit[at], strict=True))
        for at in range(count)
    ]
    with pytest.MonkeyPatch.context() as patch:
        for at_once in (0, 1 << 12):
            patch.setattr(tables, "_AT_ONCE", at_once)
            found = tables._lacking(np.array(used).T, np.array(limit).T, curve)
            assert (found == -1) == all(fit)
            assert found == -1 or not fit[found]


def test_many_different_jobs_parked_at_one_block_are_looked_at_together_and_the_right_ones_granted() -> None:
    queue = Queue(Fcfs(), 1)
    queue.add_block(Block("a", (100.0,), used=(100.0,)))
    for number in range(1, 41):
        queue.submit(Demand(f"job-{number}", ("a",), (float(number),), arrival=float(-number)))
    assert queue.decide(0.0).granted == ()
    queue.add_block(Block("a", (100.0,), used=(90.0,)))
    assert queue.decide(1.0).granted == ("job-10",)
    assert len(queue.decide(2.0).waiting) == 39


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.frozensets(st.integers(0, 3), min_size=1), st.tuples(*[values | st.just(math.inf)] * ORDERS)),
        max_size=8,
    ),
    st.lists(st.tuples(*[st.integers(0, 12).map(float)] * ORDERS), min_size=4, max_size=4),
)
def test_the_best_order_of_a_block_is_one_at_which_most_of_its_jobs_fit(
    asked: list[tuple[frozenset[int], tuple[float, ...]]], available: list[tuple[float, ...]]
) -> None:
    jobs = [
        Job(Demand(f"{n}", ("x",), curve), n, np.array(sorted(blocks)), np.array(curve), object())
        for n, (blocks, curve) in enumerate(asked)
    ]
    best = best_orders(np.array(available).T, jobs)
    for block, there in enumerate(available):
        own = [curve for blocks, curve in asked if block in blocks]
        fits = []
        for order in range(ORDERS):
            left, count = there[order], 0
            for value in sorted(curve[order] for curve in own):
                if value > left:
                    break
                left, count = left - value, count + 1
            fits.append(count)
        assert not own or fits[best[block]] == max(fits)


def test_with_weights_one_heavy_job_may_be_worth_more_than_many_light_ones() -> None:
    """At the first order ten light jobs fit, at the second the heavy one alone."""
    light = [Demand(f"{n}", ("x",), (1.0, 20.0), weight=1.0) for n in range(10)]
    heavy = Demand("heavy", ("x",), (20.0, 9.0), weight=50.0)
    jobs = [Job(d, n, slice(0, 1), np.array(d.curve), object()) for n, d in enumerate([*light, heavy])]
    assert best_orders(np.array([[10.0], [10.0]]), jobs).tolist() == [1]
    assert best_orders(np.array([[10.0], [10.0]]), jobs[:-1]).tolist() == [0]
