"""high-risk-ai: a flagged system names its rights assessment, its oversight and its instructions."""

import pytest
from builders import decide, finding, inference_job, only, policy, rules_of, training_job

from mlprivacy.policy.model import Action, Verdict
from mlprivacy.policy.rules import rules_by_id

ON = only("high-risk-ai", action="Warn")
WHOLE = {
    "rightsAssessment": "https://clinic.example/rights",
    "oversightContact": "oversight@clinic.example",
    "instructions": "https://clinic.example/instructions",
}
JOBS = pytest.mark.parametrize("job", [training_job, inference_job])


@JOBS
def test_a_system_that_is_not_flagged_is_not_concerned(job):
    assert "high-risk-ai" not in rules_of(decide(job(), ON))


@JOBS
def test_with_every_member_it_passes(job):
    assert "high-risk-ai" not in rules_of(decide(job(highRisk=WHOLE), ON))


@JOBS
@pytest.mark.parametrize("member", sorted(WHOLE))
def test_each_missing_member_is_named(job, member):
    decision = decide(job(highRisk={k: v for k, v in WHOLE.items() if k != member}), ON)
    found = finding(decision, "high-risk-ai")
    assert (decision.verdict, found.action, found.path) == (Verdict.ALLOW, Action.WARN, f"spec.highRisk.{member}")
    assert member in found.remedy


def test_an_empty_flag_lacks_all_three():
    assert rules_of(decide(training_job(highRisk={}), ON)).count("high-risk-ai") == 3


def test_a_blank_contact_is_none():
    blank = WHOLE | {"oversightContact": "   "}
    assert finding(decide(training_job(highRisk=blank), ON), "high-risk-ai").path == "spec.highRisk.oversightContact"


def test_it_warns_by_itself_and_a_policy_may_refuse():
    assert rules_by_id()["high-risk-ai"].action is Action.WARN
    assert decide(training_job(highRisk={}), only("high-risk-ai")).verdict is Verdict.DENY


def test_it_is_off_without_a_pack_or_an_override():
    assert "high-risk-ai" not in rules_of(decide(training_job(highRisk={}), policy(packs=[])))
