"""`mlprivacy plan`: what scripts read, what people read, plots, budgets, and utility measured by a script."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mlprivacy.budget.curves import capacity
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.cli.main import cli

MNIST = ("--records", "60000", "--batch-size", "256", "--noise-multiplier", "1.1", "--epochs", "60", "--delta", "1e-5")


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plan", *arguments])


def answered(*arguments: str) -> dict[str, Any]:
    found = plan(*arguments, "--no-pld", "-o", "json")
    assert found.exit_code == 0, found.output
    body: dict[str, Any] = json.loads(found.stdout)
    return body


def test_the_answer_for_scripts() -> None:
    found = plan(*MNIST, "-o", "json")
    assert found.exit_code == 0
    body = json.loads(found.stdout)
    assert body["epsilon"]["rdp"] == pytest.approx(2.5967, abs=5e-5)
    assert body["epsilon"]["pld"] == pytest.approx(2.3818, abs=5e-5)
    assert (body["steps"], body["sampling_rate"]) == (14_063, 256 / 60_000)
    assert "delta is 1e-05" in found.stderr


def test_the_table_for_people_rounds_epsilon_up() -> None:
    found = plan(*MNIST, "--no-pld")
    assert "epsilon (Rényi)   2.5967" in found.stdout
    assert "Computed: epsilon." in found.stdout


def test_what_was_left_out_is_computed() -> None:
    assert answered(*MNIST[:4], "--epochs", "60", "--epsilon", "3")["noise_multiplier"] == pytest.approx(
        1.127, abs=1e-3
    )
    assert answered(*MNIST[:6], "--epsilon", "3")["solved_for"] == "steps"


def test_a_ceiling_that_is_not_kept_is_exit_code_1() -> None:
    found = plan(*MNIST, "--epsilon", "2", "--no-pld")
    assert found.exit_code == 1
    assert "does NOT keep the ceiling of epsilon 2" in found.stdout


def test_trials_have_no_pld_and_say_so() -> None:
    found = plan(*MNIST, "--trials", "10", "-o", "json")
    assert json.loads(found.stdout)["epsilon"]["pld"] is None
    assert "no epsilon by privacy loss distributions" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--epsilon", "nan"), "Error: Epsilon is nan"),
        (("--epochs", "x"), "Error: 'x' is not a number"),
        (("--plot", "plan.pdf"), "Error: plan.pdf is no plot"),
        (("--plot", "no/such/plan.png"), "does not exist"),
        (("--grid", "noise_multiplier=1"), "add --utility SCRIPT"),
        (("--batch-size", "70000"), "a sampling rate above 1"),
    ],
)
def test_bad_input_is_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    found = plan(*MNIST, *arguments, "--no-pld")
    assert found.exit_code == 2
    assert sentence in found.output


def test_plots_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = plan(*MNIST, "--plot", "plan.png", "--no-pld")
    assert found.exit_code == 2
    assert "pip install 'mlprivacy[plots]'" in found.output


def test_plots_as_png_and_svg(tmp_path: Path) -> None:
    png, svg = tmp_path / "plan.png", tmp_path / "plan.svg"
    assert plan(*MNIST, "--plot", str(png), "--plot", str(svg), "--no-pld").exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text(encoding="utf-8")


def budget(tmp_path: Path, **block: object) -> str:
    path = tmp_path / "budget.json"
    path.write_text(json.dumps({"epsilon": 10, "delta": 1e-8, "blocks": [{"name": "week-1", **block}]}))
    return str(path)


def test_what_is_left_of_a_budget(tmp_path: Path) -> None:
    found = answered(*MNIST, "--budget", budget(tmp_path))["budget"]
    assert found["jobs"] > 1
    assert f"{found['jobs']} such jobs fit. It would be granted now." in found["sentence"]


def test_a_budget_without_room_is_exit_code_1_with_the_largest_epsilon(tmp_path: Path) -> None:
    used = [max(0.0, room - 0.2) for room in capacity(DEFAULT_ORDERS, 10, 1e-8)]
    found = plan(*MNIST, "--no-pld", "--budget", budget(tmp_path, consumed=used))
    assert found.exit_code == 1
    assert "can never be granted: week-1 has too little left. With a noise multiplier of" in " ".join(
        found.stdout.split()
    )


@pytest.mark.parametrize(
    "block",
    [{"consumed": [1.0]}, {"consumed": [-1.0] * 28}, {"unlocked": 2}, {"consumed": "x"}, {"unlock_seconds": -1}],
)
def test_a_file_that_is_no_budget(tmp_path: Path, block: dict[str, object]) -> None:
    found = plan(*MNIST, "--no-pld", "--budget", budget(tmp_path, **block))
    assert found.exit_code == 2
    assert "is not a budget" in found.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it is no JSON object"),
        ("x", "it is no JSON from line 1, column 1 on"),
        ("{}", "it has no 'blocks'"),
        ('{"blocks": []}', "its `blocks` are no list of at least one block"),
        ('{"blocks": ["a"]}', "its `blocks` are no list of at least one block"),
        ('{"epsilon": 10, "blocks": [{"name": "a"}]}', "it has no 'delta'"),
        ('{"epsilon": 10, "delta": "x", "blocks": [{"name": "a"}]}', "`delta` holds 'x' where a number belongs"),
        ('{"orders": 3, "blocks": [{"name": "a"}]}', "`orders` is no list of numbers"),
        ('{"epsilon": 10, "delta": 1e-8, "blocks": [{"name": "a", "consumed": 3}]}', "`consumed` is no list"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "budget.json"
    path.write_text(text, encoding="utf-8")
    found = plan(*MNIST, "--no-pld", "--budget", str(path))
    assert (found.exit_code, said in found.output) == (2, True), found.output
    assert "`mlprivacy plan --help` shows the form." in found.output


def test_without_a_number_of_records_a_file_says_the_delta(tmp_path: Path) -> None:
    rate = ("--sampling-rate", "0.004", "--epochs", "10", "--noise-multiplier", "1.1", "--no-pld")
    found = plan(*rate, "--budget", budget(tmp_path))
    assert "1e-08 (what the budget promises, since N is not known)" in found.stdout
    many = plan("-n", "200000", "--batch-size", "800", *rate[2:], "--budget", budget(tmp_path))
    assert "5e-08 (1/(100 N), as for a job that says none; the budget promises 1e-08)" in many.stdout
    bare = plan(*rate)
    assert (bare.exit_code, "--delta is missing; give it, or --records" in bare.output) == (2, True)
    assert "--budget is empty" in plan(*MNIST, "--budget", "").output


SCRIPT = """\
import json, pathlib, sys
job = json.load(sys.stdin)
with pathlib.Path(__file__).with_name("calls").open("a") as calls:
    calls.write("x")
print("training on the sample")
print(10 / job["noise_multiplier"])
"""


def measured(tmp_path: Path, script: str, *arguments: str) -> Result:
    path = tmp_path / "utility.py"
    path.write_text(script, encoding="utf-8")
    grid = ("--grid", "noise_multiplier=1,2", "--grid", "batch_size=128")
    return plan(*MNIST, "--no-pld", "-o", "json", "--utility", str(path), *grid, *arguments)


def test_utility_at_every_point_of_the_grid_and_only_once(tmp_path: Path) -> None:
    first = measured(tmp_path, SCRIPT)
    points = json.loads(first.stdout)["utility"]
    assert [point["utility"] for point in points] == [10, 5]
    assert points[0]["epsilon"] > points[1]["epsilon"]
    assert points[0]["varied"] == {"noise_multiplier": 1.0, "batch_size": 128.0}
    assert "[2/2] noise_multiplier=2, batch_size=128: 5" in first.stderr
    results = tmp_path / "utility.results.jsonl"
    results.write_text(results.read_text() + '{"key": "cut o', encoding="utf-8")
    assert json.loads(measured(tmp_path, SCRIPT).stdout)["utility"] == points
    assert (tmp_path / "calls").read_text() == "xx"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit(3)", "it ended with code 3"),
        ("print('good')", "its last line is no number: 'good'"),
        ("print('nan')", "not a finite number"),
        ("import time; time.sleep(600)", "longer than 1 seconds and was stopped"),
    ],
)
def test_a_script_that_fails_is_said_and_asked_again(tmp_path: Path, script: str, reason: str) -> None:
    found = measured(tmp_path, script, "--utility-seconds", "1")
    assert found.exit_code == 0
    assert all(point["utility"] is None and reason in point["error"] for point in json.loads(found.stdout)["utility"])
    assert not (tmp_path / "utility.results.jsonl").exists()


@pytest.mark.parametrize("grid", ["", "sigma=1", "noise_multiplier=", "batch_size=1.5", "noise_multiplier=0"])
def test_a_grid_that_is_refused(tmp_path: Path, grid: str) -> None:
    path = tmp_path / "utility.py"
    path.write_text("print(1)", encoding="utf-8")
    found = plan(*MNIST, "--no-pld", "--utility", str(path), *(("--grid", grid) if grid else ()))
    assert found.exit_code == 2
    assert found.output.startswith("Error: ")
