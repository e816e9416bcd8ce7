"""`mlprivacy rules`: every rule, one rule, those of a pack, and those that are not built; as text, JSON and YAML."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlprivacy.cli.main import cli
from mlprivacy.policy.packs import built_in_packs
from mlprivacy.policy.planned import _PLANNED, planned
from mlprivacy.policy.rules import all_rules, rules_by_id


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_every_rule_is_listed_and_what_is_not_built_behind() -> None:
    text = run("rules")
    for rule in all_rules():
        assert f"\n{rule.id} " in text
    head, _, rest = text.partition("NOT BUILT YET")
    assert head
    for item in planned():
        assert item.id in rest
        assert item.waits_for in rest


def test_explain_lists_the_same_rules() -> None:
    assert run("explain", "--rules").strip() in run("rules")
    assert json.loads(run("explain", "--rules", "-o", "json")) == json.loads(run("rules", "-o", "json"))["rules"]


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.id)
def test_a_rule_is_documented_alike_for_people_and_programs(rule: Any) -> None:
    text = " ".join(run("rules", rule.id).split())
    for words in (rule.id, rule.reason, rule.action.value, rule.family):
        assert words in text
    body = json.loads(run("rules", rule.id, "-o", "json"))
    assert yaml.safe_load(run("rules", rule.id, "-o", "yaml")) == body
    assert run("explain", rule.id) == run("rules", rule.id)
    assert body["citations"] == list(rule.citations)
    assert [p["name"] for p in body["parameters"]] == [f"{rule.id}.{p.name}" for p in rule.parameters]
    assert all(p["description"] and p["type"] for p in body["parameters"])
    asking = {name for name, pack in built_in_packs().items() if pack.line(rule.id) is not None}
    assert set(body["packs"]) == asking


def test_the_rules_of_a_pack() -> None:
    body = json.loads(run("rules", "--pack", "eu-gdpr", "-o", "json"))
    assert {rule["id"] for rule in body["rules"]} == {line.id for line in built_in_packs()["eu-gdpr"].rules}
    assert "There is no pack 'eu-gpdr'" in run("rules", "--pack", "eu-gpdr", code=2)


def test_a_rule_that_is_not_there_is_told_apart() -> None:
    assert "Did you mean residency?" in run("rules", "residenci", code=2)
    for item in planned():
        assert f"waits for {item.waits_for}" in " ".join(run("rules", item.id, code=2).split())


def test_nothing_that_is_built_is_called_planned() -> None:
    stale = {item.id for item in _PLANNED} & set(rules_by_id())
    assert not stale, f"take {', '.join(sorted(stale))} out of policy/planned.py"


def test_of_a_pack_its_own_actions_are_shown_with_their_dates() -> None:
    text = run("rules", "--pack", "eu-ai-act")
    assert "high-risk-ai          Warn " in text
    assert "Deny     from 2027-12-02 on" in text
    rules = json.loads(run("rules", "--pack", "eu-ai-act", "-o", "json"))["rules"]
    (found,) = [rule["inPack"] for rule in rules if rule["id"] == "high-risk-ai"]
    assert found == {"action": "Warn", "changes": [{"from": "2027-12-02", "action": "Deny"}]}
