"""purpose-limitation: the job's purpose is equal to or below one that dataset and grant both give (dotted prefix)."""

import pytest
from builders import consent_scope, consent_use, dataset, decide, finding, grant, grant_to, policy, training_job

from mlprivacy.policy.model import Action, Verdict

WIDE = (
    dataset(uses=[consent_use(purpose="train")]),
    grant(to=[grant_to(purposes=["train"])]),
    consent_scope(purposes=["train"]),
)


@pytest.mark.parametrize("purpose", ["train", "train.vision", "train.vision.xray"])
def test_a_purpose_and_everything_below_it_is_granted(purpose):
    assert decide(training_job(purpose=purpose), *WIDE).verdict is Verdict.ALLOW


@pytest.mark.parametrize("purpose", ["trainX", "train_more", "advertise", "vision.train", "tra"])
def test_what_merely_begins_alike_is_not(purpose):
    decision = decide(training_job(purpose=purpose), *WIDE)
    assert decision.verdict is Verdict.DENY
    if decision.findings[0].rule != "schema":  # capitals are no purpose at all
        paths = {f.path for f in decision.findings if f.rule == "purpose-limitation"}
        assert paths == {"spec.purpose"}


def test_a_parent_of_what_is_granted_is_not_granted():
    narrow = (dataset(uses=[consent_use(purpose="train.vision")]), grant(to=[grant_to(purposes=["train"])]))
    found = finding(decide(training_job(purpose="train"), *narrow), "purpose-limitation")
    assert "train.vision" in found.message
    assert "use a purpose that is granted" in found.remedy


def test_a_purpose_that_the_message_names_passes():
    narrow = (dataset(uses=[consent_use(purpose="train.vision")]), grant(to=[grant_to(purposes=["train"])]))
    scope = consent_scope(purposes=["train"])
    found = finding(decide(training_job(purpose="train"), *narrow, scope), "purpose-limitation")
    named = found.message.rsplit(": ", 1)[1]
    assert decide(training_job(purpose=named), *narrow, scope).verdict is Verdict.ALLOW


def test_the_grant_may_be_narrower_than_the_dataset():
    decision = decide(training_job(), grant(to=[grant_to(purposes=["train_ai_system.vision"])]))
    found = finding(decision, "purpose-limitation")
    assert (found.action, found.path, found.private) == (Action.DENY, "spec.purpose", True)
    assert "DatasetGrant for train_ai_system" in found.remedy
    assert decide(training_job(), grant(to=[grant_to(purposes=["train_ai_system"])])).verdict is Verdict.ALLOW


def test_a_grant_for_inference_is_none_for_training():
    decision = decide(training_job(), grant(to=[grant_to(processing=["Inference"])]))
    found = finding(decision, "purpose-limitation")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].name")
    assert "lists this processing" in found.remedy


@pytest.mark.parametrize("narrow", [{"purposes": ["other"]}, {"processing": ["Inference"]}])
@pytest.mark.parametrize("mode", ["Audit", "Warn"])
def test_no_mode_widens_a_grant(mode, narrow):
    decision = decide(training_job(), grant(to=[grant_to(**narrow)]), policy(mode=mode))
    assert finding(decision, "purpose-limitation").action is Action.HOLD
    assert decision.verdict is Verdict.HOLD


def test_of_several_grants_the_one_that_covers_the_job_counts():
    other = grant("another", to=[grant_to(purposes=["other"])])
    assert decide(training_job(), other).verdict is Verdict.ALLOW
