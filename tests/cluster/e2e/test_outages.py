"""Row 17: each process dead, hung or with a bad certificate; the API server away. Nothing governed runs unchecked."""

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

CLOSED = "unreachable (stamp|kinds|pods-enforce)"


@pytest.fixture(scope="module")
def places(lab: Any) -> tuple[str, str, Any, Any]:
    """A governed namespace with a running job and its pod, and one that is not governed."""
    governed, free = lab.namespace(), lab.namespace(None)
    lab.allowed(lab.mallory.create(governed, lab.training_job("steady")))
    lab.allowed(lab.mallory.create(governed, lab.inference_job("served")))
    return governed, free, lab.running_pod(governed, "steady"), lab.running_pod(governed, "served")


def plain_objects(lab: Any) -> list[dict[str, Any]]:
    """What people make who have nothing to do with us."""
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    once = {"spec": {**template["spec"], "restartPolicy": "Never"}}
    named = {"name": "everyday"}
    return [
        lab.pod("everyday"),
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": named,
         "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": named, "spec": {"template": once}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named},
        {"apiVersion": "v1", "kind": "Secret", "metadata": named},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named},
        {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {"ports": [{"port": 80}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": named, "spec": {"podSelector": {}}},
    ]  # fmt: skip


def closed(lab: Any, governed: str, running: Any) -> None:
    """Nothing that needs a decision gets past: a job, and a governed pod complete with its sidecar."""
    operator = lab.person(lab.operator)
    lab.refused(lab.mallory.create(governed, lab.training_job("during")), CLOSED)
    lab.refused(lab.mallory.patch(governed, "trainingjobs/steady", {"spec": {"purpose": "marketing"}}), CLOSED)
    pod = lab.governed_pod(governed, running)
    lab.refused(operator.create(governed, pod, dryRun="All"), CLOSED)


def opened(lab: Any, governed: str, running: Any, name: str) -> None:
    """Lawful work goes on, and unlawful work is told why."""
    lab.tended(lambda: lab.mallory.create(governed, lab.training_job(name)).ok, "an allowed job")
    lab.tended(lambda: any(p["status"].get("phase") == "Running" for p in lab.pods_of(governed, name)), "its pod")
    wrong = lab.mallory.create(governed, lab.training_job(f"{name}-wrong", purpose="marketing"))
    lab.refused(wrong, "webhook kinds")
    pod = lab.governed_pod(governed, running)
    lab.allowed(lab.person(lab.operator).create(governed, pod, dryRun="All"))


def untouched(lab: Any, free: str) -> None:
    """A namespace that nobody governs notices nothing, whatever is made there."""
    for obj in plain_objects(lab):
        lab.allowed(lab.mallory.create(free, obj))
    lab.eventually(lambda: len(lab.admin.items(free, "pods")) >= 3, "the pods of Job and Deployment")
    for plural in (
        "deployments",
        "jobs",
        "pods",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "services",
        "networkpolicies",
    ):
        lab.allowed(lab.mallory.delete(free, f"{plural}/everyday", propagationPolicy="Background"))


def test_admission_killed(lab: Any, places: Any) -> None:
    governed, free, steady, _ = places
    lab.kill("admission")

    closed(lab, governed, steady)
    untouched(lab, free)
    # Plain work in the governed namespace needs no decision either.
    lab.allowed(lab.mallory.create(governed, lab.pod("plain"), dryRun="All"))
    # A job can always go away, and what needs no decision can always be changed.
    lab.allowed(lab.mallory.delete(governed, "trainingjobs/steady", dryRun=["All"]))
    lab.restore()
    opened(lab, governed, steady, "after-kill")


def test_admission_hung(lab: Any, places: Any) -> None:
    """It keeps its connections and never answers: the API server gives up after the webhook's seconds, and refuses."""
    governed, free, steady, _ = places
    lab.freeze("admission")
    try:
        lab.refused(lab.mallory.create(governed, lab.training_job("during")), CLOSED)
        lab.allowed(lab.mallory.create(free, lab.pod("meanwhile")))
    finally:
        lab.thaw("admission")
    opened(lab, governed, steady, "after-hang")


def test_certificate_expired(lab: Any, places: Any, operator_namespace: str) -> None:
    """With nobody to mend it, governed creates fail closed; the controller mends it as soon as it is back."""
    governed, free, steady, _ = places
    secret = f"/api/v1/namespaces/{operator_namespace}/secrets"
    authority = lab.admin.ask("GET", f"{secret}/mlprivacy-ca").body["data"]
    before = lab.admin.ask("GET", f"{secret}/mlprivacy-admission-tls").body["data"]
    lab.end("controller")
    expired = {"data": {**before, "tls.crt": expired_copy(before["tls.crt"], authority)}}
    lab.allowed(
        lab.admin.ask("PATCH", f"{secret}/mlprivacy-admission-tls", expired, content="application/merge-patch+json")
    )

    # Connections from before go on; in a cluster a process that is not ready gets no new ones. Here they are cut.
    lab.kill("admission")
    lab.stack.run("admission")
    log = lab.stack.processes["admission"].log
    lab.eventually(lambda: "expired" in log.read_text(encoding="utf-8"), "words about the expired certificate", 90)
    closed(lab, governed, steady)
    lab.allowed(lab.mallory.create(free, lab.pod("unaware")))
    lab.restore()
    opened(lab, governed, steady, "after-expiry")


def expired_copy(certificate: str, authority: dict[str, str]) -> str:
    """The same leaf, signed by the same authority, that ended yesterday. All in base64 of PEM, as in a Secret."""
    leaf = x509.load_pem_x509_certificate(base64.b64decode(certificate))
    issuer = x509.load_pem_x509_certificate(base64.b64decode(authority["tls.crt"]))
    key = serialization.load_pem_private_key(base64.b64decode(authority["tls.key"]), None)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(leaf.subject)
        .issuer_name(issuer.subject)
        .public_key(leaf.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now - timedelta(days=1))
    )
    for extension in leaf.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def test_controller_down(lab: Any, places: Any) -> None:
    """Jobs are admitted, decided on and refused as ever; nothing is rendered until it is back."""
    governed, _, steady, _ = places
    lab.kill("controller")
    lab.allowed(lab.mallory.create(governed, lab.training_job("patient")))
    lab.refused(lab.mallory.create(governed, lab.training_job("wrong", purpose="marketing")), "webhook kinds")

    assert lab.condition(governed, "patient", "Accepted") == {}
    assert lab.admin.read(governed, "jobs/mlp-patient-1") is None
    lab.refused(lab.mallory.delete(governed, "networkpolicies/mlp-steady"), "guard rendered-objects")
    lab.restore()
    lab.running_pod(governed, "patient")
    assert lab.running_pod(governed, "steady")["metadata"]["uid"] == steady["metadata"]["uid"]


def test_collector_down(lab: Any, places: Any) -> None:
    """Without a receipt nothing starts; what runs goes on; what is refused is refused."""
    governed, _, steady, _ = places
    lab.kill("collector")
    lab.allowed(lab.mallory.create(governed, lab.training_job("unheard")))
    found = lab.await_condition(governed, "unheard", "ControlsReady", "False", says="receipt")

    assert found["reason"] == "AuditUnavailable"
    assert lab.condition(governed, "unheard", "Accepted")["status"] == "True"
    assert lab.admin.read(governed, "jobs/mlp-unheard-1") is None
    lab.restore()
    lab.running_pod(governed, "unheard")
    assert lab.running_pod(governed, "steady")["metadata"]["uid"] == steady["metadata"]["uid"]
    assert lab.mlprivacy_verify().returncode == 0


def test_api_server_away(lab: Any, places: Any) -> None:
    """For longer than the controller's lease: its process ends and is started again, as a kubelet would."""
    governed, free, steady, served = places
    lab.cluster.stop_apiserver()
    time.sleep(20)  # the outage itself; nothing is measured by it
    lab.cluster.start_apiserver()
    for pod, job in ((steady, "steady"), (served, "served")):
        assert lab.running_pod(governed, job)["metadata"]["uid"] == pod["metadata"]["uid"]

    opened(lab, governed, steady, "after-outage")
    untouched(lab, free)
    unchecked = [
        pod["metadata"]["name"]
        for pod in lab.admin.items(governed, "pods", labelSelector="mlprivacy.dev/rendered")
        if pod["spec"]["initContainers"][0]["name"] != "mlprivacy-seal"
    ]
    assert unchecked == []


def test_policies_alone_refuse_with_every_process_dead(lab: Any, places: Any) -> None:
    """The guards are the API server's own: without its sidecar or its probe no governed pod passes."""
    governed, free, steady, served = places
    lab.kill("admission", "collector")
    lab.end("controller")
    operator = lab.person(lab.operator)
    for running in (steady, served):
        whole = lab.governed_pod(governed, running)
        lab.refused(operator.create(governed, whole, dryRun="All"), "unreachable pods-enforce")
        init = whole["spec"]["initContainers"]
        for lacking in (init[:1], init[1:], [{**init[0], "image": "registry.example/evil:1"}, *init[1:]]):
            bare = {**whole, "spec": {**whole["spec"], "initContainers": lacking}}
            lab.refused(operator.create(governed, bare, dryRun="All"), "guard pod-[a-z]+")
            lab.refused(lab.mallory.create(governed, bare), "guard (pod-[a-z]+|label-chain)")
    untouched(lab, free)
    lab.restore()
    opened(lab, governed, steady, "after-all")
