"""Ways around, tried on pods by somebody with the stock role `edit`; numbers are those of docs/threat-model.md."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from mlprivacy.api import names
from node.operator import NAMESPACE, Operator
from node.world import World, eventually

WAIT = "import time\nprint('training', flush=True)\ntime.sleep(600)\n"


@pytest.fixture(scope="module")
def scene(operator: Operator) -> Iterator[dict[str, Any]]:
    """A running training job, and a user with `edit` in its namespace."""
    world = World(operator)
    mallory = world.editor()
    world.apply(world.training_job(WAIT), as_user=mallory)
    pod = world.governed_pod()
    world.said(pod["metadata"]["name"], "training", "trainer")
    yield {"world": world, "mallory": mallory, "pod": pod, "name": pod["metadata"]["name"]}
    world.close()


@pytest.mark.parametrize("command", [
    ("exec", "{pod}", "-c", "trainer", "--", "python3", "-V"),
    ("exec", "{pod}", "-c", "mlprivacy-accountant", "--", "python3", "-V"),
    ("attach", "{pod}", "-c", "trainer"),
    ("port-forward", "{pod}", ":15021"),
    ("get", "--raw", "/api/v1/namespaces/{namespace}/pods/{pod}:15021/proxy/heartbeat"),
])  # fmt: skip
def test_03_31_nobody_gets_into_a_running_pod(scene: dict[str, Any], command: tuple[str, ...]) -> None:
    world = scene["world"]
    words = [word.format(pod=scene["name"], namespace=world.namespace) for word in command]
    scope = [] if "--raw" in words else ["-n", world.namespace]
    said = world.refused(words[0], *scope, *words[1:], as_user=scene["mallory"])
    assert "mlprivacy-" in said


def test_03_a_debug_container_is_put_into_it_by_nobody(scene: dict[str, Any]) -> None:
    world = scene["world"]
    image = world.operator.images.dataplane
    debug = ("debug", scene["name"], "-n", world.namespace, f"--image={image}", "--", "python3", "-V")
    assert "cannot patch resource" in world.refused(*debug, as_user=scene["mallory"])
    done = world.cluster.kubectl(*debug, check=False)  # a cluster administrator
    assert done.returncode != 0
    assert "ValidatingAdmissionPolicy 'mlprivacy-" in done.stderr


def test_27_it_is_not_deleted_with_grace_0(scene: dict[str, Any]) -> None:
    world = scene["world"]
    said = world.refused(
        "delete", "pod", scene["name"], "-n", world.namespace, "--grace-period=0", "--force", "--wait=false",
        as_user=scene["mallory"],
    )  # fmt: skip
    assert "mlprivacy-grace" in said
    assert world.get("pods", scene["name"])["status"]["phase"] == "Running"


def test_10_no_policy_opens_what_is_closed(scene: dict[str, Any]) -> None:
    world = scene["world"]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "open", "namespace": world.namespace},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }
    assert "mlprivacy-" in world.refused("create", "-f", "-", as_user=scene["mallory"], given=policy)
    for name in ("mlp-study", "mlprivacy-default-deny"):
        said = world.refused("delete", "networkpolicy", name, "-n", world.namespace, as_user=scene["mallory"])
        assert "mlprivacy-" in said


@pytest.mark.parametrize(
    "fields",
    [
        {"hostNetwork": True},
        {"hostPID": True},
        {"shareProcessNamespace": True},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "anywhere"}}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_09_29_a_template_does_not_open_the_sandbox(scene: dict[str, Any], fields: dict[str, Any]) -> None:
    world = scene["world"]
    job = world.training_job(WAIT, "wide")
    job["spec"]["template"]["spec"] |= fields
    said = world.refused("create", "-f", "-", as_user=scene["mallory"], given=job)
    assert "pod-hardening" in said


@pytest.mark.parametrize("fields", [
    {"hostNetwork": True},
    {"hostPID": True},
    {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
], ids=lambda fields: next(iter(fields)))  # fmt: skip
def test_09_a_plain_pod_does_not_reach_its_node_either(scene: dict[str, Any], fields: dict[str, Any]) -> None:
    world = scene["world"]
    pod = world.plain_pod(WAIT, "agent")
    pod["spec"] |= fields
    said = world.refused("create", "-f", "-", as_user=scene["mallory"], given=pod)
    assert "mlprivacy-host-access" in said


def test_06_a_sealed_claim_is_mounted_by_no_other_pod(scene: dict[str, Any]) -> None:
    world = scene["world"]
    pod = world.plain_pod(WAIT, "thief")
    claim = {"claimName": f"{names.SEALED_PREFIX}visits"}
    pod["spec"]["volumes"] = [{"name": "sealed", "persistentVolumeClaim": claim}]
    said = world.refused("create", "-f", "-", as_user=scene["mallory"], given=pod)
    assert "mlprivacy-sealed-names" in said


def test_33_a_plain_pod_is_never_behind_a_rendered_service(scene: dict[str, Any]) -> None:
    world = scene["world"]
    world.apply(world.inference_job(WAIT))
    world.until("Running", "True", look=world.inference)
    selector = world.get("services", "mlp-api")["spec"]["selector"]
    said = world.refused("create", "-f", "-", as_user=scene["mallory"], given=world.plain_pod(WAIT, "decoy", selector))
    assert "ValidatingAdmissionPolicy 'mlprivacy-" in said


def test_33_nor_does_a_service_of_anybodys_lead_to_a_governed_pod(scene: dict[str, Any]) -> None:
    world = scene["world"]
    said = world.refused("create", "-f", "-", as_user=scene["mallory"], given=service(
        world, type="NodePort", selector={names.LABEL_TRAINING_JOB: "study"}, ports=[{"port": 15021}]
    ))  # fmt: skip
    assert "mlprivacy-foreign-services" in said


@pytest.mark.parametrize("name", ["mlprivacy-collector", "mlprivacy-admission", "kubernetes"])
def test_26_nobody_answers_in_the_place_of_the_canary(operator: Operator, name: str) -> None:
    """From a namespace that is not governed, with nothing but the stock role there."""
    home = "default" if name == "kubernetes" else NAMESPACE
    found = operator.cluster.get("services", name, home)
    assert found is not None
    address = found["spec"]["clusterIP"]
    world = World(operator, None)
    try:
        mallory = world.editor()
        thief = service(world, externalIPs=[address], selector={"app": "x"}, ports=[{"port": 15019, "protocol": "UDP"}])
        assert "mlprivacy-external-addresses" in world.refused("create", "-f", "-", as_user=mallory, given=thief)
        thief["spec"]["externalIPs"] = ["192.0.2.10"]
        world.apply(thief, as_user=mallory)
    finally:
        world.close()


def test_07_a_template_that_was_planted_before_the_namespace_was_governed_gets_no_pod(operator: Operator) -> None:
    """All that a governed pod says of itself is right, and its program and its canary are the planter's."""
    world = World(operator)
    try:
        mallory = world.editor()
        world.apply(world.training_job(WAIT), as_user=mallory)
        pod = world.governed_pod()
        enforce = ("label", "namespace", world.namespace, "--overwrite")
        world.cluster.kubectl(*enforce, f"{names.LABEL_ENFORCE}-")
        plant = planted(pod, world.namespace)
        world.apply(plant, as_user=mallory)
        eventually(lambda: len(world.pods("plant=x")) == 1, "its pod while the namespace is not governed")
        world.cluster.kubectl(*enforce, f"{names.LABEL_ENFORCE}=enforce")
        selected = ("-n", world.namespace, "-l", "plant=x")
        world.cluster.kubectl("delete", "pods", *selected, "--grace-period=1", "--wait=false", as_user=mallory)

        def refusal() -> str:
            conditions = ((world.get("replicasets.apps", "plant") or {}).get("status") or {}).get("conditions") or []
            return next((c["message"] for c in conditions if c["type"] == "ReplicaFailure"), "")

        said = eventually(refusal, "its next pod refused")
        assert "mlprivacy.dev" in said
        assert "only what the operator renders runs as a governed pod" in said
        eventually(lambda: world.pods("plant=x") == [], "the pod from before to go")
    finally:
        world.close()


def planted(pod: dict[str, Any], namespace: str) -> dict[str, Any]:
    """A ReplicaSet that makes this governed pod with another program, and with a canary that nobody answers at."""
    spec = copy.deepcopy(pod["spec"])
    spec.pop("nodeName")
    spec["restartPolicy"] = "Always"
    spec["containers"][0]["command"] = ["python3", "-u", "-c", WAIT.replace("training", "planted")]
    for variable in spec["initContainers"][0]["env"]:
        if variable["name"] == names.ENV_CANARY:
            variable["value"] = "127.0.0.1:9:9"
    ours = {key: value for key, value in pod["metadata"]["labels"].items() if key.startswith(f"{names.GROUP}/")}
    labels = {**ours, names.LABEL_ATTEMPT: "7", "plant": "x"}
    digest = {names.ANNOTATION_DECISION: pod["metadata"]["annotations"][names.ANNOTATION_DECISION]}
    template = {"metadata": {"labels": labels, "annotations": digest}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "plant", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"plant": "x"}}, "template": template},
    }


def service(world: World, **spec: Any) -> dict[str, Any]:
    """A Service of mallory's."""
    metadata = {"name": "leak", "namespace": world.namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def test_41_a_deleted_job_keeps_its_walls_until_its_pod_is_gone(scene: dict[str, Any]) -> None:
    world = scene["world"]
    world.apply(
        world.training_job("import signal\nsignal.signal(15, signal.SIG_IGN)\n" + WAIT, "stubborn"),
        as_user=scene["mallory"],
    )
    selector = f"{names.LABEL_TRAINING_JOB}=stubborn"
    pod = eventually(
        lambda: next((p for p in world.pods(selector) if p["status"].get("phase") == "Running"), None), "the pod"
    )
    world.said(pod["metadata"]["name"], "training", "trainer")
    world.delete("trainingjobs.mlprivacy.dev", "stubborn")
    lingering = 0

    def gone() -> bool:
        nonlocal lingering
        policies = {name: world.get("networkpolicies", name) for name in ("mlp-stubborn", "mlprivacy-default-deny")}
        assert policies["mlprivacy-default-deny"] is not None
        left = world.pods(selector)
        if any(p["status"]["phase"] == "Running" for p in left):  # it still ran after the look
            lingering += 1
            assert policies["mlp-stubborn"] is not None
        return not left

    eventually(gone, "the pod to go")
    assert lingering > 3, "the pod went too soon to see anything"
    eventually(lambda: world.job("stubborn") == {}, "the job to go")
    assert world.get("networkpolicies", "mlp-stubborn") is None
