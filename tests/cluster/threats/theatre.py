"""The stage of the attacks: namespaces with lawful data and two attackers, jobs that are allowed, and looks."""

import base64
import json
import re
import uuid
from typing import Any, Final

import yaml
from person import Answer, Object, Person, eventually

from devstack import DevStack

IMAGE: Final = "registry.example/trainer@sha256:" + "c" * 64
API: Final = "mlprivacy.dev/v1alpha1"
RBAC: Final = "rbac.authorization.k8s.io"
OPERATOR: Final = "system:serviceaccount:mlprivacy-system:mlprivacy-controller"


def changed(obj: Object, **fields: Any) -> Object:
    """A deep copy with fields set by dotted path, `__` for the dot; None removes one."""
    copy: Object = json.loads(json.dumps(obj))
    for path, value in fields.items():
        *parents, last = path.split("__")
        place = copy
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return copy


class Scene:
    """The running operator, who attacks it, and what they attack."""

    image = IMAGE
    operator = OPERATOR
    eventually = staticmethod(eventually)
    changed = staticmethod(changed)

    def __init__(self, stack: DevStack) -> None:
        self.stack = stack
        self.cluster = stack.cluster
        self.admin = Person(self.cluster, None)
        self.mallory = Person(self.cluster, "mallory")
        self.heidi = Person(self.cluster, "heidi")
        self.attackers = (self.mallory, self.heidi)
        self.made: list[str] = []

    def acting_as(self, user: str) -> Person:
        """The administrator, impersonating a user that no test can log in as."""
        return Person(self.cluster, None, acting_as=user)

    def person(self, user: str, acting_as: str = "") -> Person:
        """Somebody else, by name; with `acting_as` they try to impersonate."""
        return Person(self.cluster, user, acting_as=acting_as)

    def officer_of(self, role: str, rules: list[Object], user: str) -> Person:
        """A user with these rights in the whole cluster, for the rest of the session."""
        kind = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules}
        self.put(None, kind, again=True)
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
        }
        self.put(None, binding, again=True)
        return Person(self.cluster, user)

    def webhook_url(self) -> str:
        """Where the API server reaches the admission process."""
        configuration = self.admin.read(None, "validatingwebhookconfigurations/mlprivacy-decide")
        assert configuration is not None
        return str(configuration["webhooks"][0]["clientConfig"]["url"])

    def certificate_of(self, user: str) -> str:
        """Path of the user's own client certificate and key, of the cluster's authority."""
        config = yaml.safe_load(self.cluster.kubeconfig_for_user(user).read_text(encoding="utf-8"))
        pair = config["users"][0]["user"]
        path = self.stack.directory / f"{user}.pem"
        parts = [base64.b64decode(pair[f"client-{part}-data"]) for part in ("certificate", "key")]
        path.write_bytes(b"".join(parts))
        return str(path)

    # --- places -------------------------------------------------------------------------------------------------

    def namespace(self, ceiling: str | None = "enforce", *, data: bool = True) -> str:
        """A namespace with both attackers in it and, unless told otherwise, a dataset and a consent that allow jobs."""
        name = f"threat-{uuid.uuid4().hex[:10]}"
        self.made.append(name)
        labels = {"mlprivacy.dev/enforce": ceiling} if ceiling else {}
        self.put(None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": "owner"}, "rules": everything}
        self.put(name, role)
        for kind, bound, user in (
            ("ClusterRole", "edit", "mallory"),
            ("ClusterRole", "mlprivacy-ml-engineer", "mallory"),
            ("Role", "owner", "heidi"),
        ):
            self.put(
                name,
                {
                    "apiVersion": f"{RBAC}/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": f"{bound}-{user}"},
                    "roleRef": {"apiGroup": RBAC, "kind": kind, "name": bound},
                    "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
                },
            )
        if data:
            self.data(name)
        eventually(lambda: self.admin.get(name, "serviceaccounts/default").ok, "the default ServiceAccount")
        return name

    def data(self, namespace: str) -> None:
        """What lets `training_job` and `inference_job` be allowed here, made by the administrator."""
        columns = [{"name": name, "dataClass": "threat-plain"} for name in ("id", "age")]
        use = {"purpose": "train_ai_system", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-f"}
        dataset = {
            "identity": f"urn:{namespace}:visits",
            "source": {"uri": f"s3://{namespace}/visits/*.parquet", "format": "Parquet"},
            "subjects": {"column": "id", "kind": "person", "atLeast": 1000},
            "columns": columns,
            "uses": [use],
        }
        scope = {
            "purposes": ["essential.service"],
            "processing": ["Inference"],
            "dataClasses": ["threat-plain"],
            "version": "1",
            "noticeURL": "https://clinic.example/notice",
            "registry": {"embedded": {}},
            "acceptedVersions": ["1"],
        }
        plain = {"categories": ["user.demographic"], "sensitivity": "Internal"}
        self.put(None, self.ours("DataClass", "threat-plain", plain), again=True)
        self.put(namespace, self.ours("Dataset", "visits", dataset))
        self.put(namespace, self.ours("ConsentScope", "service", scope))

    def govern(self, namespace: str, ceiling: str = "enforce") -> None:
        """The privacy office labels a namespace that was not governed before."""
        label = {"metadata": {"labels": {"mlprivacy.dev/enforce": ceiling}}}
        self.allowed(self.admin.patch(None, f"namespaces/{namespace}", label))

    def put(self, namespace: str | None, obj: Object, *, again: bool = False) -> Object:
        """Create an object as the administrator; with `again` it may be there already."""
        answer = self.admin.create(namespace, obj)
        assert answer.ok or (again and answer.code == 409), answer
        return answer.body

    def clean(self) -> None:
        for name in self.made:
            self.admin.delete(None, f"namespaces/{name}")
        self.made.clear()

    # --- objects ------------------------------------------------------------------------------------------------

    def ours(self, kind: str, name: str, spec: Object) -> Object:
        return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}

    def training_job(self, name: str, **spec: Any) -> Object:
        """A job that is allowed in a namespace of `namespace()`; keywords replace fields of its spec."""
        base: Object = {
            "purpose": "train_ai_system",
            "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data/visits"}],
            "privacy": {"mechanism": "None"},
            "template": {"spec": {"containers": [{"name": "trainer", "image": IMAGE}]}},
        }
        return self.ours("TrainingJob", name, {**base, **spec})

    def inference_job(self, name: str, **spec: Any) -> Object:
        base: Object = {
            "model": {"image": IMAGE},
            "purpose": "essential.service",
            "dataClasses": ["threat-plain"],
            "consentScope": {"name": "service"},
            "port": 8080,
            "template": {"spec": {"containers": [{"name": "server"}]}},
        }
        return self.ours("InferenceJob", name, {**base, **spec})

    def pod(self, name: str, labels: Any = None, **spec: Any) -> Object:
        """A plain pod that runs for a second where it may end."""
        container = {"name": "app", "image": "registry.example/app:1"}
        annotations = {"kwok.mlprivacy.dev/run-seconds": "1"}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": dict(labels or {}), "annotations": annotations},
            "spec": {"restartPolicy": "Never", "containers": [container], **spec},
        }

    # --- looking ------------------------------------------------------------------------------------------------

    def condition(self, namespace: str, job: str, kind: str, plural: str = "trainingjobs") -> Object:
        """One condition of a job; empty before it is written."""
        status = (self.admin.read(namespace, f"{plural}/{job}") or {}).get("status") or {}
        return next((c for c in status.get("conditions") or [] if c["type"] == kind), {})

    def await_condition(
        self, namespace: str, job: str, kind: str, status: str, plural: str = "trainingjobs", says: str = ""
    ) -> Object:
        """Wait for a condition with this status, and with this text in its message."""

        def look() -> Object | None:
            found = self.condition(namespace, job, kind, plural)
            return found if found.get("status") == status and says in found["message"] else None

        seen: Object = eventually(look, f"{kind}={status} {says!r} of {job}")
        return seen

    def pods_of(self, namespace: str, job: str) -> list[Object]:
        """The governed pods of a job of this name."""
        found = self.admin.items(namespace, "pods", labelSelector="mlprivacy.dev/rendered")
        names = ("mlprivacy.dev/training-job", "mlprivacy.dev/inference-job")
        return [pod for pod in found if job in (pod["metadata"]["labels"].get(name) for name in names)]

    def keep_running(self, namespace: str, pod: Object) -> None:
        """Have the simulated node play the pod for an hour; only a node may say so on a governed pod."""
        node = Person(self.cluster, f"system:node:{pod['spec']['nodeName']}", ["system:nodes"])
        change = {"metadata": {"annotations": {"kwok.mlprivacy.dev/run-seconds": "3600"}}}
        self.allowed(node.patch(namespace, f"pods/{pod['metadata']['name']}", change, "strategic", "status"))

    def running_pod(self, namespace: str, job: str) -> Object:
        def look() -> Object | None:
            return next((p for p in self.pods_of(namespace, job) if p["status"].get("phase") == "Running"), None)

        found: Object = eventually(look, f"a running pod of {job}")
        return found

    # --- judging ------------------------------------------------------------------------------------------------

    def refused(self, answer: Answer, by: str) -> Answer:
        """Assert that it was refused, by whom matches the pattern (see `Answer.by`), and that it was said clearly."""
        assert not answer.ok, f"an attack succeeded: {answer}"
        assert re.fullmatch(by, answer.by), answer
        assert answer.message, answer
        return answer

    def allowed(self, answer: Answer) -> Answer:
        assert answer.ok, answer
        return answer
