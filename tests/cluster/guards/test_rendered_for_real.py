"""What the operator's own renderer makes passes every guard, under the operator's account; and runs."""

import copy
from typing import Any

import pytest

from mlprivacy.api import names
from mlprivacy.api.base import Assurance
from mlprivacy.controls.render import Rendered, render
from mlprivacy.policy.engine import parse_job
from mlprivacy.policy.model import Decision, Obligations, Verdict
from mlprivacy.workloads.context import RenderContext, RenderSettings

UID = "5d3f0a52-0000-4000-8000-000000000001"
SERVER = {
    "apiVersion": names.API_VERSION,
    "kind": "InferenceJob",
    "spec": {
        "model": {"image": "registry.example/server@sha256:" + "c" * 64},
        "purpose": "provide_diagnosis",
        "dataClasses": ["demographic"],
        "legalBasis": "eu-gdpr:A6-1-b",
        "template": {"spec": {"containers": [{"name": "server", "command": ["serve"]}]}},
    },
}
RICH: dict[str, Any] = {
    "volumes": [
        {"name": "scratch", "emptyDir": {}},
        {"name": "settings", "configMap": {"name": "settings"}},
    ],
    "initContainers": [{"name": "prepare", "image": "registry.example/prepare@sha256:" + "d" * 64}],
    "nodeSelector": {"gpu": "yes"},
}


def rendered(manifest: dict[str, Any], obligations: Obligations, image: str, namespace: str) -> Rendered:
    """The job's objects, under an allowing decision with these obligations."""
    raw = copy.deepcopy(manifest)
    raw["metadata"] = {"name": "visits", "namespace": namespace, "uid": UID}
    kind, parsed = parse_job(raw)
    settings = RenderSettings("mlprivacy-system", image, "192.0.2.1:15019:15019", "a" * 43 + "=")
    decision = Decision(
        verdict=Verdict.ALLOW,
        mode="Enforce",
        findings=(),
        obligations=obligations,
        achieved=Assurance.DECLARED,
        required=Assurance.DECLARED,
        subject=(kind, namespace, "visits", UID),
        spec_digest="sha256:" + "0" * 64,
    )
    return render(RenderContext(kind, "visits", namespace, UID, parsed.spec, decision, 1, settings))


OBLIGATIONS = {
    "the least": Obligations(),
    "all at once": Obligations("Allowlist", ("198.51.100.0/24:443",), scratch_in_memory=True, regions=("eu-west",)),
}


@pytest.mark.parametrize("obligations", OBLIGATIONS)
@pytest.mark.parametrize("kind", ["TrainingJob", "InferenceJob"])
def test_all_of_it_is_made_by_the_operator_and_its_pod_comes(
    world: Any, manifests: Any, kind: str, obligations: str
) -> None:
    ns = world.namespace()
    raw = manifests.training_job() if kind == "TrainingJob" else SERVER
    made = rendered(raw, OBLIGATIONS[obligations], manifests.image, ns)
    apply = ("apply", "--server-side", "--validate=strict", "--field-manager=mlprivacy-controller", "-n", ns, "-f", "-")

    for one in [*made.controls, made.workload]:
        one["metadata"].pop("ownerReferences", None)  # the job itself is not there, so its objects would be collected
        world.allowed(*apply, by=world.operator, body=one)
    world.try_out(ns, made.pod)

    world.eventually(lambda: world.pods(ns, names.LABEL_RENDERED), "its pod")


def test_a_template_with_what_users_may_ask_for_passes_too(world: Any, manifests: Any) -> None:
    raw = manifests.training_job()
    raw["spec"]["template"]["spec"].update(RICH)
    made = rendered(raw, Obligations(), manifests.image, world.common)

    world.try_out(world.common, made.pod)


@pytest.mark.parametrize("container", [names.CONTAINER_SEAL, names.CONTAINER_ACCOUNTANT])
def test_without_either_of_its_own_containers_it_does_not(world: Any, manifests: Any, container: str) -> None:
    pod = rendered(manifests.training_job(), Obligations(), manifests.image, world.common).pod
    kept = [one for one in pod["spec"]["initContainers"] if one["name"] != container]
    pod["spec"]["initContainers"] = kept

    world.try_refused(world.common, pod, "pod-sidecar")
