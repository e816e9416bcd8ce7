"""audit-retention: the audit log is kept for as long as the laws in force ask."""

import pytest
from builders import decide, finding, inference_job, only, policy, rules_of, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Verdict

ON = only("audit-retention", minimumDays=365)


@pytest.mark.parametrize("job", [training_job(), inference_job()], ids=["training", "inference"])
@pytest.mark.parametrize("days", [365, 366, 2192])
def test_enough_days_pass(job, days):
    assert decide(job, ON, audit_retention_days=days).verdict is Verdict.ALLOW


@pytest.mark.parametrize("days", [0, 1, 364])
def test_fewer_days_are_refused(days):
    decision = decide(training_job(), ON, audit_retention_days=days)
    found = finding(decision, "audit-retention")
    assert (decision.verdict, found.action, found.path) == (Verdict.DENY, Action.DENY, "metadata.namespace")
    assert "365 days" in found.message
    assert ("is not kept" in found.message) == (days == 0)


def test_a_promise_that_is_not_known_holds():
    decision = decide(training_job(), ON)
    found = finding(decision, "audit-retention")
    assert (decision.verdict, found.reason) == (Verdict.HOLD, Reason.STATEMENT_MISSING)
    assert "audit.retentionDays" in found.remedy


def test_by_itself_it_asks_what_the_mildest_pack_does():
    assert decide(training_job(), only("audit-retention"), audit_retention_days=183).verdict is Verdict.ALLOW
    assert decide(training_job(), only("audit-retention"), audit_retention_days=182).verdict is Verdict.DENY


def test_of_two_laws_the_longer_wins():
    two = [policy("more", packs=[], parameters={"audit-retention.minimumDays": 1096}), ON]
    assert decide(training_job(), *two, audit_retention_days=1095).verdict is Verdict.DENY
    assert decide(training_job(), *two, audit_retention_days=1096).verdict is not Verdict.DENY


def test_it_is_off_without_a_pack_or_an_override():
    assert "audit-retention" not in rules_of(decide(training_job(), policy(packs=[])))
