"""Rows 34, 35, 38, 39: deletion by proxy, accounts and tokens, forged reviews, definitions."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

import pytest

RENDERED = [
    "serviceaccounts/mlp-study",
    "serviceaccounts/mlp-triage",
    "networkpolicies/mlp-study",
    "networkpolicies/mlprivacy-default-deny",
    "configmaps/mlp-study-decision",
    "services/mlp-triage",
    "jobs/mlp-study-1",
    "deployments/mlp-triage",
]
GONE = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-4000-8000-000000000000"}
CHANGES: list[tuple[str, Any]] = [
    ("merge", {"metadata": {"ownerReferences": [GONE]}}),
    ("strategic", {"metadata": {"ownerReferences": [GONE]}}),
    ("merge", {"metadata": {"ownerReferences": None}}),
    ("json", [{"op": "add", "path": "/metadata/ownerReferences", "value": [GONE]}]),
    ("merge", {"metadata": {"finalizers": ["example.com/mine"]}}),
    ("merge", {"metadata": {"finalizers": ["foregroundDeletion"]}}),
    ("merge", {"metadata": {"labels": {"mlprivacy.dev/job-uid": "another"}}}),
    ("merge", {"metadata": {"annotations": {"mlprivacy.dev/decision-digest": "sha256:0"}}}),
    ("merge", {"metadata": {"managedFields": [{}]}}),
]
BY = "guard (rendered-objects|label-chain|foreign-network-policy)"


@pytest.mark.parametrize("target", RENDERED)
def test_row_34_nothing_rendered_is_deleted_by_proxy(scene: Any, ward: Any, target: str) -> None:
    ns, _, _ = ward
    before = scene.admin.read(ns, target)
    for person in scene.attackers:
        for how, body in CHANGES:
            scene.refused(person.patch(ns, target, body, how), BY)
        meta = {"apiVersion": before["apiVersion"], "kind": before["kind"]}
        mine = {**meta, "metadata": {"name": before["metadata"]["name"], "ownerReferences": [GONE]}}
        scene.refused(person.patch(ns, target, mine, "apply"), BY)
        for cascade in ("Orphan", "Foreground", "Background"):
            scene.refused(person.delete(ns, target, propagationPolicy=cascade), "guard rendered-objects")
        scene.refused(person.delete(ns, target, orphanDependents=True), "guard rendered-objects")
        scene.refused(person.delete(ns, target.split("/", maxsplit=1)[0], labelSelector="mlprivacy.dev/rendered"), BY)
    after = scene.admin.read(ns, target)
    for field in ("ownerReferences", "finalizers", "labels"):
        assert after["metadata"].get(field) == before["metadata"].get(field)


@pytest.mark.parametrize("target", ["jobs/mlp-study-1", "deployments/mlp-triage", "services/mlp-triage"])
def test_row_34_nor_through_a_status(scene: Any, ward: Any, target: str) -> None:
    """A status write carries labels, owners and finalizers too."""
    ns, _, _ = ward
    for how, body in CHANGES:
        scene.refused(scene.heidi.patch(ns, target, body, how, "status"), "guard rendered-objects")
        scene.refused(scene.mallory.patch(ns, target, body, how, "status"), "rbac")
    (replicas,) = [r["metadata"]["name"] for r in scene.admin.items(ns, "replicasets")]
    answer = scene.heidi.patch(ns, f"replicasets/{replicas}", CHANGES[0][1], "merge", "status")
    scene.refused(answer, "guard rendered-objects")


@pytest.mark.parametrize("target", ["trainingjobs/study", "inferencejobs/triage"])
def test_row_34_a_jobs_own_finalizer_and_its_requester_stay(scene: Any, ward: Any, target: str) -> None:
    ns, _, _ = ward
    for person in scene.attackers:
        for how, body in (
            ("merge", {"metadata": {"finalizers": []}}),
            ("json", [{"op": "remove", "path": "/metadata/finalizers"}]),
            ("json", [{"op": "replace", "path": "/metadata/finalizers/0", "value": "example.com/mine"}]),
            ("merge", {"metadata": {"finalizers": ["mlprivacy.dev/teardown", "orphan"]}}),
        ):
            scene.refused(person.patch(ns, target, body, how), "guard ownership")
        for cascade in ({"propagationPolicy": "Orphan"}, {"orphanDependents": True}):
            scene.refused(person.delete(ns, target, **cascade), "guard ownership")
        for forged in ("bob", "", None, "system:serviceaccount:mlprivacy-system:mlprivacy-controller"):
            body = {"metadata": {"annotations": {"mlprivacy.dev/requested-by": forged}}}
            person.patch(ns, target, body)
            person.patch(ns, target, body, "merge", "status")
            stored = scene.admin.read(ns, target)["metadata"]["annotations"]
            assert stored["mlprivacy.dev/requested-by"] == "mallory"


def test_row_35_accounts_of_a_namespace_hold_nothing_of_worth(scene: Any, ward: Any) -> None:
    ns, trainer, _ = ward
    assert scene.mallory.items(ns, "secrets") == []
    bound = {"kind": "Pod", "apiVersion": "v1", "name": trainer["metadata"]["name"], "uid": trainer["metadata"]["uid"]}
    for spec in ({}, {"audiences": ["mlprivacy"]}, {"boundObjectRef": bound}, {"expirationSeconds": 600}):
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        for account in ("mlp-study", "mlp-triage"):
            for person in (*scene.attackers, scene.admin):
                scene.refused(person.post(ns, f"serviceaccounts/{account}", "token", request), "guard job-tokens")
    filled = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "mlp-study"}},
        "type": "kubernetes.io/service-account-token",
    }
    for person in scene.attackers:
        scene.refused(person.create(ns, filled), "guard job-tokens")
    for account in ("mlp-study", "mlp-triage", "default"):
        puppet = scene.person("mallory", acting_as=f"system:serviceaccount:{ns}:{account}")
        for plural in ("pods", "secrets", "trainingjobs", "datasets", "networkpolicies"):
            scene.refused(puppet.get(ns, plural), "rbac")
    for account in ("mlprivacy-controller", "mlprivacy-admission", "mlprivacy-collector"):
        puppet = scene.person("mallory", acting_as=f"system:serviceaccount:mlprivacy-system:{account}")
        scene.refused(puppet.get(ns, "pods"), "rbac")


@pytest.mark.parametrize("account", ["mlprivacy-admission", "mlprivacy-collector", "mlprivacy-controller"])
def test_row_35_the_operators_own_accounts_make_no_pods(scene: Any, ward: Any, account: str) -> None:
    """A stolen token of ours: what it can reach is what its process needs."""
    ns, trainer, _ = ward
    thief = scene.person(f"system:serviceaccount:mlprivacy-system:{account}")
    copy = {**scene.pod("stolen", trainer["metadata"]["labels"]), "spec": trainer["spec"]}
    for place in (ns, "default", "kube-system", "mlprivacy-system"):
        scene.refused(thief.create(place, scene.pod("stolen")), "rbac|guard operator-scope")
        scene.refused(thief.create(place, copy), "rbac|guard [a-z-]+|code 403")
        scene.refused(thief.get(place, "secrets"), "rbac")
        group = "rbac.authorization.k8s.io"
        reference = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
        metadata = {"name": "more"}
        role = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": reference}
        scene.refused(thief.create(place, role), "rbac")


def review(uid: str = "00000000-0000-4000-8000-000000000001") -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "mlprivacy.dev", "version": "v1alpha1", "kind": "TrainingJob"},
            "resource": {"group": "mlprivacy.dev", "version": "v1alpha1", "resource": "trainingjobs"},
            "operation": "CREATE",
            "namespace": "clinic",
            "name": "forged",
            "userInfo": {"username": "system:admin", "groups": ["system:masters"]},
            "object": {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "forged"},
                       "spec": {"datasets": [{"name": "visits", "namespace": "clinic"}]}},
        },
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/mutate/stamp", "/validate/kinds", "/validate/pods", "/", "/metrics", "/validate"])
def test_row_38_a_forged_review_is_told_nothing(scene: Any, ward: Any, path: str) -> None:
    """From anywhere but the API server; the attacker even has a certificate of the cluster."""
    server = urlsplit(scene.webhook_url())
    for pair in (None, scene.certificate_of("mallory")):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if pair:
            context.load_cert_chain(pair)
        line = http.client.HTTPSConnection(server.hostname or "", server.port, context=context, timeout=10)
        body = json.dumps(review()).encode()
        try:
            line.request("POST", path, body, {"Content-Type": "application/json"})
            answer = line.getresponse()
            said = answer.read().decode()
        except (ssl.SSLError, ConnectionError, http.client.HTTPException):
            continue  # not even a handshake
        finally:
            line.close()
        assert answer.status >= 400
        assert '"allowed":true' not in said
        assert "clinic" not in said
        assert "visits" not in said


def test_row_39_definitions_are_not_deleted_or_loosened(scene: Any, ward: Any) -> None:
    """By whoever may write definitions and is no privacy officer."""
    everything = [{"apiGroups": ["apiextensions.k8s.io"], "resources": ["*"], "verbs": ["*"]}]
    keeper = scene.officer_of("threat-definitions", everything, "frank")
    names = [d["metadata"]["name"] for d in scene.admin.items(None, "customresourcedefinitions")
             if d["spec"]["group"] == "mlprivacy.dev"]  # fmt: skip
    assert len(names) >= 7
    for name in names:
        target = f"customresourcedefinitions/{name}"
        scene.refused(keeper.delete(None, target), "guard definitions")
        scene.refused(keeper.delete(None, target, propagationPolicy="Orphan"), "guard definitions")
        schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
        loose = [{"op": "add", "path": f"{schema}/x-kubernetes-preserve-unknown-fields", "value": True}]
        scene.refused(keeper.patch(None, target, loose, "json"), "guard definitions")
        scene.refused(
            keeper.patch(None, target, {"metadata": {"finalizers": ["example.com/mine"]}}), "guard definitions"
        )
        for person in scene.attackers:
            scene.refused(person.delete(None, target), "rbac")
    scene.refused(keeper.delete(None, "customresourcedefinitions"), "guard definitions")


def test_row_39_guards_and_webhooks_are_not_the_attackers(scene: Any, ward: Any) -> None:
    for person in scene.attackers:
        for target in (
            "validatingadmissionpolicies/mlprivacy-label-chain",
            "validatingadmissionpolicybindings/mlprivacy-label-chain-enforce",
            "validatingwebhookconfigurations/mlprivacy-decide",
            "mutatingwebhookconfigurations/mlprivacy-stamp",
        ):
            scene.refused(person.delete(None, target), "rbac")
            scene.refused(person.patch(None, target, {"metadata": {"labels": {"a": "b"}}}), "rbac")
