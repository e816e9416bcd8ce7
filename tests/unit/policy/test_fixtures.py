"""The fixtures that ship: every case passes, and every rule has one that it lets pass and one that it stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mlprivacy.policy
from mlprivacy.cel.pool import CelPool
from mlprivacy.cli.cases import Result, find, run
from mlprivacy.cli.testing import print_text
from mlprivacy.policy.packs import built_in_packs
from mlprivacy.policy.rules import all_rules, rules_by_id

FIXTURES = Path(mlprivacy.policy.__path__[0]) / "fixtures"
FOLDERS = find([FIXTURES])


@pytest.fixture(scope="module")
def custom() -> Iterator[CelPool]:
    with CelPool(expression_seconds=20, total_seconds=60) as pool:
        yield pool


@pytest.fixture(scope="module")
def results(custom: CelPool) -> dict[Path, Result]:
    return {folder: run(folder, custom) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(FIXTURES)))
def test_a_case_passes(folder: Path, results: dict[Path, Result], capsys: pytest.CaptureFixture[str]) -> None:
    print_text([results[folder]], verbose=True)
    assert results[folder].outcome == "passed", capsys.readouterr().out


@pytest.mark.parametrize("rule", all_rules(), ids=lambda r: r.id)
def test_a_rule_lets_one_case_pass_and_stops_another(rule: object, results: dict[Path, Result]) -> None:
    name = getattr(rule, "id", "")
    stopped = passed = 0
    for result in results.values():
        expect = result.expect
        if expect is None:
            continue
        stopped += any(f.rule == name for f in expect.findings)
        # A rule that did not judge the job lets nothing pass.
        passed += name in result.in_force and name in expect.absent
    assert stopped, f"no case under policy/fixtures expects a finding of {name}"
    assert passed, f"no case under policy/fixtures has {name} in force and lists it under absent"


@pytest.mark.parametrize("folder", sorted(p for p in FIXTURES.iterdir() if p.is_dir()), ids=lambda p: p.name)
def test_a_folder_is_a_rule_s_or_a_pack_s(folder: Path) -> None:
    assert folder.name in {*rules_by_id(), *built_in_packs(), "custom", "exceptions", "several-packs"}
