"""`mlprivacy budget`: what people see of the budgets of a cluster, of one, and of a job; and with too few rights."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from budget_objects import Server, budget, condition, ledger_objects, using_job
from builders import change
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from ledger_world import CAPACITY, NOON, ORDERS, commit, job, release, reserve

from mlprivacy.budget.accounting.events import dp_sgd
from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.transitions import Job, Retire, Taint
from mlprivacy.budget.ledger.units import to_units
from mlprivacy.cli import budget_commands, cluster
from mlprivacy.cli.budgets import jobs, view
from mlprivacy.cli.budgets.entries import Ledgers
from mlprivacy.cli.budgets.model import BlockUse, Budget, JobUse
from mlprivacy.cli.budgets.page import bar
from mlprivacy.cli.budgets.reading import Chain, chain_of
from mlprivacy.cli.main import cli
from mlprivacy.kube.errors import Unreachable

SPENT = (reserve(1, 0.5), commit(1), reserve(2, 0.25, blocks=(2, 3)))
TAINTED = (*SPENT, Taint(job(9), (Range(5, 5),), "Exception"), Retire((Range(7, 7),), "Owner"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def runs(*arguments: str, objects: Any = (), hidden: Any = (), answer: str = "") -> tuple[Result, Server]:
        server = Server(*objects, hidden=hidden)
        monkeypatch.setattr(cluster, "run", lambda access, work: asyncio.run(work(server)))
        return CliRunner().invoke(cli, ["budget", *arguments], input=answer), server

    return runs


def words(result: Result) -> str:
    return " ".join(result.output.split())


def test_the_table_of_all_budgets(run: Any) -> None:
    waits = using_job("late", "Waiting", "BudgetExhausted")
    result, _ = run(objects=[budget(*TAINTED), *ledger_objects(*TAINTED), using_job(), waits])
    assert result.exit_code == 0, result.output
    head, row = result.output.splitlines()[:2]
    found = dict(zip(view.HEAD, [cell.strip() for cell in row.split("  ") if cell.strip()], strict=True))
    assert head.split("  ")[0] == "NAME"
    assert found["PROMISE"] == "10, 0.001"
    assert (found["OPEN"], found["FULL"], found["RETIRED"], found["TAINTED"]) == ("7", "0", "1", "1")
    assert (found["USED"], found["WORST CASE"], found["WEAKEST"], found["GUARANTEE"]) == (
        "75.0 %", "no bound", "Gated", "BROKEN",
    )  # fmt: skip
    assert (found["HELD"], found["LEDGER"], found["STATE"]) == ("1", "at 6", "in force")
    assert "late patients WAITS 10.0 % BudgetExhausted" in words(result).replace("research/", "")


def test_status_is_taken_for_granted(run: Any) -> None:
    one = [budget(*SPENT)]
    assert run("patients", objects=one)[0].output == run("status", "patients", objects=one)[0].output
    assert run("-o", "json", objects=one)[0].output == run("status", "-o", "json", objects=one)[0].output


@pytest.mark.parametrize(("asked", "shown"), [("-o json", json.loads), ("-o yaml", yaml.safe_load)])
def test_for_programs(run: Any, asked: str, shown: Any) -> None:
    result, _ = run(*asked.split(), objects=[budget(*SPENT), *ledger_objects(*SPENT)])
    body = shown(result.output)
    assert body["unread"] == []
    (one,) = body["budgets"]
    assert (one["name"], one["subjectDomain"], one["usedPercent"]) == ("patients", "clinic-patients", 75.0)
    assert (one["ledgerHead"], one["ledgerEntries"], one["guaranteeHolds"]) == (4, 4, True)
    one, _ = run("patients", *asked.split(), objects=[budget(*SPENT), using_job()])
    (full,) = shown(one.output)["budgets"]
    assert full["jobs"][0]["share"] == 0.1
    assert len(full["status"]["fullest"]) == 8


def test_csv_has_a_column_for_all_and_no_formula(run: Any) -> None:
    result, _ = run("-o", "csv", objects=[budget(*SPENT, name="=cmd"), budget(*SPENT, name="b")])
    rows = list(csv.DictReader(io.StringIO(result.output)))
    assert [row["name"] for row in rows] == ["'=cmd", "b"]
    assert tuple(rows[0]) == view.COLUMNS


def test_one_budget_in_full(run: Any) -> None:
    waits = using_job("late", "Waiting", "BudgetExhausted")
    quotas = [{"namespace": "research", "share": 0.4}]
    scheduling = {"policy": "DPF", "unlocking": {"lifetime": "90d"}, "timeout": "7d"}
    found = budget(*TAINTED, quotas=quotas, scheduling=scheduling)
    result, _ = run("clinic-patients", objects=[found, *ledger_objects(*TAINTED), using_job(), waits])
    assert result.exit_code == 0
    text = words(result)
    for said in (
        "IN FORCE PrivacyBudget patients",
        "epsilon 10, delta 0.001, notice 2026-01 for each User (revision 1)",
        "no bound: data of tainted blocks was used outside accounting",
        "BROKEN for 1 tainted block, for good",
        "7 open, 0 exhausted, 1 retired, 1 tainted; cut by Subject, 8 buckets, bucket 0 to bucket 7",
        "1 reservation by jobs that start or run",
        "at entry 6, 6 entries",
        "The 8 fullest blocks",
        "bucket 2 [##############======== ] 75.0 %",
        "research/job-9 Exception 2026-03-14T12:00:04.000000Z",
        "Jobs in the namespace research that use it",
        "research/late WAITS 10.0 % 8 2.5",
        "research/late: BudgetExhausted: bucket 3 has no room.",
        "research up to 40% of each block; no other namespace",
        "DPF, a block unlocks evenly over 90d, a job that waits longer than 7d is refused",
        "Declared or better",
        "urn:clinic:visits",
    ):
        assert said in text, said


def test_retired_blocks_are_named_and_of_very_many_the_latest(run: Any) -> None:
    few, _ = run("patients", objects=[budget(*SPENT, retired=["bucket 1", "bucket 3..bucket 5"])])
    many, _ = run("patients", objects=[budget(*SPENT, retired=[f"bucket {number}" for number in range(20)])])
    assert "retired bucket 1, bucket 3 to bucket 5" in words(few)
    one_more, _ = run("patients", objects=[budget(*SPENT, retired=[f"bucket {number}" for number in range(13)])])
    assert "retired 8 entries of spec.retired before, bucket 8, bucket 9," in words(many)
    assert "retired 1 entry of spec.retired before, bucket 1," in words(one_more)


def test_a_promise_that_waits_says_who_approves_how(run: Any) -> None:
    larger = budget(*SPENT, epsilon=12, noticeVersion="2026-06")
    result, _ = run(objects=[larger])
    assert "`mlprivacy budget approve patients` shows and approves it" in words(result)
    larger["status"]["conditions"].append(
        condition("Stalled", "True", "PromiseWaits", "Somebody else must approve it.")
    )
    page, _ = run("patients", objects=[larger])
    assert "Stalled: PromiseWaits: Somebody else must approve it." in words(page)
    assert "WAITS FOR APPROVAL" in page.output
    assert "epsilon 12, delta 0.001, notice 2026-06, which waits for a second person" in words(page)


def test_a_budget_that_the_controller_has_not_seen(run: Any) -> None:
    fresh = {**budget(), "status": {}}
    assert "no promise yet" in run(objects=[fresh])[0].output
    page = words(run("patients", objects=[fresh])[0])
    assert "none in force yet; asked for: epsilon 10, delta 0.001, notice 2026-01" in page
    assert "Blocks: none yet" in page


def test_a_condition_that_is_not_true_is_told(run: Any) -> None:
    taken = change(budget(*SPENT), "status.conditions", [condition("Ready", "False", "DomainTaken", "members has it.")])
    result, _ = run("patients", objects=[taken])
    assert "DOMAINTAKEN" in result.output
    assert "Ready: DomainTaken: members has it." in words(result)


def test_a_ledger_that_ends_before_its_status_is_told(run: Any) -> None:
    """A restored etcd: the status is newer than the entries, or the other way round while the controller works."""
    result, _ = run(objects=[budget(*SPENT), *ledger_objects(*SPENT[:1])])
    assert "the ledger in the cluster ends with 2: entries are missing" in words(result)
    result, _ = run("patients", objects=[budget(*SPENT[:1]), *ledger_objects(*SPENT)])
    assert "at entry 4, 4 entries; the status is of entry 2, and the ledger has 4 by now" in words(result)


def test_no_budget_of_that_name(run: Any) -> None:
    result, _ = run("patient", objects=[budget()])
    assert result.exit_code == 2
    assert "no PrivacyBudget and no subject domain patient. There are: patients (clinic-patients)." in words(result)


def test_with_too_few_rights_it_shows_what_it_may(run: Any) -> None:
    engineer = run(objects=[budget(*SPENT), using_job()], hidden=["PrivacyBudget", "LedgerEntry"])[0]
    assert engineer.exit_code == 3
    assert "INCOMPLETE you may not list privacybudgets.mlprivacy.dev" in words(engineer)
    assert "research/diagnosis patients RESERVED 10.0 %" in words(engineer)
    no_entries = run("patients", objects=[budget(*SPENT)], hidden=["LedgerEntry"])[0]
    assert no_entries.exit_code == 0
    assert "at entry 4, as the status says; you may not read the entries" in words(no_entries)
    no_jobs = run(objects=[budget(*SPENT)], hidden=["TrainingJob"])[0]
    assert no_jobs.exit_code == 3


def test_a_job_on_one_screen(run: Any) -> None:
    result, _ = run("--job", "research/diagnosis", objects=[budget(*SPENT), using_job()])
    assert result.exit_code == 0
    for said in (
        "RESERVED TrainingJob research/diagnosis",
        "budget patients (clinic-patients): attempt 1 holds it until it ends",
        "epsilon 2.5 at delta 1e-08, of this attempt",
        "10 % of each of 8 blocks",
        "noise multiplier 1.1, sampling rate 0.004, 2500 steps",
        "Uses 10 % of each block, 2 such jobs fit.",
        "The ledger decides",
    ):
        assert said in words(result), said
    assert "granted" not in result.output, "it is granted already"


def test_a_job_that_waits_says_for_what(run: Any) -> None:
    full = (reserve(1, 0.95),)
    waits = using_job("late", "Waiting", "BudgetExhausted")
    result, _ = run("--job", "late", objects=[budget(*full), waits])
    text = words(result)
    assert "WAITS TrainingJob research/late" in text
    assert "BudgetExhausted since 2026-03-14T12:00:00Z: bucket 3 has no room." in text
    assert "has room only once running jobs give back what they hold" in text
    body = json.loads(run("--job", "late", "-o", "json", objects=[budget(*full), waits])[0].output)
    assert body["waits"]["reason"] == "BudgetExhausted"
    assert body["budgets"][0]["left"]["jobs"] == 0
    assert not body["budgets"][0]["left"]["exact"]


def exactly_waiting(rows: int) -> dict[str, Any]:
    """A job that waits, with the share that its numbers come to for so many rows of a person."""
    curve = to_units(curve_of(dp_sgd(0.004, 2500, 1.1, rows), ORDERS))
    share = min(asked / room for asked, room in zip(curve, CAPACITY, strict=True) if room)
    found = using_job("late", "Waiting", "QuotaReached", sharePercent=round(100 * share, 3), blocks=0)
    return change(found, "spec.datasets", [{"name": "a", "maxRecordsPerUnit": rows}, {"name": "b"}])


@pytest.mark.parametrize("rows", [1, 3])
def test_a_job_that_waits_is_held_against_the_ledger(run: Any, rows: int) -> None:
    """The rows of its one dataset of this domain count: the other dataset belongs elsewhere."""
    spent = (reserve(1, 0.5), commit(1))
    late = exactly_waiting(rows)
    quotas = [{"namespace": "research", "share": 0.51}]
    objects = [budget(*spent, quotas=quotas), *ledger_objects(*spent), late]
    body = json.loads(run("--job", "late", "-o", "json", objects=objects)[0].output)
    left = body["budgets"][0]["left"]
    assert (left["exact"], left["blocks"], left["quota"]["share"]) == (True, 8, 0.51)
    demand = to_units(curve_of(dp_sgd(0.004, 2500, 1.1, rows), ORDERS))
    fits = max((int(cap * 0.51) - cap // 2) // asked for cap, asked in zip(CAPACITY, demand, strict=True) if cap)
    assert (left["jobs"], bool(left["quota"]["reached"])) == (fits, fits == 0)
    guess = json.loads(run("--job", "late", "-o", "json", objects=objects, hidden=["LedgerEntry"])[0].output)
    assert not guess["budgets"][0]["left"]["exact"]


def test_a_job_that_holds_its_part_is_shown_with_what_the_ledger_says_of_it(run: Any) -> None:
    mine = reserve(1, 0.3, blocks=(2, 3))
    mine = replace(mine, job=Job("research", "diagnosis", "uid-diagnosis"))
    objects = [budget(mine), *ledger_objects(mine), using_job(blocks=2, sharePercent=30)]
    result, _ = run("--job", "diagnosis", "-o", "json", objects=objects)
    left = json.loads(result.output)["budgets"][0]["left"]
    assert (left["exact"], left["jobs"], left["blocks"]) == (True, 2, 2)
    assert "Uses 30 % of each block, 2 such jobs fit." in words(run("--job", "diagnosis", objects=objects)[0])


def test_a_job_that_reaches_no_open_block_is_told_of_no_room(run: Any) -> None:
    late = change(using_job("late", "Waiting", "WaitingForBudget"), "spec.datasets", [{"blocks": {"to": "2020-W01"}}])
    objects = [budget(*SPENT), *ledger_objects(*SPENT), late]
    body = json.loads(run("--job", "late", "-o", "json", objects=objects)[0].output)
    assert body["budgets"][0]["left"] is None
    assert "granted now" not in words(run("--job", "late", objects=objects)[0])


@pytest.mark.parametrize(("last", "word"), [(commit(1), "SPENT"), (release(1), "GIVEN BACK")])
def test_a_job_that_is_being_deleted_stands_as_the_ledger_says(run: Any, last: Any, word: str) -> None:
    """Somebody's finalizer keeps a job whose attempt is settled, and its status says still that it is reserved."""
    mine = replace(reserve(1, 0.3), job=Job("research", "diagnosis", "uid-diagnosis"))
    last = replace(last, job_uid="uid-diagnosis")
    objects = [budget(mine, last), *ledger_objects(mine, last), using_job(sharePercent=30)]
    screen = run("--job", "diagnosis", objects=objects)[0].output
    assert screen.startswith(f"{word}  TrainingJob")
    assert "BudgetHeld" not in screen  # the condition is as old as the status


@pytest.mark.parametrize("numbers", [{"sharePercent": 10}, {"noiseMultiplier": None}, {"steps": -1}])
def test_a_job_whose_numbers_do_not_tell_its_loss_is_guessed_from_the_status(run: Any, numbers: Any) -> None:
    late = using_job("late", "Waiting", "BudgetLocked", **numbers)
    result, _ = run("--job", "late", objects=[budget(*SPENT), *ledger_objects(*SPENT), late])
    assert (result.exit_code, "its numbers do not tell its whole loss" in words(result)) == (0, True)


def test_a_ledger_that_is_broken_does_not_hide_the_job(run: Any) -> None:
    entries = ledger_objects(*SPENT)
    entries[1]["spec"]["writer"] = "somebody"
    result, _ = run("--job", "diagnosis", objects=[budget(*SPENT), *entries, using_job()])
    assert (result.exit_code, "The ledger of clinic-patients is broken" in words(result)) == (3, True)
    assert "holds it until it ends" in words(result)


async def test_who_looks_again_reads_what_is_new_alone() -> None:
    steps = [step for n in range(1, 20) for step in (reserve(n, 0.001), release(n))]
    server, ledgers = Server(*ledger_objects(*steps)), Ledgers(lambda done, whole: None)
    found = Budget.of(budget(*steps))
    first = await ledgers.state(server, found)  # type: ignore[arg-type]
    asked = server.asked
    server.objects = ledger_objects(*steps, reserve(99, 0.25))
    again = await ledgers.state(server, found)  # type: ignore[arg-type]
    assert first is not None
    assert again is not None
    assert (again.head.sequence, len(again.reservations), server.asked - asked) == (40, 1, 2)
    server.objects = server.objects[35:]  # and where what follows was pruned, all that there is
    late = Budget.of(change(budget(*steps), "status.head", f"{found.status['head'].rpartition('-')[0]}-60"))
    assert await ledgers.state(server, late) is None  # type: ignore[arg-type]


def test_who_waits_is_counted_over_all_namespaces_by_the_controller(run: Any) -> None:
    """Whoever may read one namespace alone is told of the others' jobs by number."""
    late = using_job("late", "Waiting", "BudgetExhausted")
    told = change(budget(*SPENT), "status.waiting", 3)
    assert " 3 " in run(objects=[told, late])[0].output.splitlines()[1]
    assert "waiting 3 jobs, of all namespaces" in words(run("patients", objects=[told, late])[0])
    (one,) = json.loads(run("-o", "json", objects=[told, late])[0].output)["budgets"]
    assert one["waitingJobs"] == 3
    (row,) = csv.DictReader(io.StringIO(run("-o", "csv", objects=[told, late])[0].output))
    assert row["waitingJobs"] == "3"


def test_where_the_status_does_not_count_them_it_is_those_that_are_seen_at_least(run: Any) -> None:
    late = using_job("late", "Waiting", "BudgetExhausted")
    assert "at least 1" in run(objects=[budget(*SPENT), late])[0].output
    assert "waiting at least 1 job, of all namespaces" in words(run("patients", objects=[budget(*SPENT), late])[0])
    (one,) = json.loads(run("-o", "json", objects=[budget(*SPENT)])[0].output)["budgets"]
    assert one["waitingJobs"] is None


ENDED = "2026-03-14T13:00:00Z"
STOPPED = condition("BudgetReserved", "False", "WaitingForBudget", "nothing is reserved: the job does not run")
UNCOUNTED = condition("BudgetReserved", "False", "OutsideAccounting", "it is not counted")
LATE = condition("BudgetReserved", "False", "BudgetTimeout", "the job waited longer than the budget's timeout")
REFUSED = condition("Stalled", "True", "BudgetTimeout", "the job waited longer than the budget's timeout")


@pytest.mark.parametrize(
    ("line", "conditions", "ended", "word", "row", "sentence"),
    [
        ({"state": "Committed", "entry": "e-7"}, [], ENDED, "SPENT", "SPENT 10.0 % 8 2.5", "has spent it, for good"),
        (
            {"state": "Released", "entry": "e-7"}, [STOPPED], ENDED, "GIVEN BACK", "GIVEN BACK nothing 8 -",
            "held it, spent nothing and gave it back",
        ),
        (
            {"state": "Waiting", "blocks": 0}, [STOPPED], ENDED, "NOT HELD", "NOT HELD nothing 0 -",
            "holds nothing and has spent nothing",
        ),
        (
            {"state": "Released", "blocks": 0}, [STOPPED], "", "NOT HELD", "NOT HELD nothing 0 -",
            "nothing is reserved: the job does not run",
        ),
        ({"state": "Outside"}, [UNCOUNTED], "", "OUTSIDE", "OUTSIDE 10.0 % 8 2.5", "used the data without being"),
        ({"state": "Outside"}, [UNCOUNTED], ENDED, "OUTSIDE", "OUTSIDE 10.0 % 8 2.5", "tainted for good"),
        (
            {"state": "Waiting", "blocks": 0}, [LATE, REFUSED], "", "REFUSED", "REFUSED 10.0 % 0 2.5",
            "waits no more: it will not be granted",
        ),
    ],
)  # fmt: skip
def test_every_way_that_a_job_stands_has_its_word(
    run: Any, line: Any, conditions: Any, ended: str, word: str, row: str, sentence: str
) -> None:
    one = using_job("one", **{"state": line["state"], **{k: v for k, v in line.items() if k != "state"}})
    one["status"]["conditions"] = conditions
    if ended:
        one["status"]["finishedAt"] = ended
    screen = words(run("--job", "one", objects=[budget(*SPENT), one])[0])
    assert f"{word} TrainingJob research/one" in screen
    assert sentence in screen
    page = words(run("patients", objects=[budget(*SPENT), one])[0])
    assert f"research/one {row}" in page
    body = json.loads(run("--job", "one", "-o", "json", objects=[budget(*SPENT), one])[0].output)
    assert body["budgets"][0]["standing"] == word
    assert (body["waits"] is not None) == (word == "REFUSED")


@pytest.mark.parametrize(
    ("reason", "others", "word"),
    [
        ("WaitingForBudget", [condition("Suspended", "True", "SuspendRequested")], "NOT HELD"),
        ("WaitingForBudget", [condition("Accepted", "False", "Refused")], "NOT HELD"),
        ("WaitingForBudget", [condition("Accepted", "True", "Allowed")], "WAITS"),
        ("LedgerUnavailable", [], "WAITS"),
    ],
)
def test_a_job_of_which_nothing_is_said_yet_waits_only_where_it_may_run(
    run: Any, reason: str, others: Any, word: str
) -> None:
    reserved = condition("BudgetReserved", "False", reason, "nothing is reserved")
    one = change(using_job(), "status", {"conditions": [reserved, *others]})
    assert run("--job", "diagnosis", objects=[one])[0].output.startswith(f"{word}  TrainingJob")


def test_a_job_without_budgets_and_a_job_that_is_not_there(run: Any) -> None:
    free = change(using_job(), "status", {"conditions": [condition("BudgetReserved", "True", "NoBudgetNeeded")]})
    assert "NO BUDGET" in run("--job", "diagnosis", objects=[free])[0].output
    gone, _ = run("--job", "research/none")
    assert (gone.exit_code, "There is no TrainingJob none in the namespace research" in words(gone)) == (2, True)
    assert run("--job", "a/b/c")[0].exit_code == 2


def test_a_job_whose_budget_may_not_be_read(run: Any) -> None:
    result, _ = run("--job", "diagnosis", objects=[using_job()], hidden=["PrivacyBudget"])
    assert (result.exit_code, "so what is left is not known" in words(result)) == (3, True)


@pytest.mark.parametrize(
    "wrong",
    ["-n a -A", "--job a patients", "--job a -A", "--job a -o csv", "--watch -o csv", "--plot a.txt", "-o xml"],
)
def test_what_does_not_go_together_is_refused(run: Any, wrong: str) -> None:
    result, server = run(*wrong.split())
    assert (result.exit_code, server.asked) == (2, 0)


def test_nothing_in_a_budget_steers_the_terminal(run: Any) -> None:
    evil = budget(*TAINTED)
    evil["status"]["taints"][0]["reason"] = "fine\x1b[2J"
    evil["status"]["conditions"].append(condition("Ready", "False", "Bad", "words\x1b[31m"))
    assert "\x1b" not in run("patients", objects=[evil])[0].output


def test_a_plot_of_the_blocks(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        result, _ = run("--plot", str(tmp_path / name), objects=[budget(*TAINTED), budget(*SPENT, name="other")])
        assert result.exit_code == 0, result.output
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "bucket 2" in (tmp_path / "a.svg").read_text()
    empty, _ = run("--plot", str(tmp_path / "c.svg"), objects=[budget()])
    assert (empty.exit_code, "nothing to draw" in empty.output, (tmp_path / "c.svg").exists()) == (2, True, False)


@pytest.mark.parametrize(
    ("use", "shown"),
    [
        (BlockUse("a", 0, 0), "[" + " " * 30 + "]"),
        (BlockUse("a", 0.01, 0), "[#" + " " * 29 + "]"),
        (BlockUse("a", 99.9, 0), "[" + "#" * 29 + " ]"),
        (BlockUse("a", 100, 50), "[" + "#" * 15 + "=" * 15 + "]"),
        (BlockUse("a", 250, 0), "[" + "#" * 30 + "]"),
    ],
)
def test_a_bar_is_empty_only_when_nothing_is_used_and_full_only_when_all_is(use: BlockUse, shown: str) -> None:
    assert bar(use) == shown


@pytest.mark.parametrize("pruned", [0, 1, 2, 37, 63])
@pytest.mark.parametrize("hint", [0, 1, 40, 64, 70])
def test_both_ends_of_a_ledger_are_found_by_a_few_looks(pruned: int, hint: int) -> None:
    steps = [step for n in range(1, 32) for step in (reserve(n, 0.001), release(n))]
    server = Server(*ledger_objects(*steps, reserve(99, 0.01))[pruned:])
    assert asyncio.run(chain_of(server, "clinic-patients", hint)) == Chain(pruned + 1, 64)
    assert server.asked < 30


def test_a_ledger_without_entries() -> None:
    assert asyncio.run(chain_of(Server(), "clinic-patients", 3)) == Chain(0, 0)


def test_blocks_that_a_job_names_are_those_that_count() -> None:
    found = Budget.of(budget(*SPENT))
    spec = {"datasets": [{"blocks": {"from": "bucket 4", "to": "bucket 6"}}]}
    assert jobs.blocks_of(spec, found) == ("bucket 4", "bucket 5", "bucket 6")
    assert jobs.blocks_of({"datasets": [{}, *spec["datasets"]]}, found) == ()
    late = JobUse.of(change(using_job(), "spec", spec))
    page = jobs.page_of(late, [found], (), NOON)
    assert page.parts[0].found is not None
    assert page.parts[0].found.left.jobs == 5  # half of these is used, and a job takes a tenth


async def test_watching_shows_what_changes_and_survives_an_outage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budget_commands, "WATCH_SECONDS", 0)
    answers: Any = iter(["a", "a", Unreachable("gone", "Connection"), "a", "b", KeyboardInterrupt()])

    async def shown(client: Any) -> Any:
        found = next(answers)
        if isinstance(found, BaseException):
            raise found
        return found, 0, None

    with pytest.raises(KeyboardInterrupt):
        await budget_commands._watch(None, shown, "json")  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == "a\nb\n"
    assert "does not answer (gone); it is asked again" in said.err


def test_a_shell_completes_the_commands_of_budgets() -> None:
    found = ShellComplete(cli, {}, "mlprivacy", "_MLPRIVACY_COMPLETE").get_completions(["budget"], "")
    assert {item.value for item in found} >= {"status", "ledger", "approve", "retire", "simulate", "figures"}
    options = ShellComplete(cli, {}, "mlprivacy", "_MLPRIVACY_COMPLETE").get_completions(["budget", "status"], "--")
    assert {item.value for item in options} >= {"--job", "--watch", "--plot", "--context"}
