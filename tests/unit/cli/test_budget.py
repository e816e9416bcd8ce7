"""`mlprivacy budget simulate`: JSON and CSV for scripts, a table for people, sentences for mistakes."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mlprivacy.cli import budget
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.main import cli


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["budget", *arguments])


SMALL = ("simulate", "--workload", "single-block", "--policy", "dpf", "--n", "175", "--repeat", "2")


def test_json_holds_the_mean_and_every_run() -> None:
    body = json.loads(run(*SMALL, "-o", "json").output)
    assert body["granted_all"] == [100, 100]
    assert body["granted"] == 100.0
    assert body["seconds"] >= 0


def test_csv_has_a_line_for_each_run_with_its_seed() -> None:
    rows = list(csv.DictReader(io.StringIO(run(*SMALL, "--seed", "7", "-o", "csv").output)))
    assert [(row["seed"], row["granted"]) for row in rows] == [("7", "100"), ("8", "100")]


def test_the_same_seed_gives_the_same_numbers_and_the_part_of_mice_counts() -> None:
    first, second = (json.loads(run(*SMALL, "-o", "json").output)["granted_all"] for _ in range(2))
    assert first == second
    assert json.loads(run(*SMALL, "--mice", "0", "-o", "json").output)["granted_all"] == [10, 10]


def test_people_get_a_table() -> None:
    lines = run(*SMALL).output.splitlines()
    assert lines[0].split() == ["workload", "policy", "N", "runs", "arrived", "granted", "range"]
    assert lines[1].split()[:4] == ["single-block", "dpf", "175", "2"]


@pytest.mark.parametrize("wrong", [("--n", "0"), ("--mice", "1.5"), ("--repeat", "0"), ("--policy", "best")])
def test_numbers_out_of_range_are_refused(wrong: tuple[str, str]) -> None:
    assert run(*SMALL, *wrong).exit_code == 2


def test_the_choices_are_those_of_the_simulator() -> None:
    assert budget.names() == (budget.WORKLOADS, budget.POLICIES)


def test_a_plot_without_matplotlib_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = run(*SMALL, "--plot", str(tmp_path / "runs.svg"))
    assert result.exit_code == 2
    assert "pip install 'mlprivacy[plots]'" in result.output
    assert run(*SMALL, "--plot", str(tmp_path / "runs.doc")).exit_code == CliError.exit_code


def test_a_plot_is_drawn_alike_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        assert run(*SMALL, "--plot", str(tmp_path / name)).exit_code == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
