"""A field that nothing enforces yet holds the job with NotEnforcedHere, in every mode, and leaving it out passes."""

import pytest
from builders import (
    ALL_CAPABILITIES,
    DIGEST,
    NOW,
    asked,
    consent_scope,
    decide,
    finding,
    grant,
    inference_job,
    policy,
    rules_of,
    template,
    training_job,
    without,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.facts import IN_FORCE
from mlprivacy.policy.model import Action, Verdict

MODES = ("Audit", "Warn", "Enforce")
DPSGD = training_job()["spec"]["privacy"]
INPUT = {"uri": f"oci://models/base@{DIGEST}", "mountPath": "/base"}
TRAINING = {
    "spec.inputs": training_job(inputs=[INPUT]),
    "spec.datasets[0].rows": training_job(datasets=[asked(rows={"since": "90d"})]),
    "spec.evaluation": training_job(evaluation={"command": ["python", "/app/predict.py"]}),
    "spec.output.destination": training_job(output={"destination": "pvc://models/x"}),
}
MECHANISMS = [
    {"mechanism": "Federated", "epsilon": 1, "delta": 1e-9},
    {"mechanism": "SecureComputation"},
]
INFERENCE = {
    "spec.mode": inference_job(mode="Batch"),
    "spec.model.release": inference_job(model={"release": "diagnosis"}, template=template()),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("path", "job"), [*TRAINING.items(), *INFERENCE.items()])
def test_it_holds_in_every_mode(path, job, mode):
    decision = decide(job, policy(mode=mode), modes={"research": "enforce", "clinic": "enforce"})
    found = finding(decision, "not-enforced-here")
    assert (found.action, found.reason, found.path) == (Action.HOLD, Reason.NOT_ENFORCED_HERE, path)
    assert found.remedy
    assert decision.verdict is Verdict.HOLD


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("privacy", MECHANISMS, ids=lambda p: p["mechanism"])
def test_a_mechanism_that_is_not_accounted_for_holds(privacy, mode):
    age_only = [asked(columns=["age"])]
    decision = decide(training_job(privacy=privacy, datasets=age_only), policy(mode=mode))
    assert finding(decision, "not-enforced-here").path == "spec.privacy.mechanism"
    assert decision.verdict is Verdict.HOLD
    assert decide(training_job(privacy=DPSGD, datasets=age_only)).verdict is Verdict.ALLOW


@pytest.mark.parametrize("path", TRAINING)
def test_leaving_it_out_passes(path):
    assert decide(without(TRAINING[path], path)).verdict is Verdict.ALLOW


def test_once_the_part_is_in_force_the_field_is_taken():
    fresh = {**consent_scope(), "status": {"snapshot": {"takenAt": NOW.isoformat()}}}
    for path in ("spec.inputs", "spec.datasets[0].rows", "spec.evaluation", "spec.output.destination"):
        decision = decide(TRAINING[path], fresh, capabilities=ALL_CAPABILITIES)
        assert decision.verdict is Verdict.ALLOW, path
        assert "not-enforced-here" in rules_of(decide(TRAINING[path], capabilities=IN_FORCE))


@pytest.mark.parametrize("mode", MODES)
def test_a_grant_that_counts_uses_holds_in_every_mode(mode):
    assert decide(training_job(), grant(maxUses=1), policy(mode=mode)).verdict is Verdict.HOLD
