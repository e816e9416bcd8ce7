"""render: the objects of one job, in the order they are made, whatever its template holds."""

import pytest
from builders import change, data_class, decide, training_job

from mlprivacy.api import names
from mlprivacy.controls.render import Rendered, render
from mlprivacy.policy.engine import parse_job
from mlprivacy.policy.model import Verdict
from mlprivacy.workloads.context import RenderContext, RenderSettings

SETTINGS = RenderSettings(
    operator_namespace="mlprivacy-system",
    dataplane_image="registry.example/dataplane@sha256:" + "d" * 64,
    canary="192.0.2.1:15019:15019",
    seal_key="a2V5",
)
REGION = "topology.kubernetes.io/region"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def rendered(job, *changed) -> Rendered:
    decision = decide(job, *changed)
    assert decision.verdict is Verdict.ALLOW
    kind, parsed = parse_job(job)
    assert parsed.spec is not None
    return render(
        RenderContext(
            kind=kind,
            name=parsed.name,
            namespace=parsed.namespace or "default",
            uid=parsed.uid,
            spec=parsed.spec,
            decision=decision,
            attempt=1,
            settings=SETTINGS,
        )
    )


def pod_of(result: Rendered):
    return result.workload["spec"]["template"]["spec"]


def test_the_seal_probe_comes_first_and_the_accountant_before_the_trainer() -> None:
    init = pod_of(rendered(training_job()))["initContainers"]
    assert [c["name"] for c in init[:2]] == [names.CONTAINER_SEAL, names.CONTAINER_ACCOUNTANT]
    assert init[1]["restartPolicy"] == "Always"
    assert "command" not in init[0]
    assert "command" not in init[1]


def test_everything_but_the_floor_is_owned_by_the_job() -> None:
    result = rendered(training_job())
    floor, *owned = result.controls
    assert "ownerReferences" not in floor["metadata"]
    uid = training_job()["metadata"]["uid"]
    for obj in (*owned, result.workload):
        assert [o["uid"] for o in obj["metadata"]["ownerReferences"]] == [uid]


def test_the_pod_tried_out_has_no_name_that_another_pod_could_hold() -> None:
    metadata = rendered(training_job()).pod["metadata"]
    assert "name" not in metadata
    assert metadata["generateName"].endswith("-")


def test_scratch_lies_in_memory_where_a_class_must_be_encrypted_at_rest() -> None:
    encrypted = data_class("demographic", encryption={"atRest": "Required"})
    volumes = {v["name"]: v for v in pod_of(rendered(training_job(), encrypted))["volumes"]}
    assert volumes["mlprivacy-output"]["emptyDir"]["medium"] == "Memory"
    assert volumes["mlprivacy-tmp"]["emptyDir"]["medium"] == "Memory"


def test_the_region_goes_into_every_alternative_of_the_users_affinity() -> None:
    asked = {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}, {}]}}
    job = change(training_job(), "spec.template.spec.affinity", {"nodeAffinity": asked})
    spec = pod_of(rendered(job, data_class("demographic", regions=["eu-west"])))
    terms = spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert len(terms) == 2
    for term in terms:
        assert {"key": REGION, "operator": "In", "values": ["eu-west"]} in term["matchExpressions"]


@pytest.mark.parametrize(
    "odd",
    [
        "x",
        None,
        {REQUIRED: None},
        {REQUIRED: {"nodeSelectorTerms": "abc"}},
        {REQUIRED: {"nodeSelectorTerms": [None, "x"]}},
        {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": None}]}},
    ],
)
def test_an_odd_affinity_does_not_keep_the_region_out(odd) -> None:
    """A template that can not be rendered would leave what runs at laxer terms."""
    job = change(training_job(), "spec.template.spec.affinity", {"nodeAffinity": odd})
    spec = pod_of(rendered(job, data_class("demographic", regions=["eu-west"])))
    terms = spec["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert all({"key": REGION, "operator": "In", "values": ["eu-west"]} in term["matchExpressions"] for term in terms)
    assert terms
