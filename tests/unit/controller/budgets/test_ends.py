"""Which reservations are over, and how they end: whole, unless it is known that nothing ran."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.ledger_world import reserve

from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.state import Reservation
from mlprivacy.budget.ledger.transitions import Commit, Release
from mlprivacy.controller.budgets.ends import ends, gone, lost
from mlprivacy.controller.plan import Phase, Plan, Seen, Step
from mlprivacy.controller.sealing import Unsealed

BOUND = Reservation(reserve(1), 3, "2026-03-14T12:00:00.000000Z", "pod-1")
FREE = replace(BOUND, pod=None)
SEEN = Seen(name="mlp-job-1-1", uid="j", number=1, digest="", suspended=False, running=False)
COMPLETE = replace(SEEN, finished="Complete", sealed=True)
FAILED = replace(SEEN, finished="Failed", sealed=True)
AT_SEAL = replace(SEEN, finished="Failed", unsealed=Unsealed(pod="p", code=3, sentence="no seal"))


def plan(step: Step, attempt: int = 1) -> Plan:
    return Plan(step, Phase.RUNNING, attempt, Reason.PROGRESSING)


def one(held: Reservation, what: Plan, *seen: Seen, alive: bool = False, finished: bool = False) -> object:
    found = ends([held], what, seen, pods_alive=alive, finished=finished)
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize("step", [Step.KEEP, Step.START, Step.WAIT])
def test_what_goes_on_is_not_over(step: Step) -> None:
    assert one(BOUND, plan(step), *([SEEN] if step is Step.KEEP else [])) is None


def test_a_training_that_ended_well_is_spent_whole() -> None:
    assert one(BOUND, plan(Step.FINISH), COMPLETE) == Commit("uid-1", 1, "Planned", "pod-1", ended=True)


def test_a_training_that_failed_is_spent_whole_and_nobody_knows_why_it_stopped() -> None:
    assert one(BOUND, plan(Step.FINISH), FAILED) == Commit("uid-1", 1, "Unknown", "pod-1", ended=True)


def test_a_pod_that_ended_at_its_seal_spent_nothing() -> None:
    found = one(BOUND, plan(Step.HOLD, 2), AT_SEAL)
    assert isinstance(found, Commit)
    assert (found.stop, found.pod_uid, found.ended) == ("Operator", "pod-1", True)
    assert found.curve == (0,) * len(BOUND.reserve.curve)


def test_a_stopped_attempt_is_over_when_its_pod_is_gone_and_not_before() -> None:
    stopped = replace(SEEN, suspended=True)
    assert one(BOUND, plan(Step.REST), stopped, alive=True) is None
    assert one(BOUND, plan(Step.REST), stopped) == Commit("uid-1", 1, "Unknown", "pod-1")


def test_nothing_is_given_back_while_a_pod_may_be_alive() -> None:
    assert one(FREE, plan(Step.REST), alive=True) is None


def test_what_no_pod_was_bound_to_is_given_back() -> None:
    assert one(FREE, plan(Step.REST)) == Release("uid-1", 1, "Withdrawn")
    assert one(FREE, plan(Step.END, 2), replace(SEEN, suspended=True)) == Release("uid-1", 1, "NeverStarted")


@pytest.mark.parametrize("seen", [COMPLETE, FAILED], ids=["well", "badly"])
def test_what_ran_without_being_bound_is_spent(seen: Seen) -> None:
    assert one(FREE, plan(Step.FINISH), seen) == Commit("uid-1", 1, "Unknown")


def test_an_earlier_attempt_is_over_once_the_next_is_made() -> None:
    assert one(BOUND, plan(Step.START, 2)) == Commit("uid-1", 1, "Unknown", "pod-1")


def test_a_lost_attempt_is_spent_when_that_is_certain() -> None:
    assert one(BOUND, plan(Step.CONFIRM_LOST)) is None
    assert one(BOUND, plan(Step.REST), finished=True) == Commit("uid-1", 1, "Unknown", "pod-1")


def test_a_job_that_is_deleted_in_order_keeps_nothing_that_never_ran() -> None:
    assert gone([BOUND, FREE]) == [Commit("uid-1", 1, "Unknown", "pod-1"), Release("uid-1", 1, "Withdrawn")]


def test_of_a_job_that_vanished_nobody_can_say_what_ran() -> None:
    assert lost([FREE]) == [Commit("uid-1", 1, "Unknown")]
