"""minors: children's data needs a record of verifiable consent, and no job makes profiles of children."""

import pytest
from builders import (
    asked,
    change,
    data_class,
    dataset,
    decide,
    finding,
    grant,
    grant_to,
    inference_job,
    only,
    policy,
    rules_of,
    training_job,
    use,
)

from mlprivacy.policy.model import Action, Verdict

RECORD = {"verifiableConsent": "https://clinic.example/parents"}
ON = only("minors")


def about(kind="patient", purpose="train_ai_system", **subjects):
    """Ages of these subjects, which no rule but this one objects to."""
    return dataset(
        subjects={"column": "patient_id", "kind": kind, "atLeast": 200_000, **subjects},
        uses=[use(purpose=purpose)],
    )


def job(purpose="train_ai_system"):
    return training_job(purpose=purpose, datasets=[asked(columns=["age"])])


def granted(purpose):
    return grant(to=[grant_to(purposes=[purpose])])


def test_data_about_others_is_not_concerned():
    assert decide(job(), about(), ON).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "marked",
    [
        pytest.param(about(children={}), id="the field"),
        pytest.param(about("child"), id="the kind of subject"),
        pytest.param(about("minor.pupil"), id="a kind below one"),
    ],
)
def test_children_without_a_record_of_consent_are_refused(marked):
    decision = decide(job(), marked, ON)
    found = finding(decision, "minors")
    assert (decision.verdict, found.path, found.private) == (Verdict.DENY, "spec.datasets[0].name", True)
    assert "spec.subjects.children.verifiableConsent" in found.remedy


def test_a_class_of_children_s_data_marks_a_dataset():
    of_children = data_class(categories=["user.childrens"])
    assert finding(decide(job(), about(), of_children, ON), "minors").action is Action.DENY
    assert decide(job(), about(children=RECORD), of_children, ON).verdict is Verdict.ALLOW


@pytest.mark.parametrize("kind", ["children_of_men", "minority", "grandchild"])
def test_a_look_alike_kind_is_not_taken_for_children(kind):
    assert "minors" not in rules_of(decide(job(), about(kind), ON))


def test_with_the_record_it_passes():
    assert decide(job(), about("child", children=RECORD), ON).verdict is Verdict.ALLOW


@pytest.mark.parametrize("purpose", ["personalize.content.profiling", "marketing.advertising.profiling", "marketing"])
def test_profiling_of_children_is_refused_even_with_the_record(purpose):
    decision = decide(job(purpose), about(purpose=purpose, children=RECORD), granted(purpose), ON)
    found = finding(decision, "minors")
    assert (found.action, found.path) == (Action.DENY, "spec.purpose")
    assert "minors" not in rules_of(decide(job(purpose), about(purpose=purpose), granted(purpose), ON))


def test_the_purposes_are_a_parameter():
    of_policy = only("minors", profilingPurposes="train_ai_system")
    assert finding(decide(job(), about(children=RECORD), of_policy), "minors").path == "spec.purpose"


def test_an_inference_job_says_it_itself():
    found = finding(decide(inference_job(children={}), ON), "minors")
    assert (found.action, found.path) == (Action.DENY, "spec.children")
    assert decide(inference_job(children=RECORD), ON).verdict is Verdict.ALLOW
    of_children = data_class(categories=["user.childrens.grades"])
    assert finding(decide(inference_job(), of_children, ON), "minors").path == "spec.children"


def test_a_dataset_that_is_not_there_holds():
    decision = decide(change(job(), "spec.datasets[0].name", "nowhere"), ON)
    assert decision.verdict is Verdict.HOLD


def test_it_is_off_without_a_pack_or_an_override():
    assert "minors" not in rules_of(decide(job(), about("child"), policy(packs=[])))
