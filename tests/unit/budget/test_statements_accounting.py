"""The statements that the accounting stands on, each computed: what goes wrong without the rule.

Statement 3 is also in test_events.py and test_accounting_library.py, 9 in test_filter.py and test_curves.py.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from mlprivacy.accountant.worker import pld_epsilon
from mlprivacy.budget.accounting.events import Composed, Gaussian, Refused, Repeated, dp_sgd, for_groups
from mlprivacy.budget.accounting.rdp import FINE_ORDERS, curve_of, epsilon_for_people, noise_for
from mlprivacy.budget.accounting.serialised import parse
from mlprivacy.budget.curves import capacity, epsilon_of, fits, scale
from mlprivacy.budget.left import jobs_left
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.budget.planner import steps_of

STEPS = steps_of(60, 60_000, 256)
MNIST = dp_sgd(256 / 60_000, STEPS, 1.1)


@pytest.mark.parametrize(("windows", "epsilon"), [(12, 43.8), (365, 601)])
def test_statement_1_disjoint_windows_do_not_protect_a_person_who_is_in_all(windows: int, epsilon: float) -> None:
    """Windows of days, each filled to (10, 1e-8) with DP-SGD (q = 0.01, σ = 1): nobody's ε is 10."""
    step = curve_of(dp_sgd(0.01, 1, 1.0), FINE_ORDERS)
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(FINE_ORDERS, scale(step, middle), 1e-8) <= 10 else (low, middle)
    all_of_them = epsilon_of(FINE_ORDERS, scale(step, low * windows), 1e-8)
    assert all_of_them == pytest.approx(epsilon, rel=4e-3)


@pytest.mark.parametrize(("rows", "epsilon"), [(1, 0.686), (5, 4.061), (10, 9.132), (30, 37.448)])
def test_statement_2_a_person_s_rows_multiply_the_charge(rows: int, epsilon: float) -> None:
    """q = 0.01, σ = 2, 1,000 steps, δ = 1e-5, each row drawn and clipped by itself."""
    assert epsilon_for_people(dp_sgd(0.01, 1_000, 2.0, rows), 1e-5) == pytest.approx(epsilon, abs=1e-3)


def test_statement_2_several_datasets_about_the_same_people_add_up() -> None:
    """Two tables of which a person has k rows each cost what both jobs cost one after the other, and more than one."""
    one, other = dp_sgd(0.01, 100, 1.5, 2), dp_sgd(0.002, 100, 1.5, 3)
    both = curve_of(Composed((one, other)), DEFAULT_ORDERS)
    summed = [a + b for a, b in zip(curve_of(one, DEFAULT_ORDERS), curve_of(other, DEFAULT_ORDERS), strict=True)]
    assert both == pytest.approx(summed)
    assert epsilon_for_people(Composed((one, other)), 1e-6) > epsilon_for_people(one, 1e-6)


def test_statement_6_consent_that_halves_the_records_doubles_the_rate() -> None:
    """The same steps and batches over half the people: 2.60 becomes 5.68, so N is a bound after filtering."""
    assert epsilon_for_people(MNIST, 1e-5) == pytest.approx(2.60, abs=5e-3)
    assert epsilon_for_people(dp_sgd(256 / 30_000, STEPS, 1.1), 1e-5) == pytest.approx(5.68, abs=5e-3)


def test_statement_7_suppression_of_small_groups_is_charged_for_groups() -> None:
    """k-anonymity with k = 5: one person more or less can move five rows. 2.60 becomes 17.3."""
    assert epsilon_for_people(for_groups(MNIST, 5), 1e-5) == pytest.approx(17.3, abs=5e-2)
    assert epsilon_for_people(for_groups(MNIST, 1), 1e-5) == epsilon_for_people(MNIST, 1e-5)


def test_statement_10_a_job_that_stops_early_has_cost_less_at_every_order() -> None:
    """What a planned stop may give back is the rest of the curve; a release quotes the reserved ε."""
    reserved, run = curve_of(MNIST, DEFAULT_ORDERS), curve_of(dp_sgd(256 / 60_000, 5_000, 1.1), DEFAULT_ORDERS)
    rest = curve_of(dp_sgd(256 / 60_000, STEPS - 5_000, 1.1), DEFAULT_ORDERS)
    assert [a + b for a, b in zip(run, rest, strict=True)] == pytest.approx(reserved)


@pytest.mark.parametrize("name", ["TopKDpEvent", "RoundingDpEvent", "QueryBudgetDpEvent"])
def test_statement_12_rounding_and_query_budgets_are_no_mechanism(name: str) -> None:
    with pytest.raises(Refused, match="none of the events that can be accounted"):
        parse({"class_name": name, "k": 3})


def test_statement_12_noise_on_the_answers_of_one_model_is_useless() -> None:
    """A thousand answers at (1, 1e-6), each a probability: a standard deviation above a hundred per coordinate."""
    assert noise_for(1, 1e-6, lambda sigma: Repeated(Gaussian(sigma), 1_000)) > 100


@pytest.mark.parametrize(("people", "retrains"), [(1_200_000, 76), (33_000, 12)])
def test_statement_13_a_retrain_spends_again(people: int, retrains: int) -> None:
    """How many trainings of ε = 3 a block of (10, 1e-7) takes: batches of 256, 10 epochs, δ = 1e-7."""
    rate, steps = 256 / people, steps_of(10, people, 256)
    demand = curve_of(dp_sgd(rate, steps, noise_for(3, 1e-7, lambda sigma: dp_sgd(rate, steps, sigma))), DEFAULT_ORDERS)
    room = capacity(DEFAULT_ORDERS, 10, 1e-7)
    assert jobs_left((0.0,) * len(DEFAULT_ORDERS), demand, room) == retrains
    assert fits(scale(demand, retrains - 1), demand, room)
    assert not fits(scale(demand, retrains), demand, room)


def test_statement_15_the_central_limit_shortcut_under_reports() -> None:
    """GDP's limit (Dong, Roth and Su 2019, Bu et al. 2019) says less than PLD, which bounds from above and is tight."""
    rate, steps, sigma, delta = 0.01, 100, 0.6, 1e-5
    mu = rate * math.sqrt(steps * math.expm1(1 / sigma**2))
    assert gaussian_epsilon(mu, delta) < 0.9 * pld_epsilon(dp_sgd(rate, steps, sigma), delta, 1e-3)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """ε of the Gaussian mechanism with sensitivity over noise ``mu`` (Balle and Wang 2018, theorem 8)."""
    cdf = NormalDist().cdf
    low, high = 0.0, 200.0
    for _ in range(100):
        epsilon = (low + high) / 2
        found = cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * cdf(-mu / 2 - epsilon / mu)
        low, high = (epsilon, high) if found > delta else (low, epsilon)
    return high


@pytest.mark.parametrize("event", [MNIST, dp_sgd(0.04, 2_250, 1.5), dp_sgd(0.01, 1_000, 0.6)])
def test_statement_15_the_ledger_s_rdp_is_above_the_report_s_pld(event: Repeated) -> None:
    assert pld_epsilon(event, 1e-6, 1e-3) < epsilon_for_people(event, 1e-6)


def test_statement_16_the_rate_is_given_and_never_taken_from_the_data() -> None:
    """The charge of a reservation depends on the public rate; a loader that draws at another rate costs otherwise."""
    declared, drawn = dp_sgd(256 / 60_000, 1_000, 1.1), dp_sgd(256 / 50_000, 1_000, 1.1)
    assert epsilon_for_people(drawn, 1e-6) > epsilon_for_people(declared, 1e-6)


def by_the_ledger_s_orders(rate: float, steps: int, sigma: float, delta: float) -> float:
    """ε by the 28 orders of a ledger, over ε by fine ones."""
    job = dp_sgd(rate, steps, sigma)
    return epsilon_of(DEFAULT_ORDERS, curve_of(job, DEFAULT_ORDERS), delta) / epsilon_for_people(job, delta)


@pytest.mark.parametrize(
    ("rate", "steps", "sigma"),
    [(256 / 60_000, STEPS, 1.1), (0.04, 2_250, 1.5), (0.01, 1_000, 1.0), (0.05, 300, 2.0)],
)
def test_statement_9_the_default_orders_lose_little(rate: float, steps: int, sigma: float) -> None:
    assert 1 - 1e-9 <= by_the_ledger_s_orders(rate, steps, sigma, 1e-5) < 1.03


@pytest.mark.parametrize(("rate", "steps", "delta"), [(0.0025, 6_000, 1e-5), (0.003, 300, 1e-7)])
def test_statement_9_where_they_lose_most(rate: float, steps: int, delta: float) -> None:
    """An ε below 1 at a small rate: the best order, 52 or so, lies between two of theirs. The documentation says so."""
    assert 1.05 < by_the_ledger_s_orders(rate, steps, 1.3, delta) < 1.25
