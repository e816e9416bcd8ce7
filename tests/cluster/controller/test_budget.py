"""The privacy budget from apply to its end, on the real API server, with the ledger in it.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import json
import math

import pytest

pytestmark = pytest.mark.cluster
GROUP = "mlprivacy.dev"
CONTROLLER = "system:serviceaccount:mlprivacy-system:mlprivacy-controller"
HOLD = "kwok.mlprivacy.dev/hold"
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


def private(epsilon: float, **more):
    return {**LIKE, "epsilon": epsilon, **more}


def with_budget(world):
    world.apply(budget(world))
    ready(world)
    yield world
    world.cluster.kubectl("delete", "privacybudgets.mlprivacy.dev", f"{world.namespace}-patients", "--ignore-not-found")


@pytest.fixture
def kept(world):
    """An enforcing world with a budget of ε = 5 over four buckets."""
    yield from with_budget(world)


@pytest.fixture
def lenient(lax):
    """The same in an auditing world, where the test may say in the node's place how pods end."""
    yield from with_budget(lax)


def end_at_seal(world, job: str) -> None:
    """The pod of the job, held at its seal probe, ends there, as its node would say."""
    at = "2026-06-01T12:00:00Z"
    ended = {"terminated": {"exitCode": 3, "reason": "Error", "message": "no", "startedAt": at, "finishedAt": at}}
    (pod,) = world.all("pods", f"{GROUP}/training-job={job}")
    waits = {"waiting": {"reason": "PodInitializing"}}
    inits = [
        container(c["name"], ended if c["name"] == "mlprivacy-seal" else waits) for c in pod["spec"]["initContainers"]
    ]
    world.end_pod(
        pod, "Failed", initContainerStatuses=inits,
        containerStatuses=[container(pod["spec"]["containers"][0]["name"], waits)],
    )  # fmt: skip


def container(name: str, state):
    return {
        "name": name, "state": state, "ready": False, "started": False, "restartCount": 0, "image": "i", "imageID": "",
        "lastState": {},
    }  # fmt: skip


def test_a_budget_is_promised_and_its_blocks_are_opened(kept):
    status = ready(kept)["status"]

    assert status["promise"]["epsilon"] == 5
    assert status["blocks"] == {"open": 4, "exhausted": 0, "retired": 0, "tainted": 0}
    assert steps(kept)[0] == "Promise"
    assert {"Register", "Open"} <= set(steps(kept))
    assert kept.condition(stored(kept), "GuaranteeHolds")["status"] == "True"


def test_a_job_reserves_before_it_is_made_is_bound_before_it_runs_and_commits_when_it_ends(lenient):
    kept = lenient
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


def test_a_job_that_would_overspend_waits_and_starts_by_itself(lenient):
    """What gives back here is an attempt that ended at its seal: nothing of the trainer's ran."""
    world = lenient
    image = "registry.example/trainer@sha256:" + "c" * 64
    template = {
        "metadata": {"annotations": {HOLD: "true"}},
        "spec": {"containers": [{"name": "trainer", "image": image}]},
    }
    world.apply(world.training_job("first", privacy=private(4), template=template))
    world.eventually(
        lambda: [p for p in world.all("pods") if p["status"].get("initContainerStatuses")], "a pod at its seal"
    )
    world.apply(world.training_job("second", privacy=private(3)))
    held = world.until("BudgetReserved", "False", "BudgetExhausted", name="second")
    assert world.condition(held, "Accepted")["status"] == "True"
    assert world.condition(held, "Stalled")["status"] == "False"
    assert held["status"]["budgets"][0]["state"] == "Waiting"
    assert "bucket 0" in world.condition(held, "BudgetReserved")["message"]
    assert not [j for j in world.all("jobs") if j["metadata"]["name"].startswith("mlp-second")]

    end_at_seal(world, "first")

    world.running(name="second")
    first = world.until("BudgetReserved", "False", name="first")
    assert first["status"]["budgets"][0]["state"] in ("Released", "Waiting")


def test_the_budget_counts_who_waits_for_it_and_retires_what_the_owner_names(kept):
    world = kept
    world.apply(world.training_job("first", privacy=private(4)))
    world.running(name="first")
    assert stored(world)["status"]["waiting"] == 0
    world.apply(world.training_job("second", privacy=private(3)))
    world.until("BudgetReserved", "False", "BudgetExhausted", name="second")
    world.eventually(lambda: stored(world)["status"]["waiting"] == 1, "that one job waits")

    change = json.dumps({"spec": {"retired": ["bucket 1..bucket 3", "bucket 2"]}})
    world.cluster.kubectl("patch", "mlpb", f"{world.namespace}-patients", "--type=merge", "-p", change)

    status = world.eventually(
        lambda: (found := stored(world)["status"])["blocks"]["retired"] == 3 and found, "that three blocks are retired"
    )
    assert (status["firstBlock"], status["lastBlock"], status["blocks"]["open"]) == ("bucket 0", "bucket 3", 1)
    assert steps(world).count("Retire") == 1
    world.patch("trainingjobs.mlprivacy.dev", "second", {"spec": {"suspend": True}})
    world.eventually(lambda: stored(world)["status"]["waiting"] == 0, "that nobody waits")


def test_what_is_spent_for_good_refuses_whoever_waits_with_the_largest_epsilon(kept):
    kept.apply(kept.training_job("first", privacy=private(4)))
    kept.running(name="first")
    kept.apply(kept.training_job("second", privacy=private(3)))
    kept.until("BudgetReserved", "False", "BudgetExhausted", name="second")

    kept.delete("trainingjobs.mlprivacy.dev", "first")  # its pod was bound, so all of it is spent

    refused = kept.until("Accepted", "False", name="second")
    message = kept.condition(refused, "Accepted")["message"]
    assert "dp-budget" in message
    assert "set epsilon to" in message
    assert kept.condition(refused, "Stalled")["status"] == "True"


def test_a_job_without_a_promise_marks_its_blocks_where_it_is_let_run(lenient):
    lenient.apply(lenient.training_job(privacy={"mechanism": "None"}))
    job = lenient.running()

    assert lenient.condition(job, "BudgetReserved")["reason"] == "OutsideAccounting"
    assert job["status"]["budgets"][0]["state"] == "Outside"
    tainted = lenient.eventually(
        lambda: (b := stored(lenient))["status"]["blocks"]["tainted"] == 4 and b, "tainted blocks"
    )
    assert lenient.condition(tainted, "GuaranteeHolds")["status"] == "False"
    assert tainted["status"]["taints"][0]["reason"] == "Audit"


def test_a_job_that_can_never_run_is_refused_at_apply_with_the_largest_epsilon(kept):
    job = kept.training_job(privacy=private(9))
    done = kept.cluster.kubectl("apply", "-f", "-", input=job, check=False)
    assert done.returncode != 0
    assert "dp-budget" in done.stderr
    assert "set epsilon to" in done.stderr


def test_deleting_the_budget_and_making_it_anew_changes_nothing_that_was_spent(lenient):
    kept = lenient
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


def recorded(stack, kind: str, domain: str):
    """What the audit log has of this kind about a domain."""
    lines = (line for path in sorted(stack.audit_directory.glob("*/*.jsonl")) for line in path.read_text().splitlines())
    found = [json.loads(line) for line in lines if f'"{kind}"' in line]
    return [one["data"] for one in found if one["kind"] == kind and one["data"]["subjectDomain"] == domain]


def test_entries_that_were_lost_are_back_before_the_controller_decides_and_it_is_told(stack, kept):
    domain, there = f"{kept.namespace}-patients", entries(kept)
    hashes = [entry["spec"]["hash"] for entry in there]
    kept.eventually(
        lambda: hashes[-1] in [head["hash"] for head in recorded(stack, "ledger-head", domain)], "an anchored head"
    )
    stack.end("controller")
    kept.cluster.kubectl("delete", "ledgerentries.mlprivacy.dev", there[-1]["metadata"]["name"], f"--as={CONTROLLER}")
    assert len(entries(kept)) == len(there) - 1
    stack.run("controller")
    stack.wait_ready("controller")

    kept.eventually(lambda: [entry["spec"]["hash"] for entry in entries(kept)] == hashes, "the entries as they were")
    last = len(there)
    assert kept.eventually(lambda: recorded(stack, "ledger-restored", domain), "a record of it") == [
        {"subjectDomain": domain, "first": last, "last": last, "hash": hashes[-1]}
    ]
    events = lambda: kept.cluster.kubectl(  # noqa: E731
        "get", "events.events.k8s.io", "-A", "-o", "json", "--field-selector", "reason=LedgerRestored"
    )
    notes = kept.eventually(
        lambda: [
            event["note"]
            for event in json.loads(events().stdout)["items"]
            if event["regarding"]["name"] == f"{kept.namespace}-patients"
        ],
        "an Event on the budget",
    )
    assert f"entry {last} of it" in notes[0]
    assert ready(kept)["status"]["blocks"]["open"] == 4


def test_an_accepted_exception_lets_a_job_without_a_promise_run_and_everything_says_so(worlds):
    """In Warn, where such a job is refused all the same."""
    world = worlds("warn")
    world.data()
    world.apply(budget(world))
    ready(world)
    job = world.training_job(privacy={"mechanism": "None"})
    refused = world.cluster.kubectl("apply", "-f", "-", input=job, check=False)
    assert refused.returncode != 0
    assert "dp-budget" in refused.stderr

    accept(world, "dp-budget", "study")
    world.apply(job)
    running = world.running()

    assert world.condition(running, "BudgetReserved")["reason"] == "OutsideAccounting"
    assert world.condition(running, "Accepted")["reason"] == "AllowedByException"
    tainted = world.eventually(lambda: (b := stored(world))["status"]["blocks"]["tainted"] == 4 and b, "tainted blocks")
    assert tainted["status"]["taints"][0]["reason"] == "Exception"
    marks = [step["taint"] for e in entries(world) for step in e["spec"]["transitions"] if "taint" in step]
    assert [mark["reason"] for mark in marks] == ["Exception"]
    events = json.loads(world.cluster.kubectl("get", "events", "-n", world.namespace, "-o", "json").stdout)["items"]
    reasons = {(e["involvedObject"]["kind"], e["reason"]) for e in events}
    assert ("TrainingJob", "OutsideAccounting") in reasons


def test_deleting_data_namespace_and_job_changes_nothing_that_was_spent(worlds):
    world = worlds("audit")
    world.data()
    world.apply(budget(world))
    ready(world)
    world.apply(world.training_job(privacy=private(3)))
    world.running()

    world.cluster.kubectl("delete", "datasets.mlprivacy.dev", "visits", "-n", world.namespace)
    world.cluster.kubectl("delete", "namespace", world.namespace, "--wait=true", "--timeout=80s")

    used = world.eventually(
        lambda: (s := stored(world)["status"])["reservations"] == 0 and s["usedPercent"] > 0 and s["usedPercent"],
        "what the deleted job spent",
    )
    world.cluster.create_namespace(world.namespace, {f"{GROUP}/enforce": "enforce"})
    world.apply(world.scope(), world.dataset())
    world.apply(world.training_job(privacy=private(4)))
    told = world.until("Accepted", "False")
    assert "dp-budget" in world.condition(told, "Accepted")["message"]
    assert stored(world)["status"]["usedPercent"] == used


def accept(world, rule: str, job: str) -> None:
    """One person asks for an exception, another approves it."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    officer, engineer = f"olga-{world.mark}", f"erik-{world.mark}"
    for role, user in (("mlprivacy-privacy-officer", officer), ("mlprivacy-exception-requester", engineer)):
        bound = ("clusterrolebinding", f"{user}-{role}", f"--clusterrole={role}", f"--user={user}")
        world.cluster.kubectl("create", *bound)
    world.cluster.kubectl(
        "create", "rolebinding", "engineers", "--clusterrole=mlprivacy-ml-engineer", f"--user={engineer}", "-n",
        world.namespace,
    )  # fmt: skip
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"accept-{world.mark}"
    spec = {
        "rule": rule,
        "workload": {"kind": "TrainingJob", "namespace": world.namespace, "name": job},
        "reason": "The data is public by now.",
        "ticket": "PRIV-18",
        "expiresAt": until,
    }
    made = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "PolicyException", "metadata": {"name": name}, "spec": spec}
    world.cluster.kubectl("create", "-f", "-", input=made, as_user=engineer)
    found = world.cluster.get("policyexceptions.mlprivacy.dev", name)
    approval = {"uid": found["metadata"]["uid"], "generation": found["metadata"]["generation"]}
    patch = json.dumps({"spec": {"approved": True, "approval": approval}})
    world.cluster.kubectl("patch", "policyexceptions.mlprivacy.dev", name, "--type=merge", "-p", patch, as_user=officer)
    world.eventually(
        lambda: (
            world.condition(world.cluster.get("policyexceptions.mlprivacy.dev", name), "Ready").get("status") == "True"
        ),
        "an approved exception",
    )
