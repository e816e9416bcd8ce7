"""Two controllers, killed with -9 at random while jobs come and go: the ledger stays whole, nothing is overspent, and
what it says that jobs spent is what the jobs say.

The seed is printed and can be given again: CHAOS_SEED. LEDGER_SECONDS bounds the random part (60; 300 once said so).
Nodes are simulated, and this test says in their place how pods end: it is about the ledger, not about processes.
"""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane import Cluster, ControlPlane
from devstack import DevStack
from mlprivacy.budget.accounting.events import dp_sgd
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.units import to_units
from mlprivacy.budget.ledger.verify import Verifier, read_list
from mlprivacy.budget.orders import DEFAULT_ORDERS

pytestmark = pytest.mark.timeout(1200)
SECONDS = float(os.environ.get("LEDGER_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.SystemRandom().randrange(1 << 30))))
GROUP = "mlprivacy.dev"
DOMAIN, NAMESPACE = "killed-patients", "killed"
PATIENCE = 240.0
IMAGE = "registry.example/trainer@sha256:" + "c" * 64


def obj(kind: str, name: str, spec: dict[str, Any], namespace: str | None = None) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


DATA = (
    obj("DataClass", "killed-visit", {"categories": ["user.demographic"], "sensitivity": "Internal"}),
    obj(
        "ConsentScope",
        "research",
        {
            "purposes": ["train_ai_system"],
            "processing": ["Training"],
            "dataClasses": ["killed-visit"],
            "version": "2026-03",
            "noticeURL": "https://clinic.example/notice",
            "registry": {"embedded": {}},
            "acceptedVersions": ["2026-03"],
        },
        NAMESPACE,
    ),
    obj(
        "Dataset",
        "visits",
        {
            "identity": "urn:killed:visits",
            "source": {"uri": "s3://killed/visits/*.parquet", "format": "Parquet"},
            "subjects": {"column": "patient_id", "kind": "patient", "atLeast": 200_000},
            "columns": [{"name": name, "dataClass": "killed-visit"} for name in ("patient_id", "age")],
            "uses": [
                {
                    "purpose": "train_ai_system",
                    "processing": "Training",
                    "legalBasis": "eu-gdpr:A6-1-a",
                    "consentScope": "research",
                }
            ],
        },
        NAMESPACE,
    ),
    obj(
        "PrivacyBudget",
        "killed-patients",
        {
            "subjectDomain": DOMAIN,
            "identities": ["urn:killed:visits"],
            "epsilon": 12,
            "delta": 1e-8,
            "unit": "User",
            "blocks": {"by": "SubjectCohort", "period": "Week", "since": "2026-06-01"},
        },
    ),
)


def job(number: int, epsilon: float) -> dict[str, Any]:
    privacy = {"mechanism": "DPSGD", "epsilon": epsilon, "delta": 1e-8, "batchSize": 256, "epochs": 4}
    return obj(
        "TrainingJob",
        f"study-{number}",
        {
            "purpose": "train_ai_system",
            "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data/visits"}],
            "privacy": {**privacy, "maxGradNorm": 1.0},
            "template": {"spec": {"containers": [{"name": "trainer", "image": IMAGE}]}},
        },
        NAMESPACE,
    )


class Second(DevStack):
    """Another controller at the same cluster, with ports of its own."""

    def __init__(self, first: DevStack, directory: Path) -> None:
        super().__init__(first.cluster, directory, extra={})
        self.ports = {**self.ports, **{k: v for k, v in first.ports.items() if not k.startswith("health-controller")}}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DevStack]]:
    """The operator with two controllers."""
    directory = tmp_path_factory.mktemp("killed")
    with (
        ControlPlane(directory / "cluster") as control_plane,
        DevStack(control_plane, directory / "one", extra={"collector": ["--simulated-nodes"]}) as first,
    ):
        second = Second(first, directory / "two")
        second.directory.mkdir(parents=True, exist_ok=True)
        second.run("controller")
        try:
            yield [first, second]
        finally:
            if "controller" in second.processes:
                second.end("controller")


def items(cluster: Cluster, kind: str, *where: str) -> list[dict[str, Any]]:
    done = cluster.kubectl("get", kind, *where, "-o", "json", check=False)
    return json.loads(done.stdout)["items"] if done.returncode == 0 else []


def end_pods(cluster: Cluster, chance: float, dice: random.Random) -> None:
    """Some of the pods that run end, well or badly."""
    for pod in items(cluster, "pods", "-n", NAMESPACE):
        if pod["status"].get("phase") == "Running" and dice.random() < chance:
            phase = dice.choice(["Succeeded", "Succeeded", "Failed"])
            cluster.kubectl(
                "patch", "pod", pod["metadata"]["name"], "-n", NAMESPACE, "--subresource=status", "--type=merge",
                "-p", json.dumps({"status": {"phase": phase}}), check=False,
            )  # fmt: skip


def until(look: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, f"never seen: {what}"
        time.sleep(1)


def test_two_controllers_are_killed_at_random_and_the_ledger_says_what_the_jobs_say(pair: list[DevStack]) -> None:
    print(f"CHAOS_SEED={SEED} LEDGER_SECONDS={SECONDS:g}")
    dice, cluster = random.Random(SEED), pair[0].cluster  # noqa: S311 - to be repeated, not a secret
    # Audited, so that the test may say in the nodes' place how pods end.
    cluster.create_namespace(NAMESPACE, {f"{GROUP}/enforce": "audit"})
    cluster.apply(*DATA)
    kills = made = 0
    end, next_kill = time.monotonic() + SECONDS, time.monotonic() + 8
    while time.monotonic() < end:
        made += 1
        cluster.kubectl("create", "-f", "-", input=job(made, dice.choice([0.4, 0.8, 1.5])), check=False)
        if dice.random() < 0.15 and made > 3:
            victim = f"trainingjobs.mlprivacy.dev/study-{dice.randrange(1, made)}"
            cluster.kubectl("delete", victim, "-n", NAMESPACE, "--wait=false", check=False)
        end_pods(cluster, 0.3, dice)
        if time.monotonic() > next_kill:
            stack = dice.choice(pair)
            stack.processes["controller"].signal(signal.SIGKILL)
            stack.end("controller")
            stack.run("controller")
            kills += 1
            next_kill = time.monotonic() + dice.uniform(1, 25)
        time.sleep(dice.uniform(0.2, 1.5))
    print(f"{kills} kills, {made} jobs")
    assert kills >= SECONDS / 40

    def settled() -> bool:
        end_pods(cluster, 1.0, dice)
        jobs = items(cluster, "trainingjobs.mlprivacy.dev", "-n", NAMESPACE)
        lines = [line for one in jobs for line in (one.get("status") or {}).get("budgets") or []]
        return (
            bool(jobs)
            and all(line["state"] in ("Committed", "Released", "Waiting") for line in lines)
            and all((one.get("status") or {}).get("conditions") for one in jobs)
            and not items(cluster, "pods", "-n", NAMESPACE, "--field-selector=status.phase=Running")
        )

    until(settled, "that every job has ended or waits")
    compare(cluster)


def compare(cluster: Cluster) -> None:
    """The ledger is whole, holds nothing for nobody, and says of each job what the job says."""
    text = cluster.kubectl("get", "ledgerentries.mlprivacy.dev", "-o", "json").stdout.encode()
    verifier = Verifier(jobs=True)
    for line in read_list("cluster", text):
        verifier.take(line)
    report = verifier.report()
    assert report.problems == ()
    (domain,) = report.domains
    state = domain.state
    assert state is not None
    # No block beyond its capacity at every order.
    used = state.table.used
    assert ((used <= state.capacity) & (state.capacity > 0)).any(axis=1)[state.table.opened].all()
    # Summed from the jobs' own attempts, each block is what the ledger says.
    total = [0] * len(state.orders)
    for spent in domain.spent.values():
        assert spent.blocks > 0
        total = [a + b for a, b in zip(total, spent.curve, strict=True)]
    opened = state.table.committed[state.table.opened]
    assert opened.max(axis=0).tolist() == total
    told = 0
    for one in items(cluster, "trainingjobs.mlprivacy.dev", "-n", NAMESPACE):
        uid = one["metadata"]["uid"]
        for line in (one.get("status") or {}).get("budgets") or []:
            if line["state"] != "Committed":
                continue
            told += 1
            spent = domain.spent[uid, line["attempt"]]
            assert line["entry"] == state.name_of(spent.sequence)
            if any(spent.curve):
                event = dp_sgd(line["samplingRate"], line["steps"], line["noiseMultiplier"])
                assert to_units(curve_of(event, DEFAULT_ORDERS)) == spent.curve
    print(f"{report.entries} entries, {len(domain.spent)} attempts settled, {told} told by jobs that are there")
    assert told > 0
