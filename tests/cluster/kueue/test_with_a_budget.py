"""A queue of Kueue in front of a real privacy budget: quota first, then the ledger, then the start."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from queue_manager import condition

from devstack import DevStack

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
LIKE = {"mechanism": "DPSGD", "delta": 1e-8, "batchSize": 256, "epochs": 10, "maxGradNorm": 1.0}


@pytest.fixture(scope="module")
def own(private_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """The whole operator, which keeps its ledger itself."""
    folder = tmp_path_factory.mktemp("budgeted")
    with DevStack(private_cluster, folder, extra={"collector": ["--simulated-nodes"]}) as running:
        yield running


@pytest.fixture
def kept(world: Any) -> Iterator[Any]:
    """An enforcing world with a queue, and a budget of ε = 5 over four buckets."""
    name = f"{world.namespace}-patients"
    spec = {
        "subjectDomain": name,
        "identities": [f"urn:{world.namespace}:visits"],
        "epsilon": 5,
        "delta": 1e-8,
        "unit": "User",
        "blocks": {"by": "Subject", "buckets": 4},
    }
    world.apply(
        {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "PrivacyBudget", "metadata": {"name": name}, "spec": spec}
    )

    def ready() -> bool:
        found = world.cluster.get("privacybudgets.mlprivacy.dev", name)
        return world.condition(found, "Ready").get("status") == "True"

    world.eventually(ready, "a budget that is kept")
    yield world
    world.cluster.kubectl("delete", "privacybudgets.mlprivacy.dev", name, "--ignore-not-found")


def steps(world: Any) -> list[str]:
    """What jobs did in the ledger, oldest first."""
    field = f"spec.subjectDomain={world.namespace}-patients"
    done = world.cluster.kubectl("get", "ledgerentries.mlprivacy.dev", "-o", "json", "--field-selector", field)
    entries = sorted(json.loads(done.stdout)["items"], key=lambda e: e["spec"]["sequence"])
    found = [t["type"] for entry in entries for t in entry["spec"]["transitions"]]
    return [step for step in found if step in ("Reserve", "Bind", "Commit", "Release", "Taint")]


def test_budget_is_reserved_after_quota_and_an_attempt_after_an_eviction_is_paid_for(kept: Any) -> None:
    kept.apply(kept.queued_job(privacy={**LIKE, "epsilon": 2}))
    kept.workload()
    job = kept.until("BudgetReserved", "False", "WaitingForBudget")
    assert kept.condition(job, "Queued")["reason"] == "Queued"
    assert steps(kept) == []

    kept.kueue.reserve("mlp-study-1")
    assert "reserved on 4 blocks" in kept.check("Ready")["message"]
    assert steps(kept) == ["Reserve"]
    kept.kueue.sync("mlp-study-1")
    kept.running()
    assert steps(kept) == ["Reserve", "Bind"]

    kept.kueue.evict("mlp-study-1", "Preempted", "Preempted to accommodate a workload of higher priority")
    kept.workload("mlp-study-1", lambda one: condition(one, "QuotaReserved").get("status") == "False")
    kept.admitted()
    kept.running(attempt=2)
    assert steps(kept) == ["Reserve", "Bind", "Commit", "Reserve", "Bind"]


def test_quota_is_given_back_while_others_hold_the_budget_and_a_job_without_hope_leaves_the_queue(kept: Any) -> None:
    kept.apply(kept.training_job("first", privacy={**LIKE, "epsilon": 4}))
    kept.running(name="first")
    kept.apply(kept.queued_job(privacy={**LIKE, "epsilon": 3}))
    kept.workload()
    kept.kueue.reserve("mlp-study-1")
    check = kept.check("Retry")
    assert check["requeueAfterSeconds"] >= 1
    assert "bucket 0" in check["message"]
    kept.kueue.sync("mlp-study-1")
    kept.workload("mlp-study-1", lambda one: condition(one, "QuotaReserved").get("status") == "False")

    kept.delete("trainingjobs.mlprivacy.dev", "first")  # its pod ran, so what it held is spent for good
    refused = kept.until("Accepted", "False")
    assert "set epsilon to" in kept.condition(refused, "Accepted")["message"]
    kept.no_workload()
