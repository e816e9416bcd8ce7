"""The desk of a domain: a grant is an entry of the ledger, who waits is told for what, and is woken when it comes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit import ledger_world as world
from tests.unit.controller.budgets.office import Counter, budget, key, wish

from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.transitions import Bind, Commit, Open, Release
from mlprivacy.policy.charge import Selection

run = world.run


def test_what_fits_is_reserved_at_once_and_the_ledger_says_so() -> None:
    counter = Counter()
    desk = counter.desk()

    asked = run(desk.ask(wish(1, 0.4)))

    assert asked.answer.may_start
    assert asked.blocks == 8
    assert asked.entry == counter.log.entries()[-1].name
    state = fold(world.DOMAIN, counter.log.entries()).state
    assert state is not None
    assert ("uid-1", 1) in state.reservations
    assert state.identities == {"urn:clinic:visits": ("s3://clinic/visits/",)}


def test_asking_again_changes_nothing() -> None:
    counter = Counter()
    desk = counter.desk()
    run(desk.ask(wish(1, 0.4)))
    entries = len(counter.log.specs)

    again = run(desk.ask(wish(1, 0.4)))

    assert again.answer.may_start
    assert len(counter.log.specs) == entries


def test_who_finds_no_room_waits_with_the_block_and_what_is_missing_and_is_woken_by_a_release() -> None:
    counter = Counter()
    desk = counter.desk()
    run(desk.ask(wish(1, 0.7)))

    waits = run(desk.ask(wish(2, 0.5)))
    assert waits.answer.state == "Waiting"
    assert waits.answer.reason is Reason.BUDGET_EXHAUSTED
    assert "bucket 0" in waits.answer.message
    assert counter.woken == []

    run(desk.settle([Release("uid-1", 1, "Withdrawn")]))

    assert counter.woken == [key(2)]
    assert run(desk.ask(wish(2, 0.5))).answer.may_start


def test_a_commit_gives_nothing_back() -> None:
    counter = Counter()
    desk = counter.desk()
    run(desk.ask(wish(1, 0.7)))
    run(desk.ask(wish(2, 0.5)))

    run(desk.settle([Commit("uid-1", 1, "Unknown")]))

    assert counter.woken == []
    assert run(desk.ask(wish(2, 0.5))).answer.state == "Waiting"


def test_less_is_spent_where_the_stop_tells_nothing_and_the_rest_is_there_for_others() -> None:
    counter = Counter()
    desk = counter.desk()
    run(desk.ask(wish(1, 0.7)))
    run(desk.write([Bind("uid-1", 1, "pod-1")]))
    run(desk.ask(wish(2, 0.5)))

    run(desk.settle([Commit("uid-1", 1, "Operator", "pod-1", (0, 0, 0), ended=True)]))

    assert counter.woken == [key(2)]


def test_after_a_restart_the_same_reservation_is_found_and_the_waiting_ask_again() -> None:
    counter = Counter()
    run(counter.desk().ask(wish(1, 0.7)))

    later = counter.desk()

    assert run(later.ask(wish(1, 0.7))).answer.may_start
    assert run(later.ask(wish(2, 0.5))).answer.state == "Waiting"


def test_a_second_process_that_wrote_in_between_is_seen_before_anything_is_granted() -> None:
    counter = Counter()
    one, two = counter.desk(), counter.desk()
    run(two.ask(wish(1, 0.7)))

    found = run(one.ask(wish(2, 0.5)))

    assert found.answer.state == "Waiting"
    assert run(one.ask(wish(1, 0.7))).answer.may_start


def test_a_request_that_was_lost_is_no_grant_and_one_that_was_not_heard_is() -> None:
    counter = Counter()
    desk = counter.desk()
    counter.log.fault = "lost"
    assert run(desk.ask(wish(1, 0.4))).answer.may_start
    counter.log.fault = "done-unheard"
    assert run(desk.ask(wish(2, 0.4))).answer.may_start

    state = fold(world.DOMAIN, counter.log.entries()).state
    assert state is not None
    assert set(state.reservations) == {("uid-1", 1), ("uid-2", 1)}


def test_what_no_block_could_ever_take_is_refused() -> None:
    asked = run(Counter().desk().ask(wish(1, 1.2)))

    assert asked.answer.state == "Refused"
    assert "never" in asked.answer.message


def test_a_namespace_without_a_quota_is_refused_and_one_that_had_its_share_waits() -> None:
    desk = Counter().desk(budget(quotas=[{"namespace": "research", "share": 0.3}]))

    assert run(desk.ask(wish(1, 0.1, namespace="elsewhere"))).answer.state == "Refused"
    assert run(desk.ask(wish(2, 0.2))).answer.may_start
    waits = run(desk.ask(wish(3, 0.2))).answer
    assert (waits.state, waits.reason) == ("Waiting", Reason.QUOTA_REACHED)


@pytest.mark.parametrize(
    "demand", [{"minimumAssurance": "Gated"}, {"reviewedImages": ["sha256:" + "a" * 64]}], ids=["assurance", "image"]
)
def test_what_the_budget_demands_of_a_job_is_not_waited_for(demand: dict[str, object]) -> None:
    assert run(Counter().desk(budget(**demand)).ask(wish(1))).answer.state == "Refused"


def test_who_waited_too_long_is_refused_also_after_a_restart() -> None:
    counter = Counter()
    spec = budget(scheduling={"policy": "FCFS", "timeout": "1h"})
    desk = counter.desk(spec)
    run(desk.ask(wish(1, 0.7)))
    run(desk.ask(wish(2, 0.5)))

    counter.now += timedelta(hours=2)
    run(desk.decide())

    assert counter.woken == [key(2)]
    assert run(desk.ask(wish(2, 0.5))).answer.reason is Reason.BUDGET_TIMEOUT
    assert run(counter.desk(spec).ask(wish(2, 0.5))).answer.reason is Reason.BUDGET_TIMEOUT


def test_dpf_unlocks_with_arrivals_and_says_how_many_are_missing() -> None:
    spec = budget(scheduling={"policy": "DPF", "unlocking": {"arrivals": 4}})
    counter = Counter()
    desk = counter.desk(spec)

    first = run(desk.ask(wish(1, 0.5))).answer
    assert first.reason is Reason.BUDGET_LOCKED
    assert "one more job asks" in first.message
    run(desk.ask(wish(2, 0.1)))

    assert run(desk.ask(wish(1, 0.5))).answer.state == "Waiting"  # the smaller share went first
    run(desk.ask(wish(3, 0.1)))
    run(desk.ask(wish(4, 0.1)))
    assert key(1) in counter.woken


def test_time_unlocks_and_the_answer_says_when() -> None:
    spec = budget(scheduling={"policy": "DPF", "unlocking": {"lifetime": "10h"}})
    counter = Counter()
    desk = counter.desk(spec)

    said = run(desk.ask(wish(1, 0.5))).answer
    assert "2026-03-14 17:00" in said.message

    counter.now += timedelta(hours=5, minutes=1)
    run(desk.decide())
    assert counter.woken == [key(1)]


def test_new_blocks_are_asked_for_by_whoever_still_waits() -> None:
    counter = Counter()
    desk = counter.desk()
    run(desk.ask(wish(1, 0.7)))
    run(desk.ask(wish(2, 0.5)))
    run(desk.settle([Release("uid-1", 1, "Withdrawn")]))

    held = run(desk.ask(wish(2, 0.5)))

    assert held.blocks == 8


def test_all_who_wait_are_counted_once_also_those_that_the_queue_can_not_take() -> None:
    counter, weeks = Counter(), Cut("SubjectCohort", "Week")
    founding = [world.promise(cut=weeks), Open((Range(2900, 2907),))]
    run(world.ledger(counter.log).append(founding))
    desk = counter.desk(budget(blocks={"by": "SubjectCohort", "period": "Week"}))
    run(desk.ask(wish(1, 0.7)))
    assert desk.waiting_jobs == frozenset()
    run(desk.ask(wish(2, 0.6)))
    run(desk.ask(wish(2, 0.6)))
    run(desk.ask(wish(3, 0.6, namespace="statistics")))
    later = run(desk.ask(wish(4, 0.1, selections=(Selection(first="2099-W01"),))))
    assert later.answer.state == "Waiting"
    assert desk.waiting_jobs == {key(2), key(3, "statistics"), key(4)}

    desk.withdraw(key(4))
    run(desk.settle([Release("uid-1", 1, "Withdrawn")]))

    assert desk.waiting_jobs == {key(3, "statistics")}  # there is room for one of the two


def test_who_is_refused_waits_no_more() -> None:
    desk = Counter().desk(budget(quotas=[{"namespace": "statistics", "share": 0.5}]))
    assert run(desk.ask(wish(1))).answer.state == "Refused"
    assert desk.waiting_jobs == frozenset()


def test_without_a_budget_nothing_is_granted_and_what_was_spent_stays() -> None:
    counter = Counter()
    desk = counter.desk()
    run(desk.ask(wish(1, 0.7)))
    desk.in_force(None)

    assert run(desk.ask(wish(2))).answer.state == "Waiting"
    run(desk.settle([Commit("uid-1", 1, "Unknown")]))

    anew = counter.desk()
    assert run(anew.ask(wish(3, 0.5))).answer.state == "Waiting"
