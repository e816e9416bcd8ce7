"""`mlprivacy budget` and `plan --budget NAME` on a real API server, with the roles that ship and no process of ours.

Statuses and entries of the ledger are written with admin rights, as the controller would. OLGA is the privacy officer,
ERIN an ML engineer by a RoleBinding, EVE one by a ClusterRoleBinding.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cluster import ControlPlane
from mlprivacy.api.base import Assurance
from mlprivacy.budget.accounting.events import dp_sgd
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.entry import Entry, Head, link, stamp
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.summary import status_of
from mlprivacy.budget.ledger.transitions import Bind, Commit, Job, Open, Promise, Reserve, Taint, Transition
from mlprivacy.budget.ledger.units import capacity_units, decimal, to_units
from mlprivacy.budget.orders import DEFAULT_ORDERS

ROOT = Path(__file__).parents[3]
OLGA, ERIN, EVE = "olga", "erin", "eve"
DOMAIN, BUDGET = "clinic-patients", "patients"
CAPACITY = capacity_units(DEFAULT_ORDERS, 10, 1e-8)
SPEC = {
    "subjectDomain": DOMAIN,
    "identities": ["urn:clinic:visits"],
    "epsilon": 10,
    "delta": 1e-8,
    "noticeVersion": "2026-01",
    "unit": "User",
    "blocks": {"by": "Subject", "buckets": 4},
}
NUMBERS = ("-n", "200000", "--batch-size", "256", "--epochs", "10", "--epsilon", "3", "--no-pld")
TAKEN = {
    "subjectDomain": DOMAIN, "budget": BUDGET, "attempt": 1, "blocks": 4, "epsilon": 3, "delta": 1e-8,
    "sharePercent": 20, "noiseMultiplier": 0.7, "samplingRate": 0.00128, "steps": 7812,
}  # fmt: skip
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def promise() -> Promise:
    orders = tuple(decimal(order) for order in DEFAULT_ORDERS)
    cut = Cut("Subject", None, 4)
    return Promise(1, orders, decimal(10), decimal(1e-8), "User", "AddOrRemoveOne", cut, CAPACITY, "2026-01")


def spends(number: int, share: float) -> list[Transition | Sequence[Transition]]:
    job = Job("research", f"job-{number}", f"uid-{number}")
    curve = tuple(int(room * share) for room in CAPACITY)
    return [
        Reserve(job, 1, (Range(0, 3),), curve, Assurance.DECLARED),
        Bind(job.uid, 1, f"pod-{number}"),
        Commit(job.uid, 1, "Unknown", pod_uid=f"pod-{number}", ended=True),
    ]


TAINT = Taint(Job("research", "old", "uid-old"), (Range(2, 2),), "Exception")
STEPS = [*spends(1, 0.3), *spends(2, 0.2), TAINT]


def chain(steps: Sequence[Transition | Sequence[Transition]]) -> list[Entry]:
    found, head = [], Head.none(DOMAIN)
    begun = datetime(2026, 3, 14, 12, tzinfo=UTC)
    for number, one in enumerate([(promise(), Open((Range(0, 3),))), *steps]):
        all_ = one if isinstance(one, Sequence) else (one,)
        found.append(link(head, all_, stamp(begun + timedelta(seconds=number)), "test"))
        head = found[-1].head
    return found


def job(name: str) -> dict[str, Any]:
    image = "registry.example/t@sha256:" + "a" * 64
    return {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "research"},
        "spec": {
            "purpose": "train_ai_system.research",
            "datasets": [{"name": "visits", "columns": ["age"], "mountPath": "/data"}],
            "template": {"spec": {"containers": [{"name": "t", "image": image}]}},
        },
    }


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now(),
        "observedGeneration": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def domain(private_cluster: ControlPlane) -> ControlPlane:
    """The definitions and the roles of the chart; a budget with its ledger, a job that holds some, one that waits."""
    kubectl = private_cluster.kubectl
    kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    values = {
        "image": {"repository": "registry.example/mlprivacy", "digest": "sha256:" + "a" * 64},
        "dataplane": {"image": "registry.example/d@sha256:" + "a" * 64},
    }
    path = private_cluster.scratch() / "values.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    chart = str(ROOT / "charts" / "mlprivacy")
    where = ("--namespace", "mlprivacy-system", "--kube-version", "1.34.0")
    rendered = private_cluster.helm("template", "mlprivacy", chart, "-f", str(path), *where).stdout
    private_cluster.apply(*(o for o in yaml.safe_load_all(rendered) if o and o["kind"] == "ClusterRole"))
    private_cluster.create_namespace("research")
    for user, role in ((OLGA, "mlprivacy-privacy-officer"), (EVE, "mlprivacy-ml-engineer")):
        kubectl("create", "clusterrolebinding", user, f"--clusterrole={role}", f"--user={user}")
    kubectl("create", "rolebinding", ERIN, "-n", "research", "--clusterrole=mlprivacy-ml-engineer", f"--user={ERIN}")
    budget = {
        "apiVersion": "mlprivacy.dev/v1alpha1",
        "kind": "PrivacyBudget",
        "metadata": {"name": BUDGET},
        "spec": SPEC,
    }
    private_cluster.apply(budget, job("diagnosis"), job("late"), *(entry.manifest() for entry in chain(STEPS)))
    write_status(private_cluster)
    held = condition("BudgetReserved", "True", "BudgetHeld", "Its loss is reserved on 4 blocks.")
    waits = condition("BudgetReserved", "False", "BudgetExhausted", "bucket 1 has too little left.")
    for name, state, said in (("diagnosis", "Reserved", held), ("late", "Waiting", waits)):
        status = {"budgets": [{**TAKEN, "state": state}], "conditions": [said]}
        patch_status(private_cluster, "trainingjob.mlprivacy.dev", name, status, "-n", "research")
    return private_cluster


def write_status(cluster: ControlPlane) -> None:
    state = fold(DOMAIN, chain(STEPS)).state
    assert state is not None
    said = [
        condition("Ready", "True", "PromiseKept", "The ledger holds every block to the promise."),
        condition("GuaranteeHolds", "False", "Tainted", "Data of bucket 2 was used outside accounting."),
    ]
    patch_status(cluster, "privacybudget.mlprivacy.dev", BUDGET, {**status_of(state), "waiting": 2, "conditions": said})


def patch_status(cluster: ControlPlane, kind: str, name: str, status: dict[str, Any], *where: str) -> None:
    body = json.dumps({"status": status})
    cluster.kubectl("patch", kind, name, *where, "--subresource=status", "--type=merge", "-p", body)


@pytest.fixture
def mlprivacy(domain: ControlPlane) -> Run:
    """Runs the command as one of the people."""

    def run(*arguments: str, user: str = OLGA) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mlprivacy.cli.main", *arguments],
            env={**os.environ, "KUBECONFIG": str(domain.kubeconfig_for_user(user))},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    return run


def plain(text: str) -> str:
    return " ".join(text.split())


def test_the_officer_sees_every_budget_and_one_in_full(mlprivacy: Run) -> None:
    table = mlprivacy("budget", "-A")
    assert (table.returncode, table.stderr) == (0, "")
    row = plain(table.stdout.splitlines()[1])
    assert row == ("patients clinic-patients 10, 1e-08 4 0 0 1 50.0 % no bound Declared BROKEN 0 2 at 8 in force")
    page = plain(mlprivacy("budget", "status", DOMAIN, "-n", "research").stdout)
    for said in (
        "at entry 8, 8 entries", "waiting 2 jobs, of all namespaces", "research/late WAITS 20.0 %",
        "research/old Exception", "bucket 2 [###############",
        "research/late: BudgetExhausted: bucket 1 has too little left.",
        "GuaranteeHolds: Tainted: Data of bucket 2 was used outside accounting.",
    ):  # fmt: skip
        assert said in page, said


def test_an_engineer_sees_what_her_role_lets_her(mlprivacy: Run) -> None:
    erin = mlprivacy("budget", "-n", "research", user=ERIN)
    assert erin.returncode == 3
    assert "INCOMPLETE you may not list privacybudgets.mlprivacy.dev" in plain(erin.stdout)
    assert "research/late patients WAITS 20.0 % BudgetExhausted" in plain(erin.stdout)
    eve = mlprivacy("budget", BUDGET, "-n", "research", user=EVE)
    assert eve.returncode == 0
    assert "at entry 8, as the status says; you may not read the entries" in plain(eve.stdout)


def test_one_job_on_one_screen_and_in_explain(mlprivacy: Run) -> None:
    found = mlprivacy("budget", "--job", "research/late", "-o", "json", user=EVE)
    body = json.loads(found.stdout)
    assert (found.returncode, body["waits"]["reason"]) == (0, "BudgetExhausted")
    assert body["budgets"][0]["left"]["jobs"] == 2
    text = plain(mlprivacy("budget", "--job", "research/diagnosis", user=EVE).stdout)
    assert "Uses 20 % of each block, 2 such jobs fit." in text
    explained = plain(mlprivacy("explain", "trainingjob/late", "-n", "research").stdout)
    assert "Privacy budgets budget patients (clinic-patients): attempt 1 waits" in explained


def test_what_is_planned_is_told_exactly_by_the_ledger_and_nearly_by_the_status(mlprivacy: Run) -> None:
    exact = json.loads(mlprivacy("plan", *NUMBERS, "--budget", BUDGET, "-o", "json").stdout)["budget"]
    guess = json.loads(mlprivacy("plan", *NUMBERS, "--budget", DOMAIN, "-o", "json", user=EVE).stdout)["budget"]
    assert (exact["exact"], guess["exact"]) == (True, False)
    assert exact["jobs"] > 1
    assert abs(exact["jobs"] - guess["jobs"]) <= 1
    nobody = mlprivacy("plan", *NUMBERS, "--budget", BUDGET, user=ERIN)
    assert (nobody.returncode, "You may not do this" in nobody.stderr) == (2, True)


def test_one_job_is_held_against_the_ledger_by_who_may_read_it(domain: ControlPlane, mlprivacy: Run) -> None:
    """The loss at every order follows from the numbers of its status, where it comes to the share that stands there."""
    curve = to_units(curve_of(dp_sgd(0.00128, 7812, 0.7, 1), DEFAULT_ORDERS))
    share = min(asked / room for asked, room in zip(curve, CAPACITY, strict=True) if room)
    taken = {**TAKEN, "state": "Waiting", "sharePercent": round(100 * share, 3)}
    patch_status(domain, "trainingjob.mlprivacy.dev", "late", {"budgets": [taken]}, "-n", "research")
    seen = {
        user: json.loads(mlprivacy("budget", "--job", "research/late", "-o", "json", user=user).stdout)
        for user in (OLGA, EVE)
    }
    left = {user: body["budgets"][0]["left"] for user, body in seen.items()}
    assert (left[OLGA]["exact"], left[EVE]["exact"]) == (True, False)
    rest = [room - int(room * 0.3) - int(room * 0.2) for room in CAPACITY]
    fits = max(room // asked for room, asked in zip(rest, curve, strict=True) if room)
    assert left[OLGA]["jobs"] == fits


def test_a_plan_keeps_to_the_quota_of_its_namespace(domain: ControlPlane, mlprivacy: Run) -> None:
    """Of each block research has spent half, and may take 60 %, then 51 %; labs has no quota."""
    domain.create_namespace("labs")
    free = json.loads(mlprivacy("plan", *NUMBERS, "--budget", BUDGET, "-o", "json").stdout)["budget"]
    assert free["quota"] is None

    def planned(share: float, *arguments: str, user: str = OLGA) -> tuple[int, dict[str, Any]]:
        quotas = {"spec": {"quotas": [{"namespace": "research", "share": share}]}}
        domain.kubectl("patch", "mlpb", BUDGET, "--type=merge", "-p", json.dumps(quotas))
        done = mlprivacy("plan", *NUMBERS, "--budget", BUDGET, "-o", "json", *arguments, user=user)
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)["budget"]

    try:
        code, some = planned(0.6, "--namespace", "research")
        assert (code, some["exact"], 0 < some["jobs"] < free["jobs"]) == (0, True, True)
        assert "of which the namespace research may take 60 %" in some["sentence"]
        code, none = planned(0.51, "--namespace", "research")
        assert (code, none["jobs"], none["quota"]["reached"][0]) == (1, 0, "bucket 0")
        assert "It would wait: research has had its share of bucket 0 (and 3 more)." in none["sentence"]
        code, cap = planned(0.51, "--namespace", "research", user=EVE)
        assert (code, cap["exact"], cap["quota"]["reached"]) == (0, False, [])
        assert "Of the quota only the cap is known" in " ".join(cap["notes"])
        code, labs = planned(0.51, "--namespace", "labs")
        assert (code, "the budget has quotas, and none for labs." in labs["sentence"]) == (1, True)
        gone = mlprivacy("plan", *NUMBERS, "--budget", BUDGET, "--namespace", "reserch")
        said = "There is no namespace reserch. Name one with --namespace; patients has quotas for research."
        assert (gone.returncode, said in plain(gone.stderr)) == (2, True), gone.stderr
    finally:
        domain.kubectl("patch", "mlpb", BUDGET, "--type=merge", "-p", json.dumps({"spec": {"quotas": None}}))


def test_the_ledger_is_exported_verified_and_gone_on_with(domain: ControlPlane, mlprivacy: Run, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    first = mlprivacy("budget", "ledger", BUDGET, "-o", str(file))
    assert (first.returncode, "8 entries written" in first.stderr) == (0, True)
    longer = chain([*STEPS, *spends(3, 0.01)])
    domain.apply(*(entry.manifest() for entry in longer[len(STEPS) + 1 :]))
    again = mlprivacy("budget", "ledger", DOMAIN, "-o", str(file))
    assert (again.returncode, "3 entries written" in again.stderr) == (0, True)
    verified = mlprivacy("verify", "ledger", str(file), "-o", "json")
    body = json.loads(verified.stdout)
    assert (verified.returncode, body["entries"], body["problems"]) == (0, 11, [])
    assert body["domains"][0]["head"]["hash"] == longer[-1].hash
    refused = mlprivacy("budget", "ledger", DOMAIN, "-o", str(tmp_path / "x"), user=EVE)
    assert (refused.returncode, (tmp_path / "x").exists()) == (2, False)


def test_a_larger_promise_is_approved_as_it_is_shown(domain: ControlPlane, mlprivacy: Run) -> None:
    nothing = mlprivacy("budget", "approve", BUDGET, "--yes")
    assert (nothing.returncode, "Nothing waits for approval" in nothing.stdout) == (1, True)
    asked = {"spec": {"epsilon": 12, "noticeVersion": "2026-06"}}
    domain.kubectl("patch", "mlpb", BUDGET, "--type=merge", "-p", json.dumps(asked))
    assert "waits for approval" in mlprivacy("budget").stdout
    done = mlprivacy("budget", "approve", BUDGET, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    stored = domain.get("privacybudgets.mlprivacy.dev", BUDGET) or {}
    assert stored["spec"]["approval"] == {"epsilon": 12, "delta": 1e-8, "noticeVersion": "2026-06"}
    assert "approved, to be written" in mlprivacy("budget").stdout
    other = mlprivacy("budget", "approve", BUDGET, "--yes", user=EVE)
    assert "is approved already" in other.stdout


def test_an_approval_of_a_budget_that_was_made_anew_is_refused(domain: ControlPlane) -> None:
    body = {"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}, "spec": {"retired": ["bucket 0"]}}
    done = domain.kubectl("patch", "mlpb", BUDGET, "--type=merge", "-p", json.dumps(body), check=False)
    assert done.returncode != 0
    assert "uid" in done.stderr.lower()


def test_blocks_are_retired_and_never_taken_back(domain: ControlPlane, mlprivacy: Run) -> None:
    done = mlprivacy("budget", "retire", BUDGET, "3", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert (domain.get("privacybudgets.mlprivacy.dev", BUDGET) or {})["spec"]["retired"] == ["bucket 3"]
    stale = json.dumps({"spec": {"retired": ["bucket 0"]}})  # somebody who read it before
    lost = domain.kubectl("patch", "mlpb", BUDGET, "--type=merge", "-p", stale, check=False)
    assert "a block that is retired stays so" in lost.stderr
    refused = mlprivacy("budget", "retire", BUDGET, "1", "--yes", user=EVE)
    assert (refused.returncode, "You may not do this" in refused.stderr) == (2, True)
    span = mlprivacy("budget", "retire", BUDGET, "bucket 1..bucket 3", "--yes")
    assert (span.returncode, "bucket 1..bucket 3 3 blocks" in plain(span.stdout)) == (0, True)
    assert (domain.get("privacybudgets.mlprivacy.dev", BUDGET) or {})["spec"]["retired"] == [
        "bucket 3", "bucket 1..bucket 3",
    ]  # fmt: skip


def test_no_block_is_retired_that_is_none_and_none_without_a_yes(domain: ControlPlane, mlprivacy: Run) -> None:
    before = (domain.get("privacybudgets.mlprivacy.dev", BUDGET) or {})["spec"]
    for arguments, said in (
        (("2..4", "--yes"), "Bucket 4 is none: the last is bucket 3. There are bucket 0 to bucket 3."),
        (("2026-W01", "--yes"), "'2026-W01' is no block; they are called bucket 0, bucket 1 and so on."),
        (("0",), "there is no terminal to ask on. Add --yes"),
    ):
        refused = mlprivacy("budget", "retire", BUDGET, *arguments)
        assert (refused.returncode, said in plain(refused.stderr)) == (2, True), refused.stderr
    assert (domain.get("privacybudgets.mlprivacy.dev", BUDGET) or {})["spec"] == before


def test_a_domain_whose_budget_is_gone_has_a_ledger_and_one_that_never_was_has_none(
    domain: ControlPlane, mlprivacy: Run, tmp_path: Path
) -> None:
    domain.kubectl("delete", "mlpb", BUDGET)
    kept = mlprivacy("budget", "ledger", DOMAIN, "-o", str(tmp_path / "kept"))
    assert (kept.returncode, "entries written" in kept.stderr) == (0, True)
    nosuch = mlprivacy("budget", "ledger", "nosuch", "-o", str(tmp_path / "nosuch"))
    assert (nosuch.returncode, (tmp_path / "nosuch").exists()) == (2, False)
    assert "There is no ledger, no PrivacyBudget and no subject domain nosuch." in nosuch.stderr
