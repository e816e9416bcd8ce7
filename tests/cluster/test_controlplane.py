"""The control plane under test is itself tested: identities and RBAC, audit log, simulated nodes, outages."""

import base64
import contextlib
import json
import signal
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from controlplane import Cluster, CommandError, ControlPlane
from controlplane.__main__ import main
from controlplane.certificates import Authority
from controlplane.processes import ControlPlaneError
from controlplane.pytest_plugin import NamespaceFactory

DEADLINE = 60.0


def eventually(look: Callable[[], Any], what: str) -> Any:
    """The first true result of `look`; fails when there is none within the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    pytest.fail(f"never seen: {what}")


def pod_of(cluster: Cluster, namespace: str, job: str) -> dict[str, Any]:
    listed = cluster.kubectl("get", "pods", "-n", namespace, "-l", f"batch.kubernetes.io/job-name={job}", "-o", "json")
    items: list[dict[str, Any]] = json.loads(listed.stdout)["items"]
    return items[0] if items else {}


def job(name: str, namespace: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A Job with a plain init container, a native sidecar and a main container."""
    template = {
        "metadata": {"annotations": annotations or {}},
        "spec": {
            "restartPolicy": "Never",
            "initContainers": [
                {"name": "seal", "image": "registry.example/seal:1"},
                {"name": "sidecar", "image": "registry.example/sidecar:1", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "trainer", "image": "registry.example/trainer:1"}],
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


def deployment(name: str, namespace: str) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "server", "image": "registry.example/server:1"}]},
            },
        },
    }


# --- identities -----------------------------------------------------------------------------------------------------


def test_a_service_account_may_do_what_rbac_grants_and_nothing_else(
    cluster: Cluster, namespace: NamespaceFactory
) -> None:
    ns = namespace()
    cluster.kubectl("create", "serviceaccount", "reader", "-n", ns)
    cluster.kubectl("create", "role", "reader", "-n", ns, "--verb=get,list", "--resource=configmaps")
    cluster.kubectl("create", "rolebinding", "reader", "-n", ns, "--role=reader", f"--serviceaccount={ns}:reader")
    user = f"system:serviceaccount:{ns}:reader"

    assert "kube-root-ca.crt" in cluster.kubectl("get", "configmaps", "-n", ns, as_user=user).stdout
    refused = cluster.kubectl("get", "secrets", "-n", ns, as_user=user, check=False)
    assert refused.returncode != 0
    assert f'User "{user}" cannot list resource "secrets"' in refused.stderr
    elsewhere = cluster.kubectl("get", "configmaps", "-n", "kube-system", as_user=user, check=False)
    assert "cannot list resource" in elsewhere.stderr


def test_a_user_is_authenticated_with_its_groups(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    cluster.kubectl("create", "rolebinding", "team", "-n", ns, "--clusterrole=edit", "--group=team-a")

    cluster.kubectl("create", "configmap", "mine", "-n", ns, as_user="alice", groups=["team-a"])
    refused = cluster.kubectl("create", "configmap", "theirs", "-n", ns, as_user="mallory", check=False)

    assert 'User "mallory" cannot create resource "configmaps"' in refused.stderr


def test_a_failing_command_is_an_error_that_shows_what_it_printed(cluster: Cluster) -> None:
    with pytest.raises(CommandError, match='namespaces "no-such-namespace" not found'):
        cluster.kubectl("get", "namespace", "no-such-namespace")


def test_built_in_controllers_have_identities_of_their_own(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    cluster.apply(job("whose", ns, suspend=False))
    eventually(lambda: pod_of(cluster, ns, "whose"), "the job's pod")

    created = cluster.audit_events(verb="create", resource="pods", namespace=ns)

    assert [event.user for event in created] == ["system:serviceaccount:kube-system:job-controller"]


# --- audit log ------------------------------------------------------------------------------------------------------


def test_the_audit_log_tells_who_created_what_and_in_which_order(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    cluster.kubectl("create", "rolebinding", "edit", "-n", ns, "--clusterrole=edit", "--user=alice")
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": ns},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
    }
    cluster.kubectl("create", "-f", "-", input=policy)
    cluster.kubectl("create", "-f", "-", input=job("train", ns, suspend=True), as_user="alice")

    (sealed,) = cluster.audit_events(verb="create", resource="networkpolicies", namespace=ns)
    (created,) = cluster.audit_events(verb="create", group="batch", resource="jobs", namespace=ns, name="train")

    assert created.user == "alice"
    assert created.code == 201
    assert sealed.completed < created.received
    assert created.annotations["authorization.k8s.io/decision"] == "allow"


def test_audit_annotations_of_an_admission_policy_are_in_the_log(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    name = f"note-{ns}"
    api = "admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": ns}}
    constraints = {"resourceRules": [rule], "namespaceSelector": selector}
    policy = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": constraints,
            "validations": [{"expression": "true"}],
            "auditAnnotations": [{"key": "seen", "valueExpression": "'seen ' + object.metadata.name"}],
        },
    }
    binding = {
        "apiVersion": api,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    numbers = iter(range(1000))

    def annotated() -> list[str]:
        made = f"cm-{next(numbers)}"
        cluster.kubectl("create", "configmap", made, "-n", ns)
        (event,) = cluster.audit_events(verb="create", resource="configmaps", namespace=ns, name=made)
        return [value for key, value in event.annotations.items() if key == f"{name}/seen" and made in value]

    try:
        cluster.apply(policy, binding)
        assert eventually(annotated, "the policy's audit annotation")[0].startswith("seen cm-")
    finally:
        cluster.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name)


# --- webhooks -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def webhook_that_names_its_caller(client_ca: Path, files: Path) -> Iterator[tuple[str, str]]:
    """A webhook that lets in only bearers of a certificate of `client_ca`, and refuses all with the bearer's name.

    Yields its URL and, in base64, the CA of its own serving certificate.
    """

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            certificate: Any = self.connection.getpeercert()
            caller = dict(pair for entry in certificate["subject"] for pair in entry)["commonName"]
            response = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": f"asked by {caller}"}}
            body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    authority = Authority(files, "webhook-ca")
    serving = authority.server("webhook", ["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(serving.certificate, serving.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        bundle = base64.b64encode(authority.files.certificate.read_bytes()).decode()
        yield f"https://127.0.0.1:{server.server_port}/validate", bundle
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_api_server_authenticates_itself_to_webhooks(private_cluster: ControlPlane, tmp_path: Path) -> None:
    with webhook_that_names_its_caller(private_cluster.webhook_client_ca, tmp_path) as (url, bundle):
        webhook = {
            "name": "caller.example.dev",
            "clientConfig": {"url": url, "caBundle": bundle},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        private_cluster.apply(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "caller"},
                "webhooks": [webhook],
            }
        )

        def refused() -> str:
            made = ("create", "secret", "generic", f"s-{time.monotonic_ns()}", "-n", "default")
            return private_cluster.kubectl(*made, check=False).stderr

        try:
            assert "asked by kube-apiserver" in eventually(refused, "a refusal by the webhook")
        finally:
            private_cluster.kubectl("delete", "validatingwebhookconfiguration", "caller")


# --- simulated nodes ------------------------------------------------------------------------------------------------


def test_a_job_with_a_native_sidecar_runs_for_its_time_and_completes(
    cluster: Cluster, namespace: NamespaceFactory
) -> None:
    ns = namespace()
    cluster.apply(job("train", ns, annotations={"kwok.mlprivacy.dev/run-seconds": "4"}))

    def running() -> dict[str, Any]:
        pod = pod_of(cluster, ns, "train")
        return pod if pod.get("status", {}).get("phase") == "Running" else {}

    status = eventually(running, "the pod running")["status"]
    seal, sidecar = status["initContainerStatuses"]
    assert seal["state"]["terminated"]["reason"] == "Completed"
    assert (sidecar["started"], sidecar["ready"], list(sidecar["state"])) == (True, True, ["running"])
    assert status["containerStatuses"][0]["ready"]
    assert {"type": "Ready", "status": "True"}.items() <= _condition(status, "Ready").items()

    cluster.kubectl("wait", "job/train", "-n", ns, "--for=condition=Complete", "--timeout=60s")
    status = pod_of(cluster, ns, "train")["status"]
    assert status["phase"] == "Succeeded"
    assert [list(s["state"]) for s in status["initContainerStatuses"]] == [["terminated"], ["terminated"]]


def test_an_exit_code_makes_the_job_fail(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    annotations = {"kwok.mlprivacy.dev/run-seconds": "1", "kwok.mlprivacy.dev/exit-code": "3"}
    cluster.apply(job("crash", ns, annotations=annotations))

    cluster.kubectl("wait", "job/crash", "-n", ns, "--for=condition=Failed", "--timeout=60s")

    assert pod_of(cluster, ns, "crash")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


def test_a_held_pod_stays_pending_until_it_is_let_go(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    cluster.apply(job("held", ns, annotations={"kwok.mlprivacy.dev/hold": "true"}))

    def initialising() -> dict[str, Any]:
        pod = pod_of(cluster, ns, "held")
        return pod if pod.get("status", {}).get("startTime") else {}

    pod = eventually(initialising, "the pod initialising")
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}

    cluster.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", ns, "kwok.mlprivacy.dev/hold-")
    cluster.kubectl("wait", "pod", "--all", "-n", ns, "--for=condition=Ready", "--timeout=60s")


def test_a_deleted_job_takes_its_pod_with_it(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    cluster.apply(job("gone", ns))
    eventually(lambda: pod_of(cluster, ns, "gone").get("status", {}).get("phase") == "Running", "the pod running")

    cluster.kubectl("delete", "job", "gone", "-n", ns)

    eventually(lambda: not pod_of(cluster, ns, "gone"), "the end of the pod")


def test_a_suspended_job_sees_its_old_pod_end_before_a_new_one_starts(
    cluster: Cluster, namespace: NamespaceFactory
) -> None:
    ns = namespace()
    cluster.apply(job("again", ns, podReplacementPolicy="Failed"))
    first = eventually(lambda: pod_of(cluster, ns, "again"), "the first pod")

    cluster.kubectl("patch", "job", "again", "-n", ns, "--type=merge", "-p", '{"spec":{"suspend":true}}')
    eventually(lambda: not pod_of(cluster, ns, "again"), "the end of the first pod")
    cluster.kubectl("patch", "job", "again", "-n", ns, "--type=merge", "-p", '{"spec":{"suspend":false}}')

    second = eventually(lambda: pod_of(cluster, ns, "again"), "the second pod")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


def test_a_deployment_becomes_available(cluster: Cluster, namespace: NamespaceFactory) -> None:
    ns = namespace()
    cluster.apply(deployment("serve", ns))

    cluster.kubectl("wait", "deployment/serve", "-n", ns, "--for=condition=Available", "--timeout=60s")

    serving = cluster.get("deployments", "serve", ns)
    assert serving is not None
    assert serving["status"]["readyReplicas"] == 2


def test_helm_works_with_caches_of_its_own(cluster: Cluster, namespace: NamespaceFactory) -> None:
    assert json.loads(cluster.helm("list", "-n", namespace(), "-o", "json").stdout) == []


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(condition for condition in status["conditions"] if condition["type"] == kind)
    return found


# --- a control plane of its own -------------------------------------------------------------------------------------


def test_an_api_server_that_was_stopped_comes_back_with_its_objects(private_cluster: ControlPlane) -> None:
    private_cluster.kubectl("create", "configmap", "kept", "-n", "default")

    private_cluster.stop_apiserver()
    down = private_cluster.kubectl("get", "configmaps", "-n", "default", check=False)
    private_cluster.start_apiserver()

    assert "refused" in down.stderr
    assert private_cluster.get("configmaps", "kept", "default") is not None


def test_a_paused_api_server_makes_clients_wait(private_cluster: ControlPlane) -> None:
    private_cluster.pause_apiserver()
    try:
        with pytest.raises(ControlPlaneError, match="had not ended"):
            private_cluster.kubectl("get", "namespaces", timeout=2)
    finally:
        private_cluster.resume_apiserver()

    assert "default" in private_cluster.kubectl("get", "namespaces").stdout


def test_a_node_is_added_and_takes_pods_by_its_label(private_cluster: ControlPlane) -> None:
    private_cluster.add_node("gpu-0", labels={"pool": "gpu"}, capacity={"cpu": "8", "memory": "64Gi", "pods": "10"})
    pinned = job("pinned", "default", annotations={"kwok.mlprivacy.dev/run-seconds": "1"})
    pinned["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "gpu"}

    private_cluster.apply(pinned)
    private_cluster.kubectl("wait", "job/pinned", "-n", "default", "--for=condition=Complete", "--timeout=60s")

    assert pod_of(private_cluster, "default", "pinned")["spec"]["nodeName"] == "gpu-0"


def test_another_program_attaches_to_a_running_control_plane(private_cluster: ControlPlane) -> None:
    attached = ControlPlane.attach(private_cluster.layout.root)

    attached.restart_apiserver()

    assert "default" in attached.kubectl("get", "namespaces").stdout
    assert private_cluster.status() == dict.fromkeys(private_cluster.status(), True)


def test_tokens_of_preloaded_users_authenticate_without_kubectl(private_cluster: ControlPlane) -> None:
    request = urllib.request.Request(  # noqa: S310  (https to 127.0.0.1)
        f"{private_cluster.server}/apis/authentication.k8s.io/v1/selfsubjectreviews",
        method="POST",
        data=json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode(),
        headers={"Authorization": f"Bearer {private_cluster.tokens['bob']}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile=str(private_cluster.cluster_ca))
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310
        who = json.load(answer)["status"]["userInfo"]

    assert who["username"] == "bob"
    assert who["groups"] == ["system:authenticated"]


@pytest.mark.cluster
def test_up_leaves_one_running_that_recovers_from_a_kill_and_down_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("USE_EXISTING_CLUSTER", raising=False)
    place = ["--dir", str(tmp_path)]
    try:
        assert main(["up", *place]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / "kubeconfig")
        (etcd,) = [process for process in ControlPlane.processes_in(tmp_path) if process.name == "etcd"]
        etcd.signal(signal.SIGKILL)
        eventually(lambda: main(["status", *place]) == 1, "status to see that etcd is gone")

        assert main(["up", *place]) == 0
        assert main(["status", *place]) == 0
        assert "default" in ControlPlane.attach(tmp_path).kubectl("get", "namespaces").stdout
    finally:
        running = ControlPlane.processes_in(tmp_path)
        main(["down", *place])
    assert [process.name for process in running if process.alive()] == []
    assert not (tmp_path / "kubeconfig").exists()
