"""`mlprivacy plan --budget NAME`: what a PrivacyBudget of the cluster has left, from its ledger or from its status."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from budget_objects import Server, budget, ledger_objects
from builders import change
from click.testing import CliRunner, Result
from ledger_world import CAPACITY, DOMAIN, ORDERS, commit, promise, reserve

from mlprivacy.budget.accounting.events import dp_sgd
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.blocks import Cut, Range
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Open, Retire
from mlprivacy.cli import cluster
from mlprivacy.cli.budgets import room
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.main import cli

JOB = ("-n", "60000", "--batch-size", "256", "--noise-multiplier", "1.1", "--epochs", "60", "--delta", "1e-5")
SPENT = (reserve(1, 0.5), commit(1))
FULL = (reserve(1, 0.9), commit(1), reserve(2, 0.0999))


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: str, objects: Any, hidden: Any = ()) -> Result:
        server = Server(*objects, hidden=hidden)
        monkeypatch.setattr(cluster, "run", lambda access, work: asyncio.run(work(server)))
        return CliRunner().invoke(cli, ["plan", *JOB, "--no-pld", *arguments])

    return run


def answered(result: Result) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(result.stdout)["budget"]
    return body


def test_exactly_from_the_ledger(plan: Any) -> None:
    found = answered(plan("--budget", "patients", "-o", "json", objects=[budget(*SPENT), *ledger_objects(*SPENT)]))
    demand = curve_of(dp_sgd(256 / 60_000, 14_063, 1.1, 1), ORDERS)
    left = [(cap - cap // 2) / 1e9 // asked for cap, asked in zip(CAPACITY, demand, strict=True) if cap]
    assert (found["jobs"], found["exact"], found["blocks"]) == (max(left), True, 8)
    assert found["budget"] == "patients"
    assert "It would be granted now." in found["sentence"]


def test_a_guess_from_the_status_says_that_it_is_one(plan: Any) -> None:
    objects = [budget(*SPENT), *ledger_objects(*SPENT)]
    exact = answered(plan("--budget", "patients", "-o", "json", objects=objects))
    guess = answered(plan("--budget", "clinic-patients", "-o", "json", objects=objects, hidden=["LedgerEntry"]))
    assert not guess["exact"]
    assert guess["share"] == pytest.approx(exact["share"], rel=1e-6)
    assert abs(guess["jobs"] - exact["jobs"]) <= 1
    table = plan("--budget", "patients", objects=objects, hidden=["LedgerEntry"]).stdout
    assert "The ledger decides" in " ".join(table.split())


@pytest.mark.parametrize("hidden", [(), ("LedgerEntry",)])
def test_without_room_it_names_the_largest_epsilon_and_what_may_come_back(plan: Any, hidden: Any) -> None:
    result = plan("--budget", "patients", "-o", "json", objects=[budget(*FULL), *ledger_objects(*FULL)], hidden=hidden)
    assert result.exit_code == 1
    found = answered(result)
    assert found["largest"]["noise_multiplier"] > 1.1
    assert "can never be granted" in found["sentence"]
    assert "it would fit" in found["sentence"]


def test_blocks_that_are_named_or_retired(plan: Any) -> None:
    steps = (reserve(1, 0.999, blocks=(0, 3)), commit(1))
    objects = [budget(*steps), *ledger_objects(*steps)]
    free = plan("--budget", "patients", "--blocks", "4..7", objects=objects)
    assert (free.exit_code, "granted now" in free.stdout) == (0, True)
    assert plan("--budget", "patients", "--blocks", "bucket 3", objects=objects).exit_code == 1
    retired = (*steps, Retire((Range(0, 3),), "Exhausted"))
    objects = [budget(*retired), *ledger_objects(*retired)]
    for hidden in ((), ("LedgerEntry",)):
        assert plan("--budget", "patients", objects=objects, hidden=hidden).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "other"), "There are: patients (clinic-patients)."),
        (("--budget", "patients", "--blocks", "9..12"), "a block is none of this ledger"),
        (("--budget", "patients", "--blocks", "2026-W01"), "is no block"),
        (("--budget", "no-such-file.json"), "is not a budget"),
        (("--blocks", "1"), "add --budget NAME"),
    ],
)
def test_bad_input_is_a_sentence(plan: Any, arguments: tuple[str, ...], said: str) -> None:
    result = plan(*arguments, objects=[budget(*SPENT), *ledger_objects(*SPENT)])
    assert (result.exit_code, said in " ".join(result.output.split())) == (2, True)


def test_a_file_says_itself_which_blocks_there_are(plan: Any, tmp_path: Path) -> None:
    path = tmp_path / "budget"
    path.write_text(json.dumps({"epsilon": 10, "delta": 1e-8, "blocks": [{"name": "w"}]}))
    assert plan("--budget", str(path), objects=[]).exit_code == 0
    assert plan("--budget", str(path), "--blocks", "1", objects=[]).exit_code == 2


def test_nothing_is_granted_before_a_promise_nor_from_a_broken_ledger(plan: Any) -> None:
    fresh = plan("--budget", "patients", objects=[{**budget(), "status": {}}])
    assert (fresh.exit_code, "Nothing is promised by patients yet" in fresh.output) == (2, True)
    entries = ledger_objects(*SPENT)
    entries[1]["spec"]["writer"] = "somebody"
    broken = plan("--budget", "patients", objects=[budget(*SPENT), *entries])
    assert (broken.exit_code, "The ledger of clinic-patients is broken" in broken.output) == (2, True)


def test_what_time_unlocks_is_waited_for() -> None:
    """Unlocked over seventy days from when the budget was made, one day ago."""
    scheduling = {"policy": "DPF", "unlocking": {"lifetime": "70d"}}
    weeks = change(budget(scheduling=scheduling), "metadata.creationTimestamp", "2026-03-09T00:00:00Z")
    found = Budget.of(change(weeks, "status.fullest", [{"block": "bucket 3", "usedPercent": 5, "reservedPercent": 0}]))
    tuesday, day = datetime(2026, 3, 10, tzinfo=UTC), 86_400
    guess = room.guess(found, 0.1, tuesday)
    assert guess.left.blocked == ("bucket 3",)
    assert guess.left.wait == pytest.approx(0.15 * 70 * day - day)
    assert "It would be granted in 10 days, when enough of bucket 3 is unlocked" in guess.sentence
    assert room.guess(found, 0.1, tuesday + timedelta(days=10)).left.wait == 0
    assert room.guess(found, 0.96, tuesday).left.never == ("bucket 3",)


def test_a_block_unlocks_from_when_its_period_begins() -> None:
    """As the controller's queue has it: a newer week is less unlocked than older ones."""
    blocks = {"by": "SubjectCohort", "period": "Week"}
    weeks = budget(scheduling={"policy": "DPF", "unlocking": {"lifetime": "70d"}}, blocks=blocks)
    weeks = change(weeks, "metadata.creationTimestamp", "2026-01-05T00:00:00Z")
    found = Budget.of(change(weeks, "status.fullest", [{"block": "2026-W02", "usedPercent": 5, "reservedPercent": 0}]))
    day = 86_400
    wednesday = datetime(2026, 3, 11, tzinfo=UTC)  # of week 11, 65 days after the budget was made
    guess = room.guess(found, 0.1, wednesday)
    assert guess.left.blocked == ("2026-W11",)
    assert guess.left.wait == pytest.approx(0.1 * 70 * day - 2 * day)
    assert room.guess(found, 0.1, wednesday, ["2026-W02"]).left.wait == 0
    assert room.guess(found, 0.1, wednesday, ["2026-W10"]).left.wait == 0
    assert room.guess(found, 0.5, wednesday, ["2026-W10"]).left.wait == pytest.approx((35 - 9) * day)


def test_exactly_each_block_unlocks_from_its_own_week() -> None:
    cut = Cut("SubjectCohort", "Week", None)
    first, last = cut.key_of("2026-W02"), cut.key_of("2026-W11")
    state = State(DOMAIN)
    state.apply(promise(cut=cut), 1)
    state.apply(Open((Range(first, last),)), 1)
    weeks = budget(
        scheduling={"policy": "DPF", "unlocking": {"lifetime": "70d"}}, blocks={"by": "SubjectCohort", "period": "Week"}
    )
    found = Budget.of(change(weeks, "metadata.creationTimestamp", "2026-01-12T00:00:00Z"))  # with week 3
    wednesday = datetime(2026, 3, 11, tzinfo=UTC)
    demand = tuple(value / 1e9 / 10 for value in CAPACITY)
    exact = room.exact(state, found, demand, wednesday)
    assert exact.left.blocked == ("2026-W11",)
    assert exact.left.wait == pytest.approx((7 - 2) * 86_400)
    old = room.exact(state, found, tuple(9 * value for value in demand), wednesday, (Range(first, first),))
    assert old.left.wait == pytest.approx((63 - 58) * 86_400)  # it is older than the budget, which is 58 days old


def test_what_arrivals_unlock_is_said_not_to_be_known() -> None:
    scheduling = {"policy": "DPF", "unlocking": {"arrivals": 100}}
    assert any(
        "only the controller knows" in note
        for note in room.guess(Budget.of(budget(scheduling=scheduling)), 0.1, datetime.now(UTC)).notes
    )
