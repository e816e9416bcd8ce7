"""The simulator reaches the published figures, and the same seed gives the same runs. The figures take more runs."""

from __future__ import annotations

import math

import pytest

from mlprivacy.budget.orders import DEFAULT_ORDERS, PRIVATEKUBE_ORDERS
from mlprivacy.budget.schedulers.base import Block, Demand, SchedulerError
from mlprivacy.budget.simulate import curvemix, figures, workloads
from mlprivacy.budget.simulate.runner import Asked, simulate, workload_of


@pytest.mark.parametrize(
    ("policy", "n", "low", "high"),
    [("fcfs", 175, 28, 35), ("dpf", 50, 48, 48), ("dpf", 125, 97, 97), ("dpf", 175, 100, 100), ("dpf", 325, 72, 72)],
)
def test_figure_6_one_block(policy: str, n: int, low: float, high: float) -> None:
    granted = simulate(Asked("single-block", policy, n)).granted  # type: ignore[arg-type]
    assert 0.9 * low <= granted <= 1.1 * high


@pytest.mark.parametrize(
    ("policy", "n", "low", "high"), [("fcfs", 175, 1000, 1150), ("dpf", 175, 2200, 2350), ("dpf", 1500, 720, 720)]
)
def test_figure_8_a_block_every_ten_seconds(policy: str, n: int, low: float, high: float) -> None:
    granted = simulate(Asked("multi-block", policy, n, repeat=1)).granted  # type: ignore[arg-type]
    assert 0.9 * low <= granted <= 1.1 * high


@pytest.mark.parametrize("mix", [curvemix.block_sweep(3.0), curvemix.order_sweep(1.0)])
def test_dpack_grants_a_third_more_than_dpf_on_its_mix_of_curves(mix: curvemix.Mix) -> None:
    dpf = simulate(Asked("dpack-mix", "dpf", repeat=3, mix=mix)).granted
    assert simulate(Asked("dpack-mix", "dpack", repeat=3, mix=mix)).granted >= 1.3 * dpf


def test_the_mix_of_curves_holds_every_family_and_each_curve_has_the_size_that_was_asked_for() -> None:
    assert {family for family, _ in curvemix.zoo(PRIVATEKUBE_ORDERS)} == {
        "gaussian",
        "laplace",
        "laplace and gaussian",
        "subsampled gaussian",
    }
    workload = curvemix.dpack_mix(curvemix.block_sweep(0.0), seed=1)
    for curve in curvemix.normalised(PRIVATEKUBE_ORDERS, 0.05)[0]:
        shares = [value / room for value, room in zip(curve, workload.capacity, strict=True) if room > 0]
        assert min(shares) == pytest.approx(0.05)


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    workload = workloads.multi_block()
    first = list(workload.events(1))
    assert first == list(workload.events(1))
    assert first != list(workload.events(2))


def test_the_settings_of_the_multi_block_workload_show_in_its_events() -> None:
    events = list(workloads.multi_block().events(3))
    blocks = [event for event in events if isinstance(event, Block)]
    jobs = [event for event in events if isinstance(event, Demand)]
    assert [block.created for block in blocks[:12]] == [0.0] * 11 + [10.0]
    assert len(blocks) == 11 + 29
    assert len(jobs) == pytest.approx(300 / 0.078125, rel=0.05)
    assert sum(len(job.blocks) == 1 for job in jobs) / len(jobs) == pytest.approx(0.75, abs=0.03)
    assert sum(job.curve == (0.01,) for job in jobs) / len(jobs) == pytest.approx(0.75, abs=0.03)


def test_a_renyi_block_holds_as_many_mice_as_the_published_settings_count_on() -> None:
    """rdp_max_amount of the repository is 14514: the mice that fill a block."""
    workload = workloads.multi_block_renyi(mice=1.0)
    mouse = workloads.gaussian(PRIVATEKUBE_ORDERS, 0.01, 1e-9)
    most = max(room / loss for room, loss in zip(workload.capacity, mouse, strict=True))
    assert math.floor(most) == pytest.approx(14514, rel=0.001)


def test_a_renyi_workload_may_have_the_orders_of_a_budget() -> None:
    workload = workload_of(Asked("multi-block-renyi", "dpf", orders=DEFAULT_ORDERS), seed=1)
    assert len(workload.capacity) == len(DEFAULT_ORDERS)


def test_round_robin_knows_no_renyi_curves() -> None:
    with pytest.raises(SchedulerError, match="basic composition only"):
        simulate(Asked("dpack-mix", "rr", repeat=1))


def test_every_figure_has_a_title_and_every_published_number_a_point() -> None:
    found = figures.points()
    assert {point.figure for point in found} == set(figures.TITLES)
    assert len(set(found)) == len(found)
    assert sum(point.published is not None for point in found) == 1 + 7 + 1 + 3
