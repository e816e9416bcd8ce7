"""training-summary: a general-purpose model names the summary of its training content; a warning."""

import pytest
from builders import decide, finding, inference_job, only, policy, rules_of, training_job

from mlprivacy.policy.model import Action, Verdict

ON = only("training-summary", action="Warn")
JOBS = pytest.mark.parametrize("job", [training_job, inference_job])


@JOBS
def test_other_models_are_not_concerned(job):
    assert "training-summary" not in rules_of(decide(job(), ON))


@JOBS
def test_with_a_summary_it_passes(job):
    summary = {"trainingSummary": "https://models.example/summary"}
    assert "training-summary" not in rules_of(decide(job(generalPurpose=summary), ON))


@JOBS
def test_without_a_summary_it_warns(job):
    decision = decide(job(generalPurpose={}), ON)
    found = finding(decision, "training-summary")
    assert (decision.verdict, found.action) == (Verdict.ALLOW, Action.WARN)
    assert found.path == "spec.generalPurpose.trainingSummary"


def test_a_policy_may_refuse():
    assert decide(training_job(generalPurpose={}), only("training-summary")).verdict is Verdict.DENY


def test_it_is_off_without_a_pack_or_an_override():
    assert "training-summary" not in rules_of(decide(training_job(generalPurpose={}), policy(packs=[])))
