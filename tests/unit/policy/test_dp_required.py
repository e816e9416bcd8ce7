"""dp-required: where a class demands differential privacy, the job promises enough of it."""

import re

import pytest
from builders import asked, change, dataset, decide, finding, grant, grant_to, health_class, training_job, without
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.model import Action, Verdict

NONE = {"mechanism": "None"}
CALM = '{"class_name": "GaussianDpEvent", "noise_multiplier": 20}'


def demanding(**fields):
    return health_class(differentialPrivacy={"required": True} | fields)


def number_of(remedy: str) -> float:
    return float(re.search(r"to ([0-9.e+-]+) or less", remedy).group(1))


def test_enough_of_it_passes():
    assert decide(training_job()).verdict is Verdict.ALLOW


def test_no_promise_is_refused():
    found = finding(decide(without(training_job(), "spec.privacy")), "dp-required")
    assert (found.action, found.path) == (Action.DENY, "spec.privacy")
    assert found.remedy == (
        "set spec.privacy with mechanism: DPSGD, epsilon at most 4, delta at most 5e-08, batchSize, epochs and "
        "maxGradNorm"
    )


def test_the_mechanism_none_is_no_promise():
    found = finding(decide(training_job(privacy=NONE)), "dp-required")
    assert (found.action, found.path) == (Action.DENY, "spec.privacy.mechanism")


def test_secure_computation_is_no_formal_promise():
    decision = decide(training_job(privacy={"mechanism": "SecureComputation"}))
    assert finding(decision, "dp-required").action is Action.DENY


def test_no_class_that_demands_it_no_need():
    job = without(training_job(datasets=[asked(columns=["age"])]), "spec.privacy")
    assert decide(job).verdict is Verdict.ALLOW


def test_a_unit_that_is_too_weak_is_refused():
    decision = decide(change(training_job(), "spec.privacy.unit", "Event"))
    found = finding(decision, "dp-required")
    assert (found.path, found.remedy) == ("spec.privacy.unit", "set unit to User")


def test_a_class_may_accept_events():
    decision = decide(change(training_job(), "spec.privacy.unit", "Event"), demanding(unit="Event"))
    assert decision.verdict is Verdict.ALLOW


@pytest.mark.parametrize("cap", [0.1, 1.23456789, 3.9999999999, 4, 1e-7, 999.999999999])
def test_epsilon_above_the_cap_is_refused_and_the_number_of_the_remedy_passes(cap):
    world = demanding(maxEpsilonPerJob=cap)
    found = finding(decide(change(training_job(), "spec.privacy.epsilon", 1000), world), "dp-required")
    assert found.path == "spec.privacy.epsilon"
    assert number_of(found.remedy) == cap
    mended = change(training_job(), "spec.privacy.epsilon", number_of(found.remedy))
    assert decide(mended, world).verdict is Verdict.ALLOW


@given(persons=st.integers(1, 100_000_000_000))
def test_delta_above_one_in_a_hundred_n_is_refused_and_the_number_of_the_remedy_passes(persons):
    """1/(100 N) has no short form, and a remedy rounded up would be refused again."""
    world = dataset(subjects={"column": "patient_id", "kind": "patient", "atLeast": persons})
    job = change(training_job(), "spec.privacy.batchSize", 1)
    found = finding(decide(change(job, "spec.privacy.delta", 0.5), world), "dp-required")
    assert found.path == "spec.privacy.delta"
    told = number_of(found.remedy)
    assert 0.99 / (100 * persons) < told <= 1 / (100 * persons)
    assert decide(change(job, "spec.privacy.delta", told), world).verdict is Verdict.ALLOW


def test_no_delta_is_refused():
    found = finding(decide(without(training_job(), "spec.privacy.delta")), "dp-required")
    assert (found.action, found.path, found.remedy) == (Action.DENY, "spec.privacy.delta", "set delta to 5e-08 or less")


def test_a_class_can_tighten_delta_and_not_loosen_it():
    tight = decide(change(training_job(), "spec.privacy.delta", 2e-9), demanding(maxDelta=1e-9))
    assert "what health allows" in finding(tight, "dp-required").message
    loose = decide(change(training_job(), "spec.privacy.delta", 1e-6), demanding(maxDelta=1e-3))
    assert "1/(100 N)" in finding(loose, "dp-required").message


@given(promised=st.integers(1, 200_000))
def test_what_a_job_promises_of_its_units_does_not_loosen_delta(promised):
    """``unitsAtLeast: 1`` would make 1/(100 N) a hundredth, and it is the ML engineer's own word."""
    job = change(training_job(datasets=[asked(unitsAtLeast=promised)]), "spec.privacy.batchSize", 1)
    assert decide(change(job, "spec.privacy.delta", 5e-8)).verdict is Verdict.ALLOW
    refused = finding(decide(change(job, "spec.privacy.delta", 5.1e-8)), "dp-required")
    assert (refused.action, refused.remedy) == (Action.DENY, "set delta to 5e-08 or less")


@pytest.mark.parametrize("mechanism", [{"mechanism": "Federated"}, {"mechanism": "Event", "event": CALM}])
def test_an_epsilon_that_is_not_known_under_a_cap_holds(mechanism):
    decision = decide(training_job(privacy={"delta": 1e-9, **mechanism}))
    found = finding(decision, "dp-required")
    assert (found.action, found.path) == (Action.HOLD, "spec.privacy.epsilon")
    assert decision.verdict is Verdict.HOLD


def test_of_two_populations_the_larger_bounds_delta():
    small = dataset("stays", subjects={"column": "patient_id", "kind": "patient", "atLeast": 100})
    job = training_job(datasets=[asked(), asked(name="stays", mountPath="/data/stays")])
    both = grant(to=[grant_to(), grant_to(name="stays")])
    decision = decide(change(job, "spec.privacy.delta", 1e-6), small, both)
    assert "200000 persons of clinic/visits" in finding(decision, "dp-required").message
