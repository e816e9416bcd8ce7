"""The privacy budget from apply to its end, on the real API server, with the ledger in it.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import json
import math

import pytest

pytestmark = pytest.mark.cluster
GROUP = "mlprivacy.dev"
LIKE = {"mechanism": "DPSGD", "delta": 1e-8, "batchSize": 256, "epochs": 10, "maxGradNorm": 1.0}


def budget(world, name: str = "patients", domain: str | None = None, **spec):
    """A PrivacyBudget of this world's data; all names unique, since it is in no namespace."""
    base = {
        "subjectDomain": domain or f"{world.namespace}-patients",
        "identities": [f"urn:{world.namespace}:visits"],
        "epsilon": 5,
        "delta": 1e-8,
        "unit": "User",
        "blocks": {"by": "Subject", "buckets": 4},
    }
    metadata = {"name": f"{world.namespace}-{name}"}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "PrivacyBudget", "metadata": metadata, "spec": base | spec}


def stored(world, name: str = "patients"):
    return world.cluster.get("privacybudgets.mlprivacy.dev", f"{world.namespace}-{name}") or {}


def ready(world, name: str = "patients"):
    """The budget once it is kept."""
    return world.eventually(
        lambda: (found := stored(world, name)) and world.condition(found, "Ready").get("status") == "True" and found,
        "a budget that is kept",
    )


def entries(world, domain: str | None = None):
    """The ledger, oldest first."""
    done = world.cluster.kubectl(
        "get", "ledgerentries.mlprivacy.dev", "-o", "json",
        "--field-selector", f"spec.subjectDomain={domain or f'{world.namespace}-patients'}",
    )  # fmt: skip
    return sorted(json.loads(done.stdout)["items"], key=lambda e: e["spec"]["sequence"])


def steps(world):
    return [t["type"] for entry in entries(world) for t in entry["spec"]["transitions"]]


def verified(world, tmp_path, cli):
    """What `mlprivacy verify ledger` says of the domain's entries."""
    file = tmp_path / "ledger.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": entries(world)}))
    return json.loads(cli("verify", "ledger", str(file), "-o", "json"))


def private(epsilon: float, **more):
    return {**LIKE, "epsilon": epsilon, **more}


@pytest.fixture
def kept(world):
    """The world with a budget of ε = 5 over four buckets."""
    world.apply(budget(world))
    ready(world)
    yield world
    world.cluster.kubectl("delete", "privacybudgets.mlprivacy.dev", f"{world.namespace}-patients", "--ignore-not-found")


def test_a_budget_is_promised_and_its_blocks_are_opened(kept):
    status = ready(kept)["status"]

    assert status["promise"]["epsilon"] == 5
    assert status["blocks"] == {"open": 4, "exhausted": 0, "retired": 0, "tainted": 0}
    assert steps(kept)[0] == "Promise"
    assert {"Register", "Open"} <= set(steps(kept))
    assert kept.condition(stored(kept), "GuaranteeHolds")["status"] == "True"


def test_a_job_reserves_before_it_is_made_is_bound_before_it_runs_and_commits_when_it_ends(kept):
    kept.apply(kept.training_job(privacy=private(3)))
    job = kept.running()

    (line,) = job["status"]["budgets"]
    assert (line["state"], line["attempt"], line["blocks"]) == ("Reserved", 1, 4)
    assert line["epsilon"] <= 3
    assert math.isclose(line["samplingRate"], 256 / 200_000)
    assert kept.condition(job, "BudgetReserved")["status"] == "True"
    assert steps(kept)[-2:] == ["Reserve", "Bind"]
    pod = kept.pod()
    assert entries(kept)[-1]["spec"]["transitions"][0]["bind"]["podUID"] == pod["metadata"]["uid"]
    made = next(e for e in kept.written("jobs", verb="create") if "dryRun" not in e.raw["requestURI"])
    reserved = next(e for e in entries(kept) if e["spec"]["transitions"][-1]["type"] == "Reserve")
    assert reserved["metadata"]["creationTimestamp"] <= made.received.strftime("%Y-%m-%dT%H:%M:%SZ")

    kept.end_pod(pod, "Succeeded")
    done = kept.until("Completed", "True")
    assert done["status"]["budgets"][0]["state"] == "Committed"
    assert steps(kept)[-1] == "Commit"


def test_a_job_that_would_overspend_waits_and_starts_by_itself(kept):
    kept.apply(kept.training_job("first", privacy=private(4)))
    kept.running(name="first")
    kept.apply(kept.training_job("second", privacy=private(3)))
    held = kept.until("BudgetReserved", "False", "BudgetExhausted", name="second")
    assert kept.condition(held, "Accepted")["status"] == "True"
    assert kept.condition(held, "Stalled")["status"] == "False"
    assert held["status"]["budgets"][0]["state"] == "Waiting"
    assert "bucket 0" in kept.condition(held, "BudgetReserved")["message"]
    assert not [j for j in kept.all("jobs") if j["metadata"]["name"].startswith("mlp-second")]

    # Suspended, an attempt that never got past its seal gives nothing back here: it is bound. So it is deleted before.
    kept.apply(budget(kept, epsilon=5, quotas=[]))
    kept.delete("trainingjobs.mlprivacy.dev", "first")
    refused = kept.until("Accepted", "False", name="second")
    message = kept.condition(refused, "Accepted")["message"]
    assert "dp-budget" in message
    assert "set epsilon to" in message


def test_what_was_never_bound_is_given_back_and_who_waits_gets_it(kept):
    # No node takes it, so that its pod is never let go: the gate is taken off, and the scheduler finds no place.
    far = kept.training_job("first", privacy=private(4))
    far["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/absent@sha256:" + "d" * 64
    far["spec"]["suspend"] = False
    kept.apply(far)
    kept.started(name="first")
    kept.apply(kept.training_job("second", privacy=private(3)))
    kept.until("BudgetReserved", "False", name="second")


def test_a_job_that_can_never_run_is_refused_at_apply_with_the_largest_epsilon(kept):
    done = kept.cluster.kubectl(
        "apply", "-f", "-", input=json.dumps(kept.training_job(privacy=private(9))), check=False
    )
    assert done.returncode != 0
    assert "dp-budget" in done.stderr
    assert "set epsilon to" in done.stderr


def test_deleting_the_budget_and_making_it_anew_changes_nothing_that_was_spent(kept):
    kept.apply(kept.training_job(privacy=private(3)))
    kept.running()
    kept.end_pod(kept.pod(), "Succeeded")
    kept.until("Completed", "True")
    used = kept.eventually(lambda: stored(kept)["status"].get("usedPercent"), "a used budget")

    name = f"{kept.namespace}-patients"
    kept.cluster.kubectl("delete", "privacybudgets.mlprivacy.dev", name)
    kept.apply(budget(kept, epsilon=9, noticeVersion="2027-01"))

    again = ready(kept)
    assert again["status"]["promise"]["epsilon"] == 5
    assert again["status"]["usedPercent"] == used
    assert kept.condition(again, "Stalled")["reason"] == "PromiseWaits"
