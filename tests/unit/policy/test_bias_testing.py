"""bias-testing: special categories for finding bias stay inside, make no model and are deleted."""

import pytest
from builders import (
    ALL_CAPABILITIES,
    asked,
    change,
    data_class,
    decide,
    finding,
    health_class,
    policy,
    rules_of,
    training_job,
)

from mlprivacy.policy.model import Action, Verdict

GOOD = training_job(biasTesting={"justification": "The rate of errors per group."}, ttlSecondsAfterFinished=3600)


def test_a_sealed_test_that_is_deleted_passes():
    decision = decide(GOOD)
    assert decision.verdict is Verdict.ALLOW
    assert decision.obligations.egress == "Sealed"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.output.destination", "pvc://models/diagnosis"),
        ("spec.output.model", "diagnosis"),
        ("spec.ttlSecondsAfterFinished", None),
    ],
)
def test_what_would_outlive_the_test_is_refused(path, value):
    decision = decide(change(GOOD, path, value), capabilities=ALL_CAPABILITIES)
    found = finding(decision, "bias-testing")
    assert (found.action, found.path) == (Action.DENY, path)
    assert "health" in found.message


def test_egress_is_sealed_even_where_the_classes_would_open_it():
    open_classes = (health_class(network={"egress": "Allowlist"}), data_class(network={"egress": "Allowlist"}))
    assert decide(training_job(), *open_classes).obligations.egress == "Allowlist"
    assert decide(GOOD, *open_classes).obligations.egress == "Sealed"


def test_without_special_categories_or_without_the_flag_there_is_nothing_to_keep():
    plain = change(change(GOOD, "spec.datasets", [asked(columns=["age"])]), "spec.output.model", "diagnosis")
    assert "bias-testing" not in rules_of(decide(plain))
    assert "bias-testing" not in rules_of(decide(training_job(output={"model": "diagnosis"})))


def test_it_is_on_without_a_pack():
    decision = decide(change(GOOD, "spec.output.model", "x"), policy(packs=[]))
    assert finding(decision, "bias-testing").pack == "baseline"
