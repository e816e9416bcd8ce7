"""A training pod that spends a budget waits behind a gate that the operator alone opens; with ours all dead."""

import json
from typing import Any

import pytest

GATE = {"name": "mlprivacy.dev/budget"}
JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
SCHEDULER = "system:kube-scheduler"


@pytest.fixture
def gated(world: Any, manifests: Any) -> tuple[str, str]:
    """Namespace and name of a pod behind its gate, made by the Job controller from what the operator rendered."""
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    body = manifests.rendered_job()
    body["spec"]["template"]["spec"]["schedulingGates"] = [GATE]
    world.create(ns, body, by=world.operator)
    selector = "mlprivacy.dev/rendered=training"
    world.eventually(lambda: world.pods(ns, selector), "the pod of the job")
    return ns, world.pods(ns, selector)[0]["metadata"]["name"]


def gates_to(*gates: Any) -> str:
    return json.dumps([{"op": "replace", "path": "/spec/schedulingGates", "value": list(gates)}])


OPEN = json.dumps([{"op": "remove", "path": "/spec/schedulingGates"}])


def test_it_waits_until_the_operator_opens_it(world: Any, gated: tuple[str, str]) -> None:
    ns, pod = gated
    found = world.get("pods", pod, ns)
    assert found["spec"]["schedulingGates"] == [GATE]
    assert not found["spec"].get("nodeName")
    world.allowed("patch", "pod", pod, "-n", ns, "--type=json", "-p", OPEN, by=world.operator)
    running = lambda: world.get("pods", pod, ns)["status"].get("phase") == "Running"  # noqa: E731
    world.eventually(running, "the pod runs once its gate is open")


@pytest.mark.parametrize(
    ("who", "policy"),
    [
        ("mallory", "label-chain|pod-gates"),
        (None, "label-chain|pod-gates"),
        (SCHEDULER, "label-chain|pod-gates"),
        ("system:node:somewhere", "label-chain|pod-gates"),
        # Those of the chain may change what else there is of a governed pod, and not its gates.
        (JOB_CONTROLLER, "pod-gates"),
        ("system:serviceaccount:kube-system:generic-garbage-collector", "pod-gates"),
    ],
    ids=str,
)
def test_nobody_else_opens_it(world: Any, gated: tuple[str, str], who: str | None, policy: str) -> None:
    ns, pod = gated
    groups = () if who in (None, "mallory") else ("system:masters",)
    for body in (OPEN, gates_to()):
        args = ("patch", "pod", pod, "-n", ns, "--type=json", "-p", body)
        world.refused(*args, by=who, groups=groups, policy=policy)
    assert world.get("pods", pod, ns)["spec"]["schedulingGates"] == [GATE]


def test_the_operator_does_nothing_else_to_a_pod(world: Any, gated: tuple[str, str]) -> None:
    ns, pod = gated
    image = {"op": "replace", "path": "/spec/containers/0/image", "value": "registry.example/other:1"}
    label = {"op": "add", "path": "/metadata/labels/mine", "value": "yes"}
    note = {"op": "add", "path": "/metadata/annotations", "value": {"mine": "yes"}}
    kept = {"op": "add", "path": "/metadata/finalizers", "value": ["a.example/b"]}
    node = {"op": "add", "path": "/spec/nodeSelector", "value": {"mine": "yes"}}
    opening = {"op": "remove", "path": "/spec/schedulingGates"}
    for alone in (image, label, note, kept, node):
        for patch in ([alone], [opening, alone]):
            args = ("patch", "pod", pod, "-n", ns, "--type=json", "-p", json.dumps(patch))
            world.refused(*args, by=world.operator, policy="operator-scope")
    world.allowed("patch", "pod", pod, "-n", ns, "--type=json", "-p", OPEN, by=world.operator)
    # Once it is open there is nothing left for the operator to change.
    args = ("patch", "pod", pod, "-n", ns, "--type=json", "-p", json.dumps([image]))
    world.refused(*args, by=world.operator, policy="operator-scope")


def test_the_operator_opens_no_gate_of_a_plain_pod(world: Any, manifests: Any) -> None:
    ns = world.namespace(None)
    pod = manifests.plain_pod(schedulingGates=[GATE])
    world.create(ns, pod)
    args = ("patch", "pod", "plain", "-n", ns, "--type=json", "-p", OPEN)
    world.refused(*args, by=world.operator, policy="operator-scope")
    world.allowed(*args)  # its owner may


OTHERS = [
    ("training", [{"name": "example.org/mine"}]),
    ("training", [GATE, {"name": "example.org/mine"}]),
    ("inference", [GATE]),
]


@pytest.mark.parametrize(("kind", "gates"), OTHERS)
def test_a_governed_pod_has_no_other_gate(world: Any, manifests: Any, kind: str, gates: Any) -> None:
    body = manifests.governed_pod("gated", kind=kind, schedulingGates=gates)
    assert "scheduling gate" in world.try_refused(world.common, body, "pod-fields")


def test_a_training_pod_may_have_ours(world: Any, manifests: Any) -> None:
    world.try_out(world.common, manifests.governed_pod("gated", schedulingGates=[GATE]))
