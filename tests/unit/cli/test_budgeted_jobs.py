"""Budgets among files: `check`, `explain`, `policy diff`, `scan` and `test` count jobs as the operator does."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from builders import (
    Raw,
    budget,
    change,
    clinic_world,
    counted,
    facts_of,
    health_class,
    policy,
    training_job,
    without,
)
from click.testing import CliRunner, Result
from ledger_world import DOMAIN, chain

from mlprivacy.budget.ledger.transitions import Register
from mlprivacy.cli import scanning
from mlprivacy.cli.main import cli
from mlprivacy.cli.policydiff import Live
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.lookup import ObjectLookup

NOW = "2026-06-01T12:00:00Z"
PLAIN = health_class(differentialPrivacy={"required": False})
UNPROMISED = without(training_job(), "spec.privacy")


def namespaces(mode: str = "enforce") -> list[Raw]:
    label = {"mlprivacy.dev/enforce": mode}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": label}}
        for name in ("research", "clinic")
    ]


def write(folder: Path, *objects: Raw, name: str = "all.yaml") -> str:
    file = folder / name
    file.write_text("---\n".join(yaml.safe_dump(raw) for raw in objects), encoding="utf-8")
    return str(file)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize("mode", ["enforce", "warn", "audit"])
@pytest.mark.parametrize(
    "job",
    [
        training_job(),
        UNPROMISED,
        change(training_job(), "spec.privacy.noiseMultiplier", 0.5),
        change(training_job(), "spec.privacy.epsilon", 500),
    ],
    ids=["counted", "no promise", "too little noise", "too much"],
)
def test_check_decides_as_evaluate_does(job: Raw, mode: str, tmp_path: Path) -> None:
    objects = clinic_world(PLAIN, budget(), policy(mode="Enforce"))
    file = write(tmp_path, *namespaces(mode), *objects, job)
    (shown,) = json.loads(run("check", file, "--now", NOW, "-o", "json").output)["jobs"]
    facts = facts_of(objects, modes={"research": mode, "clinic": mode}, audit_retention_days=2192)
    decision = evaluate(job, counted(job, facts))
    assert shown["verdict"] == decision.verdict.value
    assert [(f["rule"], f["action"], f["path"], f["message"]) for f in shown["findings"]] == [
        (f.rule, f.action.value, f.path, f.message) for f in decision.findings
    ]


def test_explain_shows_the_budget_that_a_job_rests_on(tmp_path: Path) -> None:
    file = write(tmp_path, *namespaces(), *clinic_world(budget()), training_job())
    assert "PrivacyBudget patients" in run("explain", "-f", file, "--now", NOW).output


def test_policy_diff_counts_budgets_on_both_sides(tmp_path: Path) -> None:
    common = write(tmp_path, *namespaces(), *clinic_world(PLAIN, budget()), UNPROMISED)
    softer = write(tmp_path, policy(rules=[{"id": "dp-budget", "action": "Warn"}]), name="new.yaml")
    result = run("policy", "diff", write(tmp_path, policy(), name="old.yaml"), softer, "-f", common, "--now", NOW)
    assert "1 job: 0 decided otherwise" in result.output  # an override does not soften it


def test_scan_says_what_a_budget_would_refuse(tmp_path: Path) -> None:
    live = Live((*namespaces("audit"), *clinic_world(PLAIN, budget()), UNPROMISED))
    (row,) = scanning.scan(live, "mlprivacy-system", datetime(2026, 6, 1, tzinfo=UTC)).rows
    assert row.hard is not None
    assert [f.rule for f in row.hard.blocking] == ["dp-budget"]


def test_entries_of_ledgers_among_the_files_count(tmp_path: Path) -> None:
    """What a ledger registered belongs to its domain, whether its budget is there or not."""
    entry = chain(Register("urn:clinic:visits"))[-1].manifest()
    assert ObjectLookup([entry]).registrations()[0].domain == DOMAIN
    file = write(tmp_path, *namespaces(), *clinic_world(), entry, training_job())
    result = run("check", file, "--now", NOW)
    assert result.exit_code == 3
    assert "whose PrivacyBudget is gone" in " ".join(result.output.split())


def test_a_case_can_state_what_the_ledger_says(tmp_path: Path) -> None:
    write(tmp_path, *namespaces(), *clinic_world(budget()), training_job(), name="objects.yaml")
    rooms = {"clinic-patients": {"never": "2026-W10 is full for good"}}
    case = {
        "name": "full",
        "now": NOW,
        "facts": {"rooms": rooms},
        "expect": {"verdict": "Deny", "findings": [{"rule": "dp-budget", "message": "2026-W10 is full for good"}]},
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case), encoding="utf-8")
    result = run("test", str(tmp_path))
    assert result.exit_code == 0, result.output
