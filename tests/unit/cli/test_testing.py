"""`mlprivacy test`: what is compared, exit codes, bad input in sentences, JSON and JUnit.

Matrix: a case (passes, fails in each way that is compared, is unreadable in each way) x text, JSON, JUnit.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from pydantic.alias_generators import to_camel

from mlprivacy.cli.cases import _BY_OBJECTS
from mlprivacy.cli.main import cli
from mlprivacy.policy.facts import Facts

OBJECTS = f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: lab, labels: {{mlprivacy.dev/enforce: enforce}}}}
---
apiVersion: mlprivacy.dev/v1alpha1
kind: DataClass
metadata: {{name: plain}}
spec: {{categories: [system], sensitivity: Internal}}
---
apiVersion: mlprivacy.dev/v1alpha1
kind: Dataset
metadata: {{name: events, namespace: lab}}
spec:
  identity: urn:lab:events
  source: {{uri: "s3://lab/events", format: CSV}}
  subjects: {{column: user, kind: customer, atLeast: 1000}}
  columns: [{{name: user, dataClass: plain}}, {{name: value, dataClass: plain}}]
  uses: [{{purpose: essential, processing: Training, legalBasis: "eu-gdpr:A6-1-b"}}]
---
apiVersion: mlprivacy.dev/v1alpha1
kind: TrainingJob
metadata: {{name: count, namespace: lab}}
spec: &spec
  purpose: essential
  datasets: [{{name: events, columns: [value], mountPath: /data}}]
  template: {{spec: {{containers: [{{name: t, image: "registry.example/t@sha256:{"a" * 64}"}}]}}}}
"""
REFUSED = OBJECTS.replace("  purpose: essential\n", "  purpose: marketing\n")
HEAD = "name: a case\nnow: 2026-06-01T12:00:00Z\n"


def case(folder: Path, expect: str, objects: str = OBJECTS, head: str = HEAD, name: str = "one") -> Path:
    home = folder / "cases" / name
    home.mkdir(parents=True)
    (home / "case.yaml").write_text(f"{head}expect: {expect}\n", encoding="utf-8")
    (home / "objects.yaml").write_text(objects, encoding="utf-8")
    return home


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["test", *map(str, arguments)])


@pytest.mark.parametrize(
    ("objects", "expect"),
    [
        (OBJECTS, "{verdict: Allow, mode: Enforce, absent: [residency], only: true}"),
        (REFUSED, "{verdict: Deny}"),
        (REFUSED, "{verdict: Deny, only: true, findings: [{rule: purpose-limitation}]}"),
        (
            REFUSED,
            "{verdict: Deny, findings: [{rule: purpose-limitation, action: Deny, path: spec.purpose, pack: baseline, "
            "reason: Breach, message: marketing is not among}]}",
        ),
        (
            OBJECTS.replace("kind: DataClass", "kind: ConfigMap").replace("mlprivacy.dev/v1alpha1", "v1", 1),
            "{verdict: Hold}",
        ),
    ],
)
def test_a_case_that_is_decided_as_expected_passes(objects: str, expect: str, tmp_path: Path) -> None:
    case(tmp_path, expect, objects)
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "1 case: 1 passed, 0 failed" in result.output


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ("{verdict: Allow}", ["verdict", "- Allow", "+ Deny"]),
        ("{verdict: Deny, mode: Warn}", ["mode", "- Warn", "+ Enforce"]),
        ("{verdict: Deny, findings: [{rule: residency}]}", ["- residency", "no finding of this rule"]),
        ("{verdict: Deny, findings: [{rule: purpose-limitation, action: Warn}]}", ["(action Warn)", "(action Deny,"]),
        ("{verdict: Deny, findings: [{rule: purpose-limitation, path: spec}]}", ["path spec)", "path spec.purpose"]),
        ("{verdict: Deny, findings: [{rule: purpose-limitation, pack: eu-gdpr}]}", ["pack eu-gdpr", "pack baseline"]),
        ("{verdict: Deny, findings: [{rule: purpose-limitation, message: xyz}]}", ["message xyz"]),
        (
            "{verdict: Deny, findings: [{rule: purpose-limitation}, {rule: purpose-limitation}]}",
            ["no finding of this rule"],
        ),
        ("{verdict: Deny, absent: [purpose-limitation]}", ["absent", "no finding of purpose-limitation"]),
        ("{verdict: Deny, only: true}", ["only", "no other finding"]),
    ],
)
def test_a_case_that_is_not_shows_what_was_expected_and_found(expect: str, said: list[str], tmp_path: Path) -> None:
    home = case(tmp_path, expect, REFUSED)
    result = run(tmp_path)
    assert result.exit_code == 1, result.output
    text = " ".join(result.output.split())
    for words in ("FAILED", home.name, *said):
        assert words in text


@pytest.mark.parametrize(
    ("head", "expect", "objects", "said"),
    [
        (HEAD, "{verdict: Maybe}", OBJECTS, "expect.verdict"),
        (HEAD, "{verdict: Allow, absnt: []}", OBJECTS, "expect.absnt"),
        (HEAD, "{verdict: Allow, absent: [residencyy]}", OBJECTS, "residencyy, which is no rule"),
        (HEAD, "{verdict: Deny, findings: [{rule: custom/none}]}", OBJECTS, "custom/none, which is no rule"),
        ("name: x\n", "{verdict: Allow}", OBJECTS, "now"),
        ("name: x\nnow: yesterday\n", "{verdict: Allow}", OBJECTS, "'yesterday' is no moment"),
        (HEAD + "job: other\n", "{verdict: Allow}", OBJECTS, "no job named other"),
        (HEAD, "{verdict: Allow}", OBJECTS.rsplit("---", 1)[0], "there is no job"),
        (HEAD, "{verdict: Allow}", OBJECTS + "---\n" + OBJECTS.rsplit("---", 1)[1].replace("count", "sum"), "2 jobs"),
        (HEAD, "{verdict: Allow}", OBJECTS.replace("purpose: ess", "purposes: ess"), "is not a field of this kind"),
        (HEAD, "{verdict: Allow}", "a: [\n", "objects.yaml:"),
        (HEAD, "[", OBJECTS, "case.yaml:"),
        (HEAD + "facts: {moon: full}\n", "{verdict: Allow}", OBJECTS, "facts.moon is no fact that a case can set"),
        (HEAD + "facts: {capabilities: [wings]}\n", "{verdict: Allow}", OBJECTS, "facts.capabilities"),
        (HEAD + "facts: {policies: []}\n", "{verdict: Allow}", OBJECTS, "facts.policies is no fact"),
    ],
)
def test_bad_input_is_told_in_a_sentence(head: str, expect: str, objects: str, said: str, tmp_path: Path) -> None:
    case(tmp_path, expect, objects, head)
    result = run(tmp_path)
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.output.split())
    assert "1 could not be run" in result.output


def test_a_bomb_of_aliases_is_bad_input(tmp_path: Path) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
    )
    case(tmp_path, "{verdict: Allow}", bomb)
    case(tmp_path, "{verdict: Allow}", head=bomb, name="two")
    assert run(tmp_path).exit_code == 2


def test_facts_that_are_no_objects_are_set_by_the_case(tmp_path: Path) -> None:
    held = OBJECTS.replace("  purpose: essential\n", "  purpose: essential\n  evaluation: {command: [run]}\n")
    case(tmp_path, "{verdict: Hold, findings: [{rule: not-enforced-here}]}", held, name="without")
    head = HEAD + "facts: {capabilities: [sealed-egress, release-gate]}\n"
    case(tmp_path, "{verdict: Allow}", held, head, name="with")
    result = run(tmp_path)
    assert result.exit_code == 0, result.output


def test_one_of_several_jobs_is_named(tmp_path: Path) -> None:
    two = OBJECTS + "---\n" + REFUSED.rsplit("---", 1)[1].replace("count", "sum")
    for number, named in enumerate(("sum", "lab/sum", "TrainingJob/sum")):
        case(tmp_path, "{verdict: Deny}", two, f"{HEAD}job: {named}\n", name=str(number))
    assert run(tmp_path).exit_code == 0


def test_invalid_objects_are_judged_where_the_case_says_so(tmp_path: Path) -> None:
    wrong = REFUSED.replace("purpose: marketing", "purpose: Marketing!")
    case(
        tmp_path,
        "{verdict: Deny, findings: [{rule: schema, path: spec.purpose}]}",
        wrong,
        HEAD + "allowInvalid: true\n",
    )
    assert run(tmp_path).exit_code == 0


def test_the_worst_of_all_cases_counts_and_all_are_run(tmp_path: Path) -> None:
    case(tmp_path, "{verdict: Allow}", name="a")
    case(tmp_path, "{verdict: Deny}", name="b")
    assert run(tmp_path).exit_code == 1
    case(tmp_path, "{verdict: Maybe}", name="c")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "3 cases: 1 passed, 1 failed, 1 could not be run" in result.output


def test_without_a_case_there_is_nothing_to_pass(tmp_path: Path) -> None:
    assert run(tmp_path).exit_code == 2
    assert "There is no case.yaml" in run(tmp_path).output
    assert run(tmp_path / "nowhere").exit_code == 2


def test_hidden_folders_are_not_looked_into(tmp_path: Path) -> None:
    case(tmp_path, "{verdict: Deny}", name=".old")
    assert run(tmp_path).exit_code == 2


def test_json_and_junit_say_the_same(tmp_path: Path) -> None:
    case(tmp_path, "{verdict: Allow}", name="a")
    case(tmp_path, "{verdict: Allow}", REFUSED, 'name: "odd <&>\\" \\a name"\nnow: 2026-06-01\n', name="b")
    case(tmp_path, "{verdict: Maybe}", name="c")
    report = tmp_path / "report.xml"
    result = run(tmp_path, "-o", "json", "--junit", report)
    body = json.loads(result.output)
    assert (result.exit_code, body["exitCode"]) == (2, 2)
    assert [c["outcome"] for c in body["cases"]] == ["passed", "failed", "error"]
    assert body["cases"][1]["differences"] == [{"what": "verdict", "expected": "Allow", "found": "Deny"}]
    assert body["cases"][1]["decision"]["verdict"] == "Deny"
    root = ElementTree.fromstring(report.read_text(encoding="utf-8"))  # noqa: S314 - made here
    suite = root[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert [[child.tag for child in one] for one in suite] == [[], ["failure"], ["error"]]
    assert "expected Allow; found Deny" in str(suite[1][0].get("message"))
    assert 'odd <&>" � name' in str(suite[1].get("name"))


def test_a_report_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    case(tmp_path, "{verdict: Allow}")
    result = run(tmp_path, "--junit", tmp_path / "no" / "report.xml")
    assert result.exit_code == 2
    assert "can not be written" in result.output


def test_help_tells_format_and_exit_codes() -> None:
    text = run("--help").output
    for words in ("case.yaml", "expect:", "0  every case passed", "1  a case failed", "2  bad input"):
        assert words in text


def test_a_case_that_fails_names_what_was_found(tmp_path: Path) -> None:
    case(tmp_path, "{verdict: Allow}", REFUSED)
    text = " ".join(run(tmp_path).output.split())
    assert "decided Deny, by Deny purpose-limitation spec.purpose: the purpose marketing is not among" in text


def test_help_names_every_fact_that_a_case_can_state() -> None:
    text = run("--help").output
    stated = [to_camel(f.name) for f in fields(Facts) if f.name not in (*_BY_OBJECTS, "exceptions", "fabric")]
    assert stated
    for name in stated:
        assert f"\n    {name} " in text, name
