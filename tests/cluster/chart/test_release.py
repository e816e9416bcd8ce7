"""Install, upgrade, rollback, uninstall on a real API server; webhooks nobody answers fail closed, and only there."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlprivacy.api.kinds import all_kinds
from mlprivacy.cli.checks.guards import GUARDS

CHART = Path(__file__).parents[3] / "charts" / "mlprivacy"
NAMESPACE = "mlprivacy-system"
JOBS = "trainingjobs.mlprivacy.dev"
DEADLINE = 120.0
CLUSTER_SCOPED = (
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,"
    "validatingadmissionpolicybindings,clusterroles,clusterrolebindings"
)


def eventually(look: Callable[[], Any], what: str) -> Any:
    """The first true result of ``look``; fails when there is none within the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.2)
    pytest.fail(f"never seen: {what}")


class Release:
    """The release on a control plane of its own."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder

    def upgrade(self, values: dict[str, Any], *args: str) -> Any:
        path = self._folder / "values.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        place = ("--namespace", NAMESPACE, "--create-namespace", "-f", str(path))
        return self.cluster.helm("upgrade", "--install", "mlprivacy", str(CHART), *place, *args)

    def helm(self, *args: str, check: bool = True) -> Any:
        return self.cluster.helm(*args, "--namespace", NAMESPACE, check=check)

    def names(self, kinds: str) -> set[str]:
        listed = self.cluster.kubectl("get", kinds, "-l", "app.kubernetes.io/name=mlprivacy", "-o", "name")
        return set(listed.stdout.split())

    def manifest(self) -> list[dict[str, Any]]:
        return [one for one in yaml.safe_load_all(self.helm("get", "manifest", "mlprivacy").stdout) if one]


@pytest.fixture
def release(private_cluster: Any, tmp_path: Path) -> Iterator[Release]:
    """Nothing installed before and nothing after, definitions included."""
    one = Release(private_cluster, tmp_path)
    yield one
    one.helm("uninstall", "mlprivacy", "--ignore-not-found", "--no-hooks", "--wait")
    private_cluster.delete_definitions("-l", "app.kubernetes.io/name=mlprivacy")
    private_cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


@pytest.fixture
def project(private_cluster: Any) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def create(ceiling: str | None) -> str:
        name = f"project-{ceiling or 'free'}"
        made.append(name)
        private_cluster.create_namespace(name, {"mlprivacy.dev/enforce": ceiling} if ceiling else {})
        return name

    yield create
    for name in made:
        private_cluster.kubectl("delete", "namespace", name, "--ignore-not-found")


def pod(name: str = "plain", **labels: str) -> dict[str, Any]:
    container = {"name": "app", "image": "registry.example/app:1"}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def training_job(**metadata: Any) -> dict[str, Any]:
    container = {"name": "trainer", "image": "registry.example/trainer@sha256:" + "c" * 64}
    return {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "visits", "annotations": {"mlprivacy.dev/requested-by": "admin"}, **metadata},
        "spec": {
            "purpose": "train_ai_system",
            "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data/visits"}],
            "privacy": {"mechanism": "None"},
            "output": {"path": "/output", "model": "m", "destination": "pvc://models/m"},
            "template": {"spec": {"containers": [container]}},
        },
    }


def create(cluster: Any, namespace: str, body: dict[str, Any], *args: str) -> Any:
    return cluster.kubectl("create", "-n", namespace, "-f", "-", *args, input=body, check=False)


def test_after_uninstall_a_pod_can_be_created_in_every_namespace(release: Release, project: Any, ways: Any) -> None:
    """The webhooks point at a closed port and nobody of ours runs: as after a crash of everything."""
    cluster = release.cluster
    governed, free = project("enforce"), project(None)
    release.upgrade({**ways["outside"], "webhooks": {"enabled": False}})
    job = training_job(finalizers=["mlprivacy.dev/teardown"])
    eventually(lambda: create(cluster, governed, job).returncode == 0, "our kinds served")
    release.upgrade(ways["outside"])

    release.helm("uninstall", "mlprivacy", "--wait")

    assert release.names(CLUSTER_SCOPED) == set()
    assert len(release.names("customresourcedefinitions")) == len(all_kinds())  # crds.keep
    for namespace in (governed, free, "default", "kube-system", NAMESPACE):
        body = pod(**{"mlprivacy.dev/rendered": "training"})
        eventually(lambda ns=namespace, b=body: create(cluster, ns, b).returncode == 0, f"a pod in {namespace}")
        cluster.kubectl("delete", "pod", "plain", "-n", namespace, "--force", "--grace-period=0")
    # What is left of ours goes as well, once an administrator takes off the finalizer.
    cluster.kubectl("patch", JOBS, "visits", "-n", governed, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    cluster.kubectl("delete", JOBS, "visits", "-n", governed)


def test_upgrade_and_rollback_keep_keys_and_bundles(release: Release, ways: Any) -> None:
    cluster = release.cluster
    assert "Nothing is governed yet" in release.upgrade(ways["outside"]).stdout
    filled = json.dumps({"data": {"tls.key": "a2V5"}})
    cluster.kubectl("patch", "secret", "mlprivacy-ca", "-n", NAMESPACE, "--type=merge", "-p", filled)
    certificate = cluster.cluster_ca.read_bytes()
    bundle = base64.b64encode(certificate).decode()
    live = cluster.get("validatingwebhookconfigurations", "mlprivacy-decide")
    patch = [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
        for index in range(len(live["webhooks"]))
    ]
    decide = ("validatingwebhookconfiguration", "mlprivacy-decide")
    cluster.kubectl("patch", *decide, "--type=json", "-p", json.dumps(patch))

    def bundles() -> list[str]:
        found = cluster.get("validatingwebhookconfigurations", "mlprivacy-decide")
        return [webhook["clientConfig"].get("caBundle", "") for webhook in found["webhooks"]]

    changed = {"url": "https://127.0.0.1:10"}
    said = release.upgrade({**ways["outside"], "admission": changed, "webhooks": {"timeoutSeconds": 3}}).stdout
    assert "It was upgraded." in said
    assert "Nothing is governed yet" not in said
    after = cluster.get("validatingwebhookconfigurations", "mlprivacy-decide")["webhooks"][0]
    assert after["timeoutSeconds"] == 3
    assert after["clientConfig"]["url"].startswith("https://127.0.0.1:10/")
    assert set(bundles()) == {bundle}
    assert cluster.get("secrets", "mlprivacy-ca", NAMESPACE)["data"] == {"tls.key": "a2V5"}

    release.helm("rollback", "mlprivacy", "1")
    back = cluster.get("validatingwebhookconfigurations", "mlprivacy-decide")["webhooks"][0]
    assert back["timeoutSeconds"] == 5
    assert set(bundles()) == {bundle}
    assert cluster.get("secrets", "mlprivacy-ca", NAMESPACE)["data"] == {"tls.key": "a2V5"}


def test_the_api_server_adds_no_default_to_webhooks_and_guards(release: Release, ways: Any) -> None:
    """Else every GitOps tool would show a difference for ever."""
    release.upgrade(ways["outside"])
    kinds = {
        "MutatingWebhookConfiguration": "webhooks",
        "ValidatingWebhookConfiguration": "webhooks",
        "ValidatingAdmissionPolicy": "spec",
        "ValidatingAdmissionPolicyBinding": "spec",
    }
    for one in release.manifest():
        if field := kinds.get(one["kind"]):
            live = release.cluster.get(one["kind"], one["metadata"]["name"])
            assert live[field] == one[field], one["metadata"]["name"]


def test_a_second_install_takes_up_kept_definitions(release: Release, ways: Any) -> None:
    release.upgrade(ways["outside"])
    release.helm("uninstall", "mlprivacy", "--wait")

    release.upgrade(ways["outside"])

    assert len(release.names("customresourcedefinitions")) == len(all_kinds())


def test_every_guard_compiles_on_this_api_server(release: Release, ways: Any) -> None:
    release.upgrade(ways["outside"])
    listing = ("get", "validatingadmissionpolicies", "-l", "app.kubernetes.io/name=mlprivacy", "-o", "json")

    def checked() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(release.cluster.kubectl(*listing).stdout)["items"]
        return items if all("typeChecking" in item.get("status", {}) for item in items) else []

    for policy in eventually(checked, "every guard type-checked"):
        assert policy["status"]["typeChecking"] == {}, policy["metadata"]["name"]


def test_with_admission_dead_governed_creates_fail_closed_and_others_pass(
    release: Release, project: Any, ways: Any
) -> None:
    cluster = release.cluster
    governed, free = project("enforce"), project(None)
    release.upgrade({**ways["outside"], "webhooks": {"enabled": False}})
    job = training_job(finalizers=["mlprivacy.dev/teardown"])
    eventually(lambda: create(cluster, governed, job).returncode == 0, "our kinds served")
    release.upgrade(ways["outside"])
    another = training_job(name="another")

    def closed() -> bool:
        said = create(cluster, governed, another, "--dry-run=server").stderr
        return 'failed calling webhook "stamp.mlprivacy.dev"' in said

    eventually(closed, "the webhooks on duty")
    spec = ("patch", JOBS, "visits", "-n", governed, "--type=merge", "-p")
    changed = cluster.kubectl(*spec, '{"spec": {"suspend": true}}', check=False)
    assert "failed calling webhook" in changed.stderr
    assert create(cluster, governed, pod("one")).returncode == 0
    assert create(cluster, free, pod("one")).returncode == 0
    # Deletion waits for no webhook: a finalizer off is nothing to decide.
    cluster.kubectl("delete", JOBS, "visits", "-n", governed, "--wait=false")
    cluster.kubectl(*spec, '{"metadata": {"finalizers": null}}')
    eventually(lambda: cluster.get(JOBS, "visits", governed) is None, "the job gone")


def assert_the_controller_lost_its_rights_before_the_hook_ran(cluster: Any) -> None:
    """Else it would put the finalizers back; by the API server's own log."""
    bindings = cluster.audit_events(verb="create", resource="clusterrolebindings", name="mlprivacy-controller")
    jobs = cluster.audit_events(verb="create", resource="jobs", namespace=NAMESPACE)
    hook = [event for event in jobs if event.name == "mlprivacy-uninstall"]
    assert len(hook) == 1
    emptied = [event for event in bindings if event.completed < hook[0].received]
    assert emptied, "the binding was not replaced"
    taken = cluster.audit_events(verb="delete", resource="clusterrolebindings", name="mlprivacy-controller")
    assert [event for event in taken if event.completed < hook[0].received], "the binding was not taken first"


def test_a_whole_install_runs_its_hooks_and_leaves_nothing_of_them(release: Release, ways: Any) -> None:
    """Simulated nodes: the hooks' pods end well by themselves, which proves their objects, rights and order."""
    cluster = release.cluster
    values = {**ways["inside"], "podAnnotations": {"kwok.mlprivacy.dev/run-seconds": "1"}}
    release.upgrade(values, "--timeout=120s")

    assert cluster.get("jobs", "mlprivacy-check", NAMESPACE) is None
    assert "clusterrole.rbac.authorization.k8s.io/mlprivacy-check" not in release.names("clusterroles")

    def ready() -> bool:
        found = cluster.get("deployments", "mlprivacy-admission", NAMESPACE)
        return bool(found["status"].get("readyReplicas") == 2)

    eventually(ready, "two admission replicas")
    release.helm("uninstall", "mlprivacy", "--wait", "--timeout=120s")
    assert_the_controller_lost_its_rights_before_the_hook_ran(cluster)
    assert release.names(CLUSTER_SCOPED) == set()
    assert cluster.get("jobs", "mlprivacy-uninstall", NAMESPACE) is None
    assert cluster.get("serviceaccounts", "mlprivacy-uninstall", NAMESPACE) is None


def test_the_uninstall_hook_takes_finalizers_off_under_its_own_account(
    release: Release, project: Any, ways: Any
) -> None:
    """Under the guards, with its own token, by the command of the hook's Job; nobody answers the webhooks."""
    cluster = release.cluster
    governed = project("enforce")
    values = {**ways["inside"], "check": {"enabled": False}, "webhooks": {"enabled": False}}
    release.upgrade(values)
    job = training_job(finalizers=["mlprivacy.dev/teardown"])
    eventually(lambda: create(cluster, governed, job).returncode == 0, "our kinds served")
    release.upgrade({**values, "webhooks": {"enabled": True}})
    hooks = [one for one in yaml.safe_load_all(release.helm("get", "hooks", "mlprivacy").stdout) if one]
    work = next(one for one in hooks if one["kind"] == "Job" and one["metadata"]["name"] == "mlprivacy-uninstall")
    rights = [one for one in hooks if one["kind"] != "Job" and "uninstall" in one["metadata"]["name"]]
    for one in rights:
        del one["metadata"]["annotations"]
    cluster.apply(*rights)
    account = cluster.kubeconfig_for_service_account(NAMESPACE, "mlprivacy-uninstall")
    arguments = work["spec"]["template"]["spec"]["containers"][0]["args"]

    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", *arguments, "--kubeconfig", str(account)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )

    assert done.returncode == 0, done.stderr
    assert "was taken off 1 object" in done.stdout
    assert cluster.get(JOBS, "visits", governed)["metadata"].get("finalizers", []) == []
    cluster.kubectl("delete", "-f", "-", input=rights)


def test_the_check_hook_may_ask_what_it_asks(release: Release, ways: Any) -> None:
    """With its own token, by the command of the hook's Job: it finds guards and definitions, and nobody who answers."""
    cluster = release.cluster
    release.upgrade(ways["inside"], "--no-hooks")
    hooks = [one for one in yaml.safe_load_all(release.helm("get", "hooks", "mlprivacy").stdout) if one]
    work = next(one for one in hooks if one["kind"] == "Job" and one["metadata"]["name"] == "mlprivacy-check")
    rights = [one for one in hooks if one["kind"] != "Job" and one["metadata"]["name"] == "mlprivacy-check"]
    for one in rights:
        del one["metadata"]["annotations"]
    cluster.apply(*rights)
    account = cluster.kubeconfig_for_service_account(NAMESPACE, "mlprivacy-check")
    arguments = [one for one in work["spec"]["template"]["spec"]["containers"][0]["args"] if "--wait" not in one]

    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", *arguments, "--kubeconfig", str(account)],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "you may not" not in done.stdout
    assert f"{len(GUARDS)} guard policies are there and bound" in done.stdout
    assert "mlprivacy-decide has no CA bundle" in " ".join(done.stdout.split())
    may = ("auth", "can-i", "create", JOBS, "-n")
    user = f"system:serviceaccount:{NAMESPACE}:mlprivacy-check"
    assert cluster.kubectl(*may, "default", as_user=user, check=False).stdout.strip() == "yes"
    assert cluster.kubectl(*may, "kube-system", as_user=user, check=False).stdout.strip() == "no"
    cluster.kubectl("delete", "-f", "-", input=rights)
