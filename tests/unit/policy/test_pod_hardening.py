"""pod-hardening: the template holds only listed fields, images by digest, and hides neither data nor output.

The allow-list itself is tested in test_template.py.
"""

import pytest
from builders import (
    DIGEST,
    IMAGE,
    change,
    decide,
    finding,
    inference_job,
    policy,
    template,
    training_job,
    without,
)

from mlprivacy.policy.model import Action, Verdict

CONTAINER = "spec.template.spec.containers[0]"
DECLARED = {"special-category.minimumAssurance": "Declared"}


def mounted(path, **spec):
    mounts = [{"name": "scratch", "mountPath": path}]
    container = {"name": "trainer", "image": IMAGE, "volumeMounts": mounts}
    return training_job(
        template=template(containers=[container], volumes=[{"name": "scratch", "emptyDir": {}}]), **spec
    )


def test_a_plain_template_passes():
    assert decide(training_job()).verdict is Verdict.ALLOW


def test_a_field_that_is_not_listed_is_refused_until_it_is_removed():
    job = change(training_job(), "spec.template.spec.hostNetwork", True)
    found = finding(decide(job), "pod-hardening")
    assert (found.action, found.path) == (Action.DENY, "spec.template.spec.hostNetwork")
    assert found.remedy == "remove hostNetwork from the template"
    assert "NetworkPolicy" in found.message
    assert decide(without(job, found.path)).verdict is Verdict.ALLOW


def test_an_image_by_tag_is_refused_until_it_has_its_digest():
    found = finding(
        decide(change(training_job(), f"{CONTAINER}.image", "registry.example/trainer:v1")), "pod-hardening"
    )
    assert (found.path, found.remedy) == (f"{CONTAINER}.image", "write REGISTRY/NAME@sha256:DIGEST")
    assert decide(change(training_job(), found.path, f"registry.example/trainer@{DIGEST}")).verdict is Verdict.ALLOW


def test_an_image_is_there():
    found = finding(decide(without(training_job(), f"{CONTAINER}.image")), "pod-hardening")
    assert (found.path, found.message) == (f"{CONTAINER}.image", "is missing")


def test_the_first_server_may_take_the_image_of_the_model():
    assert decide(inference_job()).verdict is Verdict.ALLOW
    two = change(inference_job(), "spec.template.spec.containers", [{"name": "server"}, {"name": "other"}])
    assert finding(decide(two), "pod-hardening").path == "spec.template.spec.containers[1].image"


@pytest.mark.parametrize(
    "path", ["/data/visits", "/data/visits/", "/data/visits/2026", "//data//visits", "/data/./visits", "/output/x"]
)
def test_a_mount_over_the_data_or_the_output_is_refused(path):
    found = finding(decide(mounted(path)), "pod-hardening")
    assert (found.path, found.remedy) == (f"{CONTAINER}.volumeMounts[0].mountPath", "choose another path")


@pytest.mark.parametrize("path", ["/data", "/data/visits2", "/outputs", "/scratch"])
def test_a_mount_beside_it_passes(path):
    assert decide(mounted(path)).verdict is Verdict.ALLOW


@pytest.mark.parametrize("path", ["//var/run/mlprivacy", "/var/./lib/mlprivacy/x", "/var/run", "/run/mlprivacy", "/."])
def test_the_jobs_own_paths_do_not_cover_the_sidecars_folders(path):
    data, output = "spec.datasets[0].mountPath", "spec.output.path"
    for where in (data, output):
        found = finding(decide(change(training_job(), where, path)), "pod-hardening", where)
        assert "sidecar's folders" in found.message


@pytest.mark.parametrize("output", ["/data/visits", "/data/visits/", "/data//visits/out", "/data"])
def test_output_and_data_have_folders_of_their_own(output):
    found = finding(decide(training_job(output={"path": output})), "pod-hardening")
    assert found.path == "spec.output.path"
    assert "spec.datasets[0].mountPath" in found.message


def test_a_resource_and_an_annotation_are_taken_once_the_policy_lists_them():
    job = change(training_job(), f"{CONTAINER}.resources", {"limits": {"example.com/tpu": 1}})
    job = change(job, "spec.template.metadata", {"annotations": {"team.example/owner": "anna"}})
    listing = {"pod-hardening.extendedResources": "example.com/tpu", "pod-hardening.annotationDomains": "team.example"}
    remedies = " ".join(f.remedy for f in decide(job).findings)
    assert all(name in remedies for name in listing)
    assert decide(job, policy(parameters=DECLARED | listing)).verdict is Verdict.ALLOW


def test_a_template_that_is_wrong_everywhere_gets_a_short_list():
    job = change(training_job(), "spec.template.spec", {f"field{n}": n for n in range(1000)})
    found = [f for f in decide(job).findings if f.rule == "pod-hardening"]
    assert len(found) == 13
    assert any(f.message == "has more problems than these" for f in found)


def test_a_template_that_is_no_object_is_no_spec():
    for junk in (None, [], "x", 5):
        decision = decide(change(training_job(), "spec.template", junk))
        assert (decision.verdict, decision.findings[0].rule) == (Verdict.DENY, "schema")
