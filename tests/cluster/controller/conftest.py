"""What the controller's tests share: a small lawful world in namespaces of their own, and looks at what became of it.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import copy
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import pytest

from controlplane import Cluster
from devstack import DevStack

GROUP: Final = "mlprivacy.dev"
DEADLINE: Final = 90.0
IMAGE: Final = "registry.example/trainer@sha256:" + "c" * 64
CONTROLLER: Final = "system:serviceaccount:mlprivacy-system:mlprivacy-controller"

Object = dict[str, Any]


def eventually(look: Callable[[], Any], what: str, interval: float = 0.15) -> Any:
    """The first true result of ``look``; fails when there is none within the deadline."""
    end = time.monotonic() + DEADLINE
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            pytest.fail(f"never seen: {what}")
        time.sleep(interval)


def condition(obj: Mapping[str, Any] | None, type: str) -> Mapping[str, Any]:
    """The condition of that type; an empty map when there is none."""
    found = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == type), {})


class World:
    """A namespace with a dataset, its class and its scope, all names unique, so that tests share the cluster."""

    def __init__(self, cluster: Cluster, ceiling: str | None = "enforce") -> None:
        self.cluster = cluster
        self.mark = uuid.uuid4().hex[:8]
        self.namespace = f"ctl-{self.mark}"
        self.data_class = f"visit-{self.mark}"
        cluster.create_namespace(self.namespace, {f"{GROUP}/enforce": ceiling} if ceiling else {})

    controller = CONTROLLER
    eventually = staticmethod(eventually)
    condition = staticmethod(condition)
    pause = staticmethod(time.sleep)

    # -- manifests -------------------------------------------------------------------------------------------------

    def _object(self, kind: str, name: str, spec: Object, *, namespaced: bool = True) -> Object:
        metadata = {"name": name, **({"namespace": self.namespace} if namespaced else {})}
        return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    def klass(self, **spec: Any) -> Object:
        base = {"categories": ["user.demographic"], "sensitivity": "Internal"}
        return self._object("DataClass", self.data_class, base | spec, namespaced=False)

    def scope(self, **spec: Any) -> Object:
        base = {
            "purposes": ["train_ai_system"],
            "processing": ["Training"],
            "dataClasses": [self.data_class],
            "version": "2026-03",
            "noticeURL": "https://clinic.example/notice",
            "registry": {"embedded": {}},
            "acceptedVersions": ["2026-03"],
        }
        return self._object("ConsentScope", "research", base | spec)

    def dataset(self, **spec: Any) -> Object:
        use = {
            "purpose": "train_ai_system",
            "processing": "Training",
            "legalBasis": "eu-gdpr:A6-1-a",
            "consentScope": "research",
        }
        base = {
            "identity": f"urn:{self.namespace}:visits",
            "source": {"uri": f"s3://{self.namespace}/visits/*.parquet", "format": "Parquet"},
            "subjects": {"column": "patient_id", "kind": "patient", "atLeast": 200_000},
            "columns": [{"name": name, "dataClass": self.data_class} for name in ("patient_id", "age")],
            "uses": [use],
        }
        return self._object("Dataset", "visits", base | spec)

    def training_job(self, name: str = "study", **spec: Any) -> Object:
        container = {"name": "trainer", "image": IMAGE, "command": ["python", "/app/train.py"]}
        base = {
            "purpose": "train_ai_system",
            "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data/visits"}],
            "privacy": {
                "mechanism": "DPSGD",
                "epsilon": 3,
                "delta": 1e-8,
                "batchSize": 256,
                "epochs": 10,
                "maxGradNorm": 1.0,
            },
            "template": {"spec": {"containers": [container]}},
        }
        return self._object("TrainingJob", name, base | spec)

    def inference_job(self, name: str = "api", **spec: Any) -> Object:
        base = {
            "model": {"image": IMAGE},
            "purpose": "provide_service",
            "dataClasses": [self.data_class],
            "consentScope": {"name": "serving"},
            "clients": {"authentication": "MTLS", "queriesPerDay": 500},
            "outputs": {"topK": 3, "decimals": 2},
            "oversight": {"humanReviewURL": "https://clinic.example/review"},
            "port": 8080,
            "template": {"spec": {"containers": [{"name": "server"}]}},
        }
        return self._object("InferenceJob", name, base | spec)

    def serving_scope(self) -> Object:
        scope = self.scope(purposes=["provide_service"], processing=["Inference"])
        scope["metadata"]["name"] = "serving"
        return scope

    # -- acting ----------------------------------------------------------------------------------------------------

    def data(self) -> None:
        """Class, scope and dataset."""
        self.cluster.apply(self.klass(), self.scope(), self.dataset())

    def apply(self, *objects: Object) -> None:
        self.cluster.apply(*objects)

    def patch(self, resource: str, name: str, patch: Object, *, namespaced: bool = True) -> None:
        scope = ("-n", self.namespace) if namespaced else ()
        self.cluster.kubectl("patch", resource, name, *scope, "--type=merge", "-p", json.dumps(patch))

    def delete(self, resource: str, name: str) -> None:
        self.cluster.kubectl("delete", resource, name, "-n", self.namespace, "--wait=false")

    # -- looking ---------------------------------------------------------------------------------------------------

    def get(self, resource: str, name: str) -> Object | None:
        return self.cluster.get(resource, name, self.namespace)

    def job(self, name: str = "study") -> Object:
        return self.get("trainingjobs.mlprivacy.dev", name) or {}

    def inference(self, name: str = "api") -> Object:
        return self.get("inferencejobs.mlprivacy.dev", name) or {}

    def all(self, resource: str, selector: str = "") -> list[Object]:
        done = self.cluster.kubectl("get", resource, "-n", self.namespace, "-l", selector, "-o", "json")
        found: list[Object] = json.loads(done.stdout)["items"]
        return found

    def until(self, type: str, status: str, reason: str | None = None, name: str = "study") -> Object:
        """The TrainingJob once it has this condition."""

        def look() -> Object | None:
            job = self.job(name)
            found = condition(job, type)
            return job if found.get("status") == status and reason in (None, found.get("reason")) else None

        try:
            return eventually(look, f"{type}={status} {reason or ''} of {name}")
        except pytest.fail.Exception:
            print(json.dumps(self.job(name).get("status"), indent=1))
            raise

    def started(self, attempt: int = 1, name: str = "study") -> Object:
        """The TrainingJob once this attempt of it was created."""

        def look() -> Object | None:
            job = self.job(name)
            status = job.get("status") or {}
            return job if status.get("attempt") == attempt and status.get("startedAt") else None

        try:
            return eventually(look, f"attempt {attempt} of {name}")
        except pytest.fail.Exception:
            print(json.dumps(self.job(name).get("status"), indent=1))
            raise

    def running(self, attempt: int = 1, name: str = "study") -> Object:
        """The TrainingJob once a simulated node says that a pod of this attempt runs."""
        self.started(attempt, name)
        return self.until("Running", "True", name=name)

    def rendered(self) -> dict[str, list[Object]]:
        """Everything in the namespace that carries our labels, by resource, but the floor."""
        kinds = ("jobs", "deployments", "services", "serviceaccounts", "configmaps", "networkpolicies", "pods")
        return {kind: self.all(kind, f"{GROUP}/rendered") for kind in kinds}

    def written(self, resource: str, since: datetime | None = None, verb: str | None = None) -> list[Any]:
        """Audit events of the controller's writes to this resource here."""
        found = self.cluster.audit_events(resource=resource, namespace=self.namespace, user=CONTROLLER, since=since)
        return [e for e in found if e.verb not in ("get", "list", "watch") and verb in (None, e.verb)]

    def pod(self, selector: str = f"{GROUP}/rendered") -> Object:
        """The one pod here that runs, as a simulated node says."""

        def look() -> Object | None:
            found = [p for p in self.all("pods", selector) if p["status"].get("phase") == "Running"]
            return found[0] if len(found) == 1 else None

        made: Object = eventually(look, "one running pod")
        return made

    def end_pod(self, pod: Object, phase: str, **status: Any) -> None:
        """Report the end of a pod, as its node would."""
        name, patch = pod["metadata"]["name"], json.dumps({"status": {"phase": phase, **status}})
        self.cluster.kubectl(
            "patch", "pod", name, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", patch
        )

    def close(self) -> None:
        self.cluster.delete_namespace(self.namespace)
        self.cluster.kubectl("delete", f"dataclasses.{GROUP}", self.data_class, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """`World` itself, for tests with a cluster of their own; to be closed by them."""
    return World


@pytest.fixture
def worlds(stack: DevStack) -> Iterator[Callable[..., World]]:
    """Makes worlds on the shared stack; they are deleted after the test."""
    made: list[World] = []

    def make(ceiling: str | None = "enforce") -> World:
        made.append(World(stack.cluster, ceiling))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """A world in an enforcing namespace, with its data."""
    made = worlds()
    made.data()
    return made


@pytest.fixture
def lax(worlds: Callable[..., World]) -> World:
    """A world in an auditing namespace: the guards report there and let pass, so that an administrator can do harm."""
    made = worlds("audit")
    made.data()
    return made


def without_defaults(obj: Object) -> Object:
    """A copy without what the API server writes into metadata."""
    kept = copy.deepcopy(obj)
    for key in ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        kept["metadata"].pop(key, None)
    return kept
