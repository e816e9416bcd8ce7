"""Rows 9, 19, 29, 40: fields of the template, and input that is huge, deep, malformed or only looks like something."""

import json
from typing import Any

import pytest

IMAGE = "registry.example/trainer@sha256:" + "c" * 64


def spec(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", "image": IMAGE}], **fields}}


def container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", "image": IMAGE, **fields}]}}


def volume(**source: Any) -> dict[str, Any]:
    return spec(volumes=[{"name": "way-out", **source}])


def security(**fields: Any) -> dict[str, Any]:
    return container(securityContext=fields)


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
TEMPLATES: dict[str, tuple[dict[str, Any], str]] = {
    # Row 9: the sandbox.
    "hostNetwork": (spec(hostNetwork=True), "spec.template.spec.hostNetwork"),
    "hostPID": (spec(hostPID=True), "spec.template.spec.hostPID"),
    "hostIPC": (spec(hostIPC=True), "spec.template.spec.hostIPC"),
    "hostUsers": (spec(hostUsers=True), "spec.template.spec.hostUsers"),
    "shared processes": (spec(shareProcessNamespace=True), "spec.template.spec.shareProcessNamespace"),
    "privileged": (security(privileged=True), "securityContext.privileged"),
    "privileged, as a word": (security(privileged="true"), "securityContext.privileged"),
    "NET_ADMIN": (security(capabilities={"add": ["NET_ADMIN"]}), "capabilities.add"),
    "root": (security(runAsUser=0), "securityContext.runAsUser"),
    "the sidecar's user": (security(runAsUser=64998), "securityContext.runAsUser"),
    "the sidecar's user, a float": (security(runAsUser=64998.0), "securityContext.runAsUser"),
    "procMount": (security(procMount="Unmasked"), "securityContext.procMount"),
    "seLinux": (security(seLinuxOptions={"type": "spc_t"}), "securityContext.seLinuxOptions"),
    "no seccomp": (security(seccompProfile={"type": "Unconfined"}), "seccompProfile.type"),
    "an unknown device": (container(resources={"limits": {"rdma/hca": "1"}}), "resources.limits"),
    "a device claim": (spec(resourceClaims=[{"name": "nic"}]), "spec.template.spec.resourceClaims"),
    "a port of the node": (container(ports=[{"containerPort": 80, "hostPort": 80}]), "ports[0].hostPort"),
    "a field of a later release": (spec(wormhole=True), "spec.template.spec.wormhole"),
    "a native sidecar": (
        spec(initContainers=[{"name": "i", "image": IMAGE, "restartPolicy": "Always"}]),
        "restartPolicy",
    ),
    "an ephemeral container": (spec(ephemeralContainers=[{"name": "i"}]), "spec.template.spec.ephemeralContainers"),
    "the accountant's name": ({"spec": {"containers": [{"name": "mlprivacy-accountant", "image": IMAGE}]}}, ".name"),
    "the probe's name": (spec(initContainers=[{"name": "mlprivacy-seal", "image": IMAGE}]), "initContainers[0].name"),
    "a name that looks like it": ({"spec": {"containers": [{"name": "mlprіvacy-seal", "image": IMAGE}]}}, ".name"),
    "a tag": (container(image="registry.example/trainer:latest"), "containers[0].image"),
    "an exec probe": (container(livenessProbe={"exec": {"command": ["sh"]}}), "livenessProbe.exec"),
    "a hook": (container(lifecycle={"preStop": {"exec": {"command": ["sh"]}}}), "lifecycle"),
    # Row 8: over the socket.
    "over the socket": (container(volumeMounts=[{"name": "a", "mountPath": "/var/run/mlprivacy"}]), "mountPath"),
    "over its other name": (container(volumeMounts=[{"name": "a", "mountPath": "/run/./mlprivacy/"}]), "mountPath"),
    "over its parent": (container(volumeMounts=[{"name": "a", "mountPath": "//var//run"}]), "mountPath"),
    "climbing to it": (container(volumeMounts=[{"name": "a", "mountPath": "/a/../var/run"}]), "mountPath"),
    "the sidecar's log": (
        container(volumeMounts=[{"name": "mlprivacy-log", "mountPath": "/l"}]),
        "volumeMounts[0].name",
    ),
    "a volume of its name": (spec(volumes=[{"name": "mlprivacy-run", "emptyDir": {}}]), "volumes[0].name"),
    # Row 29: volumes carry data out past every NetworkPolicy.
    "hostPath": (volume(hostPath={"path": "/"}), "volumes[0].hostPath"),
    "two sources": (volume(emptyDir={}, hostPath={"path": "/"}), "volumes[0].hostPath"),
    "NFS": (volume(nfs={"server": "mallory.example", "path": "/"}), "volumes[0].nfs"),
    "CSI": (volume(csi={"driver": "mallory.example"}), "volumes[0].csi"),
    "a claim": (volume(persistentVolumeClaim={"claimName": "x", "readOnly": True}), "volumes[0].persistentVolumeClaim"),
    "an ephemeral claim": (volume(ephemeral={"volumeClaimTemplate": {"spec": CLAIM}}), "volumes[0].ephemeral"),
    "an image": (volume(image={"reference": "x"}), "volumes[0].image"),
    "a block device": (container(volumeDevices=[{"name": "x", "devicePath": "/dev/x"}]), "volumeDevices"),
    "a sealed claim": (volume(persistentVolumeClaim={"claimName": "mlp-sealed-a"}), "persistentVolumeClaim"),
    "a sealed secret": (volume(secret={"secretName": "mlp-sealed-a"}), "secret.secretName"),
    "a sealed variable": (container(envFrom=[{"secretRef": {"name": "mlp-sealed-a"}}]), "envFrom[0].secretRef.name"),
    "a sealed pull secret": (spec(imagePullSecrets=[{"name": "mlp-sealed-a"}]), "imagePullSecrets[0].name"),
    # Row 40: where and as whom it runs.
    "nodeName": (spec(nodeName="simulated-0"), "spec.template.spec.nodeName"),
    "schedulerName": (spec(schedulerName="mine"), "spec.template.spec.schedulerName"),
    "hostAliases": (spec(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["a"]}]), "spec.template.spec.hostAliases"),
    "dnsConfig": (spec(dnsConfig={"nameservers": ["192.0.2.1"]}), "spec.template.spec.dnsConfig"),
    "an account": (spec(serviceAccountName="default"), "spec.template.spec.serviceAccountName"),
    "an account, by its old name": (spec(serviceAccount="default"), "spec.template.spec.serviceAccount"),
    "a runtime": (spec(runtimeClassName="mine"), "spec.template.spec.runtimeClassName"),
    "grace": (spec(terminationGracePeriodSeconds=3600), "terminationGracePeriodSeconds"),
    "a token": (
        volume(projected={"sources": [{"serviceAccountToken": {"path": "t", "audience": "gate"}}]}),
        "serviceAccountToken",
    ),
    "labels": ({"metadata": {"labels": {"app": "x"}}, **spec()}, "spec.template.metadata.labels"),
    "another namespace": ({"metadata": {"namespace": "kube-system"}, **spec()}, "spec.template.metadata.namespace"),
    "an owner": ({"metadata": {"ownerReferences": []}, **spec()}, "spec.template.metadata.ownerReferences"),
    "another network": ({"metadata": {"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}, **spec()}, "annotations"),
    "a mesh's exception": (
        {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, **spec()},
        "annotations",
    ),
    # Row 19: shapes.
    "containers in a map": ({"spec": {"containers": {"name": "x"}}}, "spec.template.spec.containers"),
    "no containers": ({"spec": {"containers": None}}, "spec.template.spec.containers"),
    "a word for a list": (spec(initContainers="x"), "spec.template.spec.initContainers"),
    "nothing": ({}, "spec.template.spec.containers"),
}


@pytest.mark.parametrize("what", TEMPLATES)
def test_row_9_29_40_a_template_takes_what_is_listed_and_nothing_else(scene: Any, ward: Any, what: str) -> None:
    ns, _, _ = ward
    template, path = TEMPLATES[what]
    for job in (scene.training_job("wish", template=template), scene.inference_job("wish", template=template)):
        said = scene.refused(scene.mallory.create(ns, job), "webhook kinds").message
        assert "pod-hardening: " in said
        assert path in said
        assert "To fix it: " in said


def test_row_9_nor_does_a_running_job(scene: Any, ward: Any) -> None:
    ns, _, _ = ward
    for target in ("trainingjobs/study", "inferencejobs/triage"):
        body = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
        scene.refused(scene.mallory.patch(ns, target, body), "webhook kinds")
        add = [
            {"op": "add", "path": "/spec/template/spec/volumes", "value": [{"name": "h", "hostPath": {"path": "/"}}]}
        ]
        scene.refused(scene.mallory.patch(ns, target, add, "json"), "webhook kinds")
        kind = {"trainingjobs/study": "TrainingJob", "inferencejobs/triage": "InferenceJob"}[target]
        applied = scene.ours(kind, target.split("/")[1], body["spec"])
        scene.refused(scene.mallory.apply(ns, applied), "webhook kinds|schema")


@pytest.mark.parametrize(
    "purpose",
    [
        "train_ai_systemX",
        "train_ai_systemx",
        "train_ai_system.",
        "train_ai_system..x",
        "Train_ai_system",
        "train_ai_system ",
        "train_ai_ѕystem",
        "ｔrain_ai_system",
        "train_ai_system\u200b",
        "train_ai_system\u0000",
        "train_ai",
        "train",
        "*",
    ],
)
def test_row_19_only_the_purpose_itself_and_those_below_it_match(scene: Any, ward: Any, purpose: str) -> None:
    ns, _, _ = ward
    answer = scene.mallory.create(ns, scene.training_job("wish", purpose=purpose))

    said = scene.refused(answer, "schema|webhook kinds").message
    assert "spec.purpose" in said
    assert answer.code in (403, 422)
    scene.allowed(scene.mallory.create(ns, scene.training_job("wish", purpose="train_ai_system.x"), dryRun="All"))


@pytest.mark.parametrize(
    "dataset",
    [
        {"name": "Visits"},
        {"name": "vіsits"},
        {"name": "../visits"},
        {"name": "visits", "namespace": "../clinic"},
        {"name": "visits", "namespace": ""},
        {"name": "visits", "columns": ["*"]},
        {"name": "visits", "columns": ["Age"]},
        {"name": "visits", "columns": ["аge"]},
        {"name": "visits", "columns": ["age,id"]},
        {"name": "visits", "mountPath": "/data/../var/run/mlprivacy"},
        {"name": "visits", "mountPath": "/var/run/mlprivacy"},
    ],
    ids=str,
)
def test_row_19_names_are_taken_letter_by_letter(scene: Any, ward: Any, dataset: dict[str, Any]) -> None:
    ns, _, _ = ward
    wish = {"columns": ["age"], "mountPath": "/data/visits", **dataset}
    said = scene.refused(scene.mallory.create(ns, scene.training_job("w", datasets=[wish])), "schema|webhook kinds")

    assert "spec.datasets[0]" in said.message


def test_row_19_names_of_jobs_leave_room_for_what_is_made_of_them(scene: Any, ward: Any) -> None:
    ns, _, _ = ward
    for name in ("a" * 41, "A", "а", "a.b", "-a", "a_b", "a/b", "..", ""):
        scene.refused(scene.mallory.create(ns, scene.training_job(name)), "schema")
    long = scene.training_job("x")
    long["metadata"] = {"generateName": "g" * 60}
    scene.refused(scene.mallory.create(ns, long), "schema")


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


MALFORMED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "no JSON": (lambda job: job[:-1], (400,)),
    "bad UTF-8": (lambda job: job.replace(b"train_ai_system", b"train\xff"), (400, 422)),
    "half a surrogate": (lambda job: job.replace(b"train_ai_system", b"train\\ud800"), (400, 422)),
    "NaN": (lambda job: job.replace(b'"None"', b'"None", "epsilon": NaN'), (400,)),
    "a number past every float": (lambda job: job.replace(b'"None"', b'"None", "epsilon": 1e999'), (400, 422)),
    "levels: 400": (lambda job: job.replace(b'"spec": {"c', b'"a": ' + nested(400) + b', "spec": {"c'), (403,)),
    "levels: 5000": (lambda job: job.replace(b'"spec": {"c', b'"a": ' + nested(5000) + b', "spec": {"c'), (400,)),
    "levels: 100000": (lambda job: job.replace(b'"spec": {"c', b'"a": ' + nested(100_000) + b', "spec": {"c'), (400,)),
    "3 MiB": (lambda job: job.replace(b'"trainer"', b'"' + b"t" * (3 << 20) + b'"'), (413,)),
    "a name of 1 MiB": (lambda job: job.replace(b'"trainer"', b'"' + b"t" * (1 << 20) + b'"'), (422,)),
    "a duplicate key": (lambda job: job.replace(b'"purpose":', b'"purpose": "x", "purpose":'), (400,)),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_row_19_what_can_not_be_read_gets_a_clear_no(scene: Any, ward: Any, what: str) -> None:
    ns, _, _ = ward
    change, codes = MALFORMED[what]
    body = change(json.dumps(scene.training_job("wish")).encode())
    path = f"/apis/mlprivacy.dev/v1alpha1/namespaces/{ns}/trainingjobs"
    answer = scene.mallory.ask("POST", path, body, fieldValidation="Strict")

    assert answer.code in codes, answer
    assert 0 < len(answer.message) < 6000
    assert "Traceback" not in answer.message


def test_row_19_a_yaml_bomb_is_not_unfolded(scene: Any, ward: Any) -> None:
    ns, _, _ = ward
    lines = [b"a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [b"%c: &%c [%s]" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(8)]
    path = f"/apis/mlprivacy.dev/v1alpha1/namespaces/{ns}/trainingjobs"

    assert scene.mallory.ask("POST", path, b"\n".join(lines), content="application/yaml").code == 400


def test_row_19_the_largest_objects_stop_nobody_else(scene: Any) -> None:
    """Jobs of a mebibyte are refused by size, the largest that are taken are decided on; so is a small one after."""
    ns = scene.namespace()

    def containers(number: int, name: str = "c", image: str = IMAGE) -> Any:
        return {"spec": {"containers": [{"name": f"{name}{i}", "image": image} for i in range(number)]}}

    for template in (container(args=["x" * (1 << 20)]), containers(10_000), containers(5_000, "mlprivacy-", "tag:1")):
        said = scene.refused(scene.mallory.create(ns, scene.training_job("huge", template=template)), "webhook kinds")
        assert said.code == 422
        assert "larger than 128 KiB" in said.message
    big = scene.training_job("big", template=container(args=["x" * (120 << 10)]))
    many = scene.training_job("many", template=containers(700))
    for job in (big, many):
        scene.allowed(scene.mallory.create(ns, job))
    wrong = scene.training_job("wrong", template=containers(1_500, "mlprivacy-", "tag:1"))
    said = scene.refused(scene.mallory.create(ns, wrong), "webhook kinds")
    assert len(said.message) < 6000
    scene.allowed(scene.mallory.create(ns, scene.training_job("small")))
    scene.running_pod(ns, "small")
    for name in ("big", "many"):
        scene.await_condition(ns, name, "Accepted", "True")
