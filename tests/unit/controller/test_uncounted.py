"""A job that runs is not stopped because its loss has to be counted again after a start of the controller."""

from typing import Any

from builders import budget, change, clinic_world, counted, facts_of, training_job

from mlprivacy.controller.reconcile import uncounted_while_it_runs
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Verdict

FACTS = facts_of(clinic_world(budget()))


def running(**status: Any) -> dict[str, Any]:
    return {**training_job(), "status": {"startedAt": "2026-06-01T00:00:00Z", **status}}


def test_a_job_that_runs_waits_for_its_loss_to_be_counted() -> None:
    decision = evaluate(running(), FACTS)
    assert decision.verdict is Verdict.HOLD
    assert uncounted_while_it_runs(running(), decision)


def test_one_that_does_not_run_is_held() -> None:
    decision = evaluate(running(), FACTS)
    stopped = [{"type": "Suspended", "status": "True", "reason": "Held"}]
    assert not uncounted_while_it_runs(training_job(), decision)
    assert not uncounted_while_it_runs(running(finishedAt="2026-06-01T01:00:00Z"), decision)
    assert not uncounted_while_it_runs(running(conditions=stopped), decision)
    assert not uncounted_while_it_runs(change(running(), "spec.suspend", True), decision)


def test_what_else_is_wrong_stops_it() -> None:
    revoked = facts_of(clinic_world(budget(), leave_out=["DatasetGrant/to-research"]))
    assert not uncounted_while_it_runs(running(), evaluate(running(), revoked))


def test_nothing_is_wrong_once_it_is_counted() -> None:
    decision = evaluate(running(), counted(running(), FACTS))
    assert not uncounted_while_it_runs(running(), decision)
