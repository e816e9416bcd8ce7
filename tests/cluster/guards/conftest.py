"""What the attack tests share: a control plane with the chart's guards and no process of ours, an attacker, manifests.

No webhook is configured, so every refusal seen here comes from a ValidatingAdmissionPolicy or from RBAC. The attacker
is a real user with the stock ClusterRole `edit`, and our role for ML engineers, in a governed namespace.
Each attack has its allowed counterpart.
"""

import copy
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane import Cluster, ControlPlane
from controlplane.shared import shared_control_plane

CHART: Final = Path(__file__).parents[3] / "charts" / "mlprivacy"
OPERATOR_NAMESPACE: Final = "mlprivacy-system"
IMAGE: Final = "registry.example/mlprivacy-dataplane@sha256:" + "a" * 64
PREVIOUS_IMAGE: Final = "registry.example/mlprivacy-dataplane@sha256:" + "b" * 64
DEADLINE: Final = 90.0
OPERATOR: Final = f"system:serviceaccount:{OPERATOR_NAMESPACE}:mlprivacy-controller"
ATTACKER: Final = "mallory"

Object = dict[str, Any]


def eventually(look: Callable[[], Any], what: str) -> Any:
    """The first true result of ``look``; fails when there is none within the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"never seen: {what}")


class Manifests:
    """Objects as the operator renders them, and plain ones as an attacker writes them."""

    image = IMAGE
    previous_image = PREVIOUS_IMAGE

    def guarded_labels(self, job: str = "visits", kind: str = "training") -> dict[str, str]:
        return {
            "app.kubernetes.io/managed-by": "mlprivacy",
            "mlprivacy.dev/rendered": kind,
            f"mlprivacy.dev/{kind}-job": job,
            "mlprivacy.dev/job-uid": "5d3f0a52-0000-4000-8000-000000000001",
            "mlprivacy.dev/attempt": "1",
        }

    def governed_spec(self, job: str = "visits", kind: str = "training") -> Object:
        """A pod spec with its seal probe, its sidecar and one container of the user's."""
        role = {"training": "accountant", "inference": "gateway"}[kind]
        hardened = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        ours = {"image": IMAGE, "securityContext": {**hardened, "runAsUser": 64998}}
        run, log = ("mlprivacy-run", "/var/run/mlprivacy"), ("mlprivacy-log", "/var/lib/mlprivacy")
        return {
            "serviceAccountName": f"mlp-{job}",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never" if kind == "training" else "Always",
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": True,
                "fsGroup": 64999,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [
                {"name": "mlprivacy-seal", "args": ["seal"], **copy.deepcopy(ours)},
                {
                    "name": f"mlprivacy-{role}",
                    "args": [role],
                    "restartPolicy": "Always",
                    "startupProbe": {"httpGet": {"path": "/startupz", "port": 15021}},
                    "volumeMounts": [{"name": name, "mountPath": path} for name, path in (run, log)],
                    **copy.deepcopy(ours),
                },
            ],
            "containers": [
                {
                    "name": "trainer",
                    "image": "registry.example/trainer@sha256:" + "c" * 64,
                    "securityContext": {**hardened, "runAsUser": 64999},
                    "volumeMounts": [
                        {"name": "mlprivacy-run", "mountPath": "/var/run/mlprivacy"},
                        {"name": "mlprivacy-output", "mountPath": "/output"},
                        {"name": "mlprivacy-data-0", "mountPath": "/data/visits", "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": f"mlprivacy-{name}", "emptyDir": {}}
                for name in ("run", "log", "key", "tmp", "output", "data-0")
            ],
        }

    def governed_pod(self, name: str, kind: str = "training", **spec: Any) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": self.guarded_labels(kind=kind)},
            "spec": {**self.governed_spec(kind=kind), **spec},
        }

    def rendered_job(self, job: str = "visits", annotations: Mapping[str, str] | None = None) -> Object:
        labels = self.guarded_labels(job)
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"mlp-{job}-1", "labels": labels},
            "spec": {
                "backoffLimit": 0,
                "podReplacementPolicy": "Failed",
                "template": {
                    "metadata": {"labels": labels, "annotations": dict(annotations or {})},
                    "spec": self.governed_spec(job),
                },
            },
        }

    def rendered_deployment(self, job: str = "triage", replicas: int = 1) -> Object:
        labels = self.guarded_labels(job, "inference")
        del labels["mlprivacy.dev/attempt"]
        chosen = {key: labels[key] for key in ("mlprivacy.dev/rendered", "mlprivacy.dev/job-uid")}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"mlp-{job}", "labels": labels},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": chosen},
                "template": {"metadata": {"labels": labels}, "spec": self.governed_spec(job, "inference")},
            },
        }

    def rendered(self, kind: str, job: str = "visits") -> Object:
        """One of the small rendered objects: ServiceAccount, NetworkPolicy, ConfigMap, Service."""
        labels = self.guarded_labels(job)
        del labels["mlprivacy.dev/attempt"]
        chosen = {key: labels[key] for key in ("mlprivacy.dev/rendered", "mlprivacy.dev/job-uid")}
        name = f"mlp-{job}-decision" if kind == "ConfigMap" else f"mlp-{job}"
        body: Object = {
            "ServiceAccount": {"automountServiceAccountToken": False},
            "NetworkPolicy": {"spec": {"podSelector": {"matchLabels": chosen}, "policyTypes": ["Ingress", "Egress"]}},
            "ConfigMap": {"data": {"digest": "sha256:" + "d" * 64}},
            "Service": {"spec": {"selector": chosen, "ports": [{"port": 8080}]}},
        }[kind]
        version = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "v1"
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, **body}

    def floor(self) -> Object:
        exists = {"key": "mlprivacy.dev/rendered", "operator": "Exists"}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "mlprivacy-default-deny", "labels": {"mlprivacy.dev/floor": "true"}},
            "spec": {"podSelector": {"matchExpressions": [exists]}, "policyTypes": ["Ingress", "Egress"]},
        }

    def plain_spec(self, **spec: Any) -> Object:
        return {"containers": [{"name": "app", "image": "registry.example/app:1"}], **spec}

    def plain_pod(self, name: str = "plain", labels: Mapping[str, str] | None = None, **spec: Any) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": dict(labels or {})},
            "spec": self.plain_spec(**spec),
        }

    def workload(self, kind: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Object:
        """A plain workload of this kind whose pods have these further labels and pod fields."""
        own = {"app": "plain"}
        template = {"metadata": {"labels": {**own, **(labels or {})}}, "spec": self.plain_spec(**spec)}
        never = {**template, "spec": {**template["spec"], "restartPolicy": "Never"}}
        metadata = {"name": "plain"}
        selected = {"selector": {"matchLabels": own}, "template": template}
        apps = {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata}
        forms: dict[str, Object] = {
            "Deployment": {**apps, "spec": selected},
            "ReplicaSet": {**apps, "spec": selected},
            "DaemonSet": {**apps, "spec": selected},
            "StatefulSet": {**apps, "spec": {**selected, "serviceName": "plain"}},
            "Job": {"apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": {"template": never}},
            "CronJob": {
                "apiVersion": "batch/v1",
                "kind": kind,
                "metadata": metadata,
                "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": never}}},
            },
            "ReplicationController": {
                "apiVersion": "v1",
                "kind": kind,
                "metadata": metadata,
                "spec": {"selector": own, "template": template},
            },
            "PodTemplate": {"apiVersion": "v1", "kind": kind, "metadata": metadata, "template": template},
        }
        return copy.deepcopy(forms[kind])

    def claim(self, name: str, **spec: Any) -> Object:
        size = {"requests": {"storage": "1Gi"}}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOncePod"], "resources": size, **spec},
        }

    def training_job(self, name: str = "visits", by: str = ATTACKER) -> Object:
        container = {"name": "trainer", "image": "registry.example/trainer@sha256:" + "c" * 64}
        return {
            "apiVersion": "mlprivacy.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": name, "annotations": {"mlprivacy.dev/requested-by": by}},
            "spec": {
                "purpose": "train_ai_system",
                "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data/visits"}],
                "privacy": {"mechanism": "None"},
                "output": {"path": "/output", "model": "m", "destination": "pvc://models/m"},
                "template": {"spec": {"containers": [container]}},
            },
        }


def role_binding(namespace: str, role: str, user: str) -> Object:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{role}-{user}", "namespace": namespace},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user}],
    }


class World:
    """The guarded cluster and who acts in it."""

    operator = OPERATOR
    attacker = ATTACKER

    def __init__(self, cluster: Cluster, common: str = "") -> None:
        self.cluster = cluster
        self.common = common
        """A governed namespace with the ServiceAccount mlp-visits, shared by tests that leave nothing behind."""
        self.made: list[str] = []

    def namespace(self, ceiling: str | None = "enforce", **labels: str) -> str:
        """A namespace in which the attacker has `edit` and may declare jobs; governed at this ceiling unless None."""
        name = f"guard-{uuid.uuid4().hex[:10]}"
        self.made.append(name)
        marked = {"mlprivacy.dev/enforce": ceiling} if ceiling else {}
        marked |= {f"mlprivacy.dev/{key}": value for key, value in labels.items()}
        home: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": marked}}
        roles = [role_binding(name, role, ATTACKER) for role in ("edit", "mlprivacy-ml-engineer")]
        self.cluster.kubectl("create", "-f", "-", input=[home, *roles])
        eventually(lambda: self.get("serviceaccounts", "default", name), f"the default ServiceAccount of {name}")
        return name

    def grant(self, namespace: str, role: str, user: str) -> None:
        self.cluster.kubectl("create", "-f", "-", input=role_binding(namespace, role, user))

    def may(self, user: str, verb: str, resource: str, namespace: str = "default") -> bool:
        """What the authorizer answers for `resource.group/subresource`; rights just granted take a moment."""
        full, _, sub = resource.partition("/")
        plural, _, group = full.partition(".")
        attributes = {"verb": verb, "group": group, "resource": plural, "subresource": sub, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes},
        }
        done = self.cluster.kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", input=review)
        return done.stdout.strip() == "true"

    def do(self, *args: str, by: str | None = ATTACKER, body: Any = None, groups: tuple[str, ...] = ()) -> Any:
        return self.cluster.kubectl(*args, input=body, as_user=by, groups=groups, check=False)

    def refused(self, *args: str, policy: str, by: str | None = ATTACKER, body: Any = None, groups: Any = ()) -> str:
        """Assert that the request is denied by this policy (`a|b`: one of them, where both see it); the answer."""
        done = self.do(*args, by=by, body=body, groups=groups)
        assert done.returncode != 0, f"{policy} let `kubectl {' '.join(args)}` by {by} pass: {done.stdout}"
        assert re.search(f"ValidatingAdmissionPolicy 'mlprivacy-({policy})'", done.stderr), done.stderr
        assert "orbidden" in done.stderr
        return str(done.stderr)

    def allowed(self, *args: str, by: str | None = ATTACKER, body: Any = None, groups: Any = ()) -> str:
        """Assert that the request passes; returns what kubectl printed."""
        done = self.do(*args, by=by, body=body, groups=groups)
        assert done.returncode == 0, f"`kubectl {' '.join(args)}` by {by} was refused: {done.stderr}"
        return str(done.stdout)

    def create_refused(self, namespace: str, body: Object, policy: str, by: str | None = ATTACKER) -> str:
        return self.refused("create", "-n", namespace, "-f", "-", policy=policy, by=by, body=body)

    def create(self, namespace: str, body: Object, by: str | None = ATTACKER) -> str:
        return self.allowed("create", "-n", namespace, "-f", "-", by=by, body=body)

    def try_out(self, namespace: str, body: Object, by: str | None = OPERATOR) -> str:
        """A dry-run create that must pass: as the operator tries the pods it renders."""
        return self.allowed("create", "--dry-run=server", "-n", namespace, "-f", "-", by=by, body=body)

    def try_refused(self, namespace: str, body: Object, policy: str, by: str | None = OPERATOR) -> str:
        return self.refused("create", "--dry-run=server", "-n", namespace, "-f", "-", policy=policy, by=by, body=body)

    def get(self, resource: str, name: str, namespace: str | None = None) -> Any:
        return self.cluster.get(resource, name, namespace)

    def pods(self, namespace: str, selector: str = "") -> list[Object]:
        listed = self.cluster.kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json")
        items: list[Object] = json.loads(listed.stdout)["items"]
        return items

    def running_pod(self, namespace: str, owner: Object) -> str:
        """Create this rendered Job or Deployment as the operator; the name of its pod once that runs."""
        self.create(namespace, owner, by=OPERATOR)
        label = "mlprivacy.dev/job-uid"
        chosen = f"{label}={owner['metadata']['labels'][label]}"

        def running() -> str:
            found = self.pods(namespace, chosen)
            return found[0]["metadata"]["name"] if found and found[0]["status"].get("phase") == "Running" else ""

        name: str = eventually(running, f"a running pod of {owner['metadata']['name']}")
        return name

    def eventually(self, look: Callable[[], Any], what: str) -> Any:
        return eventually(look, what)

    def gone(self, resource: str, name: str, namespace: str | None = None) -> None:
        eventually(lambda: self.get(resource, name, namespace) is None, f"the end of {resource} {name}")

    def wait_until_on_duty(self) -> None:
        """Return once the API server has loaded every policy and binding; this binding was made last."""
        loose = self.namespace("warn")
        body = Manifests().plain_pod(serviceAccountName="mlp-probe")
        self.cluster.kubectl("create", "serviceaccount", "mlp-probe", "-n", loose)
        args = ("create", "--dry-run=server", "-n", loose, "-f", "-")
        eventually(lambda: "mlprivacy-sealed-names" in self.do(*args, body=body).stderr, "the guards on duty")

    def clean(self) -> None:
        for name in self.made:
            self.cluster.delete_namespace(name)
        self.made.clear()


@contextmanager
def control_plane(directory: Path) -> Iterator[ControlPlane]:
    """One for all workers of this run: policies act on the whole cluster, so the session's shared one is not used."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        with shared_control_plane(directory.parent / "guarded", owner=os.getppid()) as shared:
            yield shared
    else:
        with ControlPlane(directory / "guarded") as own:
            yield own


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A control plane with the chart's guards, roles and definitions, and neither webhooks nor processes."""
    with control_plane(tmp_path_factory.getbasetemp()) as cluster:
        yield install(cluster, tmp_path_factory.mktemp("values"))


@pytest.fixture
def unshared(private_cluster: ControlPlane, tmp_path: Path) -> Iterator[World]:
    """The same on a control plane of its own, for a test that takes guards away for a while."""
    own = install(private_cluster, tmp_path)
    yield own
    own.clean()


def install(cluster: ControlPlane, directory: Path) -> World:
    """The chart's guards, roles and definitions on this control plane, on duty."""
    values = {
        "admission": {"url": "https://127.0.0.1:9"},
        "controller": {"external": True},
        "collector": {"external": True},
        "dataplane": {"image": IMAGE, "previousImages": [PREVIOUS_IMAGE]},
        "webhooks": {"enabled": False},
    }
    path = directory / "values.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    args = ("--install", "--namespace", OPERATOR_NAMESPACE, "--create-namespace", "-f", str(path))
    # A second worker finds the release there, or in the making: it waits for the first.
    eventually(
        lambda: cluster.helm("upgrade", "mlprivacy", str(CHART), *args, check=False).returncode == 0,
        "the chart installed",
    )
    world = World(cluster)
    world.wait_until_on_duty()
    world.common = world.namespace()
    world.create(world.common, Manifests().rendered("ServiceAccount"), by=OPERATOR)
    return world


@pytest.fixture
def world(guarded: World) -> Iterator[World]:
    """The guarded cluster; the namespaces that the test made are deleted after it."""
    own = World(guarded.cluster, guarded.common)
    yield own
    own.clean()


@pytest.fixture
def manifests() -> Manifests:
    return Manifests()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"guarded", "unshared"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
