"""Threats 3, 31, 35: ways into a governed namespace past its gates, and the tokens of a job's account."""

import json
from typing import Any

import pytest

WAYS_IN = {
    "exec": ("exec", "idle", "--", "id"),
    "attach": ("attach", "idle"),
    "port-forward": ("port-forward", "pod/idle", "0:80"),
}


@pytest.fixture
def idle(world: Any, manifests: Any) -> str:
    """A governed namespace with a plain running pod `idle`: a CONNECT shows no labels, so plain pods are closed too."""
    ns = world.namespace()
    world.create(ns, manifests.plain_pod("idle"))
    world.eventually(lambda: world.get("pods", "idle", ns)["status"].get("phase") == "Running", "the pod running")
    return ns


@pytest.mark.parametrize("way", WAYS_IN)
def test_nobody_connects_to_a_pod_in_a_governed_namespace(world: Any, idle: str, way: str) -> None:
    verb, *rest = WAYS_IN[way]

    said = world.refused(verb, "-n", idle, *rest, policy="connect")
    world.refused(verb, "-n", idle, *rest, policy="connect", by=None)

    assert "debug in another namespace" in said.replace("\n", " ")


@pytest.mark.parametrize(
    "path", ["pods/idle/proxy", "pods/idle/proxy/x", "services/mine/proxy", "services/mine/proxy/x"]
)
@pytest.mark.parametrize("verb", ["get", "create", "delete"])
def test_the_api_server_is_no_proxy_into_a_governed_namespace(
    world: Any, manifests: Any, idle: str, path: str, verb: str
) -> None:
    world.allowed("create", "service", "clusterip", "mine", "-n", idle, "--tcp=80")
    body = ("-f", "-") if verb == "create" else ()

    world.refused(verb, "--raw", f"/api/v1/namespaces/{idle}/{path}", *body, policy="connect", body="{}")


def test_other_namespaces_stay_open(world: Any, manifests: Any) -> None:
    ns = world.namespace(None)
    world.create(ns, manifests.plain_pod("idle"))
    world.eventually(lambda: world.get("pods", "idle", ns)["status"].get("phase") == "Running", "the pod running")

    said = world.do("exec", "-n", ns, "idle", "--", "id").stderr

    assert "ValidatingAdmissionPolicy" not in said


def test_a_governed_pod_takes_no_ephemeral_container(world: Any, manifests: Any) -> None:
    """`edit` lost the right in Kubernetes 1.25; administrators are refused, and so are the controllers of the chain."""
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    pod = world.running_pod(ns, manifests.rendered_job())
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "registry.example/shell:1"}]}}
    command = ("patch", "pod", pod, "-n", ns, "--subresource=ephemeralcontainers", "-p", json.dumps(debug))

    assert "cannot" in world.do(*command).stderr
    world.refused(*command, policy="label-chain|ephemeral-containers", by=None)
    trusted = "system:serviceaccount:kube-system:job-controller"
    rights = "--resource=pods,pods/ephemeralcontainers"
    world.cluster.kubectl("create", "role", "debug", "-n", ns, "--verb=get,patch", rights)
    world.cluster.kubectl("create", "rolebinding", "debug", "-n", ns, "--role=debug", f"--user={trusted}")
    world.eventually(lambda: world.may(trusted, "patch", "pods/ephemeralcontainers", ns), "the right to debug")
    world.refused(*command, policy="ephemeral-containers", by=trusted)


def test_a_plain_pod_takes_one_but_none_that_reads_sealed_names(world: Any, idle: str) -> None:
    debug: dict[str, Any] = {"name": "debug", "image": "registry.example/shell:1"}
    command = ("patch", "pod", "idle", "-n", idle, "--subresource=ephemeralcontainers", "-p")
    sealed = {**debug, "name": "reader", "envFrom": [{"secretRef": {"name": "mlp-sealed-visits"}}]}

    world.refused(*command, json.dumps({"spec": {"ephemeralContainers": [sealed]}}), policy="sealed-names", by=None)
    world.allowed(*command, json.dumps({"spec": {"ephemeralContainers": [debug]}}), by=None)


def test_a_jobs_account_gives_no_token(world: Any) -> None:
    """Neither to `edit`, which may mint tokens of every account of its namespace, nor to a cluster administrator."""
    command = ("create", "token", "mlp-visits", "-n", world.common)

    world.refused(*command, policy="job-tokens")
    world.refused(*command, "--audience=gate", policy="job-tokens")
    world.refused(*command, policy="job-tokens", by=None)
    assert world.allowed("create", "token", "default", "-n", world.common).count(".") == 2


def test_a_kubelet_gets_a_jobs_token_for_a_pod_of_its_own(world: Any, manifests: Any) -> None:
    ns = world.namespace()
    world.create(ns, manifests.rendered("ServiceAccount"), by=world.operator)
    pod = world.running_pod(ns, manifests.rendered_job())
    found = world.get("pods", pod, ns)
    node = found["spec"]["nodeName"]
    kubelet = f"system:node:{node}"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "gate", "namespace": ns},
        "rules": [{"apiGroups": [""], "resources": ["gate"], "verbs": ["request-serviceaccounts-token-audience"]}],
    }
    world.cluster.apply(role)  # stands for a token volume with this audience, which no governed pod has in this release
    world.cluster.kubectl("create", "rolebinding", "gate", "-n", ns, "--role=gate", f"--user={kubelet}")
    world.eventually(lambda: world.may(kubelet, "request-serviceaccounts-token-audience", "gate", ns), "the audience")
    bound = (
        "--audience=gate",
        "--bound-object-kind=Pod",
        f"--bound-object-name={pod}",
        f"--bound-object-uid={found['metadata']['uid']}",
    )

    token = world.allowed("create", "token", "mlp-visits", "-n", ns, *bound, by=kubelet, groups=("system:nodes",))

    assert token.count(".") == 2


def test_no_secret_is_filled_with_a_jobs_token(world: Any) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "long-lived", "annotations": {"kubernetes.io/service-account.name": "mlp-visits"}},
        "type": "kubernetes.io/service-account-token",
    }

    world.create_refused(world.common, secret, "job-tokens")
    world.create_refused(world.common, secret, "job-tokens", by=None)


def test_impersonating_a_jobs_account_gains_nothing(world: Any) -> None:
    """`edit` may impersonate the accounts of its namespace; a job's holds no right."""
    account = f"--as=system:serviceaccount:{world.common}:mlp-visits"

    said = world.do("get", "pods", "-n", world.common, account).stderr

    assert "cannot list resource" in said
    assert "mlp-visits" in said
