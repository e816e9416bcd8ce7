"""The webhooks as the cluster uses them: by their Service, with certificates that a strict client accepts."""

import base64
import json
import threading
import time
from typing import Any

from node.operator import NAMESPACE, Operator
from node.world import World

# Python 3.13 checks strictly by default: key usage on the authority, key identifiers on the leaf.
SHAKE_HANDS = """
import socket, ssl
context = ssl.create_default_context(cadata=%r)
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection((%r, 443), timeout=10) as plain:
    with context.wrap_socket(plain, server_hostname="mlprivacy-admission.%s.svc") as secure:
        print("trusted", secure.version())
"""


def test_a_strict_client_in_the_cluster_trusts_the_webhooks_certificate(street: World, operator: Operator) -> None:
    hooks = street.cluster.get("validatingwebhookconfigurations", "mlprivacy-decide")["webhooks"]
    bundle = base64.b64decode(hooks[0]["clientConfig"]["caBundle"]).decode()
    address = street.cluster.get("services", "mlprivacy-admission", NAMESPACE)["spec"]["clusterIP"]
    street.apply(street.plain_pod(SHAKE_HANDS % (bundle, address, NAMESPACE), "client"))
    assert "trusted TLSv1.3" in street.said("client", "trusted")


def test_a_stranger_in_the_cluster_gets_no_answer(street: World, own_node: Any) -> None:
    """Where the API server shows a certificate, nobody without it is heard."""
    program = """
import http.client, ssl
context = ssl._create_unverified_context()
try:
    connection = http.client.HTTPSConnection(%r, 443, context=context, timeout=10)
    connection.request("POST", "/validate/kinds", body="{}", headers={"Content-Type": "application/json"})
    print("answered", connection.getresponse().status)
except (OSError, http.client.HTTPException) as error:
    print("refused", type(error).__name__)
"""
    address = street.cluster.get("services", "mlprivacy-admission", NAMESPACE)["spec"]["clusterIP"]
    street.apply(street.plain_pod(program % address, "forger"))
    assert "answered" not in street.said("forger", "refused")


def test_a_rolling_restart_fails_no_create_and_lets_none_pass_unchecked(world: World, operator: Operator) -> None:
    """Creates go on while every admission pod is replaced: lawful ones pass, others are refused by the webhook."""
    lawful = world.training_job("print('never run')", suspend=True)
    unlawful = json.loads(json.dumps(lawful))
    unlawful["spec"]["purpose"] = "marketing"
    stop = threading.Event()
    wrong: list[str] = []
    counts = {"lawful": 0, "unlawful": 0}

    def create() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for name, job in (("lawful", lawful), ("unlawful", unlawful)):
                given = {**job, "metadata": {**job["metadata"], "name": f"{name}-{number}"}}
                done = world.cluster.kubectl("create", "-f", "-", "--dry-run=server", input=given, check=False)
                counts[name] += 1
                if (done.returncode == 0) != (name == "lawful"):
                    wrong.append(f"{name}: {done.stdout}{done.stderr}")
                elif name == "unlawful" and "purpose-limitation" not in done.stderr:
                    wrong.append(f"refused, but not by the rule: {done.stderr}")

    creating = threading.Thread(target=create)
    creating.start()
    try:
        before = {p["metadata"]["uid"] for p in _admission_pods(world)}
        world.cluster.kubectl("rollout", "restart", "deployment/mlprivacy-admission", "-n", NAMESPACE)
        operator.wait_ready(("deployment/mlprivacy-admission",))
        time.sleep(6)  # the old pods leave by their own time
        assert before.isdisjoint(
            p["metadata"]["uid"] for p in _admission_pods(world) if "deletionTimestamp" not in p["metadata"]
        )
    finally:
        stop.set()
        creating.join()
    assert wrong == []
    assert min(counts.values()) > 20


def _admission_pods(world: World) -> list[dict[str, Any]]:
    selector = "app.kubernetes.io/component=admission"
    done = world.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", selector, "-o", "json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
    return found


def test_the_operators_pods_are_confined_as_well(operator: Operator) -> None:
    done = operator.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json")
    pods = [p for p in json.loads(done.stdout)["items"] if p["status"]["phase"] == "Running"]
    assert {p["metadata"]["labels"]["app.kubernetes.io/component"] for p in pods} == {
        "admission",
        "collector",
        "controller",
    }
    for pod in pods:
        container = pod["spec"]["containers"][0]
        assert container["image"] == operator.images.operator  # the image, not the checkout
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        done = operator.cluster.kubectl(
            "exec", pod["metadata"]["name"], "-n", NAMESPACE, "--",
            "python3", "-c", "import os; print(os.getuid(), flush=True); open('/probe', 'w')", check=False,
        )  # fmt: skip
        assert done.stdout.strip() == "65532"
        assert "Read-only file system" in done.stderr
