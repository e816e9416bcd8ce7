"""objection: where the basis is no consent, people who object are left out, and somebody looked lately."""

from datetime import UTC, datetime

import pytest
from builders import (
    ALL_CAPABILITIES,
    consent_use,
    dataset,
    decide,
    finding,
    inference_job,
    only,
    rules_of,
    training_job,
    use,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Verdict

NAME = "spec.datasets[0].name"
LOOKED = {"handling": "Excluded", "reviewedOn": "2026-05-20"}


def interest(basis="eu-gdpr:A6-1-f", **objections):
    return use(legalBasis=basis, condition="eu-gdpr:A9-2-j", **({"objections": objections} if objections else {}))


def decided(*uses, **facts):
    return decide(training_job(), dataset(uses=list(uses)), only("objection"), **facts)


def test_objections_that_were_looked_at_lately_pass():
    decision = decided(interest(**LOOKED))
    assert decision.verdict is Verdict.ALLOW
    assert decision.valid_until == datetime(2026, 6, 20, tzinfo=UTC)


@pytest.mark.parametrize("basis", ["eu-gdpr:A6-1-e", "eu-gdpr:A6-1-f", "eu-gdpr:A6-1-E", "eu-gdpr:A6-1-f-x"])
def test_a_use_that_says_nothing_is_refused(basis):
    found = finding(decided(interest(basis)), "objection")
    assert (found.action, found.path, found.citations) == (Action.DENY, NAME, ("GDPR 21",))
    assert "spec.uses" in found.remedy


@pytest.mark.parametrize("basis", ["eu-gdpr:A6-1-c", "eu-gdpr:A6-1-ff", "eu-gdpr:A6-1"])
def test_a_basis_to_which_nobody_objects_passes(basis):
    assert "objection" not in rules_of(decided(interest(basis)))


def test_a_use_under_consent_carries_the_job():
    assert "objection" not in rules_of(decided(interest(), consent_use()))


def test_for_special_categories_only_a_use_with_a_condition_does():
    bare = consent_use()
    del bare["condition"]
    assert "objection" in rules_of(decided(interest(), bare))


@pytest.mark.parametrize("day", ["2026-05-01", "2026-06-02", "2020-01-01"])
def test_a_look_of_long_ago_and_one_to_come_hold(day):
    found = finding(decided(interest(handling="Excluded", reviewedOn=day)), "objection")
    assert (found.action, found.reason) == (Action.HOLD, Reason.STATEMENT_MISSING)


def test_a_look_to_come_is_looked_at_again_when_it_has():
    decision = decided(interest(handling="Excluded", reviewedOn="2026-06-02"))
    assert decision.valid_until == datetime(2026, 6, 2, tzinfo=UTC)


def test_a_policy_can_shorten_how_long_a_look_counts():
    decision = decide(training_job(), dataset(uses=[interest(**LOOKED)]), only("objection", maxAge="7d"))
    assert finding(decision, "objection").action is Action.HOLD


def test_what_is_for_the_gate_holds_until_there_is_one():
    gate = interest(handling="DataGate", reviewedOn="2026-05-20")
    found = finding(decided(gate), "objection")
    assert (found.action, found.reason) == (Action.HOLD, Reason.NOT_ENFORCED_HERE)
    assert "objection" not in rules_of(decided(gate, capabilities=ALL_CAPABILITIES))


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ({"legalBasis": "eu-gdpr:A6-1-f"}, True),
        ({"legalBasis": "eu-gdpr:A6-1-f", "oversight": {"humanReviewURL": "https://clinic.example/r"}}, True),
        ({"legalBasis": "eu-gdpr:A6-1-f", "oversight": {"optOutURL": "https://clinic.example/out"}}, False),
        ({"legalBasis": "eu-gdpr:A6-1-b"}, False),
    ],
)
def test_a_served_model_says_where_people_object(spec, refused):
    decision = decide(inference_job(**spec), only("objection"))
    assert ("objection" in rules_of(decision)) is refused
