"""What no object of a job says: whose training is attested, and how long the audit log is kept, in admission and after.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

POLICIES = "privacypolicies.mlprivacy.dev"
OPERATOR = "mlprivacy-system"


class Rules:
    """A lawful world under a policy of its own, an engineer, and a register of training."""

    def __init__(self, world: Any) -> None:
        self.world, self.cluster = world, world.cluster
        self.name = f"installation-{world.mark}"
        self.user = f"erik-{world.mark}@example.org"
        self.key = f"erik-{world.mark}_40example.org"
        world.data()
        self.cluster.kubectl(
            "create", "rolebinding", "engineers", "--clusterrole=mlprivacy-ml-engineer", f"--user={self.user}", "-n",
            world.namespace,
        )  # fmt: skip

    def policy(self, rule: str, **parameters: Any) -> None:
        self.cluster.apply(
            {
                "apiVersion": "mlprivacy.dev/v1alpha1",
                "kind": "PrivacyPolicy",
                "metadata": {"name": self.name},
                "spec": {
                    "mode": "Enforce",
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.world.namespace}},
                    "rules": [{"id": rule, "action": "Deny"}],
                    "parameters": {f"{rule}.{name}": value for name, value in parameters.items()},
                },
            }
        )

    def attest(self, until: str) -> None:
        labels = {"mlprivacy.dev/training-attestations": "true"}
        metadata = {"name": self.name, "namespace": OPERATOR, "labels": labels}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {self.key: until}})

    def create(self, name: str) -> Any:
        job = self.world.training_job(name)
        return self.cluster.kubectl("create", "-f", "-", input=job, check=False, as_user=self.user)

    def accepted(self, name: str, status: str) -> Any:
        def look() -> Any:
            found = self.world.condition(self.world.job(name), "Accepted")
            return found if found.get("status") == status else None

        return self.world.eventually(look, f"{name} with Accepted={status}")

    def refused(self, name: str) -> str:
        def look() -> str:
            said = self.create(f"{name}-{len(tried)}")
            tried.append(said)
            return said.stderr if said.returncode else ""

        tried: list[Any] = []
        return str(self.world.eventually(look, f"{name} refused"))

    def close(self) -> None:
        self.cluster.kubectl("delete", POLICIES, self.name, "--ignore-not-found", "--wait=false")
        self.cluster.kubectl("delete", "configmap", self.name, "-n", OPERATOR, "--ignore-not-found", "--wait=false")


@pytest.fixture
def rules(worlds: Any) -> Iterator[Rules]:
    made = Rules(worlds())
    yield made
    made.close()


def test_an_attestation_lets_a_job_run_and_its_end_stops_it(rules: Rules) -> None:
    rules.policy("trained-personnel")
    rules.attest("2020-01-01")
    assert "trained-personnel" in rules.refused("early")

    rules.attest("2999-12-31")
    rules.world.eventually(lambda: rules.create("study").returncode == 0, "the attestation seen by admission")
    rules.accepted("study", "True")

    rules.attest("2020-01-01")
    said = rules.accepted("study", "False")
    assert "trained-personnel" in said["message"]
    assert rules.key in json.dumps(rules.world.job("study")["status"]["decision"]["findings"])


@pytest.mark.parametrize(
    ("rule", "parameters"), [("trained-personnel", {}), ("audit-retention", {"minimumDays": 2192})]
)
def test_explain_knows_what_the_operator_knows(rules: Rules, stack: Any, rule: str, parameters: dict[str, int]) -> None:
    rules.policy(rule, **parameters)
    rules.attest("2999-12-31")
    rules.world.eventually(lambda: rules.create("study").returncode == 0, "the job accepted")
    rules.accepted("study", "True")

    command = ("explain", "trainingjob/study", "-n", rules.world.namespace, "-o", "json")
    environment = {**os.environ, "MLPRIVACY_KUBECONFIG": str(stack.cluster.kubeconfig)}
    done = subprocess.run(
        [sys.executable, "-m", "mlprivacy.cli.main", *command],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )

    said = json.loads(done.stdout)
    assert said["digest"] == rules.world.job("study")["status"]["decision"]["digest"]
    assert (said["verdict"], said["notes"]) == ("Allow", [])


def test_the_promise_of_the_audit_log_is_held_against_the_law(rules: Rules) -> None:
    rules.policy("audit-retention", minimumDays=2192)
    rules.world.eventually(lambda: rules.create("kept").returncode == 0, "a promise that is long enough")
    rules.accepted("kept", "True")

    rules.policy("audit-retention", minimumDays=2193)
    assert "the audit log is kept for 2192 days, and 2193 days are needed" in rules.refused("longer")
    assert "audit-retention" in rules.accepted("kept", "False")["message"]


def test_anybody_may_read_what_the_installation_promises(rules: Rules) -> None:
    found = rules.cluster.kubectl(
        "get", "configmap", "mlprivacy-installation", "-n", OPERATOR, "-o", "json", as_user=rules.user
    )
    assert json.loads(found.stdout)["data"] == {"auditRetentionDays": "2192"}
    others = rules.cluster.kubectl("get", "configmaps", "-n", OPERATOR, as_user=rules.user, check=False)
    assert others.returncode != 0
