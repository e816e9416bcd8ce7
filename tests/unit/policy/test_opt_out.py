"""opt-out: rows of people who opted out are out of the source, or wait for the gate that can filter them."""

import pytest
from builders import ALL_CAPABILITIES, asked, dataset, decide, finding, rules_of, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Verdict


def opted(right, **fields):
    return {"right": right} | (fields or {"column": "age"})


def test_rows_that_only_a_gate_can_filter_hold():
    found = finding(decide(training_job(), dataset(optOuts=[opted("DoNotTrain")])), "opt-out")
    assert (found.action, found.reason) == (Action.HOLD, Reason.NOT_ENFORCED_HERE)
    assert "DoNotTrain (column age)" in found.message
    assert "excluded: true" in found.remedy


@pytest.mark.parametrize("right", ["DoNotSell", "DoNotShare", "DoNotTrain"])
def test_rows_that_are_not_in_the_source_pass(right):
    assert decide(training_job(), dataset(optOuts=[opted(right, excluded=True)])).verdict is Verdict.ALLOW


@pytest.mark.parametrize(("right", "held"), [("DoNotSell", False), ("DoNotShare", False), ("DoNotTrain", True)])
def test_at_home_nothing_is_sold_or_shared(right, held):
    job = training_job(namespace="clinic", datasets=[asked(namespace=None)])
    assert ("opt-out" in rules_of(decide(job, dataset(optOuts=[opted(right)])))) is held


@pytest.mark.parametrize("right", ["DoNotSell", "DoNotShare"])
def test_another_namespace_gets_no_row_of_theirs(right):
    assert "opt-out" in rules_of(decide(training_job(), dataset(optOuts=[opted(right)])))


def test_once_there_is_a_gate_it_filters():
    decision = decide(training_job(), dataset(optOuts=[opted("DoNotTrain")]), capabilities=ALL_CAPABILITIES)
    assert "opt-out" not in rules_of(decision)


def test_several_are_said_together():
    both = [opted("DoNotTrain"), opted("DoNotShare", column="patient_id")]
    message = finding(decide(training_job(), dataset(optOuts=both)), "opt-out").message
    assert "DoNotTrain (column age), DoNotShare (column patient_id)" in message
