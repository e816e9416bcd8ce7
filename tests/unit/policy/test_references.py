"""References: across namespaces only through a DatasetGrant in force, and never an oracle for what exists there."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import (
    NOW,
    asked,
    change,
    clinic_world,
    consent_scope,
    data_class,
    dataset,
    decide,
    facts_of,
    finding,
    grant,
    grant_to,
    inference_job,
    parsed,
    training_job,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Dependency, Verdict

PATH = "spec.datasets[0].name"


def held(decision):
    assert decision.verdict is Verdict.HOLD
    return finding(decision, "references")


class TestWithoutAGrant:
    def test_the_words_are_the_same_whether_the_dataset_exists_or_not(self):
        there = decide(training_job(), leave_out=["DatasetGrant/to-research"])
        not_there = decide(training_job(), leave_out=["DatasetGrant/to-research", "Dataset/visits"])
        assert there.as_dict() == not_there.as_dict()
        assert there.digest == not_there.digest
        assert there.dependencies == not_there.dependencies
        found = held(there)
        assert (found.reason, found.path) == (Reason.REF_NOT_PERMITTED, PATH)
        assert "DatasetGrant from namespace research, kind TrainingJob" in found.remedy

    def test_an_unreadable_dataset_gives_the_same_words_too(self):
        there = decide(training_job(), dataset(columns=[]), leave_out=["DatasetGrant/to-research"])
        assert there.as_dict() == decide(training_job(), leave_out=["DatasetGrant/to-research"]).as_dict()

    def test_following_the_remedy_passes(self):
        assert decide(training_job(), grant()).verdict is Verdict.ALLOW

    @pytest.mark.parametrize(
        "useless",
        [
            {"from": [{"namespace": "research", "kind": "InferenceJob"}]},
            {"from": [{"namespace": "researchers", "kind": "TrainingJob"}]},
            {"from": [{"namespace": "research-", "kind": "TrainingJob"}]},
            {"to": [grant_to(name="visits-2")]},
            {"to": [{"kind": "ConsentScope", "name": "visits"}]},
        ],
    )
    def test_a_grant_for_something_else_is_none(self, useless):
        assert held(decide(training_job(), grant(**useless))).reason is Reason.REF_NOT_PERMITTED

    def test_an_unreadable_grant_is_none(self):
        assert held(decide(training_job(), grant(to=[]))).reason is Reason.REF_NOT_PERMITTED


class TestConfusedDeputy:
    def test_a_grant_of_another_namespace_does_not_act(self):
        """An engineer writes a grant in a namespace of his own that names the clinic's dataset."""
        world = clinic_world(leave_out=["DatasetGrant/to-research"])
        facts = facts_of([*world, grant(namespace="research"), grant(namespace="attacker")])
        assert held(evaluate(training_job(), facts)).reason is Reason.REF_NOT_PERMITTED

    def test_not_even_when_it_is_filed_under_the_owner(self):
        facts = facts_of(clinic_world(leave_out=["DatasetGrant/to-research"]))
        misfiled = replace(facts, grants={"clinic": (parsed(grant(namespace="attacker")),)})
        assert held(evaluate(training_job(), misfiled)).reason is Reason.REF_NOT_PERMITTED

    def test_a_dataset_of_the_same_name_in_the_own_namespace_is_not_the_other(self):
        own = dataset(namespace="research")
        decision = decide(
            training_job(datasets=[asked(namespace="research")]), own, consent_scope(namespace="research")
        )
        assert decision.verdict is Verdict.ALLOW
        assert Dependency("Dataset", "clinic", "visits") not in decision.dependencies


class TestExpiry:
    def until(self, moment):
        return grant(expiresAt=moment)

    def test_a_grant_acts_until_it_expires(self):
        decision = decide(training_job(), self.until("2026-06-30T00:00:00+02:00"))
        assert decision.verdict is Verdict.ALLOW
        assert decision.valid_until == datetime(2026, 6, 29, 22, 0, tzinfo=UTC)

    def test_at_that_moment_it_is_over(self):
        world = self.until("2026-06-30T00:00:00Z")
        end = decide(training_job(), world).valid_until
        assert decide(training_job(), world, now=end - timedelta(microseconds=1)).verdict is Verdict.ALLOW
        assert held(decide(training_job(), world, now=end)).reason is Reason.REF_NOT_PERMITTED

    def test_a_moment_beyond_the_calendar_is_no_grant_and_no_crash(self):
        assert held(decide(training_job(), self.until("9999-12-31T23:59:59-05:00")))
        assert decide(training_job(), self.until("9999-12-31T23:59:59Z")).verdict is Verdict.ALLOW

    def test_of_grants_that_cover_the_same_the_longest_bounds_the_decision(self):
        early, late = grant("a", expiresAt="2026-07-01T00:00:00Z"), grant("b", expiresAt="2026-09-01T00:00:00Z")
        decision = decide(training_job(), early, late, leave_out=["DatasetGrant/to-research"])
        assert decision.valid_until == datetime(2026, 9, 1, tzinfo=UTC)
        assert decide(training_job(), early, grant("c"), leave_out=["DatasetGrant/to-research"]).valid_until is None

    def test_nothing_that_expires_no_end(self):
        assert decide(training_job()).valid_until is None


class TestMaxUses:
    def test_a_grant_that_counts_uses_holds(self):
        found = finding(decide(training_job(), grant(maxUses=5)), "not-enforced-here")
        assert (found.reason, found.path) == (Reason.NOT_ENFORCED_HERE, PATH)

    @pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
    def test_one_that_covers_the_same_without_counting_is_preferred(self, names):
        counted, free = grant(names[0], maxUses=5), grant(names[1])
        decision = decide(training_job(), counted, free, leave_out=["DatasetGrant/to-research"])
        assert decision.verdict is Verdict.ALLOW


class TestMissing:
    def test_a_granted_dataset_that_does_not_exist_yet(self):
        found = held(decide(training_job(), leave_out=["Dataset/visits"]))
        assert (found.reason, found.path) == (Reason.DATASET_NOT_FOUND, PATH)
        assert "create the Dataset visits in namespace clinic" in found.remedy

    def test_a_dataset_that_can_not_be_read(self):
        assert held(decide(training_job(), dataset(columns=[]))).reason is Reason.INVALID_REFERENCE

    def test_a_class_that_does_not_exist_yet(self):
        found = held(decide(training_job(), leave_out=["DataClass/health"]))
        assert (found.reason, found.path) == (Reason.DATA_CLASS_NOT_FOUND, "spec.datasets[0].columns[1]")

    def test_a_class_that_can_not_be_read(self):
        found = held(decide(training_job(), data_class("health", sensitivity="Secret")))
        assert found.reason is Reason.INVALID_REFERENCE

    def test_a_missing_class_is_told_once(self):
        job = inference_job(dataClasses=["nothing"])
        found = finding(decide(job), "references")
        assert (found.reason, found.path) == (Reason.DATA_CLASS_NOT_FOUND, "spec.dataClasses[0]")

    def test_no_facts_at_all_hold(self):
        for job in (training_job(), inference_job()):
            assert evaluate(job, facts_of([], modes={})).verdict is not Verdict.ALLOW


class TestSuggestions:
    TYPO = change(training_job(), "spec.datasets[0].name", "visit")

    def test_only_what_the_namespace_may_know_of_is_suggested(self):
        assert "Did you mean" not in held(decide(self.TYPO)).message
        visible = held(decide(self.TYPO, visible_datasets=["clinic/visits", "shop/orders"]))
        assert "Did you mean clinic/visits?" in visible.message

    def test_the_name_itself_is_no_suggestion(self):
        decision = decide(training_job(), leave_out=["Dataset/visits"], visible_datasets=["clinic/visits"])
        assert "Did you mean" not in held(decision).message

    def test_the_order_of_what_is_visible_does_not_matter(self):
        names = ["clinic/visits", "clinic/visits2", "clinic/visitor"]
        assert (
            decide(self.TYPO, visible_datasets=names).digest == decide(self.TYPO, visible_datasets=names[::-1]).digest
        )


def test_of_grants_that_each_cover_a_part_the_same_one_is_chosen_in_any_order():
    one = grant("a", to=[grant_to(columns=["age"])], expiresAt="2026-08-01T00:00:00Z")
    two = grant("b", to=[grant_to(columns=["diagnosis"])], expiresAt="2026-08-01T00:00:00Z")
    world = clinic_world(leave_out=["DatasetGrant/to-research"])
    first, second = (evaluate(training_job(), facts_of([*world, *pair])) for pair in ((one, two), (two, one)))
    assert first.as_dict() == second.as_dict()
    assert finding(first, "minimisation").path == "spec.datasets[0].columns[1]"


def test_valid_until_is_never_in_the_past():
    decision = decide(
        training_job(), grant("old", expiresAt="2020-01-01T00:00:00Z"), grant(expiresAt="2026-07-01T00:00:00Z")
    )
    assert decision.valid_until > NOW
