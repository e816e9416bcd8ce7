"""Threats 6, 8, 9, 29, 36, 40: the shape of a governed pod, whoever sends it. The operator's account tries.

These hold without any webhook or process of ours: a governed pod without its sidecar is refused by the guards alone.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def ns(world: Any) -> str:
    name: str = world.common
    return name


@pytest.mark.parametrize("kind", ["training", "inference"])
def test_the_pod_that_the_operator_renders_passes(world: Any, manifests: Any, ns: str, kind: str) -> None:
    world.try_out(ns, manifests.governed_pod("whole", kind))


def test_the_sidecars_of_the_previous_release_pass(world: Any, manifests: Any, ns: str) -> None:
    pod = manifests.governed_pod("former")
    for container in pod["spec"]["initContainers"]:
        container["image"] = manifests.previous_image

    world.try_out(ns, pod)


def seal(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["initContainers"][0]
    return found


def sidecar(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["initContainers"][1]
    return found


def trainer(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["containers"][0]
    return found


def another(name: str) -> dict[str, Any]:
    hardened = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    return {"name": name, "image": "registry.example/app:1", "securityContext": {**hardened, "runAsUser": 64999}}


SIDECAR: dict[str, Change] = {
    "no init containers": lambda s: s.pop("initContainers"),
    "no sidecar": lambda s: s["initContainers"].pop(1),
    "no seal probe": lambda s: s["initContainers"].pop(0),
    "sidecar before the seal probe": lambda s: s["initContainers"].reverse(),
    "the user's init container first": lambda s: s["initContainers"].insert(0, another("mine")),
    "the user's init container before the sidecar": lambda s: s["initContainers"].insert(1, another("mine")),
    "the sidecar of the other kind": lambda s: sidecar(s).update(name="mlprivacy-gateway", args=["gateway"]),
    "no restartPolicy": lambda s: (sidecar(s).pop("restartPolicy"), sidecar(s).pop("startupProbe")),
    "another image of the sidecar": lambda s: sidecar(s).update(image="registry.example/evil:1"),
    "the sidecar's image by tag": lambda s: sidecar(s).update(image="registry.example/mlprivacy-dataplane:1"),
    "another image of the seal probe": lambda s: seal(s).update(image="registry.example/evil:1"),
    "a command in the sidecar": lambda s: sidecar(s).update(command=["sleep", "1d"]),
    "a command in the seal probe": lambda s: seal(s).update(command=["true"]),
    "other arguments of the sidecar": lambda s: sidecar(s).update(args=["accountant", "--no-log"]),
    "no arguments of the seal probe": lambda s: seal(s).pop("args"),
    "a seal probe that is restarted": lambda s: seal(s).update(restartPolicy="Always"),
    "no startup probe": lambda s: sidecar(s).pop("startupProbe"),
    "a startup probe of another port": lambda s: sidecar(s)["startupProbe"]["httpGet"].update(port=8080),
    "the sidecar as another user": lambda s: sidecar(s)["securityContext"].update(runAsUser=64999),
    "the seal probe as another user": lambda s: seal(s)["securityContext"].pop("runAsUser"),
    "the trainer as the sidecar's user": lambda s: trainer(s)["securityContext"].update(runAsUser=64998),
    "the trainer as its image's user": lambda s: trainer(s)["securityContext"].pop("runAsUser"),
    "a container with a name of ours": lambda s: s["containers"].append(another("mlprivacy-helper")),
    "a second accountant": lambda s: s["containers"].append(another("mlprivacy-gateway")),
}

VOLUMES: dict[str, dict[str, Any]] = {
    "host path": {"hostPath": {"path": "/"}},
    "nfs": {"nfs": {"server": "192.0.2.1", "path": "/"}},
    "csi": {"csi": {"driver": "example.com"}},
    "image": {"image": {"reference": "registry.example/data:1"}},
    "ephemeral claim": {
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            }
        }
    },
    "claim": {"persistentVolumeClaim": {"claimName": "mine"}},
    "read-only claim": {"persistentVolumeClaim": {"claimName": "mine", "readOnly": True}},
    "sealed claim of the user's": {"persistentVolumeClaim": {"claimName": "mlp-sealed-visits", "readOnly": True}},
    "sealed secret of the user's": {"secret": {"secretName": "mlp-sealed-visits"}},
    "service account token": {
        "projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "gate"}}]}
    },
    "cluster trust bundle": {"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "p"}}]}},
    "sealed secret, projected": {"projected": {"sources": [{"secret": {"name": "mlp-sealed-visits"}}]}},
    "git": {"gitRepo": {"repository": "https://git.example/x"}},
}

MOUNTS: dict[str, Change] = {
    "over the socket": lambda s: mount(s, "mlprivacy-tmp", "/var/run/mlprivacy"),
    "beside the socket": lambda s: mount(s, "mlprivacy-tmp", "/var/run/mlprivacy/accountant.sock"),
    "over its parent": lambda s: mount(s, "mlprivacy-tmp", "/var/run"),
    "over it by its other name": lambda s: mount(s, "mlprivacy-tmp", "/run/mlprivacy"),
    "over it by a detour": lambda s: mount(s, "mlprivacy-tmp", "/var/lib/../run/mlprivacy"),
    "the sidecar's log": lambda s: mount(s, "mlprivacy-log", "/log"),
    "the sidecar's key": lambda s: mount(s, "mlprivacy-key", "/key"),
    "data writable": lambda s: mount(s, "mlprivacy-data-0", "/data/again"),
    "the user's volume in the sidecar": lambda s: (
        s["volumes"].append({"name": "mine", "emptyDir": {}}),
        sidecar(s)["volumeMounts"].append({"name": "mine", "mountPath": "/app"}),
    ),
    "a raw device": lambda s: (
        s["volumes"].append({"name": "mlprivacy-x", "persistentVolumeClaim": {"claimName": "mlp-sealed-x"}}),
        trainer(s).update(volumeDevices=[{"name": "mlprivacy-x", "devicePath": "/dev/x"}]),
    ),
    "propagation from the host": lambda s: trainer(s)["volumeMounts"][1].update(mountPropagation="HostToContainer"),
    "a sealed secret in the environment": lambda s: trainer(s).update(
        envFrom=[{"secretRef": {"name": "mlp-sealed-visits"}}]
    ),
}

FIELDS: dict[str, Change] = {
    "hostNetwork": lambda s: s.update(hostNetwork=True),
    "hostPID": lambda s: s.update(hostPID=True),
    "hostIPC": lambda s: s.update(hostIPC=True),
    "shareProcessNamespace": lambda s: s.update(shareProcessNamespace=True),
    "hostAliases": lambda s: s.update(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["gate"]}]),
    "dnsConfig": lambda s: s.update(dnsConfig={"nameservers": ["192.0.2.1"]}),
    "nodeName": lambda s: s.update(nodeName="simulated-0"),
    "schedulerName": lambda s: s.update(schedulerName="mine"),
    "a token": lambda s: s.update(automountServiceAccountToken=True),
    "no word about a token": lambda s: s.pop("automountServiceAccountToken"),
    "service links": lambda s: s.update(enableServiceLinks=True),
    "grace 0": lambda s: s.update(terminationGracePeriodSeconds=0),
    "grace of an hour": lambda s: s.update(terminationGracePeriodSeconds=3600),
    "root allowed": lambda s: s["securityContext"].update(runAsNonRoot=False),
    "root allowed in one container": lambda s: trainer(s)["securityContext"].update(runAsNonRoot=False),
    "no seccomp profile": lambda s: s["securityContext"].pop("seccompProfile"),
    "unconfined in one container": lambda s: trainer(s)["securityContext"].update(
        seccompProfile={"type": "Unconfined"}
    ),
    "a sysctl": lambda s: s["securityContext"].update(sysctls=[{"name": "net.core.somaxconn", "value": "1"}]),
    "privileged": lambda s: (
        trainer(s)["securityContext"].pop("allowPrivilegeEscalation"),
        trainer(s)["securityContext"].update(privileged=True),
    ),
    "NET_ADMIN": lambda s: trainer(s)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
    "NET_RAW kept": lambda s: trainer(s)["securityContext"].pop("capabilities"),
    "a writable root": lambda s: trainer(s)["securityContext"].pop("readOnlyRootFilesystem"),
    "no security context": lambda s: trainer(s).update(securityContext={"runAsUser": 64999}),
    "an exec probe": lambda s: trainer(s).update(livenessProbe={"exec": {"command": ["cat", "/data/visits"]}}),
    "an HTTP probe": lambda s: trainer(s).update(readinessProbe={"httpGet": {"port": 8080, "path": "/ready"}}),
    "a probe of another host": lambda s: sidecar(s)["startupProbe"]["httpGet"].update(host="192.0.2.1"),
    "a connection probe of another host": lambda s: trainer(s).update(
        livenessProbe={"tcpSocket": {"host": "192.0.2.1", "port": 80}}
    ),
    "a hook after start": lambda s: trainer(s).update(lifecycle={"postStart": {"exec": {"command": ["true"]}}}),
    "a hook before stop": lambda s: trainer(s).update(lifecycle={"preStop": {"httpGet": {"port": 80, "path": "/"}}}),
    "a port of the node": lambda s: trainer(s).update(ports=[{"containerPort": 80, "hostPort": 80}]),
    "an rdma device": lambda s: trainer(s).update(resources={"limits": {"rdma/hca": "1"}}),
    "an unknown device": lambda s: trainer(s).update(resources={"limits": {"example.com/nic": "1"}}),
    "a claim of devices": lambda s: s.update(resourceClaims=[{"name": "c", "resourceClaimName": "c"}]),
}


def mount(spec: dict[str, Any], volume: str, path: str) -> None:
    mounts = [m for m in trainer(spec)["volumeMounts"] if m["mountPath"] != path]
    trainer(spec)["volumeMounts"] = [*mounts, {"name": volume, "mountPath": path}]


def changed(manifests: Any, change: Change) -> dict[str, Any]:
    pod: dict[str, Any] = copy.deepcopy(manifests.governed_pod("changed"))
    change(pod["spec"])
    return pod


@pytest.mark.parametrize("change", SIDECAR)
def test_without_its_seal_probe_and_sidecar_as_rendered_it_is_refused(
    world: Any, manifests: Any, ns: str, change: str
) -> None:
    world.try_refused(ns, changed(manifests, SIDECAR[change]), "pod-sidecar")


@pytest.mark.parametrize("volume", VOLUMES)
def test_other_volumes_are_refused(world: Any, manifests: Any, ns: str, volume: str) -> None:
    pod = changed(manifests, lambda spec: spec["volumes"].append({"name": "mine", **VOLUMES[volume]}))

    world.try_refused(ns, pod, "pod-volumes|host-access" if volume == "host path" else "pod-volumes")


@pytest.mark.parametrize("change", MOUNTS)
def test_mounts_that_reach_the_sidecar_are_refused(world: Any, manifests: Any, ns: str, change: str) -> None:
    world.try_refused(ns, changed(manifests, MOUNTS[change]), "pod-volumes")


@pytest.mark.parametrize("change", FIELDS)
def test_fields_that_open_the_sandbox_are_refused(world: Any, manifests: Any, ns: str, change: str) -> None:
    # A token's volume is a matter of mlprivacy-pod-volumes too, and the node of mlprivacy-host-access, which judges
    # every pod; which of two refusals is shown is not defined.
    guards = "pod-fields|pod-volumes" if "token" in change else "pod-fields|host-access"
    world.try_refused(ns, changed(manifests, FIELDS[change]), guards)


def test_what_a_user_may_ask_for_passes(world: Any, manifests: Any, ns: str) -> None:
    pod = manifests.governed_pod("rich")
    spec = pod["spec"]
    spec["volumes"] += [
        {"name": "scratch", "emptyDir": {"medium": "Memory"}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "key", "secret": {"secretName": "mine"}},
        {"name": "about", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "both", "projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "mine"}}]}},
        {"name": "mlprivacy-seed", "persistentVolumeClaim": {"claimName": "mlp-sealed-visits"}},
    ]
    trainer(spec)["volumeMounts"] += [
        {"name": "scratch", "mountPath": "/var/run/mine"},
    ]
    devices = {"nvidia.com/gpu": "1", "memory": "1Gi", "hugepages-2Mi": "2Mi"}
    trainer(spec)["resources"] = {"requests": {**devices, "cpu": "1"}, "limits": devices}
    trainer(spec)["readinessProbe"] = {"tcpSocket": {"port": 8080}}
    spec["initContainers"].append(another("prepare"))
    spec["containers"].append(another("helper"))
    spec["nodeSelector"] = {"gpu": "yes"}
    spec["tolerations"] = [{"key": "gpu", "operator": "Exists"}]

    world.try_out(ns, pod)


def test_a_job_whose_template_lost_its_sidecar_never_gets_a_pod(world: Any, manifests: Any) -> None:
    """As if the controller itself were subverted: the Job passes, its pod does not."""
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    job = manifests.rendered_job()
    job["spec"]["template"]["spec"]["initContainers"].pop(1)
    world.create(ns, job, by=world.operator)

    def refusal() -> bool:
        events = world.cluster.kubectl("get", "events", "-n", ns, "-o", "jsonpath={.items[*].message}").stdout
        return "mlprivacy-pod-sidecar" in events

    world.eventually(refusal, "the Job controller's complaint")
    assert world.pods(ns) == []
