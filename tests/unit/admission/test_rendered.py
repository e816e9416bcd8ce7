"""A pod is compared with its rendering: what the API server fills in passes, whatever else differs is named."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mlprivacy.admission.rendered import difference, owner_problem

Pod = dict[str, Any]


@pytest.fixture
def wanted(world) -> Pod:
    """The pod of a job whose template says amounts and probes in words of its own."""
    job = world.job()
    job["spec"]["template"]["spec"] |= {"nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu"}]}
    job["spec"]["template"]["spec"]["containers"][0] |= {
        "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "nvidia.com/gpu": 1}},
        "env": [{"name": "EMPTY", "value": ""}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}],
        "ports": [{"containerPort": 9000}],
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch", "readOnly": False}],
        "livenessProbe": {"tcpSocket": {"port": 9000}, "initialDelaySeconds": 0, "periodSeconds": 0},
    }
    job["spec"]["template"]["spec"]["volumes"] = [
        {"name": "scratch", "emptyDir": {"sizeLimit": "1024Mi"}},
        {"name": "settings", "configMap": {"name": "settings"}},
    ]
    return world.pod(job)


def trainer(pod: Pod) -> Pod:
    return pod["spec"]["containers"][0]


@pytest.fixture
def stored(wanted: Pod) -> Pod:
    """The same after the API server and its plugins have filled in what they fill in."""
    pod = copy.deepcopy(wanted)
    pod["metadata"]["labels"] |= {"batch.kubernetes.io/job-name": "mlp-diagnosis-1", "controller-uid": "u"}
    pod["metadata"]["annotations"] |= {"kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request"}
    pod["metadata"] |= {"finalizers": ["batch.kubernetes.io/job-tracking"], "managedFields": []}
    spec = pod["spec"]
    gone = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}
    spec["tolerations"] = [{"key": "gpu"}, gone]
    spec["nodeSelector"] = {"gpu": "yes", "pool": "by a plugin"}
    spec |= {
        "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "priority": 0,
        "preemptionPolicy": "PreemptLowerPriority", "serviceAccount": spec["serviceAccountName"],
    }  # fmt: skip
    for group in ("initContainers", "containers"):
        for container in spec[group]:
            filled = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
            for key, value in (filled | {"imagePullPolicy": "IfNotPresent"}).items():
                container.setdefault(key, value)
            container.setdefault("resources", {})
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                if probe in container:
                    numbers = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
                    container[probe] = numbers | {k: v for k, v in container[probe].items() if v != 0}
                    if "httpGet" in container[probe]:
                        container[probe]["httpGet"]["scheme"] = "HTTP"
    amounts = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    own = trainer(pod)
    own["resources"] = {"limits": {**amounts, "ephemeral-storage": "1Gi"}, "requests": amounts}
    own["env"][0].pop("value")
    own["env"][1]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    own["ports"][0]["protocol"] = "TCP"
    own["volumeMounts"][0].pop("readOnly")
    volumes = {v["name"]: v for v in spec["volumes"]}
    volumes["scratch"]["emptyDir"]["sizeLimit"] = "1Gi"
    volumes["settings"]["configMap"]["defaultMode"] = 420
    return pod


def test_what_the_api_server_fills_in_makes_no_difference(wanted: Pod, stored: Pod) -> None:
    assert difference(wanted, stored) is None


CHANGES: dict[str, Callable[[Pod], Any]] = {
    "metadata.labels[app]": lambda p: p["metadata"]["labels"].update(app="x"),
    "metadata.labels[mlprivacy.dev/attempt]": lambda p: p["metadata"]["labels"].update({"mlprivacy.dev/attempt": "2"}),
    "metadata.annotations[k8s.v1.cni.cncf.io/networks]": lambda p: p["metadata"]["annotations"].update(
        {"k8s.v1.cni.cncf.io/networks": "open"}
    ),
    "spec.hostNetwork": lambda p: p["spec"].update(hostNetwork=True),
    "spec.hostAliases": lambda p: p["spec"].update(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["a"]}]),
    "spec.dnsPolicy": lambda p: p["spec"].update(dnsPolicy="Default"),
    "spec.serviceAccount": lambda p: p["spec"].update(serviceAccount="default"),
    "spec.serviceAccountName": lambda p: p["spec"].update(serviceAccountName="default"),
    "spec.restartPolicy": lambda p: p["spec"].update(restartPolicy="Always"),
    "spec.automountServiceAccountToken": lambda p: p["spec"].pop("automountServiceAccountToken"),
    "spec.securityContext.sysctls": lambda p: p["spec"]["securityContext"].update(
        sysctls=[{"name": "a", "value": "1"}]
    ),
    "spec.nodeSelector.gpu": lambda p: p["spec"].update(nodeSelector={"pool": "x"}),
    "spec.tolerations": lambda p: p["spec"].update(tolerations=[]),
    "spec.volumes": lambda p: p["spec"]["volumes"].append({"name": "more", "emptyDir": {}}),
    "spec.volumes[0].emptyDir.sizeLimit": lambda p: p["spec"]["volumes"][0]["emptyDir"].update(sizeLimit="2Gi"),
    "spec.volumes[1].configMap.name": lambda p: p["spec"]["volumes"][1]["configMap"].update(name="other"),
    "spec.volumes[1].secret": lambda p: p["spec"]["volumes"][1].update(secret={"secretName": "x"}),
    "spec.containers": lambda p: p["spec"]["containers"].append(dict(trainer(p), name="second")),
    "spec.containers[0].image": lambda p: trainer(p).update(image="registry.example/mine"),
    "spec.containers[0].command": lambda p: trainer(p).update(command=["python", "-c", "print()"]),
    "spec.containers[0].args": lambda p: trainer(p).update(args=["--more"]),
    "spec.containers[0].workingDir": lambda p: trainer(p).update(workingDir="/elsewhere"),
    "spec.containers[0].env": lambda p: trainer(p)["env"].append({"name": "LD_PRELOAD", "value": "/x"}),
    "spec.containers[0].env[0].value": lambda p: trainer(p)["env"][0].update(value="x"),
    "spec.containers[0].envFrom": lambda p: trainer(p).update(envFrom=[{"secretRef": {"name": "x"}}]),
    "spec.containers[0].volumeMounts": lambda p: trainer(p)["volumeMounts"].pop(),
    "spec.containers[0].volumeMounts[0].subPath": lambda p: trainer(p)["volumeMounts"][0].update(subPath="x"),
    "spec.containers[0].lifecycle": lambda p: trainer(p).update(lifecycle={"preStop": {"exec": {"command": ["x"]}}}),
    "spec.containers[0].securityContext.runAsUser": lambda p: trainer(p)["securityContext"].update(runAsUser=0),
    "spec.containers[0].securityContext.privileged": lambda p: trainer(p)["securityContext"].pop("privileged"),
    "spec.containers[0].securityContext.seLinuxOptions": lambda p: trainer(p)["securityContext"].update(
        seLinuxOptions={"type": "spc_t"}
    ),
    "spec.containers[0].resources.limits[memory]": lambda p: trainer(p)["resources"]["limits"].update(memory="2Gi"),
    "spec.containers[0].resources.limits[rdma/hca]": lambda p: trainer(p)["resources"]["limits"].update(
        {"rdma/hca": "1"}
    ),
    "spec.containers[0].resources.claims": lambda p: trainer(p)["resources"].update(claims=[{"name": "x"}]),
    "spec.containers[0].ports[0].hostPort": lambda p: trainer(p)["ports"][0].update(hostPort=9000),
    "spec.containers[0].livenessProbe.exec": lambda p: trainer(p)["livenessProbe"].update(exec={"command": ["x"]}),
    "spec.containers[0].livenessProbe.periodSeconds": lambda p: trainer(p)["livenessProbe"].update(periodSeconds=1),
    "spec.initContainers": lambda p: p["spec"]["initContainers"].pop(0),
    "spec.initContainers[0].image": lambda p: p["spec"]["initContainers"][0].update(image="registry.example/mine"),
    "spec.initContainers[0].command": lambda p: p["spec"]["initContainers"][0].update(command=["true"]),
}


@pytest.mark.parametrize("path", CHANGES)
def test_anything_else_is_a_difference(wanted: Pod, stored: Pod, path: str) -> None:
    CHANGES[path](stored)

    assert difference(wanted, stored) == path


def test_a_canary_of_somebodys_own_is_a_difference(wanted: Pod, stored: Pod) -> None:
    (canary,) = (e for e in stored["spec"]["initContainers"][0]["env"] if e["name"] == "MLPRIVACY_CANARY")
    canary["value"] = "127.0.0.1:9:9"

    assert str(difference(wanted, stored)).startswith("spec.initContainers[0].env[")


@pytest.mark.parametrize("odd", [None, "x", 3, [], {"containers": None}, {"containers": ["x"]}])
def test_a_pod_of_an_odd_shape_is_a_difference_and_no_error(wanted: Pod, odd: Any) -> None:
    assert difference(wanted, {**wanted, "spec": odd})


JOB = {"apiVersion": "batch/v1", "kind": "Job", "name": "mlp-visits-2", "uid": "u", "controller": True}
SET = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "mlp-api-6c9f", "uid": "u", "controller": True}


@pytest.mark.parametrize(("kind", "name", "owner"), [("TrainingJob", "visits", JOB), ("InferenceJob", "api", SET)])
def test_its_owner_is_what_the_operator_made(kind: str, name: str, owner: dict[str, Any]) -> None:
    def problem(*owners: dict[str, Any]) -> str | None:
        return owner_problem({"metadata": {"ownerReferences": list(owners)}}, kind, name, 2)

    assert problem(owner) is None
    for wrong in ("plant", f"mlp-{name}", f"mlp-{name}x-2", "mlp-other-2"):
        assert f"mlp-{name}-" in str(problem({**owner, "name": wrong}))
    assert problem()
    assert problem(owner, owner)
    assert problem({**owner, "controller": False})
    assert problem({**owner, "apiVersion": "example.com/v1"})
    assert problem({**owner, "kind": "StatefulSet"})
    assert owner_problem({"metadata": {"ownerReferences": "x"}}, kind, name, 2)


def test_the_job_of_another_attempt_owns_nothing_of_this_one() -> None:
    assert owner_problem({"metadata": {"ownerReferences": [JOB]}}, "TrainingJob", "visits", 1)
