"""Rows 10, 41: network policies around governed pods, while they run and while they end."""

from typing import Any

import pytest

OPEN = {"ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]}


def policy(name: str, selector: Any, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": selector, **OPEN, **spec},
    }


def test_row_10_no_policy_opens_what_ours_close(scene: Any, ward: Any) -> None:
    ns, trainer, server = ward
    selectors = [{}, {"matchExpressions": [{"key": "no-such-label", "operator": "DoesNotExist"}]}]
    for pod in (trainer, server):
        selectors += [{"matchLabels": {key: value}} for key, value in pod["metadata"]["labels"].items()]
    for selector in selectors:
        for person in (*scene.attackers, scene.admin):
            scene.refused(person.create(ns, policy("open", selector)), "guard foreign-network-policy")
            scene.refused(person.apply(ns, policy("open", selector)), "guard foreign-network-policy")
    out = {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "DoesNotExist"}]}
    scene.allowed(scene.mallory.create(ns, policy("mine", out)))
    for how, body in (
        ("merge", {"spec": {"podSelector": {"matchExpressions": None}}}),
        ("json", [{"op": "remove", "path": "/spec/podSelector/matchExpressions"}]),
        ("json", [{"op": "replace", "path": "/spec/podSelector/matchExpressions/0/operator", "value": "Exists"}]),
    ):
        answer = scene.mallory.patch(ns, "networkpolicies/mine", body, how)
        scene.refused(answer, "guard foreign-network-policy")


@pytest.mark.parametrize("name", ["mlp-study", "mlp-triage", "mlprivacy-default-deny"])
def test_row_10_ours_are_neither_changed_nor_deleted(scene: Any, ward: Any, name: str) -> None:
    ns, _, _ = ward
    target = f"networkpolicies/{name}"
    before = scene.admin.read(ns, target)
    for person in (*scene.attackers, scene.admin):
        for how, body in (
            ("merge", {"spec": OPEN}),
            ("strategic", {"spec": {"egress": [{}]}}),
            ("json", [{"op": "add", "path": "/spec/egress", "value": [{}]}]),
            ("merge", {"metadata": {"labels": {"mlprivacy.dev/rendered": None, "mlprivacy.dev/floor": None}}}),
            ("apply", policy(name, {"matchLabels": {"app": "none"}})),
        ):
            by = "guard (rendered-objects|foreign-network-policy)"
            scene.refused(person.patch(ns, target, body, how), by)
        scene.refused(person.put(ns, target, {**before, "spec": policy(name, {})["spec"]}), by)
        for options in ({}, {"propagationPolicy": "Orphan"}, {"gracePeriodSeconds": 0}):
            scene.refused(person.delete(ns, target, **options), "guard rendered-objects")
        scene.refused(person.delete(ns, "networkpolicies"), "guard rendered-objects")
    assert scene.admin.read(ns, target) == before


def test_row_10_a_policy_from_before_the_namespace_was_governed_holds_the_job(scene: Any) -> None:
    """The guards judge what changes, not what stands: so nothing is started until it is mended."""
    ns = scene.namespace(None)
    scene.allowed(scene.mallory.create(ns, policy("allow-all", {})))
    scene.allowed(scene.mallory.create(ns, policy("deny-all", {}, ingress=[], egress=[])))
    disguised = policy("mlp-another", {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "Exists"}]})
    disguised["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "mlprivacy"}
    scene.allowed(scene.mallory.create(ns, disguised))
    scene.govern(ns)
    scene.allowed(scene.mallory.create(ns, scene.training_job("waiting")))

    scene.await_condition(ns, "waiting", "ControlsReady", "False", says=f"{ns}/allow-all")
    scene.allowed(scene.mallory.delete(ns, "networkpolicies/allow-all"))
    scene.await_condition(ns, "waiting", "ControlsReady", "False", says=f"{ns}/mlp-another")
    assert scene.admin.items(ns, "jobs") == []
    scene.allowed(scene.mallory.delete(ns, "networkpolicies/mlp-another"))
    scene.running_pod(ns, "waiting")


def test_row_41_policies_outlive_the_pods_of_a_deleted_job(scene: Any, stack: Any) -> None:
    """From the API server's own log: the pod is gone before the job's policy is, and the floor stays."""
    ns = scene.namespace()
    scene.allowed(scene.mallory.create(ns, scene.training_job("brief")))
    pod = scene.running_pod(ns, "brief")
    for options in ({"propagationPolicy": "Orphan"}, {"orphanDependents": True}):
        for target in ("trainingjobs/brief", "trainingjobs"):
            scene.refused(scene.mallory.delete(ns, target, **options), "guard ownership")
    scene.allowed(scene.mallory.delete(ns, "trainingjobs/brief", gracePeriodSeconds=0))
    scene.eventually(lambda: scene.admin.read(ns, "trainingjobs/brief") is None, "the end of the job")

    assert pod["spec"]["terminationGracePeriodSeconds"] in range(1, 61)
    assert [p["metadata"]["name"] for p in scene.admin.items(ns, "networkpolicies")] == ["mlprivacy-default-deny"]

    def logged() -> Any:
        events = stack.cluster.audit_events
        gone = events(verb="delete", resource="pods", namespace=ns, name=pod["metadata"]["name"], code=200)
        removed = events(verb="delete", resource="networkpolicies", namespace=ns, name="mlp-brief", code=200)
        return (gone, removed) if gone and removed else None

    gone, removed = scene.eventually(logged, "both deletions in the audit log")
    assert gone[-1].completed <= removed[0].received
