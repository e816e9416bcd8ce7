"""A decision as a Report: what each finding becomes, what stays private, how large it may be, and the same elsewhere.

Matrix: action × reason × exception; findings that fit and that do not; texts that are long, foreign or hostile.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import (
    NOW,
    change,
    clinic_world,
    dataset,
    decide,
    exception,
    finding,
    labels,
    policy,
    training_job,
    use,
)
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.cli import objects, offline
from mlprivacy.cli.check import CHART_RETENTION_DAYS
from mlprivacy.cli.main import cli
from mlprivacy.policy.model import Action, Decision, Finding
from mlprivacy.policy.rules import rules_by_id
from mlprivacy.report.openreports import (
    APPLIED_BYTES,
    MORE,
    bounded,
    content_digest,
    job_of,
    report_name,
    report_of,
    stored_bytes,
)

CRD = Path(__file__).resolve().parents[2] / "cluster" / "controller" / "openreports-crd.yaml"
SCHEMA = yaml.safe_load(CRD.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
REFUSED = decide(change(training_job(), "spec.purpose", "marketing"))


def found(**fields: Any) -> Finding:
    base: dict[str, Any] = {
        "rule": "dp-required",
        "action": Action.DENY,
        "reason": Reason.BREACH,
        "path": "spec.privacy.epsilon",
        "message": "3 is more than 2",
        "remedy": "set epsilon to 2 or less",
        "citations": ("GDPR 25", "EDPB 28/2024"),
        "pack": "eu-gdpr",
        "packs": ("eu-gdpr",),
    }
    return Finding(**base | fields)


def decision(*findings: Finding, subject: tuple[str, str, str, str] = REFUSED.subject) -> Decision:
    return replace(REFUSED, findings=findings, subject=subject)


def report(*findings: Finding, **more: Any) -> dict[str, Any]:
    made = report_of(decision(*findings, **more))
    assert made is not None
    return made


def test_a_decision_without_findings_has_no_report() -> None:
    assert report_of(decision()) is None


def test_the_job_owns_its_report() -> None:
    made = report(found(), subject=("InferenceJob", "research", "api", "u-1"))

    job = {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "InferenceJob", "name": "api", "uid": "u-1"}
    assert made["metadata"] == {
        "name": "mlp-inferencejob-api",
        "namespace": "research",
        "labels": {"app.kubernetes.io/managed-by": "mlprivacy", "mlprivacy.dev/inference-job": "api"},
        "ownerReferences": [job],
    }
    assert made["scope"] == {**job, "namespace": "research"}


def test_a_finding_keeps_what_a_person_needs() -> None:
    assert report(found())["results"] == [
        {
            "policy": "eu-gdpr",
            "rule": "dp-required",
            "category": "dp",
            "severity": "high",
            "result": "fail",
            "scored": True,
            "message": "3 is more than 2",
            "properties": {
                "action": "Deny",
                "reason": "Breach",
                "path": "spec.privacy.epsilon",
                "remedy": "set epsilon to 2 or less",
                "citations": "GDPR 25; EDPB 28/2024",
                "pack": "eu-gdpr",
            },
        }
    ]


@pytest.mark.parametrize(
    ("fields", "result", "severity"),
    [
        ({}, "fail", "high"),
        ({"action": Action.HOLD, "reason": Reason.FACT_MISSING}, "warn", "medium"),
        ({"action": Action.WARN}, "warn", "low"),
        ({"action": Action.WARN, "exception": "this-once"}, "skip", "low"),
        ({"action": Action.EVIDENCE}, "warn", "info"),  # a breach where the mode is Audit
        ({"action": Action.EVIDENCE, "reason": Reason.RECORDED}, "pass", "info"),
    ],
)
def test_what_each_finding_becomes(fields: dict[str, Any], result: str, severity: str) -> None:
    made = report(found(**fields))

    (one,) = made["results"]
    assert (one["result"], one["severity"], one["scored"]) == (result, severity, result == "fail")
    assert made["summary"] == {"pass": 0, "fail": 0, "warn": 0, "error": 0, "skip": 0} | {result: 1}


@pytest.mark.parametrize(
    ("rule", "category"),
    [
        ("purpose-limitation", "purpose"),
        ("schema", "schema"),
        ("references", "references"),
        ("not-enforced-here", "references"),
        ("custom/no-night-jobs", "custom"),
    ],
)
def test_the_category_is_the_family(rule: str, category: str) -> None:
    assert report(found(rule=rule))["results"][0]["category"] == category


def test_without_a_pack_the_policy_is_the_privacy_policy_or_ours() -> None:
    custom = found(rule="custom/no-night-jobs", pack=None, packs=(), policy="house")
    own = found(rule="schema", pack=None, packs=())
    assert [r["policy"] for r in report(custom, own)["results"]] == ["house", "mlprivacy"]


def test_the_exception_is_named() -> None:
    made = report_of(decide(change(training_job(), "spec.privacy.epsilon", 5), policy(packs=[]), exception()))
    assert made is not None
    (one,) = [r for r in made["results"] if r["result"] == "skip"]
    assert one["properties"]["exception"] == "visits-dp"


def test_a_private_finding_says_no_more_than_its_rule() -> None:
    inner = "essential.service.only_the_clinic_knows"
    decided = decide(training_job(), dataset(uses=[use(purpose=inner)]))
    private = [f for f in decided.findings if f.private]
    assert any(inner in f.message + f.remedy for f in private)  # the job's own status says so

    made = report_of(decided)
    assert made is not None
    assert inner not in json.dumps(made)
    told = {r["rule"]: r for r in made["results"]}
    for one in private:
        rule = rules_by_id()[one.rule]
        assert told[one.rule]["message"] == f"{rule.reason.rstrip('.')}. The status of the job says more."
        assert told[one.rule]["properties"]["remedy"] == rule.remedy


def test_a_record_that_quotes_the_data_of_others_is_private() -> None:
    decided = decide(
        training_job(),
        dataset(retention={"until": "2031-07-17"}),
        policy(rules=[{"id": "records-of-processing", "action": "Evidence"}]),
    )
    assert "2031-07-17" in finding(decided, "records-of-processing").message

    made = report_of(decided)

    assert made is not None
    assert "2031-07-17" not in json.dumps(made)


def test_a_private_finding_of_no_rule_is_told_in_general_words() -> None:
    (one,) = report(found(rule="references", message="clinic/visits has 3 columns", remedy="look", private=True))[
        "results"
    ]
    assert "clinic" not in json.dumps([one["message"], one["properties"]["remedy"]])


# -- size --------------------------------------------------------------------------------------------------------------

texts = st.text(max_size=3000) | st.sampled_from(
    ["<" * 3000, '"\\' * 1500, "😀" * 1000, "\x00\n" * 800, "\ud800" * 500]
)
findings = st.builds(
    Finding,
    rule=st.sampled_from([*sorted(rules_by_id()), "schema", "references"]) | texts,
    action=st.sampled_from(Action),
    reason=st.sampled_from(Reason),
    path=texts,
    message=texts,
    remedy=texts,
    citations=st.lists(texts, max_size=3).map(tuple),
    pack=st.none() | texts,
    policy=st.none() | texts,
    private=st.booleans(),
    exception=st.none() | texts,
)
labels_of_dns = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
subjects = st.tuples(
    st.sampled_from(["TrainingJob", "InferenceJob"]), labels_of_dns, labels_of_dns, st.uuids().map(str)
)


@settings(deadline=None, max_examples=150)
@given(st.lists(findings, min_size=1, max_size=12), st.integers(1, 30), subjects)
def test_a_report_is_never_larger_than_its_bound(
    some: list[Finding], times: int, subject: tuple[str, str, str, str]
) -> None:
    many = some * times
    made = report(*many, subject=subject)

    assert stored_bytes(made) <= APPLIED_BYTES
    assert "\n" not in "".join(r["message"] for r in made["results"])
    assert sum(made["summary"].values()) == len(many)
    *kept, last = made["results"]
    if last["rule"] == MORE:
        assert int(last["properties"]["more"]) + len(kept) == len(many)
    else:
        assert len(kept) + 1 == len(many)
    assert undeclared(SCHEMA, made) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(findings, min_size=1, max_size=8), subjects)
def test_the_same_decision_gives_the_same_report(some: list[Finding], subject: tuple[str, str, str, str]) -> None:
    one, two = report(*some, subject=subject), report(*some, subject=subject)
    assert json.dumps(one) == json.dumps(two)
    assert content_digest(one) == content_digest(two)


@given(texts, st.integers(4, 500))
def test_a_bounded_text_is_one_line_within_its_bytes(text: str, limit: int) -> None:
    cut = bounded(text, limit)
    assert stored_bytes(cut) <= limit + len('""')
    assert cut.isprintable()
    if text.isprintable() and stored_bytes(text) <= limit + len('""'):
        assert cut == text


def test_texts_are_cut_before_findings_are_left_out() -> None:
    long = [found(path=f"spec.datasets[{n}]", message="m" * 400, remedy="r" * 300) for n in range(7)]

    results = report(*long)["results"]

    assert [r["properties"]["path"] for r in results] == [f.path for f in long]
    assert all(r["message"].endswith("…") for r in results)


def test_what_has_no_room_is_counted_in_the_last_result_and_the_strictest_come_first() -> None:
    refusals = [found(path=f"spec.datasets[{n}]", message="m" * 400) for n in range(20)]
    warnings = [found(action=Action.WARN, path=f"spec.inputs[{n}]") for n in range(5)]

    made = report(*refusals, *warnings)

    *kept, last = made["results"]
    rest = 25 - len(kept)
    assert {r["result"] for r in kept} == {"fail"}
    assert last["properties"] == {"more": str(rest), "fail": str(rest - 5), "warn": "5"}
    assert (last["result"], last["severity"]) == ("fail", "high")
    assert last["message"] == (
        f"{rest} more findings have no room here ({rest - 5} fail, 5 warn); "
        "`mlprivacy explain trainingjob/diagnosis -n research` lists all"
    )
    assert made["summary"] == {"pass": 0, "fail": 20, "warn": 5, "error": 0, "skip": 0}


# -- the API -----------------------------------------------------------------------------------------------------------


def undeclared(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Paths that the definition does not declare, or of another type or value than it does."""
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    if not isinstance(value, types[schema["type"]]) or ("enum" in schema and value not in schema["enum"]):
        return [path]
    if isinstance(value, list):
        return [p for n, item in enumerate(value) for p in undeclared(schema["items"], item, f"{path}[{n}]")]
    if not isinstance(value, dict) or path == "metadata":
        return []
    lacking = [f"{path} without {name}" for name in schema.get("required", ()) if name not in value]
    known = schema.get("properties", {})
    found_here = [
        p
        for key, item in value.items()
        for p in (
            undeclared(known.get(key, schema.get("additionalProperties")), item, f"{path}.{key}".lstrip("."))
            if key in known or "additionalProperties" in schema
            else [f"{path}.{key}"]
        )
    ]
    return lacking + found_here


def test_a_report_is_what_the_definition_declares() -> None:
    assert undeclared(SCHEMA, report(*REFUSED.findings)) == []
    assert undeclared(SCHEMA, {**report(found()), "results": [{"rule": "x", "score": 1}]}) == [
        "results[0] without policy",
        "results[0].score",
    ]


def test_the_digest_is_of_what_we_say_and_not_of_what_the_api_server_adds() -> None:
    made = report(found())
    stored = json.loads(json.dumps(made))
    stored["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 2, "managedFields": [{"manager": "x"}]}
    stored["metadata"]["labels"]["team"] = "a"
    stored["metadata"]["annotations"] = {"note": "b"}
    assert content_digest(stored) == content_digest(made)

    for path, value in (
        ("results[0].result", "pass"),
        ("summary.fail", 0),
        ("metadata.ownerReferences", []),
        ("scopeSelector", {"matchLabels": {}}),
    ):
        assert content_digest(change(stored, path, value)) != content_digest(made)


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("mlp-trainingjob-study", ("TrainingJob", "study")),
        ("mlp-inferencejob-api-2", ("InferenceJob", "api-2")),
        ("mlp-cronjob-study", None),
        ("mlp-trainingjob-", None),
        ("trainingjob-study", None),
        ("x", None),
    ],
)
def test_a_name_says_which_job_it_is_about(name: str, job: tuple[str, str] | None) -> None:
    assert job_of(name) == job
    assert job is None or report_name(*job) == name


# -- the same elsewhere ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["enforce", "warn", "audit"])
def test_report_explain_and_sarif_show_the_same_findings(mode: str, tmp_path: Path) -> None:
    job = change(change(training_job(), "spec.privacy.epsilon", 5), "spec.purpose", "marketing")
    rule = {"id": "never", "expression": "false", "message": "not here", "action": "Deny"}
    world = clinic_world(policy(packs=[{"name": "eu-gdpr"}], custom=[rule]), exception())
    namespaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels(name, mode)}}
        for name in ("clinic", "research")
    ]
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all([*namespaces, *world, job]), encoding="utf-8")

    def run(*arguments: str) -> Any:
        return json.loads(CliRunner().invoke(cli, [*arguments, "--now", NOW.isoformat()]).stdout)

    explained = run("explain", "-f", str(file), "-o", "json")["findings"]
    sarif = run("check", str(file), "-o", "sarif")["runs"][0]["results"]
    made = report_of(_decided(file))

    assert made is not None
    assert len(explained) > 4
    assert (
        [_of_explain(f) for f in explained] == [_of_sarif(r) for r in sarif] == [_of_report(r) for r in made["results"]]
    )
    for one, text, result in zip(explained, sarif, made["results"], strict=True):
        assert text["message"]["text"].startswith(one["message"])
        private = result["message"].endswith("The status of the job says more.")
        assert private or one["message"].startswith(result["message"].rstrip("…"))


def _decided(file: Path) -> Decision:
    """The decision on the one job of a file."""
    settings = offline.Settings(NOW, audit_retention_days=CHART_RETENTION_DAYS)
    with offline.custom_rules() as custom:
        (judged,) = offline.judge(objects.read([str(file)], default_namespace="default"), settings, custom).judged
    return judged.decision


def _of_explain(item: dict[str, Any]) -> tuple[Any, ...]:
    citations = "; ".join(item.get("citations", ()))
    return item["rule"], item["action"], item["reason"], item["path"], item.get("exception"), citations


def _of_sarif(item: dict[str, Any]) -> tuple[Any, ...]:
    told = item["properties"]
    path = item["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].rpartition(" ")[2]
    return item["ruleId"], told["action"], told["reason"], path, told.get("exception"), "; ".join(told["citations"])


def _of_report(item: dict[str, Any]) -> tuple[Any, ...]:
    told = item["properties"]
    citations = told.get("citations", "")
    return item["rule"], told["action"], told["reason"], told["path"], told.get("exception"), citations
