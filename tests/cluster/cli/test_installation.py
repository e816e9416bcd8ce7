"""`doctor`, `explain`, `verify` and `strip-finalizers` on a real installation, and on one that is broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack.stack import DevStack
from mlprivacy.cli.checks.guards import GUARDS

from .conftest import Run, eventually

CHART = Path(__file__).parents[3] / "charts" / "mlprivacy"
GOVERNED = "doctors-ward"
JOB = {
    "apiVersion": "mlprivacy.dev/v1alpha1",
    "kind": "TrainingJob",
    "metadata": {"name": "rounds", "namespace": GOVERNED},
    "spec": {
        "purpose": "essential.service",
        "datasets": [{"name": "beds", "columns": ["ward"], "mountPath": "/data"}],
        "template": {"spec": {"containers": [{"name": "t", "image": "registry.example/t@sha256:" + "a" * 64}]}},
    },
}
DATA = (
    {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "DataClass",
        "metadata": {"name": "plain"},
        "spec": {"categories": ["system"], "sensitivity": "Internal"},
    },
    {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "Dataset",
        "metadata": {"name": "beds", "namespace": GOVERNED},
        "spec": {
            "identity": "urn:ward:beds",
            "source": {"uri": "s3://ward/beds", "format": "CSV"},
            "subjects": {"column": "bed", "kind": "patient", "atLeast": 100},
            "columns": [{"name": "bed", "dataClass": "plain"}, {"name": "ward", "dataClass": "plain"}],
            "uses": [{"purpose": "essential", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-b"}],
        },
    },
)


@pytest.fixture
def ward(stack: DevStack) -> Iterator[str]:
    """A governed namespace with a job that was accepted."""
    stack.cluster.create_namespace(GOVERNED, {"mlprivacy.dev/enforce": "enforce"})
    try:
        stack.cluster.apply(*DATA)
        stack.cluster.apply(JOB)
        eventually(lambda: condition(stack, "Ready") == "True", "the job to be started")
        yield GOVERNED
    finally:
        stack.cluster.kubectl("delete", "trainingjobs.mlprivacy.dev", "--all", "-n", GOVERNED, "--wait", check=False)
        stack.cluster.kubectl("delete", "namespace", GOVERNED, "--wait", check=False)
        stack.cluster.kubectl("delete", "dataclass.mlprivacy.dev", "plain", "--ignore-not-found")


def condition(stack: DevStack, kind: str) -> str | None:
    found = stack.cluster.get("trainingjobs.mlprivacy.dev", "rounds", GOVERNED) or {}
    conditions = found.get("status", {}).get("conditions", [])
    return next((c["status"] for c in conditions if c["type"] == kind), None)


def examined(mlprivacy: Run, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = mlprivacy("doctor", "-o", "json", *arguments)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["results"]


def level(results: list[dict[str, Any]], words: str) -> str:
    (found,) = (r["level"] for r in results if words in r["message"])
    return str(found)


def test_a_good_installation_has_nothing_bad(stack: DevStack, mlprivacy: Run, ward: str) -> None:
    code, results = examined(mlprivacy, "--wait", "30")
    assert [r for r in results if r["level"] == "bad"] == []
    assert code == 0
    assert level(results, "10 of 10 definitions are served") == "ok"
    assert level(results, "was stamped and judged") == "ok"
    assert level(results, f"{len(GUARDS)} guard policies are there and bound") == "ok"
    assert level(results, "the controller is active") == "ok"
    assert level(results, "accounts that the guards trust") == "ok"
    assert level(results, f"enforce: {ward}") == "ok"
    assert level(results, "1 of 1 node is simulated") == "warn"
    assert level(results, "whether NetworkPolicy is enforced") == "skip"
    assert all(r["remedy"] for r in results if r["level"] in ("warn", "bad"))


def test_the_doctor_writes_nothing(stack: DevStack, mlprivacy: Run) -> None:
    examined(mlprivacy)
    assert "mlprivacy-doctor" not in stack.cluster.kubectl("get", "trainingjobs.mlprivacy.dev", "-A").stdout


def test_an_admission_server_that_is_away_is_found(stack: DevStack, mlprivacy: Run) -> None:
    stack.end("admission", kill=True)
    try:
        code, results = examined(mlprivacy, "--only", "webhooks")
        assert (code, level(results, "does not answer the API server")) == (1, "bad")
    finally:
        stack.run("admission")
        stack.wait_ready("admission")
    code, _ = examined(mlprivacy, "--only", "webhooks", "--wait", "30")
    assert code == 0


def test_a_controller_that_is_away_is_found(stack: DevStack, mlprivacy: Run) -> None:
    stack.end("controller", kill=True)
    try:
        code, results = examined(mlprivacy, "--only", "components")
        assert (code, level(results, "lease was not renewed")) == (1, "bad")
    finally:
        stack.run("controller")
        stack.wait_ready("controller")
    code, results = examined(mlprivacy, "--only", "components", "--wait", "60")
    assert (code, level(results, "the controller is active")) == (0, "ok")


def test_what_was_deleted_from_the_chart_is_found(stack: DevStack, mlprivacy: Run) -> None:
    guard = "mlprivacy-grace"
    try:
        stack.cluster.kubectl("delete", "validatingadmissionpolicy", guard)
        stack.cluster.kubectl("delete", "validatingwebhookconfiguration", "mlprivacy-decide")
        stack.cluster.kubectl("delete", "validatingadmissionpolicybinding", "mlprivacy-label-chain-enforce")
        code, results = examined(mlprivacy, "--only", "guards", "--only", "webhooks")
        assert code == 1
        assert level(results, f"guard policies are missing: {guard}") == "bad"
        assert level(results, "mlprivacy-decide is missing") == "bad"
        assert level(results, "no binding that denies: mlprivacy-label-chain") == "bad"
    finally:
        stack.install()
    code, _ = examined(mlprivacy, "--only", "guards", "--only", "webhooks", "--wait", "60")
    assert code == 0


def test_a_foreign_network_policy_that_opens_what_was_closed_is_found(
    stack: DevStack, mlprivacy: Run, ward: str
) -> None:
    """The guard refuses it; one that was there before the label stays and must be seen."""
    before = "no-label-yet"
    stack.cluster.create_namespace(before)
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "allow-all", "namespace": before},
        "spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]},
    }
    try:
        stack.cluster.apply(policy)
        stack.cluster.kubectl("label", "namespace", before, "mlprivacy.dev/enforce=enforce")
        code, results = examined(mlprivacy, "--only", "namespaces")
        assert (code, level(results, f"NetworkPolicy {before}/allow-all also selects")) == (1, "bad")
    finally:
        stack.cluster.kubectl("delete", "namespace", before, "--wait")


def test_a_doctor_with_few_rights_says_what_it_can_not_see(stack: DevStack, mlprivacy: Run) -> None:
    done = mlprivacy("doctor", "-o", "json", kubeconfig=stack.cluster.kubeconfig_for_user("dave"))
    results = json.loads(done.stdout)["results"]
    assert {r["level"] for r in results if r["check"] == "certificates"} == {"skip"}
    assert any("you may not look" in r["message"] for r in results)


def test_a_job_is_explained_whole(mlprivacy: Run, ward: str) -> None:
    text = mlprivacy("explain", "mltj/rounds", "-n", ward).stdout
    for words in (
        "ALLOWED   TrainingJob doctors-ward/rounds",
        "achieved Declared, required Declared",
        "Accepted       True     Allowed",
        "Job/mlp-rounds-1",
        "receipt    mlprivacy-controller/",
        "DataClass plain",
    ):
        assert words in text
    body = json.loads(mlprivacy("explain", "trainingjob/rounds", "-n", ward, "-o", "json").stdout)
    assert body["digest"] == body["status"]["decision"]["digest"]


def test_a_job_that_is_not_there_is_said(mlprivacy: Run) -> None:
    done = mlprivacy("explain", "trainingjob/none", "-n", "default")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: There is no TrainingJob none in the namespace default")


def test_who_may_not_read_everything_is_told_so(stack: DevStack, mlprivacy: Run, ward: str) -> None:
    stack.cluster.kubectl(
        "create", "rolebinding", "engineer", "-n", ward, "--clusterrole=mlprivacy-ml-engineer", "--user=alice"
    )
    alice = stack.cluster.kubeconfig_for_user("alice")
    done = eventually(
        lambda: d if (d := mlprivacy("explain", "mltj/rounds", "-n", ward, kubeconfig=alice)).returncode == 0 else None,
        "alice to be allowed",
    )
    assert "you may not list dataclasses.mlprivacy.dev" in " ".join(done.stdout.split())
    refused = mlprivacy("explain", "mltj/rounds", "-n", ward, kubeconfig=stack.cluster.kubeconfig_for_user("bob"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: You may not do this:")


def test_the_audit_log_of_the_run_is_verified(stack: DevStack, mlprivacy: Run, ward: str) -> None:
    done = mlprivacy("verify", str(stack.audit_directory))
    assert done.returncode == 0, done.stdout
    assert "mlprivacy-controller: good up to record" in done.stdout


def test_finalizers_are_stripped_when_the_controller_is_dead(stack: DevStack, mlprivacy: Run, ward: str) -> None:
    def finalizers() -> list[str]:
        found = stack.cluster.get("trainingjobs.mlprivacy.dev", "rounds", ward) or {"metadata": {}}
        return list(found["metadata"].get("finalizers", []))

    assert "mlprivacy.dev/teardown" in finalizers()
    stack.end("controller", kill=True)
    try:
        dry = mlprivacy("strip-finalizers")
        assert "trainingjobs.mlprivacy.dev doctors-ward/rounds" in dry.stdout
        assert "Run it again with --yes" in dry.stdout
        assert "mlprivacy.dev/teardown" in finalizers()
        stack.cluster.kubectl("delete", "trainingjobs.mlprivacy.dev", "rounds", "-n", ward, "--wait=false")
        done = mlprivacy("strip-finalizers", "--yes")
        assert done.returncode == 0, done.stderr
        assert "was taken off 1 object." in done.stdout
        eventually(
            lambda: stack.cluster.get("trainingjobs.mlprivacy.dev", "rounds", ward) is None, "the job to be gone"
        )
        assert "was taken off 0 objects." in mlprivacy("strip-finalizers", "--yes").stdout
    finally:
        stack.run("controller")
        stack.wait_ready("controller")


def test_who_may_not_weaken_can_not_strip_finalizers(stack: DevStack, mlprivacy: Run, ward: str) -> None:
    stack.cluster.kubectl(
        "create", "clusterrolebinding", "carol-writes", "--clusterrole=mlprivacy-ml-engineer", "--user=carol"
    )
    try:
        carol = stack.cluster.kubeconfig_for_user("carol")
        done = mlprivacy("strip-finalizers", "--yes", kubeconfig=carol)
        assert done.returncode == 2
        assert "keep the finalizer" in done.stderr
    finally:
        stack.cluster.kubectl("delete", "clusterrolebinding", "carol-writes")


def test_kubectl_runs_us_as_a_plug_in(stack: DevStack, tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-mlprivacy"
    plugin.write_text(
        f"#!{sys.executable}\nfrom mlprivacy.cli.main import main\nmain()\n",
        encoding="utf-8",
    )
    plugin.chmod(0o755)
    done = subprocess.run(
        [str(stack.cluster.binary("kubectl")), "mlprivacy", "--help"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith("Usage: kubectl mlprivacy"), done.stderr
