"""`mlprivacy check`: exit codes and their order, strictness, settings, JSON and SARIF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from mlprivacy.cli.main import cli

NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata: {name: lab, labels: {mlprivacy.dev/enforce: enforce}}
---
"""
DATA = """\
apiVersion: mlprivacy.dev/v1alpha1
kind: DataClass
metadata: {name: plain}
spec: {categories: [system], sensitivity: Internal}
---
apiVersion: mlprivacy.dev/v1alpha1
kind: Dataset
metadata: {name: events, namespace: lab}
spec:
  identity: urn:lab:events
  source: {uri: "s3://lab/events", format: CSV}
  subjects: {column: user, kind: customer, atLeast: 1000}
  columns: [{name: user, dataClass: plain}, {name: value, dataClass: plain}]
  uses: [{purpose: essential, processing: Training, legalBasis: "eu-gdpr:A6-1-b"}]
---
"""


def job(name: str = "job", purpose: str = "essential", dataset: str = "events", more: str = "") -> str:
    return f"""\
apiVersion: mlprivacy.dev/v1alpha1
kind: TrainingJob
metadata: {{name: {name}, namespace: lab}}
spec:
  purpose: {purpose}
  datasets:
    - {{name: {dataset}, columns: [value], mountPath: /data}}
{more}  template:
    spec:
      containers:
        - {{name: trainer, image: registry.example/t@sha256:{"a" * 64}}}
---
"""


ALLOWED = NAMESPACE + DATA + job()
REFUSED = NAMESPACE + DATA + job(purpose="marketing")
HELD = NAMESPACE + job()
UNKNOWN_FIELD = NAMESPACE + DATA + job(more="  purposes: [marketing]\n")


def check(*arguments: str, text: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["check", *arguments], input=text)


@pytest.mark.parametrize(
    ("text", "code"), [(ALLOWED, 0), (REFUSED, 1), (UNKNOWN_FIELD, 2), (HELD, 3)], ids=["0", "1", "2", "3"]
)
def test_the_exit_code_says_what_was_decided(text: str, code: int) -> None:
    result = check("-", text=text)
    assert result.exit_code == code, result.output


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([ALLOWED, HELD.replace("name: job", "name: other")], 0),  # the second finds its dataset in the first
        ([ALLOWED, job("lost", dataset="none")], 3),
        ([REFUSED, job("lost", dataset="none")], 1),
        ([REFUSED, "a: [\n"], 2),
        ([ALLOWED, "a: [\n"], 2),
    ],
)
def test_the_worst_of_several_files_counts(texts: list[str], code: int, tmp_path: Path) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
    assert check(str(tmp_path)).exit_code == code


def test_a_refusal_names_rule_field_line_law_and_remedy() -> None:
    output = check("-", text=REFUSED).output
    for words in (
        "REFUSED",
        "TrainingJob lab/job",
        "purpose-limitation",
        "spec.purpose",
        "GDPR",
        "To fix it:",
        "stdin:",
    ):
        assert words in output
    line = REFUSED[: REFUSED.index("purpose: marketing")].count("\n") + 1
    assert f"line {line}" in output


def test_a_namespace_that_is_not_in_the_files_holds_the_job_unless_its_mode_is_given() -> None:
    text = DATA + job(purpose="marketing")
    assert check("-", text=text).exit_code == 3 or "NamespaceNotGoverned" in check("-", "-o", "json", text=text).output
    assert check("-", "--default-mode", "enforce", text=text).exit_code == 1
    assert check("-", "--default-mode", "warn", text=text).exit_code == 0
    assert check("-", "--namespace-label", "lab=audit", text=text).exit_code == 0


def test_a_label_on_the_command_line_goes_before_that_of_the_file() -> None:
    result = check("-", "--namespace-label", "lab=warn", text=REFUSED)
    assert result.exit_code == 0
    assert "WARNED" in result.output


def test_a_default_mode_does_not_change_a_namespace_that_is_in_the_files() -> None:
    assert check("-", "--default-mode", "audit", text=REFUSED).exit_code == 1


def test_time_is_an_input() -> None:
    grant = """\
apiVersion: mlprivacy.dev/v1alpha1
kind: DatasetGrant
metadata: {name: g, namespace: data}
spec:
  from: [{namespace: lab, kind: TrainingJob}]
  to: [{kind: Dataset, name: events, columns: [value], purposes: [essential], processing: [Training]}]
  expiresAt: "2027-01-01T00:00:00Z"
---
"""
    text = (
        NAMESPACE
        + NAMESPACE.replace("name: lab", "name: data")
        + DATA.replace("namespace: lab", "namespace: data")
        + grant
    )
    text += job().replace("{name: events,", "{name: events, namespace: data,")
    assert check("-", "--now", "2026-12-31", text=text).exit_code == 0
    assert check("-", "--now", "2027-01-01T00:00:00Z", text=text).exit_code == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (UNKNOWN_FIELD, "spec.purposes"),
        (ALLOWED + job().replace("v1alpha1", "v1beta9"), "is not served"),
        (ALLOWED.replace("kind: Dataset\n", "kind: Datasets\n"), "has no kind Datasets"),
        (ALLOWED.replace("metadata: {name: job,", "metadata: {Name: job,"), "metadata.Name"),
        (ALLOWED + "spec: 1\n", "is no Kubernetes object"),
        (ALLOWED.replace("{mlprivacy.dev/enforce: enforce}", "{mlprivacy.dev/enforce: on}"), "put it in quotes"),
        (ALLOWED.replace("metadata: {name: job,", "metadata: {name: y,"), "put True in quotes"),
        (ALLOWED + job(purpose="other"), "is given twice"),
        (ALLOWED.replace("atLeast: 1000", "atLeast: many"), "subjects.atLeast"),
        (ALLOWED.replace("spec:\n  purpose", "status: {}\nspce:\n  purpose"), "spce"),
        (
            ALLOWED.replace("purpose: essential\n  datasets", "purpose: essential\n  suspend: 1\n  datasets"),
            "spec.suspend",
        ),
        (ALLOWED.replace("subjects: {column: user,", "subjects: {column: nobody,"), "subjects.column must be one of"),
        ("[1, 2]\n", "is no Kubernetes object"),
    ],
)
def test_bad_input_is_named_with_its_field_or_object(text: str, words: str) -> None:
    result = check("-", text=text)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_job_with_a_mistake_of_its_own_is_not_judged() -> None:
    body = json.loads(check("-", "-o", "json", text=UNKNOWN_FIELD).stdout)
    assert body["jobs"] == []
    assert body["errors"][0]["path"] == "spec.purposes"
    assert body["errors"][0]["line"] == UNKNOWN_FIELD[: UNKNOWN_FIELD.index("purposes:")].count("\n") + 1


def test_equal_objects_in_two_files_are_one_object(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(ALLOWED, encoding="utf-8")
    body = json.loads(check(str(tmp_path), "-o", "json").stdout)
    assert (len(body["jobs"]), body["errors"]) == (1, [])


def test_a_list_is_its_items_and_other_kinds_are_counted() -> None:
    one = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [one, one]})
    result = check("-", text=ALLOWED + text)
    assert result.exit_code == 0
    assert "2 objects of other kinds were not looked at" in result.output


def test_folders_are_read_with_all_below_them_but_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep" / "er" / "job.yml").write_text(job(), encoding="utf-8")
    (tmp_path / "data.yaml").write_text(NAMESPACE + DATA, encoding="utf-8")
    (tmp_path / ".git" / "bad.yaml").write_text("a: [\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not: [yaml\n", encoding="utf-8")
    assert check(str(tmp_path)).exit_code == 0


def test_what_is_not_there_is_said_and_nothing_else_is_lost(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(ALLOWED, encoding="utf-8")
    result = check(str(tmp_path), str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "can not be read: No such file" in result.output
    assert "ALLOWED" in result.output
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "There is no .yaml, .yml, .json file" in check(str(empty)).output


def test_a_status_in_a_file_proves_nothing() -> None:
    """The API server drops it at a create, so a made-up consent snapshot must not count."""
    scope = """\
apiVersion: mlprivacy.dev/v1alpha1
kind: ConsentScope
metadata: {name: s, namespace: lab}
spec: {purposes: [essential], processing: [Training], dataClasses: [plain], version: v1, noticeURL: "https://x.example",
       registry: {embedded: {}}, acceptedVersions: [v1]}
status: {snapshot: {takenAt: "2020-01-01T00:00:00Z", digest: x}}
---
"""
    text = NAMESPACE + DATA.replace('legalBasis: "eu-gdpr:A6-1-b"', 'legalBasis: "eu-gdpr:A6-1-a", consentScope: s')
    assert check("-", text=text + scope + job()).exit_code == 0
    exported = scope.replace("{name: s,", "{name: s, uid: 1-2-3,")
    assert check("-", text=text + exported + job()).exit_code == 3  # a real snapshot that is too old


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--now", "yesterday"], "--now 'yesterday' is no moment"),
        (["--now", "2027-01-01T00:00:00"], "is no moment"),
        (["--namespace-label", "lab"], "is not of the form NAMESPACE=enforce|warn|audit"),
        (["--namespace-label", "lab=strict"], "is not of the form"),
        (["--default-mode", "strict"], "'strict' is not one of"),
    ],
)
def test_wrong_arguments_are_sentences_with_exit_code_2(arguments: list[str], words: str) -> None:
    result = check("-", *arguments, text=ALLOWED)
    assert result.exit_code == 2
    assert words in result.output


def test_control_characters_in_a_file_do_not_steer_the_terminal() -> None:
    text = ALLOWED.replace("purpose: essential\n  datasets", 'purpose: "\\e[2J\\u202eessential"\n  datasets')
    result = check("-", text=text)
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


# --- SARIF -----------------------------------------------------------------------------------------------------------

# The parts of the OASIS schema (SARIF 2.1.0) that a report of ours can break, written down from it.
SARIF: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["tool"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "semanticVersion": {"pattern": r"^\d+\.\d+\.\d+"},
                                    "rules": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/rule"}},
                                },
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "invocations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["executionSuccessful"],
                            "properties": {"executionSuccessful": {"type": "boolean"}, "exitCode": {"type": "integer"}},
                        },
                    },
                    "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
                },
            },
        },
    },
    "$defs": {
        "message": {
            "type": "object",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {"text": {"type": "string", "minLength": 1}, "markdown": {"type": "string"}},
        },
        "level": {"enum": ["none", "note", "warning", "error"]},
        "rule": {
            "type": "object",
            "required": ["id", "shortDescription"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "shortDescription": {"$ref": "#/$defs/message"},
                "fullDescription": {"$ref": "#/$defs/message"},
                "help": {"$ref": "#/$defs/message"},
                "defaultConfiguration": {"properties": {"level": {"$ref": "#/$defs/level"}}},
                "properties": {"properties": {"tags": {"type": "array", "uniqueItems": True}}},
            },
        },
        "result": {
            "type": "object",
            "required": ["message", "ruleId", "ruleIndex", "level", "locations"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/message"},
                "partialFingerprints": {"additionalProperties": {"type": "string"}},
                "properties": {"type": "object"},
                "locations": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "physicalLocation": {
                                "type": "object",
                                "required": ["artifactLocation"],
                                "additionalProperties": False,
                                "properties": {
                                    "artifactLocation": {
                                        "required": ["uri"],
                                        "properties": {"uri": {"type": "string", "pattern": r"^[^ \\]+$"}},
                                    },
                                    "region": {
                                        "additionalProperties": False,
                                        "properties": {
                                            "startLine": {"type": "integer", "minimum": 1},
                                            "startColumn": {"type": "integer", "minimum": 1},
                                        },
                                    },
                                },
                            },
                            "logicalLocations": {
                                "type": "array",
                                "items": {"properties": {"fullyQualifiedName": {"type": "string"}}},
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.mark.parametrize("text", [ALLOWED, REFUSED, HELD, UNKNOWN_FIELD, "a: [\n"], ids=["0", "1", "3", "2", "yaml"])
def test_sarif_is_valid_and_points_at_the_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "my jobs.yaml"
    file.write_text(text, encoding="utf-8")
    result = check(str(file), "-o", "sarif")
    report = json.loads(result.stdout)
    jsonschema.Draft202012Validator(SARIF).validate(report)
    run = report["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for entry in run["results"]:
        assert rules[entry["ruleIndex"]]["id"] == entry["ruleId"]
    assert bool(run["results"]) == bool(result.exit_code)
    assert run["invocations"][0]["exitCode"] == result.exit_code


def test_a_refusal_in_sarif_is_an_error_at_the_line_of_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.yaml").write_text(REFUSED, encoding="utf-8")
    run = json.loads(check("jobs.yaml", "-o", "sarif").stdout)["runs"][0]
    (entry,) = run["results"]
    place = entry["locations"][0]["physicalLocation"]
    assert entry["ruleId"] == "purpose-limitation"
    assert entry["level"] == "error"
    assert place["artifactLocation"]["uri"] == "jobs.yaml"
    assert place["region"]["startLine"] == REFUSED[: REFUSED.index("purpose: marketing")].count("\n") + 1
    rule = run["tool"]["driver"]["rules"][0]
    assert "GDPR 5(1)(b)" in rule["properties"]["citations"]
    assert rule["help"]["text"]


def test_a_fingerprint_does_not_change_when_lines_move() -> None:
    def marks(text: str) -> list[str]:
        results = json.loads(check("-", "-o", "sarif", text=text).stdout)["runs"][0]["results"]
        return [entry["partialFingerprints"]["finding/v1"] for entry in results]

    assert marks(REFUSED) == marks("# a comment\n\n" + REFUSED)


EXCEPTION = """\
apiVersion: mlprivacy.dev/v1alpha1
kind: PolicyException
metadata:
  name: this-once
  uid: uid-of-this-once
  creationTimestamp: "2026-05-25T00:00:00Z"
  annotations: {mlprivacy.dev/requested-by: alice, mlprivacy.dev/approved-by: dave}
spec:
  rule: purpose-limitation
  workload: {kind: TrainingJob, namespace: lab, name: job}
  reason: For a test.
  ticket: PRIV-17
  expiresAt: "2026-06-10T00:00:00Z"
  approved: true
  approval: {uid: uid-of-this-once, generation: 1}
"""


def test_an_exception_in_the_files_counts_until_its_end_and_the_files_are_taken_at_their_word() -> None:
    text = REFUSED + EXCEPTION
    result = check("-", "--now", "2026-06-01", text=text)
    assert result.exit_code == 0, result.output
    assert "Accepted for a while by the PolicyException this-once." in result.output
    assert "Note: the exceptions this-once are taken at the files' word" in result.output
    assert check("-", "--now", "2026-06-10", text=text).exit_code == 1
    body = json.loads(check("-", "--now", "2026-06-01", "-o", "json", text=text).output)
    assert [f["exception"] for f in body["jobs"][0]["findings"]] == ["this-once"]
    assert len(body["notes"]) == 1
    sarif = json.loads(check("-", "--now", "2026-06-01", "-o", "sarif", text=text).output)
    assert [r["properties"]["exception"] for r in sarif["runs"][0]["results"]] == ["this-once"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mlprivacy.dev/approved-by: dave", "team: a", "it is not stamped with who approved it"),
        ("mlprivacy.dev/requested-by: alice, ", "", "it is not stamped with who asked for it"),
        ("approved: true", "approved: false", "it waits for the approval"),
        ("  approval: {uid: uid-of-this-once, generation: 1}\n", "", "its approval does not name this exception"),
        ("by: alice", "by: 'system:serviceaccount:lab:ci'", "a ServiceAccount asked for it"),
        ('  creationTimestamp: "2026-05-25T00:00:00Z"\n', "", "it is not known when it was made"),
    ],
)
def test_an_exception_as_it_stands_in_git_lets_nothing_pass_and_says_why(old: str, new: str, words: str) -> None:
    result = check("-", "--now", "2026-06-01", text=REFUSED + EXCEPTION.replace(old, new))
    assert result.exit_code == 1
    assert words in " ".join(result.output.split())
    assert "Note:" not in result.output


OWN = """\
apiVersion: mlprivacy.dev/v1alpha1
kind: PrivacyPolicy
metadata: {{name: own}}
spec:
  custom:
    - id: few-trials
      expression: {expression}
      message: Too many trials.
      remedy: set trials to 1
---
"""


class TestCustomRules:
    @pytest.mark.parametrize(("expression", "code"), [("job.spec.trials == 1", 0), ("job.spec.trials > 1", 1)])
    def test_a_rule_of_one_s_own_is_evaluated(self, expression: str, code: int) -> None:
        result = check("-", text=ALLOWED + OWN.format(expression=expression))
        assert result.exit_code == code, result.output
        assert ("custom/few-trials" in result.output) is (code == 1)
        assert ("Too many trials" in result.output) is (code == 1)

    def test_one_without_an_answer_holds(self) -> None:
        result = check("-", text=ALLOWED + OWN.format(expression="job.spec.nothing == 1"))
        assert result.exit_code == 3, result.output
        assert "gave no answer" in " ".join(result.output.split())

    def test_one_that_does_not_compile_is_bad_input_with_its_line(self) -> None:
        result = check("-", "-o", "json", text=ALLOWED + OWN.format(expression="jobs.spec.trials == 1"))
        assert result.exit_code == 2, result.output
        (error,) = json.loads(result.output)["errors"]
        assert error["path"] == "spec.custom[0].expression"
        assert "at 1:10: undeclared reference" in error["message"]
        assert error["line"] > 20

    def test_a_policy_that_admission_refuses_is_bad_input(self) -> None:
        text = OWN.format(expression="'true'").split("  custom:")[0] + "  rules: [{id: no-such-rule, action: Warn}]\n"
        result = check("-", text=text)
        assert result.exit_code == 2, result.output
        assert "no-such-rule is no rule" in " ".join(result.output.split())

    def test_sarif_has_the_rule(self) -> None:
        result = check("-", "-o", "sarif", text=ALLOWED + OWN.format(expression="job.spec.trials > 1"))
        (run,) = json.loads(result.output)["runs"]
        (rule,) = [r for r in run["tool"]["driver"]["rules"] if r["id"] == "custom/few-trials"]
        assert "of the privacy office's own" in rule["shortDescription"]["text"]
        jsonschema.validate(json.loads(result.output), {"type": "object"})

    def test_explain_shows_it_and_says_where_it_stands(self, tmp_path: Path) -> None:
        file = tmp_path / "all.yaml"
        file.write_text(ALLOWED + OWN.format(expression="job.spec.trials > 1"), encoding="utf-8")
        assert "custom/few-trials" in CliRunner().invoke(cli, ["explain", "-f", str(file)]).output
        said = CliRunner().invoke(cli, ["explain", "custom/few-trials"])
        assert said.exit_code == 2
        assert "rule of a PrivacyPolicy of your own" in said.output


def test_folders_that_are_cases_of_tests_are_left_to_the_command_for_them_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text(ALLOWED, encoding="utf-8")
    case = tmp_path / "cases" / "one"
    case.mkdir(parents=True)
    (case / "case.yaml").write_text("name: a case\nnow: 2027-01-01\nexpect: {verdict: Allow}\n", encoding="utf-8")
    (case / "objects.yaml").write_text("this: is no object", encoding="utf-8")

    result = check(str(tmp_path))
    assert result.exit_code == 0
    assert "1 folder below it is a case of `mlprivacy test`, and left to it" in " ".join(result.output.split())
    assert check(str(case)).exit_code == 2  # asked for by name it is read
