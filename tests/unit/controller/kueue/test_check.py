"""What the check of the privacy budget says, for each answer and each Workload of others."""

import copy
from pathlib import Path

import pytest
import yaml
from builders import NOW

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.kueue.check import (
    Check,
    CheckState,
    active_status,
    is_ours,
    pending,
    state_for,
    state_of_foreign,
)
from mlprivacy.controller.kueue.workload import read

WAITING = yaml.safe_load((Path(__file__).parent / "waiting-workload.yaml").read_text(encoding="utf-8"))
OURS = frozenset({"privacy-budget"})
CHECK = {
    "apiVersion": "kueue.x-k8s.io/v1beta2",
    "kind": "AdmissionCheck",
    "metadata": {"name": "privacy-budget", "uid": "uid-check", "generation": 1},
    "spec": {"controllerName": "mlprivacy.dev/privacy-budget"},
}


def answer(state, again=None):
    return Answer(state, Reason.WAITING_FOR_BUDGET, "a sentence", again)


@pytest.mark.parametrize(
    ("given", "state", "after"),
    [
        (answer("NotNeeded"), "Ready", None),
        (answer("Reserved"), "Ready", None),
        (answer("Outside"), "Ready", None),
        (answer("Refused"), "Rejected", None),
        (answer("Waiting", 0.5), "Pending", None),
        (answer("Waiting", 10.0), "Pending", None),
        (answer("Waiting", 10.2), "Retry", 11),
        (answer("Waiting", 120.0), "Retry", 120),
        (answer("Waiting"), "Retry", 60),
        (answer("Waiting", 10_000_000.0), "Retry", 3600),
        (answer("Waiting", float("inf")), "Retry", 60),
        (answer("Waiting", float("nan")), "Retry", 60),
        (answer("Waiting", -1.0), "Retry", 60),
    ],
)
def test_each_answer_has_its_state(given, state, after):
    assert state_for(given) == CheckState(state, "a sentence", after)


def test_an_entry_is_as_the_api_wants_it():
    assert CheckState("Retry", "later", 120).entry("privacy-budget", NOW) == {
        "name": "privacy-budget",
        "state": "Retry",
        "message": "later",
        "lastTransitionTime": "2026-06-01T12:00:00Z",
        "requeueAfterSeconds": 120,
    }
    assert "requeueAfterSeconds" not in CheckState("Ready", "").entry("privacy-budget", NOW)


def test_what_is_told_is_not_told_again():
    state = CheckState("Pending", "more unlocks soon")
    assert state.is_told(Check("privacy-budget", "Pending", "more unlocks soon"))
    assert not state.is_told(Check("privacy-budget", "Pending", ""))


def with_condition(type, status):
    changed = copy.deepcopy(WAITING)
    conditions = [c for c in changed["status"]["conditions"] if c["type"] != type]
    changed["status"]["conditions"] = [*conditions, {"type": type, "status": status, "reason": "X", "message": ""}]
    return changed


def deactivated():
    changed = copy.deepcopy(WAITING)
    changed["spec"]["active"] = False
    return changed


@pytest.mark.parametrize(
    ("workload", "due"),
    [
        (WAITING, True),
        (with_condition("QuotaReserved", "False"), False),  # quota first, or budget would lie reserved in a long queue
        (with_condition("Evicted", "True"), False),  # the old quota still stands, and goes
        (with_condition("Finished", "True"), False),
        (deactivated(), False),
    ],
    ids=["quota reserved", "no quota", "evicted", "finished", "deactivated"],
)
def test_an_answer_is_due_while_quota_is_reserved_and_stays(workload, due):
    assert [c.name for c in pending(read(workload), OURS)] == (["privacy-budget"] if due else [])


def test_checks_of_others_are_left_alone():
    assert pending(read(WAITING), frozenset()) == ()
    assert not is_ours({**CHECK, "spec": {"controllerName": "kueue.x-k8s.io/provisioning-request"}})


@pytest.mark.parametrize(
    ("ceiling", "state"), [(None, "Ready"), ("Audit", "Ready"), ("Warn", "Ready"), ("Enforce", "Rejected")]
)
def test_a_workload_of_others_is_rejected_only_where_the_label_enforces(ceiling, state):
    found = state_of_foreign("research", ceiling)
    assert found.state == state
    assert "research" in found.message or ceiling is not None


def test_a_check_is_said_to_be_active_once():
    status = active_status(CHECK, NOW)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"], condition["observedGeneration"]) == ("Active", "True", 1)
    assert active_status({**CHECK, "status": status}, NOW) is None


def test_parameters_that_have_no_effect_are_told():
    parameters = {"apiGroup": "example.org", "kind": "Config", "name": "x"}
    status = active_status({**CHECK, "spec": {**CHECK["spec"], "parameters": parameters}}, NOW)
    assert "spec.parameters is not used" in status["conditions"][0]["message"]
