"""processor-contract: in a processor's namespace every use of data stands under a contract that is in force."""

import pytest
from builders import (
    NOW,
    asked,
    consent_scope,
    dataset,
    decide,
    finding,
    grant,
    health_class,
    inference_job,
    only,
    policy,
    rules_of,
    training_job,
    triage_grant,
)

from mlprivacy.policy.model import Action, Verdict

ON = only("processor-contract")
CONTRACT = {"reference": "https://contracts.example/42"}
LASTING = {**CONTRACT, "expiresAt": "2027-01-01T00:00:00Z"}
OVER = {**CONTRACT, "expiresAt": NOW.isoformat()}
PROCESSOR = {"research": "processor"}


def decided(job, *changed, roles=PROCESSOR):
    return decide(job, *changed, ON, roles=roles)


@pytest.mark.parametrize("roles", [None, {"research": "controller"}, {"clinic": "processor"}])
def test_a_controller_s_namespace_needs_none(roles):
    assert decided(training_job(), roles=roles).verdict is Verdict.ALLOW


def test_foreign_data_needs_a_contract_in_the_grant():
    decision = decided(training_job())
    found = finding(decision, "processor-contract")
    assert (decision.verdict, found.action, found.path) == (Verdict.DENY, Action.DENY, "spec.datasets[0].name")
    assert found.private
    assert "the DatasetGrant" in found.remedy
    assert decided(training_job(), grant(processorContract=CONTRACT)).verdict is Verdict.ALLOW


def test_a_contract_of_the_dataset_is_no_contract_with_the_other_namespace():
    assert decided(training_job(), dataset(processorContract=CONTRACT)).verdict is Verdict.DENY


def test_of_two_grants_only_the_one_that_is_relied_on_counts():
    narrow = grant("narrow", to=[{**grant()["spec"]["to"][0], "columns": ["age"]}], processorContract=CONTRACT)
    assert finding(decided(training_job(), narrow), "processor-contract").action is Action.DENY


def test_a_contract_ends():
    decision = decided(training_job(), grant(processorContract=LASTING))
    assert decision.verdict is Verdict.ALLOW
    assert decision.valid_until.isoformat() == "2027-01-01T00:00:00+00:00"
    found = finding(decided(training_job(), grant(processorContract=OVER)), "processor-contract")
    assert "ended at" in found.message


def test_data_of_the_same_namespace_needs_a_contract_in_the_dataset():
    job = training_job(namespace="clinic", datasets=[asked(namespace="clinic")])
    found = finding(decided(job, roles={"clinic": "processor"}), "processor-contract")
    assert (found.action, found.private) == (Action.DENY, False)
    assert decided(job, dataset(processorContract=CONTRACT), roles={"clinic": "processor"}).verdict is Verdict.ALLOW


def test_an_inference_job_names_its_own():
    found = finding(decided(inference_job()), "processor-contract")
    assert (found.action, found.path) == (Action.DENY, "spec.processorContract")
    assert decided(inference_job(processorContract=LASTING)).verdict is Verdict.ALLOW
    assert decided(inference_job(processorContract=OVER)).verdict is Verdict.DENY


def test_an_inference_job_on_another_namespace_s_scope_needs_one_in_the_grant():
    job = inference_job(
        dataClasses=["health"], consentScope={"name": "triage", "namespace": "clinic"}, processorContract=CONTRACT
    )
    assert finding(decided(job, health_class()), "processor-contract").path == "spec.consentScope"
    contracted = triage_grant()
    contracted["spec"]["processorContract"] = CONTRACT
    assert "processor-contract" not in rules_of(decided(job, contracted))
    elsewhere = triage_grant(purposes=["essential"])
    elsewhere["metadata"]["name"] = "other"
    elsewhere["spec"]["processorContract"] = CONTRACT
    assert "processor-contract" in rules_of(decided(job, elsewhere))


def test_a_role_that_is_neither_holds():
    decision = decided(training_job(), roles={"research": "procesor"})
    assert (decision.verdict, finding(decision, "processor-contract").action) == (Verdict.HOLD, Action.HOLD)


def test_it_is_off_without_a_pack_or_an_override():
    decision = decide(training_job(), policy(packs=[]), consent_scope(), roles=PROCESSOR)
    assert "processor-contract" not in rules_of(decision)
