"""assurance: what the controls in force achieve is at least what every class and the requester demand."""

import pytest
from builders import ALL_CAPABILITIES, data_class, decide, finding, health_class, inference_job, rules_of, training_job

from mlprivacy.api.base import Assurance
from mlprivacy.policy.assurance import achieved, lacking
from mlprivacy.policy.facts import IN_FORCE, Capability
from mlprivacy.policy.model import Action, Verdict

DEMANDING = health_class(minimumAssurance={"training": "Gated", "inference": "Instrumented"})


def test_declared_is_reached_and_reported():
    decision = decide(training_job())
    assert (decision.achieved, decision.required) == (Assurance.DECLARED, Assurance.DECLARED)


def test_a_class_that_demands_more_is_refused_with_what_is_not_in_force():
    decision = decide(training_job(), DEMANDING)
    found = finding(decision, "assurance")
    assert (found.action, found.path) == (Action.DENY, "spec.datasets[0].columns[1]")
    assert "demands assurance Gated, and this job reaches Declared" in found.message
    assert "data-gate" in found.message
    assert "release-gate" in found.message
    assert "sealed-egress" not in found.message
    assert decision.required is Assurance.GATED


def test_inference_has_its_own_minimum():
    job = inference_job(dataClasses=["health"], condition="eu-gdpr:A9-2-h")
    found = finding(decide(job, DEMANDING), "assurance")
    assert found.path == "spec.dataClasses[0]"
    assert "demands assurance Instrumented" in found.message


def test_a_requester_that_wants_more_is_refused_until_asking_for_what_there_is():
    found = finding(decide(training_job(assurance="Instrumented")), "assurance")
    assert (found.path, found.remedy) == ("spec.assurance", "set spec.assurance to Declared")
    assert decide(training_job(assurance="Declared")).verdict is Verdict.ALLOW


def test_with_every_part_in_force_nothing_is_found():
    assert "assurance" not in rules_of(decide(training_job(assurance="Attested"), capabilities=ALL_CAPABILITIES))


@pytest.mark.parametrize("processing", ["Training", "Inference"])
@pytest.mark.parametrize("missing", list(Capability))
def test_a_level_is_reached_only_with_every_part_of_it_and_of_those_below(processing, missing):
    some = ALL_CAPABILITIES - {missing}
    level = achieved(processing, some)
    for higher in Assurance:
        if higher.rank > level.rank:
            assert lacking(processing, higher, some) == (missing.value,)
        else:
            assert lacking(processing, higher, some) == ()


def test_nothing_above_declared_is_achieved_by_this_release():
    assert {achieved(p, IN_FORCE) for p in ("Training", "Inference")} == {Assurance.DECLARED}


def test_a_class_nobody_asked_for_demands_nothing():
    other = data_class("unasked", minimumAssurance={"training": "Attested"})
    assert decide(training_job(), other).verdict is Verdict.ALLOW
