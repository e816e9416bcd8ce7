"""Threat 14: the operator's own account, stolen or misled, reaches nothing but what it renders."""

from typing import Any

import pytest


def test_it_makes_no_pod_not_even_a_governed_one(world: Any, manifests: Any) -> None:
    world.create_refused(world.common, manifests.governed_pod("real"), "operator-scope", by=world.operator)
    world.try_out(world.common, manifests.governed_pod("tried"))
    world.create_refused("kube-system", manifests.plain_pod(), "operator-scope", by=world.operator)


def test_it_renders_in_governed_namespaces_only(world: Any, manifests: Any) -> None:
    loose = world.namespace(None)
    for body in (manifests.rendered_job(), manifests.rendered("ServiceAccount"), manifests.floor()):
        world.create_refused(loose, body, "operator-scope", by=world.operator)
        world.create_refused("kube-system", body, "operator-scope", by=world.operator)


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_it_makes_no_workload_without_its_labels(world: Any, manifests: Any, kind: str) -> None:
    body = manifests.workload(kind)
    world.create_refused(world.common, body, "operator-scope", by=world.operator)
    body["metadata"]["name"] = "mlp-plain"
    world.create_refused(world.common, body, "operator-scope", by=world.operator)
    body["metadata"] = {"name": "other", "labels": manifests.guarded_labels()}
    world.create_refused(world.common, body, "operator-scope", by=world.operator)


def test_it_neither_changes_nor_deletes_what_is_not_its_own(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.allowed("create", "configmap", "mine", "-n", ns)
    world.create(ns, manifests.workload("Deployment"))
    labelled = '{"metadata": {"labels": {"mlprivacy.dev/rendered": "training"}}}'
    for target in ("configmap/mine", "deployment/plain", "serviceaccount/default"):
        world.refused("delete", target, "-n", ns, policy="operator-scope", by=world.operator)
        world.refused("patch", target, "-n", ns, "-p", labelled, policy="operator-scope", by=world.operator)
    world.refused("delete", "configmap", "extension-apiserver-authentication", "-n", "kube-system",
                  policy="operator-scope", by=world.operator)  # fmt: skip


def test_it_tidies_up_in_a_namespace_that_is_governed_no_more(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    world.cluster.kubectl("label", "namespace", ns, "mlprivacy.dev/enforce-")

    world.allowed("delete", "serviceaccount", "mlp-visits", "-n", ns, by=world.operator)


def test_it_orphans_nothing(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered_job(), by=world.operator)

    command = ("delete", "job", "mlp-visits-1", "-n", ns, "--cascade=orphan")
    world.refused(*command, policy="operator-scope", by=world.operator)
    world.allowed("delete", "job", "mlp-visits-1", "-n", ns, "--cascade=background", by=world.operator)


FORBIDDEN = [
    ("get", "secrets", "default"),
    ("list", "secrets", "mlprivacy-system"),
    ("create", "secrets", "mlprivacy-system"),
    ("create", "serviceaccounts/token", "default"),
    ("create", "pods/exec", "default"),
    ("delete", "pods", "default"),
    ("create", "rolebindings.rbac.authorization.k8s.io", "default"),
    ("escalate", "clusterroles.rbac.authorization.k8s.io", "default"),
    ("bind", "clusterroles.rbac.authorization.k8s.io", "default"),
    ("impersonate", "users", "default"),
    ("create", "trainingjobs.mlprivacy.dev", "default"),
    ("delete", "trainingjobs.mlprivacy.dev", "default"),
    ("patch", "datasets.mlprivacy.dev", "default"),
    ("patch", "privacypolicies.mlprivacy.dev", "default"),
    ("weaken", "governednamespaces.mlprivacy.dev", "default"),
    ("patch", "namespaces", "default"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io", "default"),
    ("delete", "validatingadmissionpolicies.admissionregistration.k8s.io", "default"),
    ("delete", "validatingwebhookconfigurations.admissionregistration.k8s.io", "default"),
]


@pytest.mark.parametrize("account", ["admission", "controller", "collector"])
def test_no_account_of_ours_holds_more_than_it_needs(world: Any, account: str) -> None:
    user = f"system:serviceaccount:mlprivacy-system:mlprivacy-{account}"
    reads = "pods" if account == "collector" else "namespaces"
    assert world.may(user, "list", reads, "")
    for verb, resource, namespace in FORBIDDEN:
        assert not world.may(user, verb, resource, namespace), (
            f"mlprivacy-{account} may {verb} {resource} in {namespace}"
        )
