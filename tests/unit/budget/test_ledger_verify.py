"""`mlprivacy verify ledger`: balances from exported entries alone, the first bad entry by name, cut ends by anchors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ledger_world import DOMAIN, NOON, bind, chain, commit, job, part_of, release, reserve

from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.checkpoint import parts_of
from mlprivacy.budget.ledger.entry import Entry, Head, SignedHead, link, stamp
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.transitions import Taint
from mlprivacy.budget.ledger.verify import LedgerReport, Verifier, balances, export_line, read_lines, report_json
from mlprivacy.cli.main import cli

ENTRIES = chain(
    reserve(1, 0.5, blocks=(0, 3)),
    bind(1),
    commit(1, "Planned", pod_uid="pod-1", curve=part_of(0.25), ended=True),
    reserve(2, 0.1),
    release(2),
    Taint(job(3), (Range(7, 7),), "Exception"),
    reserve(4, 0.2, blocks=(3, 3)),
)


def verify(entries: list[Entry], *anchors: Head, jobs: bool = False) -> LedgerReport:
    verifier = Verifier(jobs=jobs)
    for line in read_lines("export", [export_line(entry) for entry in entries]):
        verifier.take(line)
    return verifier.report(anchors)


def test_balances_are_recomputed_from_the_export_alone() -> None:
    report = verify(ENTRIES, ENTRIES[3].head, ENTRIES[-1].head)
    assert report.ok
    state = report.domains[0].state
    assert state is not None
    assert [round(one["usedPercent"], 2) for one in balances(state)] == [25, 25, 25, 45, 0, 0, 0, 0]
    assert [one["tainted"] for one in balances(state)] == [False] * 7 + [True]


def test_what_each_attempt_committed_can_be_held_against_what_jobs_report() -> None:
    found = report_json(verify(ENTRIES, jobs=True))["domains"][0]
    assert [(one["uid"], one["curve"]) for one in found["jobs"]] == [
        ("uid-1", list(part_of(0.25))),
        ("uid-2", [0, 0, 0]),
    ]
    assert [one["uid"] for one in found["reservations"]] == ["uid-4"]


def test_several_steps_of_one_entry_are_counted_like_one_each() -> None:
    together = chain([reserve(1), bind(1), commit(1)], [reserve(2), release(2)])
    apart = chain(reserve(1), bind(1), commit(1), reserve(2), release(2))

    def jobs(entries: list[Entry]) -> Any:
        return [{**one, "sequence": 0} for one in report_json(verify(entries, jobs=True))["domains"][0]["jobs"]]

    assert jobs(together) == jobs(apart)


@pytest.mark.parametrize("index", range(1, len(ENTRIES) - 1))
def test_the_first_bad_entry_is_named_and_only_it(index: int) -> None:
    entries = list(ENTRIES)
    del entries[index]
    (problem,) = verify(entries).problems
    assert (problem.entry, problem.line) == (ENTRIES[index].name, index + 1)


def test_other_domains_are_verified_past_a_bad_one() -> None:
    others = chain(reserve(1), domain="others")
    report = verify([*ENTRIES[:2], *ENTRIES[3:], *others])
    assert [problem.entry for problem in report.problems] == [ENTRIES[2].name]
    assert [one.head.sequence for one in report.domains] == [2, len(others)]


def test_a_cut_end_or_a_chain_written_anew_is_found_by_an_anchor_only() -> None:
    assert verify(ENTRIES[:-1]).ok
    (problem,) = verify(ENTRIES[:-1], ENTRIES[-1].head).problems
    assert problem.entry == ENTRIES[-1].name
    assert "is not any more" in problem.message
    anew = chain(*[reserve(number, 0.01) for number in range(1, 8)])
    (problem,) = verify(anew, ENTRIES[-1].head, ENTRIES[2].head).problems
    assert problem.entry == ENTRIES[2].name
    assert "written anew" in problem.message
    (problem,) = verify(ENTRIES, Head("others", 3, "0" * 64)).problems
    assert problem.entry == "others"


def test_an_export_that_begins_late_needs_a_checkpoint() -> None:
    (problem,) = verify(ENTRIES[4:]).problems
    assert "no balance can be computed" in problem.message
    state = fold(DOMAIN, ENTRIES).state
    assert state is not None
    whole = [*ENTRIES, link(ENTRIES[-1].head, parts_of(state), stamp(NOON), "test")]
    late = verify(whole[4:])
    assert late.ok
    assert report_json(late)["domains"][0]["balances"] == report_json(verify(whole))["domains"][0]["balances"]


def test_overlapping_exports_are_one() -> None:
    assert verify([*ENTRIES[:5], *ENTRIES[3:]]).ok


def test_an_anchor_is_signed_outside_the_cluster() -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    head = ENTRIES[-1].head
    assert SignedHead(head, key.sign(head.message())).signed_by(public)
    assert not SignedHead(ENTRIES[0].head, key.sign(head.message())).signed_by(public)
    assert not SignedHead(head, key.sign(head.message())).signed_by(b"\0" * 31)


# --- the command -----------------------------------------------------------------------------------------------------


def export(path: Path, entries: list[Entry]) -> str:
    path.write_bytes(b"".join(export_line(entry) + b"\n" for entry in entries))
    return str(path)


def test_the_command_prints_balances(tmp_path: Path) -> None:
    file = export(tmp_path / "ledger.jsonl", ENTRIES)
    head = ENTRIES[-1].head
    result = CliRunner().invoke(cli, ["verify", "ledger", file, "--anchor", f"{DOMAIN}={head.sequence}:{head.hash}"])
    assert result.exit_code == 0, result.output
    assert "bucket 3: 45 % used" in result.output
    assert "verified: 8 entries of 1 domain, 0 problems." in result.output


def test_the_command_names_the_bad_entry(tmp_path: Path) -> None:
    file = export(tmp_path / "ledger.jsonl", [*ENTRIES[:2], *ENTRIES[3:]])
    result = CliRunner().invoke(cli, ["verify", "ledger", file, "-o", "json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["problems"][0]["entry"] == ENTRIES[2].name


def test_exports_of_several_files_and_a_list_of_kubectl_are_read(tmp_path: Path) -> None:
    old = export(tmp_path / "1.jsonl", ENTRIES[:4])
    rest = {"kind": "List", "items": [entry.manifest() for entry in reversed(ENTRIES[4:])]}
    (tmp_path / "rest.json").write_text(json.dumps(rest, indent=4), encoding="utf-8")
    result = CliRunner().invoke(cli, ["verify", "ledger", old, str(tmp_path / "rest.json")])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", ["{}\n", "nonsense\n", '{"kind":"Pod","metadata":{"name":"x"}}\n', "[1]\n"])
def test_what_is_no_ledger_is_said(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file"
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["verify", "ledger", str(file)])
    assert result.exit_code == 1
    assert "no entr" in result.output


def test_an_endless_line_is_a_problem_and_what_follows_is_read(tmp_path: Path) -> None:
    lines = [export_line(entry) for entry in ENTRIES]
    (tmp_path / "file").write_bytes(b"\n".join([lines[0], b"x" * (3 << 20), *lines[1:]]))
    result = CliRunner().invoke(cli, ["verify", "ledger", str(tmp_path / "file"), "-o", "json"])
    found = json.loads(result.output)
    assert [problem["line"] for problem in found["problems"]] == [2]
    assert found["domains"][0]["head"]["sequence"] == len(ENTRIES)


def test_bad_arguments_are_told(tmp_path: Path) -> None:
    file = export(tmp_path / "ledger.jsonl", ENTRIES)
    (tmp_path / "empty").write_text("", encoding="utf-8")
    for arguments in (
        ["ledger"],
        ["ledger", "/nowhere"],
        ["ledger", file, "--anchor", "x"],
        ["ledger", str(tmp_path / "empty")],
    ):
        assert CliRunner().invoke(cli, ["verify", *arguments]).exit_code != 0


def test_a_path_is_still_an_audit_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ledger").mkdir()
    for arguments in (["ledger"], ["./ledger"], ["audit", "ledger"], ["-o", "json", "ledger"]):
        result = CliRunner().invoke(cli, ["verify", *arguments])
        assert result.exit_code == 1
        assert "audit" in result.output or "writer" in result.output or "record" in result.output
