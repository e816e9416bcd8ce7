"""The copy of jobs that pods are judged by: little is kept, and who asked for the job is."""

import pytest

from mlprivacy.admission.jobs import runnable

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


def test_the_requester_s_stamp_is_kept_and_nothing_else_of_the_annotations():
    assert runnable(job(BY | {"note": "x" * 1000}))["metadata"]["annotations"] == BY


@pytest.mark.parametrize("annotations", [None, {}, {"note": "x"}])
def test_without_a_stamp_no_annotation_is_kept(annotations):
    assert "annotations" not in runnable(job(annotations))["metadata"]


def test_of_a_job_that_is_over_the_spec_goes():
    over = job(BY, [{"type": "Completed", "status": "True"}])
    assert "spec" not in runnable(over)
    assert runnable(job(BY))["spec"] == {"purpose": "essential"}
