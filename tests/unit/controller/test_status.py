"""The status of a job: its conditions by situation, stability, and the bounds of the CRD."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from builders import NOW, change, decide, finding, only, policy, training_job
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.plan import Phase
from mlprivacy.controller.status import Outcome, changed, job_status
from mlprivacy.policy.model import Action, Finding

ALLOWED = decide(training_job())
REFUSED = decide(training_job(purpose="marketing"))
HELD = decide(training_job(), leave_out=["Dataset/visits"])
PRIVACY = {"mechanism": "DPSGD", "unit": "User", "epsilon": 9, "delta": 1e-8, "batchSize": 1, "epochs": 1}
WARNED = decide(training_job(privacy={**PRIVACY, "maxGradNorm": 1.0}), modes={"clinic": "warn", "research": "warn"})
IN_PLACE = ("True", Reason.CONTROLS_IN_PLACE, "all there")
CRD = Path(__file__).parents[3] / "crds" / "mlprivacy.dev_trainingjobs.yaml"


def schema():
    version = yaml.safe_load(CRD.read_text(encoding="utf-8"))["spec"]["versions"][0]
    return Draft202012Validator(version["schema"]["openAPIV3Schema"]["properties"]["status"])


def status(decision, outcome):
    return job_status(training_job(), decision, outcome, NOW)


def conditions(written):
    return {c["type"]: f"{c['status']}/{c['reason']}" for c in written["conditions"]}


@pytest.mark.parametrize(
    ("decision", "outcome", "expected"),
    [
        (REFUSED, Outcome(Phase.REFUSED, Reason.REFUSED),
         {"Accepted": "False/Refused", "Ready": "False/Refused", "Stalled": "True/Refused", "Running": "False/Refused",
          "ControlsReady": "False/ControlsPending", "Suspended": "False/NotSuspended"}),
        (HELD, Outcome(Phase.HELD, Reason.DATASET_NOT_FOUND),
         {"Accepted": "Unknown/DatasetNotFound", "ResolvedRefs": "False/DatasetNotFound",
          "Ready": "Unknown/DatasetNotFound", "Stalled": "False/Progressing"}),
        (WARNED, Outcome(Phase.RUNNING, Reason.ATTEMPT_CREATED, controls=IN_PLACE, attempt=1),
         {"Accepted": "True/AllowedWithWarnings", "Running": "True/AttemptRunning", "Ready": "True/AttemptCreated"}),
        (ALLOWED, Outcome(Phase.RUNNING, Reason.ATTEMPT_CREATED, controls=IN_PLACE, attempt=1, simulated=True),
         {"Accepted": "True/Allowed", "Running": "True/Simulated", "ControlsReady": "True/ControlsInPlace",
          "DataReady": "False/NoDataGate", "Completed": "False/AttemptCreated", "Stalled": "False/Progressing"}),
        (REFUSED, Outcome(Phase.STOPPED, Reason.NO_LONGER_ALLOWED, attempt=1),
         {"Accepted": "False/Refused", "Suspended": "True/NoLongerAllowed", "Stalled": "True/Refused"}),
        (HELD, Outcome(Phase.STOPPED, Reason.NO_LONGER_ALLOWED, attempt=1),
         {"Accepted": "Unknown/DatasetNotFound", "Suspended": "True/NoLongerAllowed", "Stalled": "False/Progressing"}),
        (ALLOWED, Outcome(Phase.STARTING, Reason.AUDIT_UNAVAILABLE, "no receipt",
                          controls=("False", Reason.AUDIT_UNAVAILABLE, "no receipt")),
         {"ControlsReady": "False/AuditUnavailable", "Ready": "Unknown/AuditUnavailable"}),
        (ALLOWED, Outcome(Phase.STARTING, Reason.TEMPLATE_REJECTED, "bad", stalled=True,
                          controls=("False", Reason.TEMPLATE_REJECTED, "bad")),
         {"Ready": "False/TemplateRejected", "Stalled": "True/TemplateRejected"}),
        (ALLOWED, Outcome(Phase.SUCCEEDED, Reason.SUCCEEDED, attempt=1, finished_at="2026-06-01T12:00:00Z"),
         {"Completed": "True/Succeeded", "Ready": "True/Succeeded", "Running": "False/Succeeded"}),
        (ALLOWED, Outcome(Phase.FAILED, Reason.FAILED, "no epsilon left", attempt=1),
         {"Completed": "False/Failed", "Stalled": "True/Failed", "Ready": "False/Failed"}),
        (ALLOWED, Outcome(Phase.UNSEALED, Reason.SEAL_NOT_ENFORCED, "the canary answered", attempt=2,
                          controls=IN_PLACE),
         {"Accepted": "True/Allowed", "Ready": "False/SealNotEnforced", "Running": "False/SealNotEnforced",
          "Stalled": "True/SealNotEnforced", "Completed": "False/SealNotEnforced", "Suspended": "False/NotSuspended"}),
        (ALLOWED, Outcome(Phase.RUNNING, Reason.SEAL_NOT_ENFORCED, "one of two replicas", controls=IN_PLACE,
                          stalled=True),
         {"Ready": "True/AttemptCreated", "Running": "True/AttemptRunning", "Stalled": "True/SealNotEnforced"}),
    ],
)  # fmt: skip
def test_conditions_by_situation(decision, outcome, expected):
    written = status(decision, outcome)
    found = conditions(written)
    assert {type: found[type] for type in expected} == expected
    assert written["observedGeneration"] == 1
    assert {c["observedGeneration"] for c in written["conditions"]} == {1}


def test_a_record_of_evidence_is_no_finding_against_the_job():
    recorded = decide(training_job(), only("records-of-processing", action="Evidence"))
    written = status(recorded, Outcome(Phase.RUNNING, Reason.ATTEMPT_CREATED, controls=IN_PLACE, attempt=1))
    assert conditions(written)["Accepted"] == "True/Allowed"
    assert [f["rule"] for f in written["decision"]["findings"]] == ["records-of-processing"]


def test_an_equal_status_is_not_written_again_whatever_the_time():
    outcome = Outcome(Phase.RUNNING, Reason.ATTEMPT_CREATED, controls=IN_PLACE, attempt=1)
    job = training_job()
    job["status"] = json.loads(json.dumps(job_status(job, ALLOWED, outcome, NOW)))
    later = job_status(job, ALLOWED, outcome, NOW + timedelta(hours=1))
    assert not changed(job, later)
    assert changed(job, job_status(job, ALLOWED, replace(outcome, attempt=2), NOW))


def test_no_sentence_on_references_ends_twice():
    found = {c["type"]: c["message"] for c in status(HELD, Outcome(Phase.HELD, Reason.DATASET_NOT_FOUND))["conditions"]}
    assert found["ResolvedRefs"].endswith("does not exist (yet).")
    assert ".." not in "".join(found.values())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3000)
FINDINGS = st.builds(
    Finding,
    rule=TEXTS,
    action=st.sampled_from(Action),
    reason=st.just(Reason.BREACH),
    path=TEXTS,
    message=TEXTS,
    remedy=TEXTS,
    citations=st.lists(TEXTS, max_size=40).map(tuple),
    pack=st.one_of(st.none(), TEXTS),
)


@given(st.lists(FINDINGS, min_size=1, max_size=30), TEXTS)
def test_no_finding_is_too_large_for_the_schema(findings, message):
    blocked = [replace(f, action=Action.DENY) for f in findings[:1]]
    decision = replace(REFUSED, findings=(*blocked, *findings))
    outcome = Outcome(Phase.REFUSED, Reason.REFUSED, message, receipt="r" * 500)
    written = {k: v for k, v in status(decision, outcome).items() if v is not None}
    assert list(schema().iter_errors(json.loads(json.dumps(written)))) == []


def test_a_rule_that_a_policy_only_records_is_no_finding_against_the_job():
    """AllowedWithFindings is for what a mode softens, and under Enforce nothing is softened."""
    lenient = policy(packs=[], rules=[{"id": "dp-required", "action": "Evidence"}])
    decision = decide(change(training_job(), "spec.privacy.epsilon", 5), lenient)
    assert finding(decision, "dp-required").action is Action.EVIDENCE
    assert conditions(status(decision, Outcome(Phase.RUNNING, Reason.ATTEMPT_RUNNING)))["Accepted"] == "True/Allowed"


def test_what_audit_lets_pass_says_what_enforce_would_do_and_how_much_is_not_shown():
    many = {f"field{i}": True for i in range(6)}
    job = change(training_job(), "spec.template.spec", training_job()["spec"]["template"]["spec"] | many)
    written = status(decide(job, policy(mode="Audit")), Outcome(Phase.RUNNING, Reason.ATTEMPT_RUNNING))
    accepted = next(c for c in written["conditions"] if c["type"] == "Accepted")
    assert accepted["reason"] == "AllowedWithFindings"
    assert "Under Enforce the job would be refused." in accepted["message"]
    assert "And 2 more; see status.decision.findings." in accepted["message"]
    assert {(f["action"], f["enforced"]) for f in written["decision"]["findings"]} == {("Evidence", "Deny")}
