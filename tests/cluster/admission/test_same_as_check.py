"""The admission server behind a real API server and `mlprivacy check` decide alike on 300 generated jobs.

The jobs go to the API server as a dry run, through its defaults, its schema and both webhooks; the verdict and the
rules of the findings are read from its audit log. Offline the same objects and jobs are read from one file.
"""

import asyncio
import json
import random
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controlplane.processes import ControlPlaneError, wait_until
from devstack.stack import AUDIT_RETENTION_DAYS
from mlprivacy.cli import objects as files
from mlprivacy.cli import offline
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import ApiError
from mlprivacy.kube.resources import TRAININGJOBS
from mlprivacy.policy.model import Action

JOBS = 300
AT_ONCE = 8
GROUP = "mlprivacy.dev/v1alpha1"
SELECTOR = {"matchLabels": {"kubernetes.io/metadata.name": "research"}}
LAWS: dict[str, Any] = {
    "apiVersion": GROUP,
    "kind": "PrivacyPolicy",
    "metadata": {"name": "laws"},
    "spec": {
        "namespaceSelector": SELECTOR,
        "packs": [{"name": "eu-gdpr"}, {"name": "eu-ai-act"}, {"name": "acme"}],
        "parameters": {"special-category.minimumAssurance": "Declared"},
        "rules": [
            {"id": "impact-assessment", "action": "Warn"},
            {"id": "trained-personnel", "action": "Warn"},
            {"id": "objection", "action": "Warn"},
            {"id": "minimisation", "action": "Warn"},
        ],
        "custom": [
            {"id": "short", "expression": "!has(job.spec.activeDeadlineSeconds)", "message": "No deadlines here."},
            {
                "id": "named",
                "expression": "job.metadata.name != 'same-7'",
                "message": "Not that one.",
                "action": "Warn",
            },
        ],
    },
}
PACK = """
name: acme
version: "1"
title: Ours
notice: Not legal advice.
rules:
  - {id: high-risk-ai, action: Warn, changes: [{from: "2025-01-01", action: Deny}], citations: [ours]}
"""
ACME: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "acme", "namespace": "mlprivacy-system", "labels": {"mlprivacy.dev/pack": "true"}},
    "data": {"pack.yaml": PACK},
}


def generated(labs: Any, seed: int) -> list[dict[str, Any]]:
    """Jobs of namespace research; about half of them have something wrong."""
    rng = random.Random(seed)  # noqa: S311 - jobs, not a secret

    def likely(chance: float) -> bool:
        return rng.random() < chance

    (base,) = labs.objects("TrainingJob")
    made = []
    for number in range(JOBS):
        spec = json.loads(json.dumps(base["spec"]))
        spec["datasets"] = rng.sample(spec["datasets"], rng.randint(1, 3))
        if likely(0.25):
            spec["datasets"][0]["name"] = "missing"
        if likely(0.1):
            spec["datasets"][0]["columns"].append(rng.choice(["postcode", "nosuch", "patient_id"]))
        spec["purpose"] = rng.choice(["train_ai_system"] * 5 + ["train_ai_system.vision", "advertising"])
        spec["privacy"]["epsilon"] = rng.choice([2, 2, 2, 0.5, 8])
        spec["privacy"]["delta"] = rng.choice([5e-8, 5e-8, 1e-9, 1e-3])
        if likely(0.1):
            spec["privacy"] = {"mechanism": "None"}
        if likely(0.1):
            spec["assurance"] = "Gated"
        if likely(0.1):
            spec["highRisk"] = {}
        if likely(0.1):
            spec["activeDeadlineSeconds"] = 600
        pod = spec["template"]["spec"]
        if likely(0.1):
            pod["hostNetwork"] = True
        if likely(0.1):
            pod["containers"][0]["image"] = "registry.example/trainer:latest"
        if likely(0.1):
            claim = {"claimName": rng.choice(["models", "nosuch"]), "readOnly": True}
            pod["volumes"] = [{"name": "models", "persistentVolumeClaim": claim}]
        metadata = {"name": f"same-{number}", "namespace": "research"}
        made.append({"apiVersion": GROUP, "kind": "TrainingJob", "metadata": metadata, "spec": spec})
    return made


async def rehearse(kubeconfig: str, jobs: list[dict[str, Any]]) -> dict[str, ApiError | None]:
    """A dry run of each job; the error where it was refused."""
    answers: dict[str, ApiError | None] = {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(client: KubeClient, job: dict[str, Any]) -> None:
        async with gate:
            try:
                await client.create(TRAININGJOBS, job, dry_run=True, field_manager="test")
                answers[job["metadata"]["name"]] = None
            except ApiError as error:
                answers[job["metadata"]["name"]] = error

    async with await KubeClient.connect(kubeconfig) as client:
        await asyncio.gather(*(one(client, job) for job in jobs))
    return answers


@pytest.fixture(scope="module")
def world(lab: Any, labs: Any) -> list[dict[str, Any]]:
    """What the clinic has, under a law, a pack of ours and custom rules; and a claim."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models", "namespace": "research"},
        "spec": {
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "plain",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    lab.cluster.apply(ACME, LAWS, claim)
    known = labs.objects("Namespace", "DataClass", "ConsentScope", "Dataset", "DatasetGrant", "PrivacyPolicy")
    return [*known, ACME, LAWS, claim]


def test_the_verdict_and_the_rules_are_the_same(
    lab: Any, labs: Any, world: list[dict[str, Any]], tmp_path: Path
) -> None:
    jobs = generated(labs, 1)
    probe = labs.job("same-7")

    told: list[str] = []

    def arrived() -> bool:
        """The pack and the policy are in the server's copies."""
        done = lab.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=probe, check=False)
        told.append(done.stderr)
        return "custom/named" in done.stderr and "is not installed" not in done.stderr

    try:
        wait_until(arrived, 30, what="the policy in the copies of admission")
    except ControlPlaneError as error:
        pytest.fail(f"{error}; the last answer: {told[-1]}")
    since = datetime.now(UTC)
    answers = asyncio.run(rehearse(str(lab.cluster.kubeconfig), jobs))

    def events() -> dict[str, Any]:
        found = lab.cluster.audit_events(verb="create", resource="trainingjobs", namespace="research", since=since)
        return {event.name: event for event in found if (event.name or "").startswith("same-")}

    wait_until(lambda: len(events()) >= JOBS, 30, what="the audit log")
    logged = events()
    user = logged["same-0"].user

    file = tmp_path / "all.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*world, *jobs]}), encoding="utf-8")
    settings = offline.Settings(datetime.now(UTC), audit_retention_days=int(AUDIT_RETENTION_DAYS), requester=user)
    with offline.custom_rules() as custom:
        judgement = offline.judge(files.read([str(file)], default_namespace="default"), settings, custom)
    assert not judgement.bad, judgement.bad[:3]

    seen: Counter[str] = Counter()
    for judged in judgement.judged:
        name, decision = judged.item.name, judged.decision
        notes = logged[name].annotations
        rules = ",".join(sorted({f.rule for f in decision.findings}))[:512]
        assert notes["kinds.mlprivacy.dev/verdict"] == decision.verdict.value, (name, answers[name], rules)
        assert notes["kinds.mlprivacy.dev/rules"] == rules, name
        refused = answers[name]
        assert (refused is not None) is (decision.verdict.value == "Deny")
        if refused is not None:
            # A claim that two jobs name within a second is read once, so that one of them may hold for it.
            told_rules = set(re.findall(r"^([a-z/-]+): ", str(refused), re.MULTILINE))
            denials = [f for f in decision.findings if f.action is Action.DENY]
            assert told_rules, refused
            assert told_rules <= {f.rule for f in denials}, refused
            for rule in told_rules:
                assert any(f.message[:40] in str(refused) for f in denials if f.rule == rule), (rule, refused)
        seen[decision.verdict.value] += 1
    assert sum(seen.values()) == JOBS
    assert min(seen["Allow"], seen["Hold"], seen["Deny"]) >= 10, seen
