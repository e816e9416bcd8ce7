"""What is promised: valid partitions, what never changes, and that a larger promise takes two people and a notice."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ledger_world import DOMAIN, bind, chain, commit, job, part_of, promise, release, reserve

from mlprivacy.api.base import Assurance, parse_spec
from mlprivacy.api.names import ANNOTATION_APPROVED_BY, ANNOTATION_PROMISED_BY
from mlprivacy.api.privacy_budget import KIND, PrivacyBudgetSpec
from mlprivacy.budget.curves import capacity, kappa
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.checks import check
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.promise import budget_errors, next_promise, terms_of
from mlprivacy.budget.ledger.promise_rules import check_promise
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import guarantee_holds, status_of, times_that_fit, worst_case
from mlprivacy.budget.ledger.transitions import Promise, Taint
from mlprivacy.budget.ledger.units import capacity_units
from mlprivacy.budget.orders import DEFAULT_ORDERS

BOTH = {ANNOTATION_PROMISED_BY: "ada", ANNOTATION_APPROVED_BY: "grace"}


def spec(**changes: Any) -> PrivacyBudgetSpec:
    fields = {
        "subjectDomain": DOMAIN,
        "identities": ["urn:clinic:visits"],
        "epsilon": 10,
        "delta": 1e-8,
        "unit": "User",
        "blocks": {"by": "SubjectCohort", "period": "Week"},
    }
    return PrivacyBudgetSpec.model_validate({**fields, **changes})


def first(**changes: Any) -> Promise:
    found = next_promise(spec(**changes), {}, None).promise
    assert found is not None
    return found


# Statement 1 of accounting.md.
@pytest.mark.parametrize(
    ("unit", "by", "valid"),
    [
        ("User", "Subject", True),
        ("User", "SubjectCohort", True),
        ("User", "IngestionTime", False),
        ("Event", "Subject", True),
        ("Event", "SubjectCohort", True),
        ("Event", "IngestionTime", True),
    ],
)
def test_a_partition_is_valid_for_a_unit_only_if_it_puts_each_unit_into_one_block(
    unit: str, by: str, valid: bool
) -> None:
    raw = {
        "metadata": {"name": "b"},
        "spec": {
            "subjectDomain": DOMAIN,
            "identities": ["urn:clinic:visits"],
            "epsilon": 10,
            "delta": 1e-8,
            "unit": unit,
            "blocks": {"by": by} if by == "Subject" else {"by": by, "period": "Day"},
        },
    }
    assert bool(parse_spec(KIND, raw).spec) == valid
    made = promise(unit=unit, cut=Cut(by, None if by == "Subject" else "Day", 1 if by == "Subject" else None))
    if valid:
        check_promise(None, made)
    else:
        with pytest.raises(Refused, match="do not put all data of a unit User into one block"):
            check_promise(None, made)


# Statement 9: capacity from ε − ln(1/δ)/(α−1), with δ/κ where κ is above 1.
def test_the_capacity_is_that_of_the_filter() -> None:
    found = first().capacity
    room = capacity(DEFAULT_ORDERS, 10, 1e-8)
    assert all(units <= max(0.0, value) * 1e9 < units + 1 for units, value in zip(found, room, strict=True))
    lax = [1 + step / 400 for step in range(1, 200)]  # orders so close together that the union over them costs
    assert kappa(lax, 900, 0.01) > 1
    assert capacity_units(lax, 900, 0.01)[-1] < capacity(lax, 900, 0.01)[-1] * 1e9 - 1
    with pytest.raises(Refused, match="the capacity is not that"):
        check_promise(None, promise(capacity=tuple(units + 1000 for units in promise().capacity)))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epsilon": 0.001}, "spec.epsilon"),
        ({"orders": [1.5, 2]}, "spec.epsilon"),
        ({"delta": 1e-5}, "spec.delta"),
    ],
)
def test_a_budget_that_can_not_be_kept_is_refused(change: dict[str, Any], field: str) -> None:
    assert [error.path for error in budget_errors(spec(**change), 200_000)] == [field]
    assert budget_errors(spec(delta=1e-8), 200_000) == ()


@pytest.mark.parametrize("units", [None, 7, 600_000, 123_456_789])
@pytest.mark.parametrize("orders", [{}, {"orders": [1.5, 2]}, {"orders": [64]}])
@pytest.mark.parametrize("numbers", [(1e-9, 1e-8), (0.02, 0.9), (10, 0.9), (1e-300, 1e-300), (1000, 1e-17)])
def test_a_budget_with_the_numbers_of_the_remedies_can_be_kept(
    units: int | None, orders: dict[str, Any], numbers: tuple[float, float]
) -> None:
    asked: dict[str, Any] = {"epsilon": numbers[0], "delta": numbers[1], **orders}
    for error in budget_errors(spec(**asked), units):
        told = re.findall(r"(epsilon|delta) to (\S+) or (?:more|less)", error.remedy)
        assert told, error
        asked |= {name: float(number) for name, number in told}
    assert budget_errors(spec(**asked), units) == ()


def test_a_budget_that_is_made_anew_with_more_does_not_get_more() -> None:
    """Deleted and created with ε = 100: the ledger still says 10, until another person approves it."""
    again = next_promise(spec(epsilon=100, noticeVersion="2"), {ANNOTATION_PROMISED_BY: "ada"}, first())
    assert (again.promise, again.code) == (None, Code.NEEDS_APPROVAL)
    assert "somebody else" in str(again.waits)


@pytest.mark.parametrize(
    ("changes", "stamps", "passes"),
    [
        ({"approval": {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2"}}, BOTH, True),
        ({}, BOTH, False),
        ({"approval": {"epsilon": 11, "delta": 1e-8, "noticeVersion": "2"}}, BOTH, False),
        (
            {"approval": {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2"}},
            {ANNOTATION_PROMISED_BY: "ada", ANNOTATION_APPROVED_BY: "ada"},
            False,
        ),
        ({"approval": {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2"}}, {ANNOTATION_APPROVED_BY: "grace"}, False),
    ],
    ids=["approved", "not approved", "something else approved", "approved by who asked", "who asked is not known"],
)
def test_a_larger_promise_takes_two_people(changes: dict[str, Any], stamps: dict[str, str], passes: bool) -> None:
    found = next_promise(spec(epsilon=12, noticeVersion="2", **changes), stamps, first(noticeVersion="1"))
    assert (found.promise is not None) == passes
    if found.promise is not None:
        assert (found.promise.revision, found.promise.asked_by, found.promise.approved_by) == (2, "ada", "grace")


@pytest.mark.parametrize(
    ("asked", "approver", "passes"),
    [
        ("ada,ben", "grace", True),
        ("ada,ben", "ada", False),
        ("ada,ben", "ben", False),
        (",ben", "grace", False),
        ("a%2Cb", "a,b", False),
        ("a%2Cb", "b", True),
        (",".join(f"user-{n}" for n in range(40)), "grace", False),
    ],
    ids=["a third", "the first", "the last", "one is not known", "a comma in a name", "a part of a name", "too many"],
)
def test_nobody_who_had_a_hand_in_it_approves_it(asked: str, approver: str, passes: bool) -> None:
    given = {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2"}
    stamps = {ANNOTATION_PROMISED_BY: asked, ANNOTATION_APPROVED_BY: approver}
    found = next_promise(spec(epsilon=12, noticeVersion="2", approval=given), stamps, first(noticeVersion="1"))
    assert (found.promise is not None, found.code) == (passes, None if passes else Code.NEEDS_APPROVAL)


def test_a_larger_promise_needs_another_notice() -> None:
    approved = spec(epsilon=12, noticeVersion="1", approval={"epsilon": 12, "delta": 1e-8, "noticeVersion": "1"})
    assert "version of the notice" in str(next_promise(approved, BOTH, first(noticeVersion="1")).waits)


def test_a_smaller_promise_holds_at_once_and_history_is_kept() -> None:
    found = next_promise(spec(epsilon=8), {}, first())
    assert found.promise is not None
    assert found.promise.revision == 2
    assert next_promise(spec(), {}, first()).promise is None


@pytest.mark.parametrize(
    "change", [{"orders": [2, 64]}, {"blocks": {"by": "Subject"}}, {"unit": "Event"}], ids=["orders", "blocks", "unit"]
)
def test_what_was_counted_otherwise_can_not_be_changed_by_making_the_budget_anew(change: dict[str, Any]) -> None:
    found = next_promise(spec(**change), BOTH, first())
    assert (found.promise, found.code) == (None, Code.PROMISE_CHANGED)


def test_terms_come_from_the_budget() -> None:
    terms = terms_of(spec(minimumAssurance="Gated", quotas=[{"namespace": "research", "share": 0.4}]))
    assert (terms.minimum_assurance, dict(terms.quotas)) == ("Gated", {"research": 0.4})


# --- status ----------------------------------------------------------------------------------------------------------


def state_of(*steps: Any) -> State:
    state = fold(DOMAIN, chain(*steps)).state
    assert state is not None
    return state


def test_the_status_says_what_is_used_and_validates_against_the_kind() -> None:
    state = state_of(reserve(1, 0.25, blocks=(2, 3)), reserve(2, 0.5, blocks=(3, 3), namespace="statistics"))
    status = status_of(state)
    KIND.status.model_validate(status, extra="forbid")
    assert status["usedPercent"] == 75
    assert [one["block"] for one in status["fullest"]] == ["bucket 3", "bucket 2"]
    assert status["blocks"] == {"open": 8, "exhausted": 0, "retired": 0, "tainted": 0}
    assert status["worstCasePerPerson"]["epsilon"] == max(one["epsilon"] for one in status["fullest"]) <= 10


def test_people_read_how_many_such_jobs_fit() -> None:
    state = state_of(reserve(1, 0.25, blocks=(3, 3)))
    assert times_that_fit(state, (Range(0, 2),), part_of(0.1)) == 10
    assert times_that_fit(state, (Range(0, 7),), part_of(0.1)) == 7
    assert times_that_fit(state, (Range(0, 7),), part_of(2.0)) == 0
    fits = [reserve(number, 0.1) for number in range(2, 9)]
    check(state_of(reserve(1, 0.25, blocks=(3, 3)), *fits[:-1]), fits[-1])


# Statement 5.
def test_a_taint_is_for_good_and_ends_the_guarantee() -> None:
    state = state_of(reserve(1), Taint(job(2), (Range(4, 4),), "Warn"))
    status = status_of(state)
    assert not guarantee_holds(state)
    assert worst_case(state)[0] is None
    assert status["blocks"]["tainted"] == 1
    assert status["taints"][0] | {"time": ""} == {
        "job": "research/job-2",
        "reason": "Warn",
        "entry": state.name_of(3),
        "time": "",
    }


# Statement 4.
def test_the_weakest_assurance_ever_spent_is_kept() -> None:
    weak = reserve(1, blocks=(0, 1), assurance=Assurance.INSTRUMENTED)
    assert "weakestAssurance" not in status_of(state_of(weak, release(1))), "nothing was spent"
    strong = reserve(2, assurance=Assurance.ATTESTED)
    status = status_of(state_of(weak, bind(1), commit(1), strong, commit(2)))
    assert status["weakestAssurance"] == "Instrumented"
    assert [one["weakestAssurance"] for one in status["fullest"]] == ["Instrumented"] * 2 + ["Attested"] * 6
