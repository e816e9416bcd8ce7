"""purpose-declared: data is used only where its owner declared a purpose and a legal basis for this processing."""

from builders import data_class, dataset, decide, finding, inference_job, rules_of, training_job, use, without

from mlprivacy.policy.model import Action, Verdict


def test_a_dataset_with_a_use_for_training_passes():
    assert decide(training_job()).verdict is Verdict.ALLOW


def test_a_dataset_without_any_use_is_refused():
    decision = decide(training_job(), dataset(uses=[]))
    found = finding(decision, "purpose-declared")
    assert decision.verdict is Verdict.DENY
    assert found.path == "spec.datasets[0].name"
    assert "add an entry to spec.uses with processing Training and a legalBasis" in found.remedy
    assert found.private, "the dataset is another namespace's"


def test_a_use_for_inference_is_none_for_training():
    decision = decide(training_job(), dataset(uses=[use(processing="Inference")]))
    assert finding(decision, "purpose-declared").action is Action.DENY


def test_following_the_remedy_passes():
    assert decide(training_job(), dataset(uses=[use(condition="eu-gdpr:A9-2-j")])).verdict is Verdict.ALLOW


def test_an_inference_job_on_personal_data_names_a_basis_or_a_scope():
    decision = decide(without(inference_job(), "spec.legalBasis"))
    found = finding(decision, "purpose-declared")
    assert decision.verdict is Verdict.DENY
    assert found.path == "spec.legalBasis"
    assert "spec.consentScope, or spec.legalBasis to a DPV key such as eu-gdpr:A6-1-b" in found.remedy


def test_the_basis_that_the_remedy_gives_passes():
    assert decide(inference_job(legalBasis="eu-gdpr:A6-1-b")).verdict is Verdict.ALLOW


def test_an_inference_job_on_public_data_needs_no_basis():
    job = without(inference_job(), "spec.legalBasis")
    assert "purpose-declared" not in rules_of(decide(job, data_class(sensitivity="Public")))
