"""A namespace with lawful data on a cluster with real pods: jobs and plain pods whose program is given."""

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from controlplane.client import CommandError
from controlplane.processes import ControlPlaneError
from node.operator import Operator

GROUP: Final = "mlprivacy.dev"
DEADLINE: Final = 120.0
Object = dict[str, Any]


def eventually(look: Callable[[], Any], what: str, seconds: float = DEADLINE, interval: float = 0.2) -> Any:
    """The first true result of ``look``. Raises ControlPlaneError when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise ControlPlaneError(f"Never seen within {seconds:.0f} s: {what}.")
        time.sleep(interval)


def condition(obj: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    """The condition of that type; an empty map when there is none."""
    found = ((obj or {}).get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})


class World:
    """Names are unique, so that worlds share a cluster. ``ceiling`` None leaves the namespace ungoverned."""

    def __init__(self, operator: Operator, ceiling: str | None = "enforce") -> None:
        self.operator = operator
        self.cluster = operator.cluster
        mark = uuid.uuid4().hex[:8]
        self.namespace = f"world-{mark}"
        self.data_class = f"visit-{mark}"
        self.governed = ceiling is not None
        self.cluster.create_namespace(self.namespace, {f"{GROUP}/enforce": ceiling} if ceiling else {})
        if self.governed:
            self.cluster.apply(*self._data())

    # -- manifests -------------------------------------------------------------------------------------------------

    def training_job(self, program: str, name: str = "study", **spec: Any) -> Object:
        """A lawful TrainingJob whose trainer runs this Python program, in the data plane's image."""
        base = {
            "purpose": "train_ai_system",
            "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data/visits"}],
            "privacy": {
                "mechanism": "DPSGD", "epsilon": 3, "delta": 1e-8, "batchSize": 256, "epochs": 10, "maxGradNorm": 1.0,
            },
            "template": {"spec": {"containers": [self._container("trainer", program)]}},
        }  # fmt: skip
        return self._object("TrainingJob", name, base | spec)

    def inference_job(self, program: str, name: str = "api", **spec: Any) -> Object:
        """A lawful InferenceJob whose model server runs this Python program."""
        container = self._container("server", program)
        base = {
            "model": {"image": container.pop("image")},
            "purpose": "provide_service",
            "dataClasses": [self.data_class],
            "consentScope": {"name": "serving"},
            "clients": {"authentication": "MTLS", "queriesPerDay": 500},
            "outputs": {"topK": 3, "decimals": 2},
            "oversight": {"humanReviewURL": "https://clinic.example/review"},
            "port": 8080,
            "template": {"spec": {"containers": [container]}},
        }
        return self._object("InferenceJob", name, base | spec)

    def plain_pod(self, program: str, name: str = "plain", labels: Mapping[str, str] | None = None) -> Object:
        """A pod of nobody's, with the same program and the same restrictions."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "labels": dict(labels or {})},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "securityContext": {"runAsUser": 65000, "runAsNonRoot": True},
                "containers": [self._container("main", program)],
            },
        }

    def policy(self, **spec: Any) -> Object:
        """A PrivacyPolicy over this namespace alone."""
        base = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "mode": "Enforce",
        }
        return self._object("PrivacyPolicy", self.namespace, base | spec, namespaced=False)

    def data_class_object(self, **spec: Any) -> Object:
        """The class of the data set's columns."""
        base = {"categories": ["user.demographic"], "sensitivity": "Internal"}
        return self._object("DataClass", self.data_class, base | spec, namespaced=False)

    # -- acting ----------------------------------------------------------------------------------------------------

    def apply(self, *objects: Object, as_user: str | None = None) -> None:
        self.cluster.apply(*objects, as_user=as_user)

    def refused(self, *arguments: str, as_user: str, given: Object | None = None) -> str:
        """kubectl as a user, which has to fail; what it said."""
        done = self.cluster.kubectl(*arguments, input=given, as_user=as_user, check=False)
        if done.returncode == 0:
            raise ControlPlaneError(f"`kubectl {' '.join(arguments)}` was allowed to {as_user}: {done.stdout}")
        return str(done.stderr)

    def editor(self) -> str:
        """A user who holds the stock ClusterRole `edit` here, and writes TrainingJobs and InferenceJobs."""
        user = f"mallory-{self.namespace}"
        for role in ("edit", "mlprivacy-ml-engineer"):
            self.cluster.kubectl(
                "create",
                "rolebinding",
                f"{user}-{role}",
                f"--clusterrole={role}",
                f"--user={user}",
                "-n",
                self.namespace,
            )
        return user

    def delete(self, resource: str, name: str, *arguments: str) -> None:
        self.cluster.kubectl("delete", resource, name, "-n", self.namespace, "--wait=false", *arguments)

    def close(self) -> None:
        self.cluster.delete_namespace(self.namespace)
        if self.governed:
            for resource, name in (("privacypolicies", self.namespace), ("dataclasses", self.data_class)):
                self.cluster.kubectl("delete", f"{resource}.{GROUP}", name, "--ignore-not-found", "--wait=false")

    # -- looking ---------------------------------------------------------------------------------------------------

    def get(self, resource: str, name: str) -> Object | None:
        return self.cluster.get(resource, name, self.namespace)

    def job(self, name: str = "study") -> Object:
        return self.get(f"trainingjobs.{GROUP}", name) or {}

    def inference(self, name: str = "api") -> Object:
        return self.get(f"inferencejobs.{GROUP}", name) or {}

    def pods(self, selector: str = f"{GROUP}/rendered") -> list[Object]:
        done = self.cluster.kubectl("get", "pods", "-n", self.namespace, "-l", selector, "-o", "json")
        found: list[Object] = json.loads(done.stdout)["items"]
        return found

    def until(
        self, kind: str, status: str, reason: str | None = None, look: Callable[[], Object] | None = None,
        seconds: float = DEADLINE,
    ) -> Object:  # fmt: skip
        """The TrainingJob `study` (or what ``look`` gives) once it has this condition."""
        seen: list[Object] = [{}]

        def found() -> Object | None:
            seen[0] = (look or self.job)()
            has = condition(seen[0], kind)
            return seen[0] if has.get("status") == status and reason in (None, has.get("reason")) else None

        try:
            result: Object = eventually(found, f"{kind}={status} {reason or ''}", seconds)
        except ControlPlaneError as error:
            raise ControlPlaneError(f"{error}\n{self.told(seen[0])}") from error
        return result

    def governed_pod(self, phase: str = "Running", not_uid: Sequence[str] = ()) -> Object:
        """The rendered pod once it is in this phase (``not_uid``: and is none of these)."""

        def found() -> Object | None:
            pods = [p for p in self.pods() if p["metadata"]["uid"] not in not_uid]
            return next((p for p in pods if p["status"].get("phase") == phase), None)

        result: Object = eventually(found, f"a governed pod in phase {phase} in {self.namespace}")
        return result

    def log(self, pod: str, container: str | None = None) -> str:
        chosen = ("-c", container) if container else ()
        try:
            return str(self.cluster.kubectl("logs", pod, "-n", self.namespace, *chosen).stdout)
        except CommandError:
            return ""  # it has not begun

    def said(self, pod: str, words: str, container: str | None = None, seconds: float = DEADLINE) -> str:
        """The log once it holds these words."""

        def found() -> str | None:
            text = self.log(pod, container)
            return text if words in text else None

        result: str = eventually(found, f"{words!r} in the log of {pod}", seconds)
        return result

    def ready(self, pod: str) -> Object:
        """A pod once it is Ready."""

        def found() -> Object | None:
            obj = self.get("pods", pod)
            return obj if condition(obj, "Ready").get("status") == "True" else None

        result: Object = eventually(found, f"pod {pod} Ready")
        return result

    def told(self, obj: Object) -> str:
        """What a person would look at when it is not as expected."""
        events = self.cluster.kubectl("get", "events", "-n", self.namespace, "--sort-by=.lastTimestamp", check=False)
        return json.dumps(obj.get("status"), indent=1)[-4000:] + "\n" + str(events.stdout)[-3000:]

    # -- the data ----------------------------------------------------------------------------------------------------

    def _object(self, kind: str, name: str, spec: Object, *, namespaced: bool = True) -> Object:
        metadata = {"name": name, **({"namespace": self.namespace} if namespaced else {})}
        return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}

    def _container(self, name: str, program: str) -> Object:
        return {
            "name": name,
            "image": self.operator.images.dataplane,
            "command": ["python3", "-u", "-c", program],
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        }

    def _data(self) -> list[Object]:
        scope = {
            "dataClasses": [self.data_class],
            "version": "2026-03",
            "noticeURL": "https://clinic.example/notice",
            "registry": {"embedded": {}},
            "acceptedVersions": ["2026-03"],
        }
        use = {
            "purpose": "train_ai_system",
            "processing": "Training",
            "legalBasis": "eu-gdpr:A6-1-a",
            "consentScope": "research",
        }
        dataset = {
            "identity": f"urn:{self.namespace}:visits",
            "source": {"uri": f"s3://{self.namespace}/visits/*.parquet", "format": "Parquet"},
            "subjects": {"column": "patient_id", "kind": "patient", "atLeast": 200_000},
            "columns": [{"name": name, "dataClass": self.data_class} for name in ("patient_id", "age")],
            "uses": [use],
        }
        training = scope | {"purposes": ["train_ai_system"], "processing": ["Training"]}
        serving = scope | {"purposes": ["provide_service"], "processing": ["Inference"]}
        return [
            self.data_class_object(),
            self._object("ConsentScope", "research", training),
            self._object("ConsentScope", "serving", serving),
            self._object("Dataset", "visits", dataset),
        ]
