"""Custom rules in a decision: outcomes are facts. True passes, False breaches, everything else holds; and the modes.

Matrix: outcome (True, False, none, failed, invalid) x action of the rule x mode of its policy x which namespace.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import (
    NOW,
    asked,
    change,
    clinic_world,
    dataset,
    facts_of,
    finding,
    inference_job,
    policy,
    selecting,
    training_job,
)

from mlprivacy.api.base import parse_spec
from mlprivacy.api.privacy_policy import KIND as POLICY
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.custom import Key, NoAnswer, Outcome, applying, reads_the_clock
from mlprivacy.policy.engine import custom_asked, evaluate
from mlprivacy.policy.model import Action, Decision, Finding, Verdict

KEY = Key("own", "few-trials")
DECLARED = {"special-category.minimumAssurance": "Declared"}


def own(mode: str = "Enforce", **fields: Any) -> dict[str, Any]:
    rule = {"id": "few-trials", "expression": "job.spec.trials == 1", "message": "Too many trials.", **fields}
    return policy("own", mode=mode, custom=[rule], parameters=DECLARED)


def decided(outcome: Outcome | None, *objects: Any, **changed: Any) -> Decision:
    facts = facts_of(clinic_world(*(objects or (own(**changed),))))
    custom = {} if outcome is None else {KEY: outcome}
    return evaluate(training_job(), replace(facts, custom=custom))


def test_true_is_fine() -> None:
    assert decided(True).verdict is Verdict.ALLOW


def test_false_is_a_breach_with_the_policy_s_words() -> None:
    decision = decided(False, remedy="set trials to 1")
    found = finding(decision, "custom/few-trials")
    assert (decision.verdict, found.action, found.reason) == (Verdict.DENY, Action.DENY, Reason.BREACH)
    assert (found.message, found.remedy, found.policy) == ("Too many trials.", "set trials to 1", "own")


@pytest.mark.parametrize("outcome", [None, NoAnswer("it took too long and was stopped")])
def test_no_answer_holds_and_is_looked_at_again(outcome: Outcome | None) -> None:
    decision = decided(outcome)
    found = finding(decision, "custom/few-trials")
    assert (decision.verdict, found.action, found.reason) == (Verdict.HOLD, Action.HOLD, Reason.FACT_MISSING)
    assert "few-trials of the policy own gave no answer" in found.message
    assert decision.valid_until == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("mode", ["Audit", "Warn", "Enforce"])
def test_one_that_does_not_compile_holds_in_every_mode(mode: str) -> None:
    decision = decided(NoAnswer("at 1:1: Syntax error", "invalid"), mode=mode)
    found = finding(decision, "custom/few-trials")
    assert (decision.verdict, found.reason) == (Verdict.HOLD, Reason.INVALID_POLICY)
    assert "at 1:1" in found.message


@pytest.mark.parametrize(
    ("action", "mode", "expected"),
    [
        ("Deny", "Enforce", Action.DENY),
        ("Warn", "Enforce", Action.WARN),
        ("Evidence", "Enforce", Action.EVIDENCE),
        ("Deny", "Warn", Action.WARN),
        ("Deny", "Audit", Action.EVIDENCE),
        ("Warn", "Audit", Action.EVIDENCE),
    ],
)
def test_its_action_stays_below_the_mode_of_its_own_policy(action: str, mode: str, expected: Action) -> None:
    assert finding(decided(False, action=action, mode=mode), "custom/few-trials").action is expected
    missing = finding(decided(None, action=action, mode=mode), "custom/few-trials").action
    assert missing is (Action.HOLD if expected is Action.DENY else expected)


def test_the_label_of_the_namespace_is_the_ceiling() -> None:
    facts = facts_of(clinic_world(own()), modes={"clinic": "warn", "research": "warn"})
    decision = evaluate(training_job(), replace(facts, custom={KEY: False}))
    assert finding(decision, "custom/few-trials").action is Action.WARN


def test_two_policies_may_have_a_rule_of_the_same_name() -> None:
    other = policy("other", custom=[{"id": "few-trials", "expression": "true", "message": "Other."}])
    facts = facts_of(clinic_world(own(), other))
    decision = evaluate(training_job(), replace(facts, custom={KEY: True, Key("other", "few-trials"): False}))
    assert finding(decision, "custom/few-trials").policy == "other"


def test_a_policy_that_selects_neither_namespace_is_not_asked() -> None:
    elsewhere = change(own(), "spec.namespaceSelector", selecting("shop"))
    facts = facts_of(clinic_world(elsewhere))
    assert custom_asked(training_job(), facts) is None
    assert evaluate(training_job(), facts).verdict is Verdict.ALLOW


def test_a_policy_of_the_data_s_namespace_is_asked() -> None:
    of_the_data = change(own(), "spec.namespaceSelector", selecting("clinic"))
    wanted = custom_asked(training_job(), facts_of(clinic_world(of_the_data)))
    assert wanted is not None
    assert [rule.key for rule in wanted.rules] == [KEY]


def test_the_document_has_defaults_and_what_resolved() -> None:
    job = change(
        training_job(), "metadata.annotations", {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "x"}
    )
    job = change(job, "spec.suspend", True)
    wanted = custom_asked(job, facts_of(clinic_world(own())))
    assert wanted is not None
    seen = wanted.document
    assert set(seen) == {"job", "datasets", "classes", "namespaceObject", "now"}
    assert seen["job"]["metadata"]["annotations"] == {"a": "b"}
    assert seen["job"]["spec"]["trials"] == 1, "a default"
    assert "suspend" not in seen["job"]["spec"], "stopping a job does not change what is decided"
    assert seen["job"]["spec"]["template"] == job["spec"]["template"]
    assert [(d["name"], d["namespace"], d["asked"]["columns"]) for d in seen["datasets"]] == [
        ("visits", "clinic", ["age", "diagnosis"])
    ]
    assert {c["name"] for c in seen["classes"]} == {"health", "demographic"}
    assert next(c for c in seen["classes"] if c["name"] == "health")["spec"]["network"] == {
        "egress": "Sealed",
        "rdma": "Deny",
    }
    assert seen["namespaceObject"]["metadata"]["labels"]["mlprivacy.dev/enforce"] == "enforce"


def test_a_dataset_that_is_not_granted_is_not_in_the_document() -> None:
    job = training_job(datasets=[asked(), asked(name="secret", mountPath="/data/secret")])
    wanted = custom_asked(job, facts_of(clinic_world(own(), dataset("secret"))))
    assert wanted is not None
    assert [d["name"] for d in wanted.document["datasets"]] == ["visits"]


def test_inference_jobs_are_asked_about_too() -> None:
    wanted = custom_asked(inference_job(), facts_of(clinic_world(own())))
    assert wanted is not None
    assert wanted.document["job"]["kind"] == "InferenceJob"
    assert wanted.document["datasets"] == []


@pytest.mark.parametrize("raw", [{}, {"kind": "Pod"}, {"kind": "TrainingJob"}, {"kind": "TrainingJob", "spec": 3}])
def test_what_is_no_readable_job_is_not_asked_about(raw: dict[str, Any]) -> None:
    assert custom_asked(raw, facts_of(clinic_world(own()))) is None


def test_an_answer_that_rests_on_the_time_is_looked_at_again() -> None:
    assert decided(True).valid_until is None
    assert decided(True, expression="now.getHours() < 22").valid_until == NOW + timedelta(minutes=1)
    assert reads_the_clock("a && now > b")
    assert not reads_the_clock("job.spec.known == 1")


def test_a_policy_that_can_not_be_read_has_no_rules() -> None:
    facts = facts_of([change(own(), "spec.mode", "Sometimes")])
    assert applying(facts.policies) == ()


def test_a_rule_can_not_pass_for_a_built_in_one() -> None:
    facts = facts_of(clinic_world(own(id="residency")))
    decision = evaluate(training_job(), replace(facts, custom={Key("own", "residency"): False}))
    assert finding(decision, "custom/residency").policy == "own"
    assert not [f for f in decision.findings if f.rule == "residency"]


def test_what_turns_a_terminal_round_is_not_in_a_finding() -> None:
    """A policy that was stored before the schema refused such characters, and facts that quote people's texts."""
    raw = own()
    raw["spec"]["custom"][0] |= {"message": "bad\nAccepted: True \x1b[2J\u202eevil\u2028x"}
    found = finding(decided(False, raw), "references")
    assert found.reason is Reason.INVALID_POLICY
    made = Finding("custom/x", Action.WARN, Reason.BREACH, "a\x1b", "bad\nAccepted: \x1b[2J\u202eevil", "r\x07")
    assert (made.path, made.message, made.remedy) == ("a ", "bad Accepted:  [2J evil", "r ")
    assert made.sentence().isprintable()


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x07", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"])
def test_texts_of_the_api_take_no_control_characters(bad: str) -> None:
    assert parse_spec(POLICY, own(message=f"a{bad}b")).errors
    assert not parse_spec(POLICY, own(message="Nicht erlaubt:\n\tZeilen, \u200f\u05d0 und \U0001f512.")).errors
