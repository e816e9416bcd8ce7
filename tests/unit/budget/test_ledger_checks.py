"""What the ledger allows and refuses, step by step, and what it says of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import CAPACITY, DOMAIN, NOON, bind, chain, commit, job, part_of, promise, release, reserve

from mlprivacy.api.base import Assurance
from mlprivacy.budget.ledger.blocks import BlockError, Cut, Range, ranges_of
from mlprivacy.budget.ledger.checks import Terms, check, known_as
from mlprivacy.budget.ledger.entry import link, stamp
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import (
    Commit,
    Open,
    Retire,
    Stop,
    Taint,
    Transition,
    TransitionError,
    parse_transition,
    transition_body,
)
from mlprivacy.budget.ledger.units import UNBOUNDED, from_units, to_units


def after(*steps: Transition) -> State:
    state = fold(DOMAIN, chain(*steps)).state
    assert state is not None
    return state


def refused(state: State, step: Transition, terms: Terms | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        check(state, step, terms)
    return caught.value


# --- room ------------------------------------------------------------------------------------------------------------


def test_a_block_takes_a_job_when_one_order_has_room_and_deducts_at_all() -> None:
    """At order 2 the block is full; at order 8 the second job fits, and after it no third one of either kind."""
    first, second = (CAPACITY[0], 1, UNBOUNDED), (CAPACITY[0], CAPACITY[1] - 1, UNBOUNDED)
    state = after(reserve(1, curve=first), reserve(2, curve=second))
    found = refused(state, reserve(3, curve=(1, 1, 1)))
    assert found.code is Code.EXHAUSTED
    assert "bucket 0 has no room: at order" in str(found)
    assert found.block == 0


def test_all_blocks_have_room_or_nothing_is_reserved() -> None:
    state = after(reserve(1, 1.0, blocks=(5, 5)))
    found = refused(state, reserve(2, 0.1, blocks=(0, 7)))
    assert (found.code, found.block) == (Code.EXHAUSTED, 5)
    check(state, reserve(2, 0.1, blocks=(0, 4)))


def test_a_reservation_counts_until_it_is_settled_and_the_rest_comes_back() -> None:
    held = [reserve(1, 0.9), bind(1)]
    assert refused(after(*held), reserve(2, 0.5)).code is Code.EXHAUSTED
    spent = commit(1, "Planned", pod_uid="pod-1", curve=part_of(0.4), ended=True)
    check(after(*held, spent), reserve(2, 0.5))
    check(after(reserve(1, 0.9), release(1)), reserve(2, 0.9))


def test_a_reservation_without_a_bound_is_no_hole() -> None:
    assert to_units((float("inf"), 1e9, 2e-10)) == (UNBOUNDED, UNBOUNDED, 1)
    assert from_units((UNBOUNDED, 1)) == (float("inf"), 1e-9)
    assert refused(after(), reserve(1, curve=(UNBOUNDED,) * 3)).code is Code.EXHAUSTED


@pytest.mark.parametrize("curve", [(1, 2), (0, 0, 0), (1, 0, 1)], ids=["too short", "zero", "zero at one order"])
def test_a_curve_that_is_none(curve: tuple[int, ...]) -> None:
    assert refused(after(), reserve(1, curve=curve)).code is Code.INVALID_CURVE


@given(st.lists(st.floats(0, 50), min_size=1, max_size=40))
def test_counting_in_billionths_never_understates(losses: list[float]) -> None:
    total = sum(to_units([loss])[0] for loss in losses)
    assert total / 1e9 >= sum(losses) - 1e-9 * len(losses)
    assert total / 1e9 <= sum(losses) + 2e-9 * len(losses)


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_blocks_that_are_not_there_or_retired() -> None:
    state = after(Retire((Range(3, 4),), "Retention"))
    assert refused(state, reserve(1, blocks=(0, 8))).code is Code.UNKNOWN_BLOCK
    found = refused(state, reserve(1, blocks=(0, 7)))
    assert (found.code, found.block) == (Code.RETIRED_BLOCK, 3)
    assert refused(state, Taint(job(), (Range(9, 9),), "Audit")).code is Code.UNKNOWN_BLOCK
    assert refused(state, Open((Range(8, 8),))).code is Code.UNKNOWN_BLOCK


def test_what_was_reserved_on_a_retired_block_can_be_committed() -> None:
    state = after(reserve(1), Retire((Range(0, 7),), "Erasure"), bind(1))
    check(state, commit(1))


def test_a_claim_of_ten_thousand_blocks_is_one_range_and_beyond_the_bound_refused() -> None:
    body = transition_body(reserve(1, blocks=(0, 9_999)))
    assert len(str(body)) < 400
    parse_transition(body)
    body["reserve"]["ranges"] = [{"first": 0, "last": 20_000}]
    with pytest.raises(TransitionError, match="at most 16,384"):
        parse_transition(body)
    with pytest.raises(BlockError, match="at most 64"):
        ranges_of(range(0, 200, 2))


def test_a_table_of_days_over_a_century_is_refused() -> None:
    founding = (promise(unit="Event", cut=Cut("IngestionTime", "Day")), Open((Range(0, 10),)))
    state = State(DOMAIN)
    for step in founding:
        check(state, step)
        state.apply(step, 1)
    assert refused(state, Open((Range(40_000, 40_001),))).code is Code.TOO_MANY_BLOCKS


@pytest.mark.parametrize(
    ("cut", "label"),
    [
        (Cut("SubjectCohort", "Week"), "2026-W11"),
        (Cut("SubjectCohort", "Month"), "2026-03"),
        (Cut("SubjectCohort", "Year"), "2026"),
        (Cut("IngestionTime", "Day"), "2026-03-14"),
    ],
    ids=lambda value: value.period if isinstance(value, Cut) else value,
)
def test_a_block_is_a_period_of_the_calendar(cut: Cut, label: str) -> None:
    key = cut.key_at(NOON)
    assert cut.label(key) == label
    assert cut.key_of(label) == key
    assert cut.due(NOON - timedelta(days=800), NOON)[0].last == key
    with pytest.raises(BlockError):
        cut.key_of("yesterday")


@given(st.integers(0, 500), st.sampled_from(["Day", "Week", "Month", "Year"]))
def test_labels_and_numbers_of_blocks_agree(key: int, period: str) -> None:
    cut = Cut("SubjectCohort", period)
    assert cut.key_of(cut.label(key)) == key


# --- pods and attempts -----------------------------------------------------------------------------------------------


def test_one_pod_spends_an_attempt() -> None:
    state = after(reserve(1), bind(1, "pod-1"))
    assert known_as(state, bind(1, "pod-1")) == 2
    assert refused(state, bind(1, "pod-2")).code is Code.ANOTHER_POD
    other = commit(1, "Planned", pod_uid="pod-2", curve=part_of(0.05), ended=True)
    assert refused(state, other).code is Code.ANOTHER_POD
    check(state, commit(1, pod_uid="pod-1"))


def test_an_attempt_reserves_and_settles_once() -> None:
    state = after(reserve(1), commit(1))
    assert known_as(state, reserve(1)) == 3
    assert known_as(state, commit(1)) == 3
    with pytest.raises(Refused, match=r"settled in entry .*-3 otherwise"):
        known_as(state, release(1))
    with pytest.raises(Refused) as caught:
        known_as(state, reserve(1, 0.2))
    assert caught.value.code is Code.SETTLED
    assert refused(state, bind(1)).code is Code.SETTLED
    check(state, reserve(1, attempt=2))


def test_an_attempt_does_not_come_after_a_later_one() -> None:
    assert refused(after(reserve(1, attempt=2)), reserve(1, attempt=1)).code is Code.OLDER_ATTEMPT


def test_what_was_never_reserved_is_not_settled() -> None:
    for step in (bind(1), commit(1), release(1)):
        assert refused(after(), step).code is Code.NOT_RESERVED


# --- refunds (accounting.md 10) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["Planned", "NoisyOutputs", "Operator", "Adaptive", "Unknown"])
def test_less_is_committed_only_after_a_stop_that_tells_nothing(stop: Stop) -> None:
    state = after(reserve(1), bind(1))
    less = commit(1, stop, pod_uid="pod-1", curve=part_of(0.05), ended=True)
    if stop in ("Planned", "NoisyOutputs", "Operator"):
        check(state, less)
    else:
        assert refused(state, less).code is Code.NOT_REFUNDABLE
    check(state, commit(1, stop))


def test_less_is_committed_only_once_the_bound_pod_has_ended() -> None:
    state = after(reserve(1), bind(1))
    for step in (
        Commit("uid-1", 1, "Planned", "pod-1", part_of(0.05), ended=False),
        Commit("uid-1", 1, "Planned", None, part_of(0.05), ended=True),
    ):
        assert refused(state, step).code is Code.NOT_REFUNDABLE


def test_more_than_was_reserved_is_refused() -> None:
    state = after(reserve(1), bind(1))
    more = commit(1, "Planned", pod_uid="pod-1", curve=(1, 1, CAPACITY[2]), ended=True)
    assert refused(state, more).code is Code.TOO_MUCH


def test_nothing_is_released_once_a_pod_is_bound() -> None:
    check(after(reserve(1)), release(1))
    assert refused(after(reserve(1), bind(1)), release(1)).code is Code.BOUND


# --- terms of the budget ---------------------------------------------------------------------------------------------


def test_a_quota_caps_a_namespace_and_the_filter_caps_all() -> None:
    terms = Terms(quotas={"research": 0.4, "statistics": 0.8})
    state = after(reserve(1, 0.3))
    found = refused(state, reserve(2, 0.2), terms)
    assert found.code is Code.QUOTA_REACHED
    assert "the namespace research may take 40%" in str(found)
    check(state, reserve(2, 0.6, namespace="statistics"), terms)
    assert refused(state, reserve(2, 0.75, namespace="statistics"), terms).code is Code.EXHAUSTED
    assert refused(state, reserve(2, 0.01, namespace="others"), terms).code is Code.QUOTA_REACHED


def test_many_small_jobs_stay_within_the_quota() -> None:
    terms, steps = Terms(quotas={"research": 0.4}), []
    for number in range(1, 9):
        state = after(*steps)
        if number <= 8 * 0.5:
            check(state, reserve(number, 0.1), terms)
            steps.append(reserve(number, 0.1))
        else:
            assert refused(state, reserve(number, 0.1), terms).code is Code.QUOTA_REACHED


def test_a_quota_gets_back_what_a_job_gave_back() -> None:
    terms = Terms(quotas={"research": 0.4})
    check(after(reserve(1, 0.3), release(1)), reserve(2, 0.3), terms)


def test_assurance_and_image_are_what_the_budget_demands() -> None:
    terms = Terms(Assurance.GATED, frozenset({"sha256:" + "a" * 64}))
    weak = reserve(1, assurance=Assurance.INSTRUMENTED)
    assert refused(after(), weak, terms).code is Code.WEAK_ASSURANCE
    assert refused(after(), reserve(1), terms).code is Code.IMAGE_NOT_REVIEWED
    check(after(), reserve(1, image="sha256:" + "a" * 64), terms)


# --- the clock -------------------------------------------------------------------------------------------------------


def test_a_clock_that_goes_backwards_is_tolerated_and_flagged() -> None:
    entries = chain(reserve(1))
    back = link(entries[-1].head, [bind(1)], stamp(NOON - timedelta(hours=3)), "test")
    state = fold(DOMAIN, [*entries, back]).state
    assert state is not None
    assert (state.backwards, state.first_backwards) == (1, back.name)
    assert state.latest == entries[-1].time


def test_settled_attempts_are_forgotten_after_a_day_and_running_ones_never() -> None:
    entries = chain(reserve(1), commit(1), reserve(2))
    later = link(entries[-1].head, [reserve(3)], stamp(NOON + timedelta(days=2)), "test")
    state = fold(DOMAIN, [*entries, later]).state
    assert state is not None
    assert known_as(state, reserve(1)) is None
    assert known_as(state, reserve(2)) == 4
