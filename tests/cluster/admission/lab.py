"""A control plane with the chart's webhooks and RBAC and one admission process, whose certificates the test makes.

The guard policies are taken off: whatever is refused here, the webhook refused. Shared by the tests beside this file
and by the benchmark.
"""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.cluster import ControlPlane
from controlplane.processes import Process, wait_until
from devstack.stack import DATAPLANE_IMAGE, NAMESPACE, DevStack
from mlprivacy.api.names import ADDRESSES
from mlprivacy.controls.render import render
from mlprivacy.kube.certificates import KeyPair, LeafSpec, new_ca, new_leaf
from mlprivacy.policy.engine import evaluate, parse_job
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.workloads.context import RenderContext, RenderSettings
from mlprivacy.workloads.installation import KEY_SETTINGS, noted

ROOT: Final = Path(__file__).resolve().parents[3]
OBJECTS: Final = ROOT / "tests" / "unit" / "admission" / "objects.yaml"
SECRET: Final = "mlprivacy-admission-tls"  # noqa: S105 - a Secret's name
SETTINGS: Final = RenderSettings(NAMESPACE, DATAPLANE_IMAGE, "192.0.2.1:15019:15019", "a2V5")
WEBHOOKS: Final = {
    "mutatingwebhookconfiguration": ("mlprivacy-stamp", 1),
    "validatingwebhookconfiguration": ("mlprivacy-decide", 3),
}


def objects(*kinds: str) -> list[dict[str, Any]]:
    """The clinic and the research team of the unit tests; of these kinds only, when any is given."""
    items = yaml.safe_load(OBJECTS.read_text(encoding="utf-8"))["items"]
    return [item for item in items if not kinds or item["kind"] in kinds]


class Lab:
    """The chart on a control plane of its own, and its admission process."""

    def __init__(self, cluster: ControlPlane, directory: Path, *, arguments: tuple[str, ...] = ()) -> None:
        self.cluster = cluster
        self.stack = DevStack(cluster, directory, components=(), extra={"admission": arguments})
        self.ca: KeyPair = new_ca(datetime.now(UTC), timedelta(days=30))
        self.port = self.stack.ports["admission"]

    def install(self) -> None:
        """The chart, without guard policies; webhooks trust our CA; the certificate's Secret is filled, and the list of
        what pods are rendered with, both in place of the controller.
        """
        self.stack.start()
        self.cluster.kubectl(
            "delete",
            "validatingadmissionpolicybinding",
            "-l",
            "app.kubernetes.io/part-of=mlprivacy",
            "--ignore-not-found",
        )
        left = self.cluster.kubectl("get", "validatingadmissionpolicybinding", "-o", "name").stdout.split()
        for name in left:
            if "mlprivacy" in name:
                self.cluster.kubectl("delete", name)
        self.trust(self.ca)
        self.certify()
        patch = json.dumps({"data": {KEY_SETTINGS: noted({}, SETTINGS, datetime.now(UTC))}})
        self.cluster.kubectl("patch", "configmap", ADDRESSES, "-n", NAMESPACE, "--type=merge", "-p", patch)

    def trust(self, *authorities: KeyPair) -> None:
        """What the API server checks the webhook's certificate against."""
        bundle = base64.b64encode(b"".join(ca.certificate for ca in authorities)).decode()
        for kind, (name, count) in WEBHOOKS.items():
            patch = [
                {"op": "add", "path": f"/webhooks/{i}/clientConfig/caBundle", "value": bundle} for i in range(count)
            ]
            self.cluster.kubectl("patch", kind, name, "--type=json", "-p", json.dumps(patch))

    def certify(self, *, ca: KeyPair | None = None, lifetime: timedelta = timedelta(days=7)) -> None:
        """A new serving certificate into the Secret, as the controller would write it."""
        spec = LeafSpec(
            "mlprivacy-admission", ("mlprivacy-admission.mlprivacy-system.svc",), ("127.0.0.1",), client=True
        )
        signer = ca or self.ca
        leaf = new_leaf(signer, spec, datetime.now(UTC), lifetime)
        content = {"tls.crt": leaf.certificate, "tls.key": leaf.key, "ca.crt": signer.certificate}
        data = {key: base64.b64encode(value).decode() for key, value in content.items()}
        patch = json.dumps({"data": data})
        self.cluster.kubectl("patch", "secret", SECRET, "-n", NAMESPACE, "--type=merge", "-p", patch)

    def start(self) -> Process:
        """The admission process, once it is ready."""
        process = self.stack.run("admission")
        self.stack.wait_ready("admission")
        return process

    def end(self, *, kill: bool = False) -> None:
        """End it."""
        self.stack.end("admission", kill=kill)

    def load(self) -> None:
        """Every object but the jobs."""
        kinds = ("Namespace", "DataClass", "ConsentScope", "Dataset", "DatasetGrant", "PrivacyPolicy")
        self.cluster.apply(*objects("Namespace"))
        for namespace in ("clinic", "research"):
            wait_until(
                lambda namespace=namespace: self.cluster.get("serviceaccounts", "default", namespace) is not None,
                30,
                what=f"the default ServiceAccount of {namespace}",
            )
        self.cluster.apply(*objects(*kinds[1:]))

    def health(self, path: str) -> tuple[int, str]:
        """Status and text of a probe."""
        url = f"http://127.0.0.1:{self.stack.ports['health-admission']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, line: str) -> float:
        """The value of one sample, named as the process prints it; 0 when it has none yet."""
        samples = (text.rpartition(" ") for text in self.health("/metrics")[1].splitlines() if not text.startswith("#"))
        return sum(float(value) for name, _, value in samples if name == line)


def job(name: str, **spec: Any) -> dict[str, Any]:
    """The compliant TrainingJob of namespace research under another name, with parts of its spec exchanged."""
    (found,) = objects("TrainingJob")
    return {**found, "metadata": {"name": name, "namespace": "research"}, "spec": {**found["spec"], **spec}}


def rendered(stored: dict[str, Any], name: str, **labels: str) -> dict[str, Any]:
    """The pod `name` as the operator renders it for this job, as its Job makes it; with these labels changed."""
    facts = select_facts(stored, ObjectLookup(objects()), datetime.now(UTC))
    kind, parsed = parse_job(stored)
    job, namespace, uid = (stored["metadata"][key] for key in ("name", "namespace", "uid"))
    assert parsed.spec is not None
    made = render(RenderContext(kind, job, namespace, uid, parsed.spec, evaluate(stored, facts), 1, SETTINGS)).pod
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": f"mlp-{job}-1", "uid": uid, "controller": True}
    made["metadata"] |= {"name": name, "ownerReferences": [owner]}
    made["metadata"].pop("generateName")
    made["metadata"]["labels"] |= labels
    return made


def pod(name: str, namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """A small pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels), "annotations": dict(annotations)},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "registry.example/main"}],
        },
    }
