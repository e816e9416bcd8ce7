"""What `check` shows people: who asks with which citation, what is only recorded in one line, policies alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import asked, clinic_world, labels, policy, training_job
from click.testing import CliRunner, Result

from mlprivacy.cli.main import cli

PACK = """\
name: acme
version: "1"
title: House rules
notice: Ours.
rules:
  - {id: audit-retention, action: Deny, parameters: {minimumDays: 36500}}
"""
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "acme", "namespace": "mlprivacy-system", "labels": {"mlprivacy.dev/pack": "true"}},
    "data": {"pack.yaml": PACK},
}
EXAMPLES = Path(__file__).parents[3] / "examples"


def namespace(name: str, **more: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels(name), **more}}}


def check(*objects: dict[str, Any], args: tuple[str, ...] = ()) -> Result:
    text = yaml.safe_dump_all(objects, sort_keys=False)
    return CliRunner().invoke(cli, ["check", "-", "--now", "2026-06-01", *args], input=text)


def world(*policies: dict[str, Any]) -> list[dict[str, Any]]:
    job = training_job(namespace="clinic", datasets=[asked(namespace="clinic")])
    return [namespace("clinic"), namespace("research"), *clinic_world(*policies), job]


def test_all_packs_that_ask_are_named_and_each_citation_with_its_own() -> None:
    text = check(CONFIG, *world(policy(packs=[{"name": "acme"}, {"name": "us-hipaa"}]))).output
    assert "audit-retention  metadata.namespace" in text
    assert "(packs acme, us-hipaa)" in text
    law = next(line for line in text.splitlines() if "Law: HIPAA 164.316" in line)
    assert "acme" not in law, "a pack without citations cites nothing"
    assert "(us-hipaa)" in law


def test_what_is_only_recorded_takes_one_line_unless_asked_for() -> None:
    runner = CliRunner()
    short = runner.invoke(cli, ["check", str(EXAMPLES / "clinic")]).output
    assert "recorded only, -v shows it: records-of-processing, trained-personnel" in short
    assert "derived: (b) purposes" not in short
    assert "derived: (b) purposes" in runner.invoke(cli, ["check", "-v", str(EXAMPLES / "clinic")]).output


def test_a_breach_that_audit_only_records_is_shown_in_full() -> None:
    job = training_job(namespace="clinic", datasets=[asked(namespace="clinic")], purpose="marketing")
    text = check(namespace("clinic"), *clinic_world(policy(mode="Audit")), job).output
    assert "recorded purpose-limitation  spec.purpose" in text
    assert "To fix it:" in text


def test_quiet_leaves_out_what_runs() -> None:
    text = CliRunner().invoke(cli, ["check", "-q", str(EXAMPLES / "clinic")]).output
    heads = {line.split()[0] for line in text.splitlines() if line[:1].isupper()}
    assert heads == {"REFUSED", "HELD"}
    assert "recorded" not in text
    assert text.splitlines()[-1].startswith("12 jobs: 3 allowed, 1 warned, 6 refused, 2 held")


@pytest.mark.parametrize(
    ("one", "code", "said"),
    [
        (policy(), 0, "1 PrivacyPolicy; 0 jobs."),
        (policy(packs=[{"name": "eu-gpdr"}]), 3, "did you mean eu-gdpr?"),
        (policy(rules=[{"id": "residencyy", "action": "Warn"}]), 2, "did you mean residency?"),
        (policy(parameters={"nope.x": 1}), 2, "nope"),
    ],
)
def test_policies_are_looked_at_where_there_is_no_job(one: dict[str, Any], code: int, said: str) -> None:
    done = check(one)
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())


def test_a_pack_that_is_not_there_is_a_result_of_code_scanning() -> None:
    log = json.loads(check(policy(packs=[{"name": "eu-gpdr"}]), args=("-o", "sarif")).output)
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("unknown-pack", "warning")
    assert result["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "PrivacyPolicy eu spec.packs[0].name"}]


def test_a_policy_that_selects_nothing_is_named_where_namespaces_are_given() -> None:
    nowhere = policy(namespaceSelector={"matchLabels": {"mlprivacy.dev/tenant": "nobody"}})
    assert "selects none of the namespaces" not in check(nowhere).output
    assert "selects none of the namespaces among the files" in " ".join(check(nowhere, namespace("a")).output.split())


def test_a_mode_given_by_hand_leaves_the_other_labels_of_the_namespace() -> None:
    for_acme = policy(packs=[{"name": "acme"}], namespaceSelector={"matchLabels": {"mlprivacy.dev/tenant": "acme"}})
    objects = [namespace("clinic", **{"mlprivacy.dev/tenant": "acme"}), *clinic_world(for_acme), world()[-1]]
    text = check(CONFIG, *objects, args=("--namespace-label", "clinic=enforce")).output
    assert "(pack acme)" in text, "the policy still selects it"


def test_check_test_and_diff_assume_one_retention(tmp_path: Path) -> None:
    pack = CONFIG | {"data": {"pack.yaml": PACK.replace("36500", "2192")}}
    objects = [pack, *world(policy(packs=[{"name": "acme"}]))]
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    body = "name: x\nnow: 2026-06-01\nexpect: {verdict: Allow, absent: [audit-retention]}\n"
    (folder / "case.yaml").write_text(body, encoding="utf-8")
    run = CliRunner().invoke
    assert check(*objects).exit_code == 0
    assert run(cli, ["test", str(folder)]).exit_code == 0
    diff = ["policy", "diff", "-f", str(folder / "objects.yaml"), "--namespace-label", "clinic=enforce", "-o", "json"]
    assert json.loads(run(cli, diff).output)["jobs"] == 1
    held = json.loads(run(cli, [*diff, "--audit-retention-days", "1", "--default-mode", "audit"]).output)
    assert held["changes"] == [], "the same on both sides"
    without = ["policy", "diff", "-f", str(folder / "objects.yaml"), "--delete", "eu"]
    assert "audit-retention" not in run(cli, without).output
    assert "- Deny  audit-retention" in run(cli, [*without, "--audit-retention-days", "1"]).output
