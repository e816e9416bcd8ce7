"""`mlprivacy budget ledger`: an export that verifies, goes on where it ended, and never spoils a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from budget_objects import Server, budget, ledger_objects, stored
from click.testing import CliRunner, Result
from ledger_world import DOMAIN, chain, commit, reserve

from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.cli import cluster
from mlprivacy.cli.main import cli

STEPS = [step for n in range(1, 30) for step in (reserve(n, 0.01), commit(n))]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Exports what a cluster with these objects holds into the file `ledger.jsonl`."""

    def run(*objects: Any, name: str = DOMAIN, to: str = "ledger.jsonl", hidden: Any = ()) -> Result:
        server = Server(*objects, hidden=hidden)
        monkeypatch.setattr(cluster, "run", lambda access, work: asyncio.run(work(server)))
        target = to if to == "-" else str(tmp_path / to)
        return CliRunner().invoke(cli, ["budget", "ledger", name, "-o", target])

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def verified(file: Path) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["verify", "ledger", str(file), "-o", "json"])
    body: dict[str, Any] = json.loads(result.output)
    assert (result.exit_code, body["problems"]) == (0, [])
    return body


def test_what_is_written_verifies_and_is_what_the_operator_would_export(export: Any, file: Path) -> None:
    result = export(budget(*STEPS), *reversed(ledger_objects(*STEPS)))
    assert result.exit_code == 0, result.output
    assert verified(file)["domains"][0]["head"]["sequence"] == 59
    assert file.read_bytes() == b"".join(export_line(entry) + b"\n" for entry in chain(*STEPS))
    assert f"59 entries written to {file}; the newest is 59, " in result.output


def test_it_goes_on_where_the_file_ends(export: Any, file: Path) -> None:
    assert export(*ledger_objects(*STEPS[:10])).exit_code == 0
    before = file.read_bytes()
    again = export(*ledger_objects(*STEPS[:10]))
    assert (again.exit_code, file.read_bytes()) == (0, before)
    assert "is up to date: it ends with entry 11" in again.output
    more = export(budget(*STEPS), *ledger_objects(*STEPS), name="patients")
    assert "48 entries written" in more.output
    assert "after entry 11" in more.output
    assert verified(file)["entries"] == 59


def test_a_line_that_was_cut_off_is_written_anew(export: Any, file: Path) -> None:
    export(*ledger_objects(*STEPS))
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    assert export(*ledger_objects(*STEPS)).exit_code == 0
    assert file.read_bytes() == whole


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"dear diary\n", "line 1 is no entry of a ledger"),
        (b'{"kind": "Pod", "metadata": {"name": "a"}}\n', "line 1 is no entry of a ledger"),
        (b"half a line", "it holds no whole line"),
        (b"x" * 2_000_000, "longer than any entry"),
        (export_line(chain(domain="others")[0]) + b"\n", "it holds the ledger of others"),
        (b"".join(export_line(e) + b"\n" for e in chain(*STEPS[:3])[1::2]), "line 2 does not verify"),
    ],
    ids=["text", "pod", "torn", "long", "other-domain", "gap"],
)
def test_a_file_of_something_else_is_left_as_it_is(export: Any, file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    result = export(*ledger_objects(*STEPS))
    assert (result.exit_code, file.read_bytes()) == (2, content)
    assert said in " ".join(result.output.split())


def test_a_restored_database_is_told_and_the_file_kept(export: Any, file: Path) -> None:
    export(*ledger_objects(*STEPS))
    before = file.read_bytes()
    shorter = export(*ledger_objects(*STEPS[:10]))
    other = [reserve(1, 0.02), *STEPS[1:]]
    rewritten = export(*ledger_objects(*other))
    for result, said in ((shorter, "the ledger in the cluster ends with entry 11"), (rewritten, "was written anew")):
        assert (result.exit_code, said in " ".join(result.output.split())) == (2, True)
    assert file.read_bytes() == before


def test_entries_that_were_pruned_in_between_are_told(export: Any, file: Path) -> None:
    export(*ledger_objects(*STEPS[:10]))
    before = file.read_bytes()
    result = export(*ledger_objects(*STEPS)[30:])
    assert (result.exit_code, file.read_bytes()) == (2, before)
    assert "the oldest in the cluster is 31: those between were pruned" in " ".join(result.output.split())
    # What the file still reaches is no gap.
    assert export(*ledger_objects(*STEPS)[11:]).exit_code == 0
    assert verified(file)["entries"] == 59


def test_evidence_is_written_as_it_is(export: Any, file: Path) -> None:
    objects = ledger_objects(*STEPS)
    objects[20]["spec"]["writer"] = "somebody"
    result = export(*objects)
    assert result.exit_code == 1
    assert "BAD" in result.output
    assert "it was changed after it was written" in " ".join(result.output.split())
    assert len(file.read_bytes().splitlines()) == 59
    found = CliRunner().invoke(cli, ["verify", "ledger", str(file)])
    assert (found.exit_code, "-21" in found.output) == (1, True)


def test_a_missing_entry_is_told(export: Any, file: Path) -> None:
    objects = ledger_objects(*STEPS)
    result = export(*objects[:20], *objects[21:])
    assert result.exit_code == 1
    assert "-21 is missing" in result.output
    assert len(file.read_bytes().splitlines()) == 58  # what is behind the gap is there too


def test_to_standard_output_and_for_a_domain_whose_budget_is_gone(export: Any) -> None:
    result = export(*ledger_objects(*STEPS[:2]), to="-", hidden=["PrivacyBudget"])
    assert result.exit_code == 0
    assert result.stdout_bytes == b"".join(export_line(entry) + b"\n" for entry in chain(*STEPS[:2]))


def test_a_domain_that_never_was_is_no_empty_ledger(export: Any, file: Path) -> None:
    unknown = export(budget(), name="nosuch")
    assert unknown.exit_code == 2
    assert "There is no ledger, no PrivacyBudget and no subject domain nosuch. There are: patients" in unknown.output
    unread = export(budget(), name="nosuch", hidden=["PrivacyBudget"])
    assert (unread.exit_code, "you may not list privacybudgets" in unread.output) == (2, True)
    assert not file.exists()


def test_nothing_to_write_makes_no_file(export: Any, file: Path) -> None:
    there = export({**budget(), "status": {}})
    assert (there.exit_code, "has no entry; nothing is written" in there.output) == (0, True)
    assert not file.exists()
    assert export(name="No Domain!").exit_code == 2
    missing = export(stored(chain()[0]), to="no/such/folder/x.jsonl")
    assert (missing.exit_code, "can not be written" in missing.output) == (2, True)
