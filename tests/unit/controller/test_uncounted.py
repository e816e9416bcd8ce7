"""A job that was decided on is not stopped because its loss has to be counted again after a start of the controller."""

from typing import Any

from builders import budget, clinic_world, counted, facts_of, training_job

from mlprivacy.controller.reconcile import judged, uncounted
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Verdict

FACTS = facts_of(clinic_world(budget()))


def known(generation: int, **status: Any) -> dict[str, Any]:
    raw = training_job()
    raw["metadata"] = {**raw["metadata"], "generation": 2}
    return {**raw, "status": {"observedGeneration": generation, "decision": {"verdict": "Allow"}, **status}}


def test_a_job_that_only_a_count_holds_is_left_as_it_is() -> None:
    decision = evaluate(training_job(), FACTS)
    assert decision.verdict is Verdict.HOLD
    assert uncounted(decision)
    assert judged(known(2))


def test_one_that_was_edited_or_never_judged_is_held() -> None:
    assert not judged(known(1))
    assert not judged(training_job())


def test_what_else_is_wrong_stops_it() -> None:
    revoked = facts_of(clinic_world(budget(), leave_out=["DatasetGrant/to-research"]))
    assert not uncounted(evaluate(training_job(), revoked))


def test_nothing_is_wrong_once_it_is_counted() -> None:
    assert not uncounted(evaluate(training_job(), counted(training_job(), FACTS)))
