"""Rows 6, 7, 8, 30, 33: pods that reach for what is sealed, pretend to be governed, or to belong to a governed job."""

import json
from typing import Any

import pytest

UID = "batch.kubernetes.io/controller-uid"
TEMPLATED = {
    "Deployment": ("apps/v1", "deployments"),
    "ReplicaSet": ("apps/v1", "replicasets"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "DaemonSet": ("apps/v1", "daemonsets"),
    "ReplicationController": ("v1", "replicationcontrollers"),
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
    "PodTemplate": ("v1", "podtemplates"),
}


def workload(scene: Any, kind: str, name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    """A plain workload whose pods would carry these labels."""
    pod = scene.pod("x", {"app": "plain", **labels}, **spec)
    template = {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]}
    if kind not in ("Job", "CronJob", "PodTemplate"):
        template["spec"] = {**template["spec"], "restartPolicy": "Always"}
    base = {"apiVersion": TEMPLATED[kind][0], "kind": kind, "metadata": {"name": name}}
    selector: Any = {"app": "plain"} if kind == "ReplicationController" else {"matchLabels": {"app": "plain"}}
    if kind == "PodTemplate":
        return {**base, "template": template}
    if kind == "CronJob":
        return {**base, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}}
    if kind == "Job":
        return {**base, "spec": {"template": template}}
    extra = {"serviceName": "x"} if kind == "StatefulSet" else {}
    return {**base, "spec": {"selector": selector, "template": template, **extra}}


VOLUME = {
    "claim": {"persistentVolumeClaim": {"claimName": "mlp-sealed-visits"}},
    "claim, read-only": {"persistentVolumeClaim": {"claimName": "mlp-sealed-visits", "readOnly": True}},
    "secret": {"secret": {"secretName": "mlp-sealed-visits"}},
    "projected secret": {"projected": {"sources": [{"secret": {"name": "mlp-sealed-visits"}}]}},
    "copy of the claim": {
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                    "dataSource": {"kind": "PersistentVolumeClaim", "name": "mlp-sealed-visits"},
                }
            }
        }
    },
}


@pytest.mark.parametrize("what", VOLUME)
def test_row_6_30_no_plain_pod_mounts_what_is_sealed(scene: Any, ward: Any, what: str) -> None:
    ns, _, _ = ward
    reaching = {"volumes": [{"name": "loot", **VOLUME[what]}]}
    for person in scene.attackers:
        scene.refused(person.create(ns, scene.pod("thief", **reaching)), "guard sealed-names")
        scene.refused(person.apply(ns, scene.pod("thief", **reaching)), "guard sealed-names")
        for kind in TEMPLATED:
            by = "rbac" if (person, kind) == (scene.mallory, "PodTemplate") else "guard sealed-names"
            scene.refused(person.create(ns, workload(scene, kind, "thief", {}, **reaching)), by)
    job = scene.training_job("thief")
    job["spec"]["template"]["spec"] |= reaching
    scene.refused(scene.mallory.create(ns, job), "webhook kinds")


def test_row_30_a_sealed_claim_is_not_copied(scene: Any, ward: Any) -> None:
    ns, _, _ = ward
    outside = scene.namespace(None, data=False)
    size = {"accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "1Gi"}}}
    base = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "copy"}}
    source = {"kind": "PersistentVolumeClaim", "name": "mlp-sealed-visits"}
    for person in scene.attackers:
        for place in (ns, outside):
            for way in ({"dataSource": source}, {"dataSourceRef": source}):
                answer = person.create(place, {**base, "spec": {**size, **way}}, dryRun="All")
                scene.refused(answer, "guard sealed-clones")
            # Where the API server knows no sources in other namespaces it takes the whole reference away.
            foreign = {"dataSourceRef": {**source, "namespace": ns}}
            answer = person.create(place, {**base, "spec": {**size, **foreign}}, dryRun="All")
            assert answer.by == "guard sealed-clones" or "dataSourceRef" not in answer.body["spec"], answer
    shared = {**size, "accessModes": ["ReadWriteMany"]}
    second = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "mlp-sealed-x"}, "spec": shared}
    scene.refused(scene.heidi.create(ns, second), "guard sealed-claims")


@pytest.mark.parametrize("kind", TEMPLATED)
def test_row_7_33_nothing_of_a_users_makes_pods_with_guarded_labels(scene: Any, ward: Any, kind: str) -> None:
    """Neither the labels that select the job's policies nor those that a rendered Service selects."""
    ns, trainer, server = ward
    for pod in (trainer, server):
        guarded = {k: v for k, v in pod["metadata"]["labels"].items() if k.startswith("mlprivacy.dev/")}
        for labels in (guarded, *({key: value} for key, value in guarded.items())):
            for person in scene.attackers:
                # The API server copies the labels of a Job's template to the Job itself.
                by = (
                    "rbac"
                    if (person, kind) == (scene.mallory, "PodTemplate")
                    else "guard (label-chain|rendered-objects)"
                )
                scene.refused(person.create(ns, workload(scene, kind, "pretender", labels)), by)
                scene.refused(person.apply(ns, workload(scene, kind, "pretender", labels)), by)
    plain = workload(scene, kind, "pretender", {})
    scene.allowed(scene.heidi.create(ns, plain))
    plural = TEMPLATED[kind][1]
    path = {"PodTemplate": "/template", "CronJob": "/spec/jobTemplate/spec/template"}.get(kind, "/spec/template")
    late = [{"op": "add", "path": f"{path}/metadata/labels/mlprivacy.dev~1rendered", "value": "inference"}]
    # A Job's template never changes: the API server itself says so.
    scene.refused(scene.heidi.patch(ns, f"{plural}/pretender", late, "json"), "guard label-chain|schema")
    scene.allowed(scene.heidi.delete(ns, f"{plural}/pretender", propagationPolicy="Background"))


def test_row_33_a_whole_copy_of_a_governed_pod_is_refused(scene: Any, ward: Any) -> None:
    ns, trainer, server = ward
    for pod in (trainer, server):
        keep = ("labels", "annotations", "ownerReferences", "finalizers")
        metadata = {k: v for k, v in pod["metadata"].items() if k in keep}
        spec = {k: v for k, v in pod["spec"].items() if k not in ("nodeName", "tolerations")}
        for named in ({"name": "copy"}, {"generateName": "mlp-study-1-"}, {"name": "mlp-study-1-abcde"}):
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, **named}, "spec": spec}
            for person in scene.attackers:
                scene.refused(person.create(ns, body), "guard (label-chain|pod-[a-z]+)|rbac")


@pytest.mark.parametrize("label", ["MLprivacy.dev/rendered", "mlprіvacy.dev/rendered", "mlprivacy.dev//rendered"])
def test_row_33_labels_that_only_look_alike_are_no_labels(scene: Any, ward: Any, label: str) -> None:
    ns, _, _ = ward
    scene.refused(scene.mallory.create(ns, scene.pod("alike", {label: "training"})), "schema")


@pytest.mark.parametrize("label", ["x.mlprivacy.dev/rendered", "mlprivacy.dev.example/rendered", "rendered"])
def test_row_33_other_labels_are_free_and_select_nothing(scene: Any, ward: Any, label: str) -> None:
    ns, _, _ = ward
    scene.allowed(scene.mallory.create(ns, scene.pod("alike", {label: "training"}), dryRun="All"))
    for case in ("mlprivacy.dev/Rendered", "mlprivacy.dev/RENDERED", "mlprivacy.dev/rendered-too"):
        scene.refused(scene.mallory.create(ns, scene.pod("alike", {case: "training"})), "guard label-chain")


def test_row_7_a_forged_owner_or_adopted_orphan_is_never_counted(scene: Any) -> None:
    """A pod that ends well at once, with everything by which the Job controller finds pods of its own."""
    ns = scene.namespace()
    scene.allowed(scene.mallory.create(ns, scene.training_job("counted")))
    trainer = scene.running_pod(ns, "counted")
    job = scene.admin.read(ns, "jobs/mlp-counted-1")
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    labels = {UID: uid, "controller-uid": uid, "job-name": name, "batch.kubernetes.io/job-name": name}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
    forms = {
        "orphan": {},
        "owned": {"ownerReferences": [{**owner, "controller": True}]},
        "half-owned": {"ownerReferences": [{**owner, "controller": False}]},
        "tracked": {"finalizers": ["batch.kubernetes.io/job-tracking"]},
    }
    for form, metadata in forms.items():
        pod = scene.pod(form, labels)
        pod["metadata"] |= metadata
        scene.allowed(scene.mallory.create(ns, pod))
    scene.allowed(scene.mallory.create(ns, scene.pod("relabelled")))
    scene.allowed(scene.mallory.patch(ns, "pods/relabelled", {"metadata": {"labels": labels}}))

    def ended() -> bool:
        pods = [scene.admin.read(ns, f"pods/{form}") for form in forms]
        return all(pod is None or pod["status"].get("phase") == "Succeeded" for pod in pods)

    scene.eventually(ended, "the end of the strangers' pods")
    # Long enough for the Job controller to look again: it does so at every change of a pod of its own.
    scene.keep_running(ns, trainer)
    status = scene.admin.read(ns, f"jobs/{name}")["status"]
    assert (status.get("active"), status.get("succeeded", 0), status.get("failed", 0)) == (1, 0, 0)
    assert scene.condition(ns, "counted", "Completed")["status"] == "False"
    assert scene.running_pod(ns, "counted")["metadata"]["uid"] == trainer["metadata"]["uid"]
    assert scene.admin.read(ns, "pods/orphan")["metadata"].get("ownerReferences") is None


def test_row_8_the_sidecar_and_probe_of_a_running_pod_stay(scene: Any, ward: Any) -> None:
    ns, trainer, server = ward
    for pod in (trainer, server):
        for index, container in enumerate(pod["spec"]["initContainers"]):
            where = f"/spec/initContainers/{index}/image"
            other = [{"op": "replace", "path": where, "value": "registry.example/evil:1"}]
            for person in scene.attackers:
                answer = person.patch(ns, f"pods/{pod['metadata']['name']}", other, "json")
                scene.refused(answer, "guard label-chain")
            assert container["image"].startswith("registry.example/mlprivacy-dataplane@sha256:")


@pytest.mark.parametrize("target", ["jobs/mlp-study-1", "deployments/mlp-triage"])
def test_row_8_the_template_behind_it_stays(scene: Any, ward: Any, target: str) -> None:
    ns, _, _ = ward
    stored = scene.admin.read(ns, target)
    spec = stored["spec"]["template"]["spec"]
    init = spec["initContainers"]
    sidecar = json.loads(json.dumps(init[1]))
    changes: dict[str, Any] = {
        "removed": [init[0]],
        "no restart": [init[0], {k: v for k, v in sidecar.items() if k != "restartPolicy"}],
        "image": [init[0], {**sidecar, "image": "registry.example/evil:1"}],
        "command": [init[0], {**sidecar, "command": ["sleep", "inf"]}],
        "no probe": [init[0], {k: v for k, v in sidecar.items() if k != "startupProbe"}],
        "its turn": [init[1], init[0]],
    }
    for change in changes.values():
        body = scene.changed(stored, spec__template__spec__initContainers=change)
        for person in scene.attackers:
            scene.refused(person.put(ns, target, body), "guard (rendered-objects|label-chain)|schema")
    over = [*spec["containers"], {"name": "mlprivacy-accountant", "image": "registry.example/evil:1"}]
    body = scene.changed(stored, spec__template__spec__containers=over)
    scene.refused(scene.heidi.put(ns, target, body), "guard (rendered-objects|label-chain)|schema")


def test_row_33_a_rendered_service_and_its_endpoints_stay(scene: Any, ward: Any) -> None:
    ns, _, server = ward
    changes = (
        {"spec": {"selector": {"mlprivacy.dev/job-uid": None}}},
        {"spec": {"selector": {"app": "mine"}}},
        {"spec": {"ports": [{"port": 8080, "targetPort": 9000}]}},
        {"spec": {"type": "ExternalName", "externalName": "mallory.example"}},
        {"spec": {"type": "LoadBalancer"}},
        {"spec": {"externalIPs": ["192.0.2.7"]}},
        {"spec": {"publishNotReadyAddresses": True}},
        {"metadata": {"labels": {"service.kubernetes.io/headless": ""}}},
    )
    for person in scene.attackers:
        for change in changes:
            for how in ("merge", "strategic"):
                scene.refused(person.patch(ns, "services/mlp-triage", change, how), "guard rendered-objects")
        scene.refused(person.delete(ns, "services/mlp-triage"), "guard rendered-objects")
    scene.refused(
        scene.heidi.patch(ns, "services/mlp-triage", {"metadata": {"labels": {"a": "b"}}}, "merge", "status"),
        "guard rendered-objects",
    )
    slices = scene.admin.items(ns, "endpointslices", labelSelector="kubernetes.io/service-name=mlp-triage")
    assert slices
    elsewhere = {"endpoints": [{"addresses": ["10.9.9.9"]}]}
    for found in slices:
        target = f"endpointslices/{found['metadata']['name']}"
        scene.refused(scene.heidi.patch(ns, target, elsewhere), "guard rendered-endpoints")
        scene.refused(scene.mallory.patch(ns, target, elsewhere), "rbac")
    forged = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "more", "labels": {"kubernetes.io/service-name": "mlp-triage"}},
        "addressType": "IPv4",
        "ports": [{"name": "gateway", "port": 8080}],
        **elsewhere,
    }
    scene.refused(scene.heidi.create(ns, forged), "guard rendered-endpoints")
    for found in slices:
        # Deleting one gains nothing: the controller makes it again, from the selector.
        scene.allowed(scene.heidi.delete(ns, f"endpointslices/{found['metadata']['name']}"))
    address = server["status"]["podIP"]

    def made_again() -> bool:
        now = scene.admin.items(ns, "endpointslices", labelSelector="kubernetes.io/service-name=mlp-triage")
        return [a for one in now for e in one["endpoints"] or [] for a in e["addresses"]] == [address]

    scene.eventually(made_again, "the endpoints of the Service made again")
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "mlp-triage"}}
    scene.refused(scene.heidi.apply(ns, endpoints), "guard rendered-endpoints")
