"""special-category: such data needs a further condition, and the assurance that the policy sets."""

import pytest
from builders import (
    ALL_CAPABILITIES,
    asked,
    dataset,
    decide,
    finding,
    inference_job,
    policy,
    rules_of,
    training_job,
    use,
)

from mlprivacy.policy.model import Action, Verdict


def test_a_use_with_a_condition_passes():
    assert decide(training_job(), dataset(uses=[use(condition="eu-gdpr:A9-2-j")])).verdict is Verdict.ALLOW


def test_a_use_without_a_condition_is_refused():
    decision = decide(training_job(), dataset(uses=[use()]))
    found = finding(decision, "special-category")
    assert decision.verdict is Verdict.DENY
    assert (found.path, found.private) == ("spec.datasets[0].columns", True)
    assert "ask the data owner to set condition in spec.uses" in found.remedy


def test_leaving_the_columns_out_passes():
    job = training_job(datasets=[asked(columns=["age"])])
    assert decide(job, dataset(uses=[use()])).verdict is Verdict.ALLOW


def test_no_policy_means_gated_and_a_job_that_reaches_less_is_refused():
    decision = decide(training_job(), leave_out=["PrivacyPolicy/eu"])
    found = finding(decision, "special-category")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].columns[1]")
    assert "needs assurance Gated, and this job reaches Declared" in found.message


@pytest.mark.parametrize("written", ["Declared"])
def test_setting_the_parameter_of_the_remedy_passes(written):
    found = finding(decide(training_job(), leave_out=["PrivacyPolicy/eu"]), "special-category")
    assert f"set special-category.minimumAssurance of the policy to {written}" in found.remedy
    allowed = policy(parameters={"special-category.minimumAssurance": written})
    assert decide(training_job(), allowed).verdict is Verdict.ALLOW


def test_with_every_part_in_force_gated_is_reached():
    decision = decide(training_job(), leave_out=["PrivacyPolicy/eu"], capabilities=ALL_CAPABILITIES)
    assert "special-category" not in rules_of(decision)


def test_an_inference_job_names_a_condition_or_a_scope():
    decision = decide(inference_job(dataClasses=["health"]))
    found = finding(decision, "special-category")
    assert (found.action, found.path) == (Action.DENY, "spec.condition")
    assert "eu-gdpr:A9-2-h, or spec.consentScope" in found.remedy
    assert decide(inference_job(dataClasses=["health"], condition="eu-gdpr:A9-2-h")).verdict is Verdict.ALLOW


def test_other_classes_are_not_concerned():
    assert "special-category" not in rules_of(decide(inference_job(), leave_out=["PrivacyPolicy/eu"]))
