"""impact-assessment: sensitive processing has a current assessment of this very processing; else the job is held."""

import pytest
from builders import (
    DIGEST,
    NOW,
    asked,
    change,
    data_class,
    decide,
    finding,
    inference_job,
    only,
    policy,
    rules_of,
    training_job,
)

from mlprivacy.policy.model import Action, Verdict, canonical_digest

ON = only("impact-assessment")
REFERENCE = "https://clinic.example/assessment"
LATER = "2027-01-01T00:00:00Z"


def digest(classes=("demographic", "health"), purpose="train_ai_system", model=""):
    return canonical_digest({"purpose": purpose, "dataClasses": list(classes), "model": model})


def assessed(job, **fields):
    return change(
        job, "spec.impactAssessment", {"reference": REFERENCE, "digest": digest(), "expiresAt": LATER} | fields
    )


def test_an_assessment_of_this_processing_passes_until_it_ends():
    decision = decide(assessed(training_job()), ON)
    assert decision.verdict is Verdict.ALLOW
    assert decision.valid_until.isoformat() == "2027-01-01T00:00:00+00:00"


def test_a_missing_one_holds_and_the_remedy_has_the_digest_to_write():
    decision = decide(training_job(), ON)
    found = finding(decision, "impact-assessment")
    assert (decision.verdict, found.action, found.path) == (Verdict.HOLD, Action.HOLD, "spec.impactAssessment")
    assert digest() in found.remedy
    assert "health is of special category" in found.message


def test_it_never_refuses_and_a_policy_may_only_soften_it():
    assert decide(training_job(), only("impact-assessment", action="Deny")).verdict is Verdict.HOLD
    assert decide(training_job(), only("impact-assessment", action="Warn")).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(digest(purpose="train_ai_system.other"), id="another purpose"),
        pytest.param(digest(classes=("health",)), id="fewer classes"),
        pytest.param(digest(model="other"), id="another model"),
        pytest.param(DIGEST, id="nonsense"),
    ],
)
def test_one_of_something_else_holds(other):
    found = finding(decide(assessed(training_job(), digest=other), ON), "impact-assessment")
    assert (found.action, found.path) == (Action.HOLD, "spec.impactAssessment.digest")
    assert digest() in found.remedy


def test_one_that_is_past_holds():
    found = finding(decide(assessed(training_job(), expiresAt=NOW.isoformat()), ON), "impact-assessment")
    assert (found.action, found.path) == (Action.HOLD, "spec.impactAssessment.expiresAt")


def test_what_the_digest_leaves_out_needs_no_new_assessment():
    job = change(assessed(training_job()), "spec.privacy.epochs", 5)
    assert decide(job, ON).verdict is Verdict.ALLOW


def test_the_model_is_the_output_s_or_the_served_one():
    job = change(training_job(), "spec.output", {"model": "diagnosis"})
    assert digest(model="diagnosis") in finding(decide(job, ON), "impact-assessment").remedy
    served = inference_job(highRisk={})
    image = served["spec"]["model"]["image"]
    expected = digest(("demographic",), "provide_diagnosis", image)
    assert expected in finding(decide(served, ON), "impact-assessment").remedy


def test_ordinary_data_needs_none_and_a_flag_for_high_risk_does():
    ordinary = training_job(datasets=[asked(columns=["age"])])
    assert "impact-assessment" not in rules_of(decide(ordinary, ON))
    found = finding(decide(change(ordinary, "spec.highRisk", {}), ON), "impact-assessment")
    assert "the system is flagged high-risk" in found.message


@pytest.mark.parametrize(("sensitivity", "needed"), [("Internal", True), ("Confidential", False), ("Public", True)])
def test_from_which_sensitivity_on_is_a_parameter(sensitivity, needed):
    ordinary = training_job(datasets=[asked(columns=["age"])])
    of_policy = only("impact-assessment", sensitivity=sensitivity)
    assert ("impact-assessment" in rules_of(decide(ordinary, of_policy))) is needed


def test_a_restricted_class_needs_one_without_being_special():
    secret = data_class(sensitivity="Restricted")
    ordinary = training_job(datasets=[asked(columns=["age"])])
    assert "demographic is Restricted" in finding(decide(ordinary, secret, ON), "impact-assessment").message


@pytest.mark.parametrize("gone", ["DataClass/demographic", "DataClass/health", "Dataset/visits"])
def test_no_digest_is_told_while_a_reference_is_open(gone):
    decision = decide(training_job(), ON, leave_out=[gone])
    assert decision.verdict is Verdict.HOLD
    assert "impact-assessment" not in rules_of(decision)
    assert "impact-assessment" not in rules_of(decide(inference_job(dataClasses=["health", "nowhere"]), ON))


def test_it_is_off_without_a_pack_or_an_override():
    assert decide(training_job(), policy(packs=[])).verdict is Verdict.ALLOW
