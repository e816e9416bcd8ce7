"""The table of the test on a real API server has every rule, and what it expects is what the rules say here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlprivacy.policy.rules import all_rules, rules_by_id

TESTS = Path(__file__).parents[2]


def _table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("every_rule_table", TESTS / "cluster" / "policy" / "table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["every_rule_table"] = module
    spec.loader.exec_module(module)
    return module


TABLE: Any = _table()
ENTRIES: list[Any] = TABLE.entries()


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_the_table_has_the_rule(rule: Any) -> None:
    assert rule.id in {entry.rule for entry in ENTRIES}


def test_the_table_has_no_other_rule_and_no_name_twice() -> None:
    assert {entry.rule for entry in ENTRIES} <= set(rules_by_id())
    slugs = [entry.slug for entry in ENTRIES]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.slug)
def test_the_fixture_of_an_entry_gets_names_of_its_own(entry: Any) -> None:
    objects, job = entry.objects()
    for obj in (*objects, job):
        if obj["kind"] in TABLE.SHARED:
            continue
        metadata = obj["metadata"]
        assert entry.slug in metadata["name"] or entry.slug in metadata.get("namespace", "")
