"""records-of-processing: evidence of which Art. 30(1) fields the objects give, and of which they do not."""

import pytest
from builders import (
    asked,
    data_class,
    dataset,
    decide,
    finding,
    health_class,
    inference_job,
    only,
    policy,
    rules_of,
    training_job,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Verdict

WHO = {"controller": "Clinic of Example", "contact": "privacy@clinic.example"}
ON = only("records-of-processing", action="Evidence", **WHO)
REGIONS = {"regions": ["eu-west"], "retention": {"maxDays": 30}}


def recorded(job, *changed):
    return finding(decide(job, *changed), "records-of-processing")


def missing_of(found):
    return [letter for letter in "abcdefg" if f"({letter})" in found.message.partition("Not derived: ")[2]]


def test_everything_is_derived_where_everything_is_declared():
    found = recorded(training_job(), ON, data_class(**REGIONS), health_class(**REGIONS))
    assert (found.action, found.reason, found.path) == (Action.EVIDENCE, Reason.RECORDED, "spec")
    assert missing_of(found) == []
    for part in (
        "(a) controller and contact: Clinic of Example (privacy@clinic.example)",
        "(b) purposes: train_ai_system",
        "(c) data subjects and categories: patient; user.demographic, user.health_and_medical",
        "(d) recipients: none, since egress is sealed",
        "(e) transfers to third countries: runs in eu-west",
        "(f) time limits for erasure: copies kept for 30 days at most",
        "(g) security measures: in force here: sealed-egress",
    ):
        assert part in found.message


def test_it_is_no_objection():
    decision = decide(training_job(), ON)
    assert (decision.verdict, decision.blocking, decision.warnings) == (Verdict.ALLOW, (), ())


@pytest.mark.parametrize(
    ("job", "changed", "letters"),
    [
        pytest.param(training_job(), [ON], "ef", id="no regions, no retention"),
        pytest.param(training_job(), [ON, dataset(retention={"until": "2029-01-01"})], "e", id="retention of the data"),
        pytest.param(training_job(), [only("records-of-processing", action="Evidence")], "aef", id="no controller"),
        pytest.param(inference_job(), [ON], "cef", id="inference: who asks is not known"),
    ],
)
def test_what_is_not_declared_is_listed_with_what_would_give_it(job, changed, letters):
    found = recorded(job, *changed)
    assert missing_of(found) == list(letters)
    assert all(f"({letter})" in found.remedy for letter in letters)


@pytest.mark.parametrize("action", ["Warn", "Deny"])
def test_a_policy_can_not_make_a_refusal_of_a_record(action):
    decision = decide(training_job(), only("records-of-processing", action=action))
    assert (decision.verdict, decision.warnings) == (Verdict.ALLOW, ())


def test_public_data_needs_no_record():
    public = data_class(sensitivity="Public")
    job = training_job(datasets=[asked(columns=["age"])])
    assert "records-of-processing" not in rules_of(decide(job, ON, public))
    assert "records-of-processing" in rules_of(decide(training_job(), ON, public))


def test_a_name_with_a_comma_and_the_controllers_of_two_policies():
    one = only("records-of-processing", action="Evidence", controller="Example, Inc.", contact="a@example.org")
    assert "(a) controller and contact: Example, Inc. (a@example.org)" in recorded(training_job(), one).message
    two = policy("two", packs=[], parameters={"records-of-processing.controller": "Other"})
    assert (
        "Example, Inc., Other (a@example.org)"
        in finding(decide(training_job(), one, two), "records-of-processing").message
    )


def test_an_inference_job_tells_its_clients():
    assert "(d) recipients: clients authenticated by JWT" in recorded(inference_job(), ON).message


def test_a_reference_that_does_not_resolve_holds_the_job_and_is_listed():
    decision = decide(training_job(), ON, leave_out=["Dataset/visits"])
    assert decision.verdict is Verdict.HOLD
    assert "c" in missing_of(finding(decision, "records-of-processing"))


def test_where_there_is_too_much_to_show_only_the_fields_are_named():
    many = [f"user.demographic.kind_{n}_{'x' * 60}" for n in range(32)]
    found = recorded(training_job(), ON, data_class(categories=many))
    assert len(found.message) < 1024
    assert "(c) data subjects and categories" in found.message


def test_it_is_off_without_a_pack_or_an_override():
    assert "records-of-processing" not in rules_of(decide(training_job(), policy(packs=[])))
