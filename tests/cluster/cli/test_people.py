"""The people of the docs with the roles that ship, and no other: what the commands tell them on a real API server.

ERIN is an ML engineer by a RoleBinding, OLGA the privacy officer with mlprivacy-pack-reader beside
it, OTTO one without, PAT writes packs. The clinic of examples/ is applied.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack.stack import NAMESPACE, DevStack

from .conftest import Run, eventually

ROOT = Path(__file__).parents[3]
CLINIC = ROOT / "examples" / "clinic"
ERIN, OLGA, OTTO, PAT = "erin", "olga", "otto", "pat"
PACK = """\
name: acme
version: "1"
title: House rules of Acme
notice: What our board decided.
rules:
  - {id: high-risk-ai, action: Deny, citations: ["Board 2026-05"]}
"""


@pytest.fixture(scope="module")
def clinic(stack: DevStack) -> Iterator[DevStack]:
    """The clinic with its people."""
    kubectl = stack.cluster.kubectl
    kubectl("apply", "-f", str(CLINIC), check=False)
    kubectl("create", "rolebinding", "erin", "-n", "research", "--clusterrole=mlprivacy-ml-engineer", f"--user={ERIN}")
    officers = (f"--user={OLGA}", f"--user={OTTO}")
    kubectl("create", "clusterrolebinding", "officers", "--clusterrole=mlprivacy-privacy-officer", *officers)
    kubectl("create", "rolebinding", "olga", "-n", NAMESPACE, "--role=mlprivacy-pack-reader", f"--user={OLGA}")
    eventually(lambda: accepted(stack, "diagnosis") == "True", "diagnosis accepted")
    eventually(lambda: allowed(stack, OLGA, "list", "privacypolicies.mlprivacy.dev"), "olga's role")
    eventually(lambda: allowed(stack, OLGA, "list", "configmaps", NAMESPACE), "olga's role of packs")
    eventually(lambda: allowed(stack, ERIN, "get", "trainingjobs.mlprivacy.dev", "research"), "erin's role")
    yield stack
    kubectl("delete", "--ignore-not-found", "--wait", "-f", str(CLINIC))


def accepted(stack: DevStack, name: str, namespace: str = "research") -> str | None:
    found = stack.cluster.get("trainingjobs.mlprivacy.dev", name, namespace)
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return next((c["status"] for c in conditions if c["type"] == "Accepted"), None)


def allowed(stack: DevStack, user: str, verb: str, resource: str, namespace: str | None = None) -> bool:
    where = ("-n", namespace) if namespace else ()
    asked = stack.cluster.kubectl("auth", "can-i", verb, resource, *where, as_user=user, check=False)
    return asked.stdout.strip() == "yes"


def plain(text: str) -> str:
    return " ".join(text.split())


def test_an_engineer_is_shown_the_operator_s_decision_and_what_she_may_not_read(
    clinic: DevStack, mlprivacy: Run
) -> None:
    erin = clinic.cluster.kubeconfig_for_user(ERIN)
    text = mlprivacy("explain", "trainingjob/diagnosis", "-n", "research", kubeconfig=erin).stdout
    first, second, *_ = text.splitlines()
    assert first == "ALLOWED   TrainingJob research/diagnosis"
    assert second.startswith("  Note: you may not list dataclasses.mlprivacy.dev, and ")
    assert "this is the operator's decision alone." in plain(text)
    assert "HELD" not in text
    assert "Accepted       True     Allowed" in text
    body = json.loads(mlprivacy("explain", "mltj/diagnosis", "-n", "research", "-o", "json", kubeconfig=erin).stdout)
    stored = body["status"]["decision"]
    assert (body["decidedBy"], body["verdict"], body["mode"]) == ("operator", "Allow", "Enforce")
    assert (body["digest"], body["findings"]) == (stored["digest"], stored["findings"])
    assert body["now"] is None
    assert len(body["unread"]) > 3


def test_a_message_that_several_conditions_have_is_told_once(clinic: DevStack, mlprivacy: Run) -> None:
    text = mlprivacy("explain", "trainingjob/borrowed-genomes", "-n", "research").stdout
    eventually(lambda: accepted(clinic, "borrowed-genomes") == "Unknown", "held")
    conditions = text.partition("\nConditions\n")[2]
    assert conditions.count("To fix it") == 1
    assert "as Accepted says" in conditions


def test_the_namespace_is_that_of_the_context_and_another_user_may_be_asked_for(
    clinic: DevStack, mlprivacy: Run, tmp_path: Path
) -> None:
    config = yaml.safe_load(Path(clinic.cluster.kubeconfig).read_text(encoding="utf-8"))
    context = {**config["contexts"][0]["context"], "namespace": "research"}
    config["contexts"].append({"name": "there", "context": context})
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    done = mlprivacy("explain", "mltj/diagnosis", "--context", "there", kubeconfig=path)
    assert done.stdout.startswith("ALLOWED   TrainingJob research/diagnosis"), done.stderr
    assert mlprivacy("explain", "mltj/diagnosis", kubeconfig=path).returncode == 2, "the current context has none"
    as_erin = mlprivacy("explain", "mltj/diagnosis", "-n", "research", "--as", ERIN)
    assert "Note: you may not list dataclasses.mlprivacy.dev" in as_erin.stdout
    nobody = mlprivacy("explain", "mltj/diagnosis", "-n", "research", "--as", "nobody")
    assert "You may not do this" in nobody.stderr


def test_doctor_lists_who_may_weaken_and_approve(clinic: DevStack, mlprivacy: Run) -> None:
    done = mlprivacy("doctor", "--only", "holders", "-o", "json")
    (weaken, approve, promise) = json.loads(done.stdout)["results"]
    assert weaken["message"].startswith("the verb weaken on governednamespaces.mlprivacy.dev is held by ")
    assert approve["message"].startswith("the verb approve on policyexceptions.mlprivacy.dev is held by ")
    assert promise["message"].startswith("the verb approve on privacybudgets.mlprivacy.dev is held by ")
    for result in (weaken, approve, promise):
        assert result["level"] == "ok"
        assert "User olga (by mlprivacy-privacy-officer)" in result["message"]
        assert "Group system:masters (by cluster-admin)" in result["message"]
        assert ERIN not in result["message"]


def test_the_review_of_the_docs_tells_who_holds_weaken(clinic: DevStack) -> None:
    page = (ROOT / "docs" / "privacy-officer.md").read_text(encoding="utf-8")
    (review,) = [b for b in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "SubjectAccessReview" in b]
    for user, verdict in ((OLGA, "true"), (ERIN, "false")):
        asked = yaml.safe_load(review.replace("SOMEBODY", user))
        done = clinic.cluster.kubectl(
            "create", "--validate=false", "-f", "-", "-o", "jsonpath={.status.allowed}", input=asked, as_user=OLGA
        )
        assert done.stdout == verdict, user


def test_the_officer_asks_what_enforce_would_refuse(clinic: DevStack, mlprivacy: Run) -> None:
    olga = clinic.cluster.kubeconfig_for_user(OLGA)
    done = mlprivacy("policy", "diff", "--cluster", "--namespace-label", "clinic-lab=enforce", kubeconfig=olga)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TrainingJob clinic-lab/first-try  WARNED -> REFUSED  (mode Warn -> Enforce)" in done.stdout
    same = mlprivacy("policy", "diff", "--cluster", "--namespace-label", "clinic-lab=warn", kubeconfig=olga)
    assert (same.returncode, "0 decided otherwise" in same.stdout) == (0, True)
    gone = mlprivacy("policy", "diff", "--cluster", "--delete", "clinic", kubeconfig=olga)
    assert gone.returncode == 1, "health data asks for more where no policy says otherwise"


def test_what_may_not_be_read_is_no_all_clear(clinic: DevStack, mlprivacy: Run) -> None:
    erin = clinic.cluster.kubeconfig_for_user(ERIN)
    done = mlprivacy("policy", "diff", str(CLINIC), "--cluster", kubeconfig=erin)
    assert done.returncode == 3
    assert done.stdout.startswith("INCOMPLETE  you may not list ")
    assert done.stdout.rstrip().endswith("of what could be seen.")


def test_jobs_are_listed_with_what_enforce_would_do(clinic: DevStack, mlprivacy: Run) -> None:
    olga = clinic.cluster.kubeconfig_for_user(OLGA)
    eventually(lambda: accepted(clinic, "first-try", "clinic-lab") == "True", "first-try accepted")
    done = mlprivacy("scan", "-A", kubeconfig=olga)
    assert done.returncode == 0, done.stdout
    rows = {line.split()[1]: plain(line) for line in done.stdout.splitlines() if line.startswith(("Train", "Infer"))}
    assert rows["research/diagnosis"] == "TrainingJob research/diagnosis ALLOWED Enforce - ALLOWED -"
    assert rows["clinic-lab/first-try"] == (
        "TrainingJob clinic-lab/first-try WARNED Warn dp-required REFUSED dp-required"
    )
    assert done.stdout.rstrip().endswith("under Enforce 3 would not run, 1 of them allowed today.")
    erin = mlprivacy("scan", "-n", "research", kubeconfig=clinic.cluster.kubeconfig_for_user(ERIN))
    assert erin.returncode == 3
    assert erin.stdout.startswith("INCOMPLETE  you may not list ")
    assert "ALLOWED" in next(line for line in erin.stdout.splitlines() if "research/diagnosis" in line)


def test_a_policy_and_an_exception_are_explained(clinic: DevStack, mlprivacy: Run) -> None:
    text = plain(mlprivacy("explain", "privacypolicy/clinic").stdout)
    assert text.startswith("IN FORCE PrivacyPolicy clinic")
    for words in (
        "mlprivacy.dev/tenant=clinic",
        "research: Enforce",
        "clinic-lab: Warn (its label is warn)",
        "eu-gdpr",
    ):
        assert words in text
    asked: dict[str, Any] = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PolicyException",
        "metadata": {"name": "first"},
        "spec": {
            "rule": "dp-required",
            "workload": {"kind": "TrainingJob", "namespace": "clinic-lab", "name": "first-try"},
            "reason": "Made-up data.",
            "ticket": "PRIV-1",
            "expiresAt": "2999-01-01T00:00:00Z",
        },
    }
    clinic.cluster.apply(asked)
    shown = eventually(
        lambda: t if "COUNT" in (t := mlprivacy("explain", "mlpe/first").stdout) else None, "the controller's word"
    )
    assert shown.startswith("DOES NOT COUNT  PolicyException first")
    for words in ("TrainingJob clinic-lab/first-try", "approved by  nobody", "PRIV-1"):
        assert words in shown
    clinic.cluster.kubectl("delete", "mlpe", "first")


def test_packs_are_read_and_made_by_whoever_is_bound_and_by_nobody_else(clinic: DevStack, mlprivacy: Run) -> None:
    kubectl = clinic.cluster.kubectl
    pack = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "acme", "namespace": NAMESPACE, "labels": {"mlprivacy.dev/pack": "true"}},
        "data": {"pack.yaml": PACK},
    }
    assert kubectl("create", "-f", "-", input=pack, as_user=PAT, check=False).returncode
    kubectl("create", "rolebinding", "pat", "-n", NAMESPACE, "--role=mlprivacy-pack-author", f"--user={PAT}")
    eventually(lambda: allowed(clinic, PAT, "create", "configmaps", NAMESPACE), "pat's role")
    kubectl("create", "-f", "-", input=pack, as_user=PAT)
    for name in ("acme", "mlprivacy-addresses", "mlprivacy-installation"):
        change: subprocess.CompletedProcess[str] = kubectl(
            "annotate", "configmap", name, "-n", NAMESPACE, "x=y", as_user=PAT, check=False
        )
        assert "forbidden" in change.stderr, "changing takes a name in packs.names"
    policy = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyPolicy",
        "metadata": {"name": "house"},
        "spec": {"packs": [{"name": "acme"}], "mode": "Enforce", "namespaceSelector": {
            "matchLabels": {"mlprivacy.dev/tenant": "clinic"}}},
    }  # fmt: skip
    clinic.cluster.apply(policy)
    same = ("policy", "diff", "--cluster", "--namespace-label", "clinic-lab=warn")
    blind = mlprivacy(*same, kubeconfig=clinic.cluster.kubeconfig_for_user(OTTO))
    assert blind.returncode == 3
    assert "where the pack acme would lie" in plain(blind.stdout)
    seeing = mlprivacy(*same, kubeconfig=clinic.cluster.kubeconfig_for_user(OLGA))
    assert seeing.returncode == 0, seeing.stdout
    assert allowed(clinic, OLGA, "list", "events", NAMESPACE)
    assert not allowed(clinic, OLGA, "get", "secrets", NAMESPACE)
    kubectl("delete", "privacypolicy", "house")
    kubectl("delete", "configmap", "acme", "-n", NAMESPACE)


def test_the_job_of_the_readme_is_accepted_as_printed(clinic: DevStack) -> None:
    found = re.search(r"^## A job\n\n```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.M)
    assert found is not None
    job = yaml.safe_load(found[1])
    clinic.cluster.apply(job)
    name = job["metadata"]["name"]
    eventually(lambda: accepted(clinic, name) is not None, f"{name} decided")
    assert accepted(clinic, name) == "True"
    assert accepted(clinic, "diagnosis") == "True", "and nothing that ran is another job now"
    clinic.cluster.kubectl("delete", "mltj", name, "-n", "research")
