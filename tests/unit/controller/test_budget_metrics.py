"""What /metrics says of privacy budgets: gauges from a ledger's state, closed label sets, no series of what is gone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from ledger_world import DOMAIN, chain, commit, job, promise, reserve
from prometheus_client import REGISTRY

from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.errors import Code
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import figures_of, status_of
from mlprivacy.budget.ledger.transitions import Open, Retire, Taint
from mlprivacy.budget.ledger.units import capacity_units, decimal
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.controller.budgets import metrics

STEPS = (reserve(1, 0.5), commit(1), reserve(2, 0.5, blocks=(2, 3)))


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    yield
    for domain in [*metrics._known, *metrics._unseen]:
        metrics.forget(domain)


def state_of(*steps: object) -> State:
    found = fold(DOMAIN, chain(*steps)).state  # type: ignore[arg-type]
    assert found is not None
    return found


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"mlprivacy_{name}", {"subject_domain": DOMAIN, **labels})


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"mlprivacy_{name}", labels) or 0.0


def test_gauges_say_what_the_status_says() -> None:
    state = state_of(*STEPS, Retire((Range(7, 7),), "Owner"))
    metrics.observe_state(DOMAIN, state)
    status = status_of(state)
    assert value("budget_used_ratio") == pytest.approx(status["usedPercent"] / 100, abs=1e-5)
    for word in ("open", "exhausted", "retired", "tainted"):
        assert value("budget_blocks", state=word) == status["blocks"][word]
    assert value("budget_reservations") == status["reservations"] == 1
    assert value("budget_promise_epsilon") == 10
    assert value("budget_worst_case_epsilon") == pytest.approx(status["worstCasePerPerson"]["epsilon"])
    assert value("budget_guarantee_holds") == 1
    assert (value("ledger_entries"), value("ledger_sequence")) == (5, 5)
    metrics.observe_state(DOMAIN, state, entries=2)
    assert (value("ledger_entries"), value("ledger_sequence")) == (2, 5)


def test_a_taint_ends_the_guarantee_and_the_bound() -> None:
    metrics.observe_state(DOMAIN, state_of(*STEPS, Taint(job(9), (Range(5, 5),), "Audit")))
    assert value("budget_guarantee_holds") == 0
    assert value("budget_worst_case_epsilon") == math.inf
    assert value("budget_blocks", state="tainted") == 1


def test_before_a_promise_everything_is_nought() -> None:
    metrics.observe_state(DOMAIN, State(DOMAIN))
    assert value("budget_promise_epsilon") == value("budget_used_ratio") == value("budget_worst_case_epsilon") == 0


def test_waiting_jobs_by_reason_and_a_wait_that_grows_by_itself() -> None:
    now = 1000.0
    metrics.observe_waiting(
        DOMAIN, metrics.Waits({Reason.BUDGET_LOCKED: 3, Reason.PENDING: 2}, since=400.0), lambda: now
    )
    assert value("budget_waiting_jobs", reason="BudgetLocked") == 3
    assert value("budget_waiting_jobs", reason="BudgetExhausted") == 0
    assert value("budget_waiting_jobs", reason="other") == 2
    assert value("budget_oldest_wait_seconds") == 600
    now = 1060.0
    assert value("budget_oldest_wait_seconds") == 660
    metrics.observe_waiting(DOMAIN, metrics.Waits({}), lambda: now)
    assert value("budget_waiting_jobs", reason="BudgetLocked") == value("budget_oldest_wait_seconds") == 0


def test_health_anchor_and_a_promise_that_waits() -> None:
    metrics.observe_ledger(DOMAIN, healthy=True, anchor_lag=7)
    metrics.observe_promise(DOMAIN, waits=True)
    assert (value("ledger_healthy"), value("ledger_anchor_lag_entries"), value("budget_promise_waits")) == (1, 7, 1)
    metrics.observe_ledger(DOMAIN, healthy=False)
    assert (value("ledger_healthy"), value("ledger_anchor_lag_entries")) == (0, 7)


def test_counters_have_closed_labels() -> None:
    before = counted("ledger_appends_total", transition="Reserve", outcome="written")
    metrics.count_append("Reserve", "written", 0.01)
    metrics.count_append("Whatever a user calls it", "written")
    assert counted("ledger_appends_total", transition="Reserve", outcome="written") == before + 1
    assert counted("ledger_appends_total", transition="other", outcome="written") >= 1
    metrics.count_taint("Exception")
    metrics.count_taint("x")
    metrics.count_restored(DOMAIN, 3)
    metrics.count_restored(DOMAIN, 2)
    assert counted("ledger_restored_entries_total", subject_domain=DOMAIN) == 5
    metrics.count_refusal(Code.EXHAUSTED)
    metrics.count_refusal("x")
    assert counted("budget_taints_total", reason="Exception") >= 1
    assert counted("budget_refusals_total", code="Exhausted") >= 1
    words = {
        sample.labels.get("reason") or sample.labels.get("code") or sample.labels.get("transition")
        for family in REGISTRY.collect()
        if family.name in ("mlprivacy_budget_taints", "mlprivacy_budget_refusals", "mlprivacy_ledger_appends")
        for sample in family.samples
    }
    assert words <= {*metrics.TAINTS, *Code, *metrics.MEMBERS, "other"}


def test_a_domain_that_is_gone_has_no_series() -> None:
    metrics.observe_state(DOMAIN, state_of(*STEPS))
    metrics.observe_waiting(DOMAIN, metrics.Waits({Reason.BUDGET_LOCKED: 1}, since=0.0))
    metrics.observe_ledger(DOMAIN, healthy=True, anchor_lag=1)
    metrics.observe_promise(DOMAIN, waits=False)
    metrics.forget(DOMAIN)
    metrics.forget(DOMAIN)
    left = [sample for family in REGISTRY.collect() for sample in family.samples if sample.labels.get("subject_domain")]
    assert left == []


def test_no_more_domains_than_a_prometheus_bears() -> None:
    state = state_of()
    for number in range(metrics.MAX_DOMAINS + 3):
        metrics.observe_state(f"domain-{number}", state)
    last = f"domain-{metrics.MAX_DOMAINS + 2}"
    assert REGISTRY.get_sample_value("mlprivacy_budget_used_ratio", {"subject_domain": last}) is None
    assert REGISTRY.get_sample_value("mlprivacy_budget_domains_without_series") == 3
    metrics.forget("domain-0")
    metrics.observe_state(last, state)
    assert REGISTRY.get_sample_value("mlprivacy_budget_used_ratio", {"subject_domain": last}) == 0
    assert REGISTRY.get_sample_value("mlprivacy_budget_domains_without_series") == 2


def test_ten_thousand_blocks_are_cheap() -> None:
    """Measured 6 ms on two cores; what is held here is that no block is looked at by itself."""
    orders = tuple(decimal(order) for order in DEFAULT_ORDERS)
    large = promise(
        delta=1e-7, orders=orders, cut=Cut("Subject", None, 10_000), capacity=capacity_units(DEFAULT_ORDERS, 10, 1e-7)
    )
    state = State(DOMAIN)
    state.apply(large, 1)
    state.apply(Open((Range(0, 9_999),)), 1)
    state.table.used[:] = np.random.default_rng(1).integers(0, 10**9, state.table.used.shape)
    begun = time.perf_counter()
    metrics.observe_state(DOMAIN, state)
    assert time.perf_counter() - begun < 0.5
    found = figures_of(state)
    assert found.open == 10_000
    assert found.worst == pytest.approx(status_of(state)["worstCasePerPerson"]["epsilon"], abs=1e-6)
