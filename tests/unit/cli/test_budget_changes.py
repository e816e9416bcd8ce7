"""`mlprivacy budget approve` and `retire`: what is shown is sent, and nothing is sent in vain."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from budget_objects import Server, budget
from click.testing import CliRunner, Result
from ledger_world import commit, reserve

from mlprivacy.cli import cluster, confirm
from mlprivacy.cli.budgets import changes
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.main import cli

SPENT = (reserve(1, 0.5), commit(1))
ASKED = {"epsilon": 12, "delta": 1e-3, "noticeVersion": "2026-06"}
WEEKS = {"by": "SubjectCohort", "period": "Week"}
NOW = datetime(2026, 3, 14, tzinfo=UTC)  # in the week 2026-W11


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def runs(*arguments: str, objects: Any = (), answer: str = "") -> tuple[Result, Server]:
        server = Server(*objects)
        monkeypatch.setattr(cluster, "run", lambda access, work: asyncio.run(work(server)))
        monkeypatch.setattr(confirm, "terminal", lambda: bool(answer))
        return CliRunner().invoke(cli, ["budget", *arguments], input=answer), server

    return runs


def words(result: Result) -> str:
    return " ".join(result.output.split())


def test_the_approval_is_of_the_numbers_that_were_shown(run: Any) -> None:
    result, server = run("approve", "patients", objects=[budget(*SPENT, **ASKED)], answer="y\n")
    assert result.exit_code == 0, result.output
    for said in (
        "promised epsilon 10, delta 0.001, notice 2026-01 for each User (revision 1)",
        "asked for epsilon 12, delta 0.001, notice 2026-06",
        "asked by dave",
        "A larger promise is less protection",
    ):
        assert said in words(result), said
    patch = {"metadata": {"uid": "uid-patients"}, "spec": {"approval": ASKED}}
    assert server.sent == [("PrivacyBudget", "patients", patch)]


def test_an_older_approval_leaves_no_notice_behind() -> None:
    """A merge patch takes a field away by null alone."""
    asked = budget(*SPENT, epsilon=12, approval={"epsilon": 11, "delta": 1e-3, "noticeVersion": "2026-05"})
    del asked["spec"]["noticeVersion"]
    assert changes.approval_of(Budget.of(asked))["spec"]["approval"]["noticeVersion"] is None


def test_without_a_new_notice_it_says_that_the_ledger_will_not_take_it(run: Any) -> None:
    result, _ = run("approve", "patients", "--yes", objects=[budget(*SPENT, epsilon=12)])
    assert "no new notice is named" in words(result)


@pytest.mark.parametrize(
    ("spec", "answer", "code", "said"),
    [
        (ASKED, "n\n", 1, "It is not approved."),
        (ASKED, "", 2, "Nothing is sent: there is no terminal to ask on. Add --yes"),
        ({}, "", 1, "Nothing waits for approval: patients asks for epsilon 10, delta 0.001"),
        ({"epsilon": 9}, "", 1, "Nothing waits for approval"),
        ({**ASKED, "approval": ASKED}, "", 0, "is approved already"),
    ],
)
def test_nothing_is_sent_without_a_yes_or_in_vain(run: Any, spec: Any, answer: str, code: int, said: str) -> None:
    result, server = run("approve", "patients", objects=[budget(*SPENT, **spec)], answer=answer)
    assert (result.exit_code, server.sent) == (code, [])
    assert said in words(result)


def test_the_first_promise_needs_nobody(run: Any) -> None:
    result, server = run("approve", "patients", objects=[{**budget(), "status": {}}])
    assert (result.exit_code, server.sent) == (1, [])
    assert "The first promise needs no second person" in words(result)


def test_blocks_are_retired_beside_those_that_are(run: Any) -> None:
    found = budget(*SPENT, retired=["bucket 1"])
    result, server = run("retire", "clinic-patients", "1", "3", "bucket 5..6", objects=[found], answer="y\n")
    assert result.exit_code == 0, result.output
    assert "bucket 3 50 % used, 0 % of it by running jobs" in words(result)
    assert "Retired already: bucket 1" in words(result)
    assert "bucket 5..bucket 6 2 blocks, the fullest is bucket 5, 50 % used" in words(result)
    assert "Retire 3 blocks for good?" in words(result)
    retired = ["bucket 1", "bucket 3", "bucket 5..bucket 6"]
    assert server.sent == [
        ("PrivacyBudget", "patients", {"metadata": {"uid": "uid-patients"}, "spec": {"retired": retired}})
    ]


@pytest.mark.parametrize(
    ("blocks", "answer", "code", "said"),
    [
        (["2"], "n\n", 1, "Nothing is retired."),
        (["2"], "", 2, "Nothing is sent: there is no terminal to ask on. Add --yes"),
        (["bucket 1", "1"], "", 0, "Retired already: bucket 1. Nothing is sent."),
        (
            ["2026-W10"],
            "y\n",
            2,
            "'2026-W10' is no block; they are called bucket 0, bucket 1 and so on. There are bucket 0 to bucket 7.",
        ),
        (
            ["0..8"],
            "y\n",
            2,
            "Bucket 8 is none: the last is bucket 7. There are bucket 0 to bucket 7.",
        ),
        (["3..1"], "y\n", 2, "bucket 1 comes before bucket 3; write the earlier one first"),
    ],
)
def test_no_block_is_retired_by_mistake(run: Any, blocks: list[str], answer: str, code: int, said: str) -> None:
    result, server = run("retire", "patients", *blocks, objects=[budget(retired=["bucket 1"])], answer=answer)
    assert (result.exit_code, server.sent) == (code, [])
    assert said in words(result)


def test_a_name_or_a_domain_that_is_not_there(run: Any) -> None:
    for command in (["approve", "x"], ["retire", "x", "1"]):
        result, _ = run(*command, objects=[budget()])
        assert (result.exit_code, "There are: patients (clinic-patients)" in words(result)) == (2, True)
    several, _ = run("approve", "clinic-patients", objects=[budget(), budget(name="again")])
    assert (several.exit_code, "Several PrivacyBudgets" in words(several)) == (2, True)


def weekly(*retired: str, **status: str) -> Budget:
    """A budget of weeks whose status names the first and the last."""
    found = budget(blocks=WEEKS, retired=list(retired))
    found["status"].update({"firstBlock": "2020-W01", "lastBlock": "2026-W11", **status})
    found["status"]["fullest"] = []
    return Budget.of(found)


def test_a_range_is_one_entry_however_many_blocks_it_has() -> None:
    found = weekly()
    new, known = changes.wanted_blocks(found, ["2020-W01..2026-W10", "2026-W11"], NOW)
    assert (new, known) == (["2020-W01..2026-W11"], [])
    assert changes.how_many(found, new) == 324


def test_a_range_stays_one_where_some_of_it_is_retired_already() -> None:
    found = weekly("2025-W03", "2025-W02..2025-W04")
    new, known = changes.wanted_blocks(found, ["2025-W01..2025-W06"], NOW)
    assert (new, known) == (["2025-W01..2025-W06"], ["2025-W02..2025-W04"])
    assert changes.how_many(found, new) == 3
    assert changes.wanted_blocks(found, ["2025-W03..2025-W04"], NOW) == ([], ["2025-W03..2025-W04"])


def test_only_what_is_there_is_retired_and_no_more_entries_than_the_api_takes() -> None:
    for found, wrong, said in (
        (weekly(), "2026-W12", "2026-W12 is not there yet. There are 2020-W01 to 2026-W11."),
        (weekly(), "2026-W01..2999-W12", "2999-W12 is not there yet."),
        (weekly(), "2019-W52", "2019-W52 is before the first block, which holds all that is older. There are 2020-W01"),
        (weekly(firstBlock="2026-W11"), "2026-W10", "There is 2026-W11 alone."),
    ):
        with pytest.raises(CliError, match=said):
            changes.wanted_blocks(found, [wrong], NOW)
    many = [f"{year}-W{week:02}" for year in range(2020, 2026) for week in range(1, 53)][:255]
    assert changes.wanted_blocks(weekly(*many), ["2026-W01"], NOW) == (["2026-W01"], [])
    with pytest.raises(CliError, match="has 255 entries and takes 256: 2 more are too many"):
        changes.wanted_blocks(weekly(*many), ["2026-W01", "2026-W03"], NOW)


def test_before_anything_is_promised_there_is_no_block_to_retire(run: Any) -> None:
    result, server = run("retire", "patients", "1", "--yes", objects=[{**budget(), "status": {}}])
    assert (result.exit_code, server.sent) == (2, [])
    assert "patients has no block yet" in words(result)


def test_a_status_that_does_not_name_the_blocks_leaves_the_clock() -> None:
    found = budget(blocks={**WEEKS, "since": "2026-02-01"})
    found["status"] = {key: value for key, value in found["status"].items() if not key.endswith("Block")}
    assert changes.wanted_blocks(Budget.of(found), ["2026-W05..2026-W11"], NOW)[0] == ["2026-W05..2026-W11"]
    for wrong in ("2026-W04", "2026-W12"):
        with pytest.raises(CliError, match=r"There are 2026-W05 to 2026-W11\."):
            changes.wanted_blocks(Budget.of(found), [wrong], NOW)
