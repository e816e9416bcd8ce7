"""encryption: where a class demands it at rest, scratch is in memory and claims are of encrypted storage classes.

pod-hardening refuses every claim, so what this rule says of claims counts where a policy only warns of that.
"""

import pytest
from builders import asked, decide, finding, health_class, policy, template, training_job

from mlprivacy.policy.facts import Claim
from mlprivacy.policy.model import Action, Dependency, Verdict

AT_REST = health_class(encryption={"atRest": "Required"})
PATH = "spec.template.spec.volumes[0].persistentVolumeClaim"
CLAIM = training_job(
    template=template(volumes=[{"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}])
)


def parameters(**encryption):
    written = {f"encryption.{k}": v for k, v in encryption.items()}
    return policy(parameters={"special-category.minimumAssurance": "Declared"} | written)


def claims(storage_class):
    return {("research", "models"): Claim(storage_class)}


def test_no_demand_no_obligation():
    decision = decide(training_job())
    assert (decision.verdict, decision.obligations.scratch_in_memory) == (Verdict.ALLOW, False)


def test_scratch_goes_to_memory():
    assert decide(training_job(), AT_REST).obligations.scratch_in_memory


def test_encrypted_nodes_may_keep_it_on_disk():
    decision = decide(training_job(), AT_REST, parameters(nodeStorageEncrypted="true"))
    assert not decision.obligations.scratch_in_memory


def test_a_claim_that_is_not_known_holds():
    decision = decide(CLAIM, AT_REST, parameters(storageClasses="encrypted"))
    found = finding(decision, "encryption")
    assert (found.action, found.path) == (Action.HOLD, PATH)
    assert "create the claim models with an encrypted storage class" in found.remedy


def test_the_claim_is_something_the_decision_rests_on():
    assert Dependency("PersistentVolumeClaim", "research", "models") in decide(CLAIM, AT_REST).dependencies


@pytest.mark.parametrize("storage_class", ["standard", "encrypted-not", "Encrypted", "", None])
def test_a_claim_of_another_class_is_refused(storage_class):
    decision = decide(CLAIM, AT_REST, parameters(storageClasses="encrypted,vault"), claims=claims(storage_class))
    found = finding(decision, "encryption")
    assert (found.action, found.path) == (Action.DENY, PATH)
    assert found.remedy == "use a claim of one of: encrypted, vault"


@pytest.mark.parametrize("storage_class", ["encrypted", "vault"])
def test_the_classes_of_the_remedy_pass(storage_class):
    decision = decide(CLAIM, AT_REST, parameters(storageClasses="encrypted,vault"), claims=claims(storage_class))
    assert {found.rule for found in decision.findings} == {"pod-hardening"}


def test_without_any_listed_class_the_remedy_names_the_parameter():
    found = finding(decide(CLAIM, AT_REST, claims=claims("encrypted")), "encryption")
    assert "encryption.storageClasses" in found.remedy


def test_a_class_nobody_asked_for_demands_nothing():
    job = {**CLAIM, "spec": CLAIM["spec"] | {"datasets": [asked(columns=["age"])]}}
    assert {found.rule for found in decide(job, AT_REST).findings} == {"pod-hardening"}
