"""Row 14 and names: nobody makes the operator act elsewhere, or on what somebody put under its names beforehand."""

from typing import Any

import pytest


def squats(scene: Any, job: str, uid: str) -> dict[str, dict[str, Any]]:
    """Everything the operator will make for this job, made by somebody else, with its labels and its owner forged."""
    labels = {
        "app.kubernetes.io/managed-by": "mlprivacy",
        "mlprivacy.dev/rendered": "training",
        "mlprivacy.dev/training-job": job,
        "mlprivacy.dev/job-uid": uid,
    }
    owner = {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "TrainingJob", "name": job, "uid": uid, "controller": True}
    metadata = {"labels": labels, "ownerReferences": [owner]} if uid else {}
    opened = {"podSelector": {}, "ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]}
    network = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": opened}
    floor = {"labels": {"app.kubernetes.io/managed-by": "mlprivacy", "mlprivacy.dev/floor": "true"}} if uid else {}
    return {
        "networkpolicies": {**network, "metadata": {"name": f"mlp-{job}", **metadata}},
        "floor": {**network, "metadata": {"name": "mlprivacy-default-deny", **floor}},
        "serviceaccounts": {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": f"mlp-{job}", **metadata},
            "automountServiceAccountToken": True,
            "imagePullSecrets": [{"name": "mine"}],
            "secrets": [{"name": "mine"}],
        },
        "configmaps": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"mlp-{job}-decision", **metadata},
            "data": {"digest": "sha256:0", "note": "accepted by mallory"},
            "binaryData": {"more": "AAAA"},
        },
    }


@pytest.mark.parametrize("forged", [False, True], ids=["bare", "with forged labels and owner"])
def test_squatting_before_the_namespace_was_governed_leaves_no_trace(scene: Any, forged: bool) -> None:
    """An apply alone would leave the rules, secrets and data that others put there."""
    ns = scene.namespace(None)
    scene.allowed(scene.mallory.create(ns, scene.training_job("early")))
    uid = scene.admin.read(ns, "trainingjobs/early")["metadata"]["uid"] if forged else ""
    for obj in squats(scene, "early", uid).values():
        # As the operator's own field manager, too: its name is no secret.
        scene.allowed(scene.mallory.apply(ns, obj, manager="mlprivacy-controller" if forged else "mallory"))
    scene.await_condition(ns, "early", "Accepted", "Unknown")
    scene.govern(ns)
    pod = scene.running_pod(ns, "early")

    for name in ("mlprivacy-default-deny", "mlp-early"):
        spec = scene.admin.read(ns, f"networkpolicies/{name}")["spec"]
        assert "egress" not in spec
        assert all(rule.get("from") for rule in spec.get("ingress", []))
        assert spec["podSelector"]
    account = scene.admin.read(ns, "serviceaccounts/mlp-early")
    assert account["automountServiceAccountToken"] is False
    assert not {"secrets", "imagePullSecrets"} & account.keys()
    assert "imagePullSecrets" not in pod["spec"]
    decision = scene.admin.read(ns, "configmaps/mlp-early-decision")
    assert sorted(decision["data"]) == ["decision.json", "digest", "recordDigest"]
    assert not decision.get("binaryData")


def test_squatting_the_job_itself_holds_until_it_is_gone(scene: Any) -> None:
    """A plain Job under the rendered name is never taken for the attempt."""
    ns = scene.namespace(None)
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "registry.example/evil:1"}]}}
    squat = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "mlp-taken-1"},
        "spec": {"template": template},
    }
    scene.allowed(scene.mallory.create(ns, squat))
    scene.govern(ns)
    scene.allowed(scene.mallory.create(ns, scene.training_job("taken")))

    found = scene.await_condition(ns, "taken", "ControlsReady", "False", says="mlp-taken-1")
    assert "delete it" in found["message"]
    scene.await_condition(ns, "taken", "Ready", "Unknown")  # each new try says for a moment that its controls are there
    scene.allowed(scene.mallory.delete(ns, "jobs/mlp-taken-1", propagationPolicy="Background"))
    pod = scene.running_pod(ns, "taken")
    assert pod["spec"]["initContainers"][0]["name"] == "mlprivacy-seal"


def test_squatting_an_immutable_evidence_holds_until_it_is_gone(scene: Any) -> None:
    ns = scene.namespace(None)
    squat = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mlp-fixed-decision"}, "immutable": True}
    scene.allowed(scene.mallory.create(ns, squat))
    scene.govern(ns)
    scene.allowed(scene.mallory.create(ns, scene.training_job("fixed")))

    scene.await_condition(ns, "fixed", "ControlsReady", "False", says="mlp-fixed-decision")
    assert scene.admin.items(ns, "jobs") == []


@pytest.mark.parametrize("kind", ["networkpolicies", "floor", "serviceaccounts", "configmaps"])
def test_squatting_in_a_governed_namespace_is_refused(scene: Any, ward: Any, kind: str) -> None:
    ns, _, _ = ward
    for uid in ("", "00000000-0000-4000-8000-000000000001"):
        obj = squats(scene, "not-yet", uid)[kind]
        if kind == "floor":
            continue  # it is there already: ../threats/test_row_10_41_networks.py
        for person in (*scene.attackers, scene.admin):
            scene.refused(person.create(ns, obj), "guard (rendered-objects|foreign-network-policy)")
            scene.refused(person.apply(ns, obj), "guard (rendered-objects|foreign-network-policy)")
            generated = {**obj, "metadata": {"generateName": "mlp-"}}
            scene.refused(person.create(ns, generated), "guard (rendered-objects|foreign-network-policy)")
    for plural in ("jobs", "deployments"):
        version, title = {"jobs": ("batch/v1", "Job"), "deployments": ("apps/v1", "Deployment")}[plural]
        template = {"metadata": {"labels": {"app": "x"}}, "spec": scene.pod("x")["spec"]}
        spec: dict[str, Any] = {"template": template}
        if plural == "deployments":
            spec["selector"] = {"matchLabels": {"app": "x"}}
            template["spec"] = {**template["spec"], "restartPolicy": "Always"}
        squat = {"apiVersion": version, "kind": title, "metadata": {"name": "mlp-not-yet-1"}, "spec": spec}
        scene.refused(scene.mallory.create(ns, squat), "guard rendered-objects")


def test_a_forged_template_from_before_makes_no_pod_once_the_namespace_is_governed(scene: Any, ward: Any) -> None:
    """A Deployment with all of a governed pod, labels included, selecting by a label of its own; scaled up later."""
    _, trainer, _ = ward
    ns = scene.namespace(None)
    scene.allowed(scene.mallory.create(ns, scene.training_job("model")))
    uid = scene.admin.read(ns, "trainingjobs/model")["metadata"]["uid"]
    labels = {**trainer["metadata"]["labels"], "mlprivacy.dev/training-job": "model", "mlprivacy.dev/job-uid": uid}
    spec = {k: v for k, v in trainer["spec"].items() if k not in ("nodeName", "tolerations", "restartPolicy")}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mlp-study"}}
    scene.allowed(scene.mallory.create(ns, account))
    metadata = {"labels": {**labels, "app": "x"}, "annotations": trainer["metadata"]["annotations"]}
    forged = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sleeper"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": metadata, "spec": spec},
        },
    }
    scene.allowed(scene.mallory.create(ns, forged))
    scene.govern(ns)
    scene.running_pod(ns, "model")
    scene.mallory.patch(ns, "deployments/sleeper", {"spec": {"replicas": 1}}, "merge", "scale")
    scene.refused(scene.mallory.patch(ns, "deployments/sleeper", {"spec": {"replicas": 1}}), "guard label-chain")

    def tried() -> bool:
        told = [e for e in scene.admin.items(ns, "events") if e["involvedObject"]["name"].startswith("sleeper-")]
        return any(e["reason"] == "FailedCreate" for e in told)

    scene.eventually(tried, "the refusal of the sleeper's pod")
    assert [p for p in scene.admin.items(ns, "pods") if p["metadata"]["name"].startswith("sleeper")] == []


def test_two_jobs_of_one_name_do_not_share_their_controls(scene: Any) -> None:
    """A TrainingJob and an InferenceJob: the first keeps its policies, the second waits and says why."""
    ns = scene.namespace()
    scene.allowed(scene.mallory.create(ns, scene.inference_job("twin")))
    server = scene.running_pod(ns, "twin")
    before = scene.admin.read(ns, "networkpolicies/mlp-twin")
    scene.allowed(scene.mallory.create(ns, scene.training_job("twin")))
    scene.await_condition(ns, "twin", "ControlsReady", "False", says="the InferenceJob twin")

    assert scene.admin.read(ns, "networkpolicies/mlp-twin") == before
    assert [p["metadata"]["uid"] for p in scene.pods_of(ns, "twin")] == [server["metadata"]["uid"]]
    scene.allowed(scene.mallory.delete(ns, "inferencejobs/twin"))
    scene.await_condition(ns, "twin", "ControlsReady", "True")


def test_a_job_made_anew_gets_nothing_of_the_old_one(scene: Any) -> None:
    """Deleted by every means and made again at once, while the old pod still ends."""
    ns = scene.namespace()
    scene.allowed(scene.mallory.create(ns, scene.training_job("again")))
    old = scene.running_pod(ns, "again")
    scene.allowed(scene.mallory.delete(ns, "trainingjobs/again", gracePeriodSeconds=0, propagationPolicy="Background"))
    # As long as the old one is being torn down its name is not free.
    scene.eventually(lambda: scene.mallory.create(ns, scene.training_job("again")).ok, "a second job of that name")
    fresh = scene.running_pod(ns, "again")

    assert fresh["metadata"]["uid"] != old["metadata"]["uid"]
    assert fresh["metadata"]["labels"]["mlprivacy.dev/job-uid"] != old["metadata"]["labels"]["mlprivacy.dev/job-uid"]
    assert [p["metadata"]["uid"] for p in scene.pods_of(ns, "again")] == [fresh["metadata"]["uid"]]


def test_row_14_data_of_another_namespace_needs_its_owners_grant(scene: Any, ward: Any) -> None:
    """A grant in one's own namespace opens nothing elsewhere, and no answer says whether the data exists."""
    here, _, _ = ward
    clinic = scene.namespace()
    grant = {
        "from": [{"namespace": here, "kind": "TrainingJob"}],
        "to": [
            {
                "kind": "Dataset",
                "name": "visits",
                "columns": ["age"],
                "purposes": ["train_ai_system"],
                "processing": ["Training"],
            }
        ],
    }
    # Heidi owns her namespace and so may write grants there; there is no field that names another one.
    scene.allowed(scene.heidi.create(here, scene.ours("DatasetGrant", "to-myself", grant)))
    scene.refused(scene.heidi.create(clinic, scene.ours("DatasetGrant", "x", {**grant, "namespace": clinic}),
                                     fieldValidation="Strict"), "schema")  # fmt: skip
    genomes = scene.changed(scene.admin.read(clinic, "datasets/visits"), metadata={"name": "genomes"}, status=None)
    scene.put(clinic, scene.changed(genomes, spec__identity=f"urn:{clinic}:genomes"))
    asked = []
    for name in ("genomes", "nothing"):
        dataset = {"name": name, "namespace": clinic, "columns": ["age"], "mountPath": "/data/x"}
        answer = scene.allowed(
            scene.mallory.create(here, scene.training_job("borrow", datasets=[dataset]), dryRun="All")
        )
        asked.append([w.replace(name, "NAME") for w in answer.warnings])
    assert asked[0] == asked[1]
    assert any("is accepted and held" in warning for warning in asked[0])
    consent = {"name": "service", "namespace": clinic}
    answer = scene.allowed(scene.mallory.create(here, scene.inference_job("b", consentScope=consent), dryRun="All"))
    assert any("held" in warning for warning in answer.warnings)
    scene.allowed(scene.heidi.delete(here, "datasetgrants/to-myself"))


def test_row_14_the_operator_writes_in_the_jobs_own_namespace_only(scene: Any, stack: Any) -> None:
    """From the API server's log: where the controller wrote while two namespaces borrowed each other's data."""
    lender, borrower = scene.namespace(), scene.namespace()
    grant = {
        "from": [{"namespace": borrower, "kind": "TrainingJob"}],
        "to": [{"kind": "Dataset", "name": "visits", "columns": ["age"], "purposes": ["train_ai_system"],
                "processing": ["Training"]}],
    }  # fmt: skip
    scene.put(lender, scene.ours("DatasetGrant", "lend", grant))
    dataset = {"name": "visits", "namespace": lender, "columns": ["age"], "mountPath": "/data/x"}
    scene.allowed(scene.mallory.create(borrower, scene.training_job("borrow", datasets=[dataset])))
    scene.running_pod(borrower, "borrow")

    wrote = {
        (event.namespace, event.resource)
        for verb in ("create", "patch", "update", "delete")
        for event in stack.cluster.audit_events(verb=verb, user=scene.operator, subresource=None)
        if event.namespace in (lender, borrower) and event.code < 300 and not event.subresource
    }
    assert {place for place, kind in wrote if kind in ("jobs", "pods", "configmaps", "serviceaccounts")} == {borrower}
    assert {kind for place, kind in wrote if place == lender} <= {"networkpolicies", "events"}  # its floor
