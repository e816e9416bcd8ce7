"""minimisation: a job asks for columns that exist and are granted, and for no direct identifier."""

import re

import pytest
from builders import asked, change, consent_scope, dataset, decide, finding, grant, grant_to, policy, training_job

from mlprivacy.policy.model import Action, Verdict

COLUMNS = "spec.datasets[0].columns"


def asking(*columns, **fields):
    return training_job(datasets=[asked(columns=list(columns), **fields)])


def test_granted_columns_pass():
    assert decide(asking("age")).verdict is Verdict.ALLOW


def test_a_column_outside_the_grant_and_one_that_does_not_exist_give_the_same_words():
    outside = finding(decide(asking("age", "patient_id")), "minimisation")
    nowhere = finding(decide(asking("age", "no_such")), "minimisation")
    assert outside.action is nowhere.action is Action.DENY
    assert outside.path == nowhere.path == f"{COLUMNS}[1]"
    assert outside.message.replace("patient_id", "X") == nowhere.message.replace("no_such", "X")
    assert outside.remedy == nowhere.remedy
    assert outside.private


def test_no_other_rule_tells_that_an_ungranted_column_exists():
    """Else the demands of its class would be found, and so its class."""
    narrow = grant(to=[grant_to(columns=["age"])])
    exists = decide(asking("age", "diagnosis"), narrow)
    not_there = decide(asking("age", "no_such"), narrow)
    assert [f.rule for f in exists.findings] == [f.rule for f in not_there.findings] == ["minimisation"]


def test_asking_for_the_columns_of_the_remedy_passes():
    found = finding(decide(asking("age", "patient_id")), "minimisation")
    suggested = re.fullmatch(r"ask for one of (.*)", found.remedy).group(1).split(", ")
    assert suggested == ["age", "diagnosis"]
    assert decide(change(training_job(), COLUMNS, suggested)).verdict is Verdict.ALLOW


def test_without_any_visible_column_the_dataset_is_to_be_left_out():
    decision = decide(asking("age"), grant(to=[grant_to(columns=["other"])]))
    assert finding(decision, "minimisation").remedy == "leave the dataset out"


def test_a_direct_identifier_is_refused_even_when_granted():
    decision = decide(asking("age", "patient_id"), grant(to=[grant_to(columns=["age", "patient_id"])]))
    found = finding(decision, "minimisation")
    assert (found.action, found.path) == (Action.DENY, f"{COLUMNS}[1]")
    assert found.remedy == "leave the column out"
    assert decide(asking("age")).verdict is Verdict.ALLOW


def test_more_units_than_the_dataset_is_known_to_hold_are_refused():
    decision = decide(asking("age", unitsAtLeast=200_001))
    found = finding(decision, "minimisation")
    assert found.path == "spec.datasets[0].unitsAtLeast"
    limit = int(re.search(r"set unitsAtLeast to (\d+) or less", found.remedy).group(1))
    assert decide(asking("age", unitsAtLeast=limit)).verdict is Verdict.ALLOW


@pytest.mark.parametrize("mode", ["Audit", "Warn"])
def test_in_softer_modes_an_ungranted_column_of_another_namespace_holds(mode):
    """A grant is access, not policy: no mode widens it."""
    decision = decide(asking("age", "patient_id"), policy(mode=mode))
    assert finding(decision, "minimisation").action is Action.HOLD
    assert decision.verdict is Verdict.HOLD


def test_an_override_does_not_widen_a_grant_either():
    soft = policy(rules=[{"id": "minimisation", "action": "Evidence"}])
    assert decide(asking("age", "patient_id"), soft).verdict is Verdict.HOLD


def test_in_the_own_namespace_a_softer_mode_warns():
    own = (dataset(namespace="research"), consent_scope(namespace="research"), policy(mode="Warn"))
    decision = decide(asking("no_such", namespace="research"), *own)
    assert finding(decision, "minimisation").action is Action.WARN
    assert decision.verdict is Verdict.ALLOW
