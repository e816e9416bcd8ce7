"""The copy of jobs that pods are judged by: little is kept, and all that a custom rule may look at is."""

import pytest
from builders import clinic_world, facts_of, policy, training_job

from mlprivacy.admission.jobs import runnable
from mlprivacy.policy.custom import LAST_APPLIED
from mlprivacy.policy.engine import custom_asked

BY = {"mlprivacy.dev/requested-by": "alice"}


def job(annotations=None, conditions=()):
    metadata = {"name": "job", "namespace": "team", "uid": "u", "labels": {"a": "b"}}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": metadata,
        "spec": {"purpose": "essential"},
        "status": {"conditions": list(conditions)},
    }


def test_labels_and_annotations_are_kept_but_for_the_copy_that_kubectl_makes():
    kept = runnable(job(BY | {"note": "x", LAST_APPLIED: "{}"}))["metadata"]
    assert kept["annotations"] == BY | {"note": "x"}
    assert kept["labels"] == {"a": "b"}


@pytest.mark.parametrize("annotations", [None, {}, {LAST_APPLIED: "{}"}])
def test_where_there_are_none_nothing_is_kept(annotations):
    assert "annotations" not in runnable(job(annotations))["metadata"]


def test_a_job_with_very_long_annotations_is_not_kept_whole_and_so_is_read_when_its_pod_comes():
    kept = runnable(job({"note": "x" * 10_000}))
    assert "spec" not in kept
    assert len(str(kept)) < 1000


def test_of_a_job_that_is_over_the_spec_goes():
    over = job(BY, [{"type": "Completed", "status": "True"}])
    assert "spec" not in runnable(over)
    assert runnable(job(BY))["spec"] == {"purpose": "essential"}


@pytest.mark.parametrize("named", [{"labels": {"team": "audited"}}, {"annotations": BY | {"why": "x"}}, {}])
def test_a_custom_rule_sees_the_same_of_the_copy_as_of_the_job(named):
    """Else a pod of a job that such a rule refuses is let in, and one that it asks a label of is not."""
    whole = training_job()
    whole["metadata"] |= named | {"generateName": "diag", "resourceVersion": "7"}
    whole["metadata"].setdefault("annotations", {})[LAST_APPLIED] = "{}"
    rule = {"id": "labelled", "expression": "'team' in job.metadata.labels", "message": "Say whose it is."}
    facts = facts_of(clinic_world(policy("own", custom=[rule])))
    assert custom_asked(runnable(whole), facts) == custom_asked(whole, facts)
