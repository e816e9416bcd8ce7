"""A pack in a ConfigMap of the operator's namespace, on a real API server: it counts, changes, breaks and goes.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from mlprivacy.cli.main import cli

pytestmark = pytest.mark.cluster
SYSTEM = "mlprivacy-system"
PACK = """\
name: {name}
version: "1"
title: Acme's own
notice: House rules.
rules:
  - {{id: high-risk-ai, action: {action}}}
"""


class Acme:
    """A pack of a name of its own, and a policy for one world that names it."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.name = f"acme-{world.mark}"

    def put(self, text: str) -> None:
        self.world.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": self.name, "namespace": SYSTEM, "labels": {"mlprivacy.dev/pack": "true"}},
                "data": {"pack.yaml": text},
            }
        )

    def asks(self, action: str) -> None:
        self.put(PACK.format(name=self.name, action=action))

    def policy(self) -> None:
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self.world.namespace}}
        self.world.apply(
            {
                "apiVersion": "mlprivacy.dev/v1alpha1",
                "kind": "PrivacyPolicy",
                "metadata": {"name": self.name},
                "spec": {"namespaceSelector": selector, "packs": [{"name": self.name}]},
            }
        )

    def ready(self, status: str, says: str = "") -> None:
        """Wait until the policy says this of itself."""

        def look() -> bool:
            found = self.world.cluster.get("privacypolicies.mlprivacy.dev", self.name)
            condition = self.world.condition(found, "Ready")
            return condition.get("status") == status and says in condition.get("message", "")

        self.world.eventually(look, f"the policy is Ready={status} {says}")

    def events(self) -> list[str]:
        done = self.world.cluster.kubectl("get", "events.events.k8s.io", "-n", SYSTEM, "-o", "json")
        found = json.loads(done.stdout)["items"]
        return [e["note"] for e in found if e["regarding"].get("name") == self.name and e["reason"] == "InvalidPack"]

    def close(self) -> None:
        for resource, scope in (("configmap", ("-n", SYSTEM)), ("privacypolicies.mlprivacy.dev", ())):
            self.world.cluster.kubectl("delete", resource, self.name, *scope, "--ignore-not-found", "--wait=false")


@pytest.fixture
def acme(world: Any) -> Iterator[Acme]:
    made = Acme(world)
    yield made
    made.close()


def test_a_pack_of_users_lives_and_the_jobs_under_it_follow(world, acme):
    acme.policy()
    acme.ready("False", "is not installed")
    world.apply(world.training_job(highRisk={}))
    world.until("Accepted", "Unknown", "PackNotFound")

    acme.asks("Warn")
    acme.ready("True")
    job = world.running()
    found = [f for f in job["status"]["decision"]["findings"] if f["rule"] == "high-risk-ai"]
    assert {(f["action"], f["pack"]) for f in found} == {("Warn", acme.name)}

    acme.asks("Deny")
    world.until("Suspended", "True", "NoLongerAllowed")
    world.until("Accepted", "False")
    refused = world.cluster.apply(world.training_job("second", highRisk={}), check=False)
    assert refused.returncode != 0
    assert "high-risk-ai" in refused.stderr

    acme.put("name: one\nname: two\n")
    world.until("Accepted", "Unknown", "InvalidPolicy")
    acme.ready("False", "the key 'name' is given twice")
    world.eventually(lambda: any("line 2" in note for note in acme.events()), "an Event on the ConfigMap")

    acme.asks("Warn")
    world.running(attempt=2)


def test_a_built_in_pack_is_not_replaced(world):
    weaker = Acme(world)
    weaker.name = "eu-ai-act"
    try:
        weaker.asks("Evidence")
        world.eventually(lambda: any("which no other replaces" in note for note in weaker.events()), "an Event")
    finally:
        world.cluster.kubectl("delete", "configmap", "eu-ai-act", "-n", SYSTEM, "--ignore-not-found")


def test_policy_diff_compares_a_proposal_with_what_is_live(world, acme, tmp_path):
    acme.asks("Warn")
    acme.policy()
    acme.ready("True")
    world.apply(world.training_job(highRisk={}))
    world.running()
    proposal = tmp_path / "pack.yaml"

    def diff(action: str) -> tuple[int, dict[str, Any]]:
        proposal.write_text(PACK.format(name=acme.name, action=action), encoding="utf-8")
        command = ["policy", "diff", str(proposal), "--cluster", "--kubeconfig", str(world.cluster.kubeconfig)]
        done = CliRunner().invoke(cli, [*command, "-o", "json"], catch_exceptions=False)
        return done.exit_code, json.loads(done.stdout)

    code, body = diff("Deny")
    changed = {c["object"]: (c["before"]["verdict"], c["after"]["verdict"]) for c in body["changes"]}
    assert code == 1
    assert changed == {f"TrainingJob {world.namespace}/study": ("Allow", "Deny")}
    assert diff("Warn")[0] == 0
