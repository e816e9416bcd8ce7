"""incident: an open incident holds, the 72 hours are shown, and the hold ends with the incident."""

from datetime import UTC, datetime, timedelta

import pytest
from builders import NOW, dataset, decide, finding, policy, rules_of, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Verdict


def decided(now=NOW, **incident):
    body = {"openedAt": "2026-05-31T12:00:00Z", "reference": "IR-17"} | incident
    return decide(training_job(), dataset(incident=body), now=now)


def test_an_open_incident_holds_with_its_clock():
    decision = decided()
    found = finding(decision, "incident")
    assert (found.action, found.reason, found.path) == (Action.HOLD, Reason.FACT_MISSING, "spec.datasets[0].name")
    assert "IR-17" in found.message
    assert "runs out at 2026-06-03T12:00:00Z" in found.message
    assert decision.valid_until == datetime(2026, 6, 3, 12, tzinfo=UTC)
    assert found.private, "the incident of another namespace's data is not for everybody"


def test_when_the_clock_has_run_out_it_says_so_and_still_holds():
    decision = decided(NOW + timedelta(days=4))
    assert "ran out at 2026-06-03T12:00:00Z" in finding(decision, "incident").message
    assert decision.valid_until is None


@pytest.mark.parametrize(
    ("closed", "held"),
    [("2026-06-01T11:59:59Z", False), ("2026-06-01T12:00:00Z", False), ("2026-06-01T13:00:00Z", True)],
)
def test_it_ends_when_the_incident_is_closed(closed, held):
    decision = decided(closedAt=closed)
    assert ("incident" in rules_of(decision)) is held
    if held:
        assert decision.valid_until == datetime(2026, 6, 1, 13, tzinfo=UTC)
    else:
        assert decision.verdict is Verdict.ALLOW


def test_another_time_zone_is_the_same_moment():
    assert "2026-06-03T10:00:00Z" in finding(decided(openedAt="2026-05-31T12:00:00+02:00"), "incident").message


def test_it_is_on_without_a_pack():
    body = {"openedAt": "2026-05-31T12:00:00Z", "reference": "IR-17"}
    decision = decide(training_job(), dataset(incident=body), policy(packs=[]))
    assert finding(decision, "incident").pack == "baseline"
