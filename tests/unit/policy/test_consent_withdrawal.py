"""consent-withdrawal: no snapshot is relied on that is older than a withdrawal may take to act."""

from datetime import UTC, datetime

import pytest
from builders import (
    consent_scope,
    consent_use,
    dataset,
    decide,
    finding,
    inference_job,
    only,
    rules_of,
    training_job,
    triage_scope,
    use,
)

from mlprivacy.policy.model import Action, Verdict

SLOW = {"maxSnapshotAge": "90d"}


def scope(taken, build=consent_scope, **withdrawal):
    raw = build(**SLOW, **({"onWithdrawal": withdrawal} if withdrawal else {}))
    return raw | {"status": {"snapshot": {"takenAt": taken, "digest": "sha256:" + "0" * 64}}}


def decided(*changed):
    return decide(training_job(), *changed, only("consent-withdrawal"))


def test_a_snapshot_within_the_lag_passes_and_says_until_when():
    decision = decided(scope("2026-06-01T00:00:00Z"))
    assert decision.verdict is Verdict.ALLOW
    assert decision.valid_until == datetime(2026, 6, 2, tzinfo=UTC)


@pytest.mark.parametrize("what", ["DropRows", "Suspend"])
def test_an_older_one_holds(what):
    found = finding(decided(scope("2026-05-31T12:00:00Z", training=what)), "consent-withdrawal")
    assert (found.action, found.path) == (Action.HOLD, "spec.datasets[0].name")
    assert "24h" in found.message


def test_a_scope_that_promises_the_next_snapshot_promises_nothing_sooner():
    assert "consent-withdrawal" not in rules_of(decided(scope("2026-05-01T00:00:00Z", training="NextSnapshot")))


def test_the_lag_is_the_scope_s_own():
    assert "consent-withdrawal" not in rules_of(decided(scope("2026-05-31T00:00:00Z", maxLag="48h")))
    assert "consent-withdrawal" in rules_of(decided(scope("2026-06-01T10:00:00Z", maxLag="1h")))


def test_without_a_snapshot_there_is_no_age_to_judge():
    assert decided().verdict is Verdict.ALLOW
    assert "consent-withdrawal" not in rules_of(decided(scope("yesterday")))


def test_a_use_on_another_basis_carries_the_job():
    other = dataset(uses=[consent_use(), use(legalBasis="eu-gdpr:A6-1-c", condition="eu-gdpr:A9-2-j")])
    assert "consent-withdrawal" not in rules_of(decided(other, scope("2026-05-01T00:00:00Z")))


def test_a_served_model_s_own_scope_counts_too():
    job = inference_job(legalBasis=None, dataClasses=["health"], consentScope={"name": "triage", "namespace": "clinic"})
    late = scope("2026-05-01T00:00:00Z", triage_scope)
    assert finding(decide(job, late, only("consent-withdrawal")), "consent-withdrawal").path == "spec.consentScope"
