"""retention: nothing runs on data past its day, and what was rendered does not outlive the class's bound."""

from datetime import UTC, datetime

from builders import data_class, dataset, decide, finding, training_job

from mlprivacy.policy.model import Action, Verdict

LAST_DAY = {"until": "2026-06-01"}


def at(*moment):
    return datetime(*moment, tzinfo=UTC)


def test_the_last_day_counts_to_its_end_and_the_decision_knows_when_it_is_over():
    decision = decide(training_job(), dataset(retention=LAST_DAY), now=at(2026, 6, 1, 23, 59))
    assert decision.verdict is Verdict.ALLOW
    assert decision.valid_until == at(2026, 6, 2)


def test_past_its_day_a_dataset_is_refused_and_keeping_it_longer_is_the_remedy():
    found = finding(decide(training_job(), dataset(retention=LAST_DAY), now=at(2026, 6, 2)), "retention")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].name")
    assert found.private
    longer = dataset(retention={"until": "2027-06-01"})
    assert decide(training_job(), longer, now=at(2026, 6, 2)).verdict is Verdict.ALLOW


def test_without_retention_time_alone_changes_nothing():
    assert decide(training_job(), now=at(2099, 1, 1)).obligations.ttl_seconds is None


def test_a_class_bounds_how_long_rendered_objects_stay():
    bounded = data_class("demographic", retention={"maxDays": 2})
    assert decide(training_job(), bounded).obligations.ttl_seconds == 2 * 86_400
