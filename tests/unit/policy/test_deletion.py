"""What its owner deleted is not in force, whatever finalizer keeps it; what may weaken by going stays in force."""

import pytest
from builders import change, consent_scope, data_class, dataset, decide, grant, health_class, policy, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.kube.factstore_changes import matters
from mlprivacy.policy.model import Verdict

DELETED = "2026-06-01T11:00:00Z"


def ending(raw):
    return change(raw, "metadata.deletionTimestamp", DELETED)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (grant(), Reason.REF_NOT_PERMITTED),
        (dataset(), Reason.DATASET_NOT_FOUND),
        (consent_scope(), Reason.CONSENT_SCOPE_NOT_FOUND),
    ],
    ids=lambda one: one["kind"] if isinstance(one, dict) else "",
)
def test_a_job_that_rests_on_it_holds(kept, reason):
    assert decide(training_job(), kept).verdict is Verdict.ALLOW
    decision = decide(training_job(), ending(kept))
    assert decision.verdict is Verdict.HOLD
    assert reason in {f.reason for f in decision.findings}


@pytest.mark.parametrize("kept", [grant(), dataset(), consent_scope()], ids=lambda one: one["kind"])
def test_its_deletion_decides_anew_on_what_rests_on_it(kept):
    assert matters(kept, ending(kept))


@pytest.mark.parametrize("kept", [policy(), health_class(), data_class()], ids=lambda one: one["kind"])
def test_a_policy_and_a_class_hold_until_they_are_gone(kept):
    assert decide(training_job(), ending(kept)) == decide(training_job(), kept)
