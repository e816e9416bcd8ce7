"""`mlprivacy check` on PrivacyBudgets and Datasets: what admission would say of them, in every form of output.

The matrix: numbers that can not be kept; a domain, an identity or a source that another has; an approval; identities
without data; in the order in which files are applied. Text, JSON, SARIF, exit code, and the line that counts.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from builders import Raw, change, clinic_world, dataset, training_job
from builders import budget as stored_budget
from click.testing import CliRunner, Result

from mlprivacy.cli.main import cli

NOW = "2026-06-01T12:00:00Z"


def budget(name: str = "patients", **spec: Any) -> Raw:
    """As somebody writes it."""
    raw = stored_budget(name, **spec)
    return raw | {"metadata": {"name": name}}


VISITS = dataset()
COPY = dataset(
    "copy", identity="urn:clinic:copy", source={"uri": "s3://CLINIC//visits/2026.parquet", "format": "Parquet"}
)
SECOND = budget("second", identities=["urn:clinic:other"], subjectDomain="clinic-patients")


def check(*objects: Raw, args: tuple[str, ...] = ()) -> Result:
    text = "---\n".join(yaml.safe_dump(one) for one in objects)
    return CliRunner().invoke(cli, ["check", "-", "--now", NOW, *args], input=text)


def found(*objects: Raw) -> dict[str, list[tuple[str, str]]]:
    """Path and action of what is found, by the name of the object."""
    body = json.loads(check(*objects, args=("-o", "json")).stdout)
    return {one["name"]: [(f["path"], f["action"]) for f in one["findings"]] for one in body["data"]}


def test_a_budget_that_can_be_kept_is_allowed_and_counted() -> None:
    done = check(VISITS, budget())
    assert done.exit_code == 0
    assert done.output.splitlines()[0].startswith("ALLOWED   PrivacyBudget patients  stdin:")
    assert done.output.splitlines()[-1] == "1 Dataset, 1 PrivacyBudget; 0 jobs."


@pytest.mark.parametrize(
    ("objects", "name", "path"),
    [
        ((VISITS, budget(delta=1e-3)), "patients", "spec.delta"),
        ((budget(delta=1e-3), VISITS), "patients", "spec.delta"),
        ((budget(epsilon=1e-9),), "patients", "spec.epsilon"),
        ((budget(retired=["last week"]),), "patients", "spec.retired[0]"),
        ((budget(approval={"epsilon": 10, "delta": 1e-8}),), "patients", "spec.approval"),
        ((budget(), SECOND), "second", "spec.subjectDomain"),
        ((budget(), budget("second", subjectDomain="others")), "second", "spec.identities[0]"),
        ((VISITS, COPY, budget()), "patients", "spec.identities[0]"),
        ((VISITS, budget(), COPY), "copy", "spec.source.uri"),
    ],
)
def test_what_admission_refuses_is_refused_at_its_field(objects: tuple[Raw, ...], name: str, path: str) -> None:
    assert (path, "Deny") in found(*objects)[name]
    done = check(*objects)
    assert done.exit_code == 1
    assert re.search(
        rf"^REFUSED   \S+ (clinic/)?{name}  stdin:[0-9:]+\n  refused  one-budget  {re.escape(path)}  line [0-9]+\n"
        r"(?s:.)*?To fix it: ",
        done.output,
        re.MULTILINE,
    )
    assert "1 refused" in done.output.splitlines()[-1]


def test_of_two_the_first_in_the_files_is_let_in_as_when_they_are_applied() -> None:
    assert found(VISITS, SECOND, budget())["second"] == [("spec.identities[0]", "Warn")]
    refused = found(VISITS, budget(delta=1e-3), SECOND)
    assert [action for _, action in refused["second"]] == ["Warn"], "what is refused has no domain"


def test_an_identity_without_data_is_a_warning_whichever_file_has_the_data() -> None:
    alone = check(budget())
    assert (alone.exit_code, "WARNED    PrivacyBudget patients" in alone.output) == (0, True)
    assert "no Dataset has the identity urn:clinic:visits (yet)" in alone.output
    assert found(budget(), VISITS)["patients"] == []


def test_a_stored_budget_keeps_its_approval_and_waits_with_a_larger_promise() -> None:
    stored = stored_budget(approval={"epsilon": 10, "delta": 1e-8})
    assert found(VISITS, stored)["patients"] == []
    larger = change(stored_budget(epsilon=12), "status", {"promise": {"epsilon": 10, "delta": 1e-8}})
    assert found(VISITS, larger)["patients"] == [("spec.epsilon", "Warn")]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"epsilon": 0}, "spec.epsilon"),
        ({"delta": 1}, "spec.delta"),
        ({"epsilon": 1e9}, "spec.epsilon"),
        ({"blocks": {"by": "IngestionTime", "period": "Day"}}, "spec.blocks.by"),
        ({"epsylon": 3}, "spec.epsylon"),
        ({"neighbours": "ReplaceOne"}, "spec.neighbours"),
    ],
)
def test_a_mistake_in_a_field_is_bad_input_as_in_a_job(spec: dict[str, Any], path: str) -> None:
    done = check(budget(**spec))
    assert done.exit_code == 2
    assert f"BAD       PrivacyBudget patients  {path}  stdin:" in done.output
    assert done.output.splitlines()[-1] == "1 PrivacyBudget; 0 jobs; 1 problem in the files."


def test_the_worst_of_jobs_and_budgets_is_the_exit_code() -> None:
    labels = {"mlprivacy.dev/enforce": "enforce"}
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name in ("research", "clinic")
    ]
    good = check(*spaces, *clinic_world(budget()), training_job())
    assert good.exit_code == 0, good.output
    assert good.output.splitlines()[-1].startswith("1 job: 1 allowed; ")
    bad = check(*spaces, *clinic_world(budget()), SECOND, training_job())
    assert bad.exit_code == 1
    assert "1 job: 1 allowed" in bad.output
    assert "2 PrivacyBudgets: 1 refused" in bad.output


def test_quiet_shows_what_is_refused_alone() -> None:
    text = check(VISITS, budget(), SECOND, args=("-q",)).output
    assert [line.split()[0] for line in text.splitlines() if line[:1].isupper()] == ["REFUSED"]


def test_programs_get_the_object_the_field_the_sentence_and_the_remedy() -> None:
    body = json.loads(check(VISITS, budget(delta=1e-3), args=("-o", "json")).stdout)
    (told,) = [one for one in body["data"] if one["kind"] == "PrivacyBudget"]
    assert (told["verdict"], told["name"], body["exitCode"]) == ("Deny", "patients", 1)
    (finding,) = told["findings"]
    assert finding["message"] == "0.001 is more than 1/(100 N) for N = 200,000"
    assert finding["remedy"] == "set delta to 5e-08 or less"
    assert finding["line"] > told["line"]
    assert body["counts"] == {"Dataset": 1, "PrivacyBudget": 1}


def test_code_scanning_gets_them_too() -> None:
    log = json.loads(check(VISITS, budget(delta=1e-3), args=("-o", "sarif")).stdout)
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("one-budget", "error")
    assert result["message"]["text"].endswith("To fix it: set delta to 5e-08 or less")
    assert result["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "PrivacyBudget patients spec.delta"}]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] > 1
    (rule,) = log["runs"][0]["tool"]["driver"]["rules"]
    assert rule["defaultConfiguration"] == {"level": "error"}
