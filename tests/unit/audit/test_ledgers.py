"""The collector and the privacy budgets' ledgers: heads that can not be taken back, exports that only continue."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_world import DOMAIN, NOON, bind, chain, commit, reserve

from mlprivacy.audit.chain import LogCorrupt
from mlprivacy.audit.client import CollectorConflict, CollectorRefused, CollectorUnavailable
from mlprivacy.audit.ledgerclient import BATCH, LedgerClient, batches
from mlprivacy.audit.ledgerexports import FOLDER, SUFFIX, LedgerExports, LinesRefused, continuation
from mlprivacy.audit.ledgerheads import WRITER, LedgerHeads
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.verify import verify
from mlprivacy.budget.ledger.entry import Entry, Head, SignedHead, entry_name
from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.cli.main import cli

LEDGER = chain(reserve(1), bind(1), commit(1), reserve(2), bind(2), commit(2))
FORK = chain(reserve(1), bind(1), commit(1), reserve(9), bind(9), commit(9), start=NOON + timedelta(hours=1))


def lines(entries: Sequence[Entry]) -> list[bytes]:
    return [export_line(entry) for entry in entries]


def body(entries: Sequence[Entry]) -> bytes:
    return b"\n".join(lines(entries))


# Heads.


async def test_a_head_is_kept_signed_and_durably(start_collector: Any) -> None:
    key = Ed25519PrivateKey.generate()
    async with start_collector(seal_key=key) as collector, collector.client("controller") as client:
        kept = await LedgerClient(client).anchor(LEDGER[2].head)
        assert kept.anchor == LEDGER[2].head
        signed = SignedHead(LEDGER[2].head, base64.b64decode(kept.signature))
        assert signed.signed_by(key.public_key().public_bytes_raw())
    async with start_collector(seal_key=key) as collector, collector.client("auditor") as client:
        assert await LedgerClient(client).all() == {DOMAIN: kept}
    report = verify(collector.config.directory)
    assert report.ok
    assert WRITER in {head.writer for head in report.heads}


async def test_the_same_head_again_is_no_new_record(start_collector: Any) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        await ledgers.anchor(LEDGER[2].head)
        before = (await client.heads())[WRITER]
        await ledgers.anchor(LEDGER[2].head)
        assert (await client.heads())[WRITER] == before


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        pytest.param(LEDGER[2].head, "database was restored", id="older"),
        pytest.param(FORK[4].head, "written anew from there", id="another of the same sequence"),
    ],
)
async def test_a_head_that_is_no_continuation_is_refused(start_collector: Any, head: Head, sentence: str) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        await ledgers.anchor(LEDGER[4].head)
        with pytest.raises(CollectorConflict, match=sentence) as caught:
            await ledgers.anchor(head)
        assert LEDGER[4].name in str(caught.value)
        assert (await ledgers.known(DOMAIN)).anchor == LEDGER[4].head


async def test_only_the_keeper_writes_and_everyone_known_reads_heads(start_collector: Any) -> None:
    async with start_collector() as collector, collector.client("admission") as client:
        ledgers = LedgerClient(client)
        with pytest.raises(CollectorRefused, match="may not keep ledgers"):
            await ledgers.anchor(LEDGER[0].head)
        with pytest.raises(CollectorRefused, match="may not keep ledgers"):
            await ledgers.export(DOMAIN, lines(LEDGER))
        with pytest.raises(CollectorRefused, match="may not read exported"):
            [line async for line in ledgers.exported(DOMAIN)]
        assert (await ledgers.known(DOMAIN)).anchor is None


async def test_no_client_writes_into_the_chain_of_heads(start_collector: Any, event: Any) -> None:
    async with start_collector() as collector, collector.client(WRITER) as client:
        with pytest.raises(CollectorRefused, match="may not write"):
            await client.receipt([event(1)])


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("Clinic/head", b'{"sequence": 1, "hash": "%s"}' % (b"0" * 64)),
        ("clinic/head", b'{"sequence": 0, "hash": "%s"}' % (b"0" * 64)),
        ("clinic/head", b'{"sequence": true, "hash": "%s"}' % (b"0" * 64)),
        ("clinic/head", b'{"sequence": 1, "hash": "0"}'),
        ("clinic/head", b"[]"),
        ("clinic/head", b"\xff"),
        ("clinic", b"no json"),
        ("clinic", b'{"kind": "LedgerEntry"}'),
    ],
)
async def test_what_is_no_head_and_no_line_is_refused_with_a_sentence(
    start_collector: Any, path: str, sent: bytes
) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        with pytest.raises(CollectorRefused) as caught:
            await client.send("POST", f"/v1/ledgers/{path}", sent)
        assert not isinstance(caught.value, CollectorConflict)
        assert await LedgerClient(client).all() == {}


def test_a_chain_of_heads_that_was_changed_says_nothing_rather_than_less(tmp_path: Path) -> None:
    async def write() -> None:
        with AuditLog(tmp_path) as log:
            await LedgerHeads(log, None).anchor(LEDGER[2].head, "controller")

    asyncio.run(write())
    segment = next((tmp_path / WRITER).glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"sequence":3', b'"sequence":2'))
    with AuditLog(tmp_path) as log:
        heads = LedgerHeads(log, None)
        heads.load()
        with pytest.raises(LogCorrupt, match="mlprivacy verify"):
            heads.newest()


async def test_while_the_chain_of_heads_is_broken_the_collector_answers_for_no_ledger(start_collector: Any) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        await LedgerClient(client).anchor(LEDGER[2].head)
    segment = next((collector.config.directory / WRITER).glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"sequence":3', b'"sequence":2'))
    async with start_collector() as collector, collector.client("controller") as client:
        for asked in (LedgerClient(client).known(DOMAIN), LedgerClient(client).anchor(LEDGER[4].head)):
            with pytest.raises(CollectorUnavailable, match="not what was written"):
                await asked


# Exports.


async def test_an_export_goes_on_where_it_ended_and_verifies(start_collector: Any, tmp_path: Path) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        kept = await ledgers.export(DOMAIN, lines(LEDGER[:3]))
        assert kept is not None
        assert kept.exported == LEDGER[2].head
        await ledgers.anchor(LEDGER[-1].head)
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        assert (await ledgers.known(DOMAIN)).exported == LEDGER[2].head
        await ledgers.export(DOMAIN, lines(LEDGER[1:]))  # what is known already is passed over
        assert [line async for line in ledgers.exported(DOMAIN)] == lines(LEDGER)
    file = collector.config.directory / FOLDER / f"{DOMAIN}{SUFFIX}"
    done = CliRunner().invoke(cli, ["verify", "ledger", str(file)])
    assert done.exit_code == 0, done.output
    assert verify(collector.config.directory).ok  # the audit log beside it


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        pytest.param([LEDGER[5]], "entries before this one are missing", id="a gap"),
        pytest.param([FORK[3]], "does not follow the exported entry", id="another chain"),
        pytest.param(FORK[:5], "not the entry that was exported", id="another chain from the beginning"),
    ],
)
async def test_what_does_not_continue_an_export_is_refused(
    start_collector: Any, sent: list[Entry], sentence: str
) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        await ledgers.export(DOMAIN, lines(LEDGER[:3]))
        with pytest.raises(CollectorConflict, match=sentence):
            await ledgers.export(DOMAIN, lines(sent))
        assert [line async for line in ledgers.exported(DOMAIN)] == lines(LEDGER[:3])


async def test_an_export_and_an_anchor_hold_each_other_to_one_chain(start_collector: Any) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        await ledgers.anchor(LEDGER[4].head)
        with pytest.raises(CollectorConflict, match=f"{FORK[4].name}: it is not the entry that was anchored"):
            await ledgers.export(DOMAIN, lines(FORK))
        await ledgers.export(DOMAIN, lines(LEDGER))
        with pytest.raises(CollectorConflict, match=r"Entry 7 .* was exported with the hash"):
            await ledgers.anchor(FORK[6].head)


def test_a_changed_entry_is_refused_by_its_name() -> None:
    changed = body(LEDGER).replace(b'"pod-1"', b'"pod-2"', 1)
    with pytest.raises(LinesRefused, match=f"{entry_name(DOMAIN, 3)}: its content is not what its hash says"):
        continuation(DOMAIN, changed, None, None)


def test_a_step_that_was_not_allowed_is_refused_by_its_name() -> None:
    overspent = chain(reserve(1, 0.9), reserve(2, 0.9))
    with pytest.raises(LinesRefused, match=f"{entry_name(DOMAIN, 3)}: Reserve is not allowed there"):
        continuation(DOMAIN, body(overspent), None, None)


def test_the_entries_of_another_domain_are_refused() -> None:
    with pytest.raises(LinesRefused, match="belongs to other"):
        continuation(DOMAIN, body(chain(domain="other")), None, None)


@pytest.mark.parametrize("left", [b'{"apiVersion":', export_line(LEDGER[3])], ids=["half a line", "no newline"])
def test_what_a_crash_left_of_a_line_is_cut_off(tmp_path: Path, left: bytes) -> None:
    async def export(entries: Sequence[Entry]) -> Head | None:
        exports = LedgerExports(tmp_path)
        exports.load()
        return await exports.append(DOMAIN, body(entries), None)

    asyncio.run(export(LEDGER[:3]))
    path = tmp_path / FOLDER / f"{DOMAIN}{SUFFIX}"
    with path.open("ab") as file:
        file.write(left)
    assert asyncio.run(export(LEDGER[2:])) == LEDGER[-1].head
    assert path.read_bytes().splitlines() == lines(LEDGER)


def test_a_line_that_was_written_and_not_acknowledged_is_kept(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / f"{DOMAIN}{SUFFIX}"
    path.parent.mkdir()
    path.write_bytes(body(LEDGER[:4]) + b"\n")
    exports = LedgerExports(tmp_path)
    exports.load()
    assert exports.head(DOMAIN) == LEDGER[3].head


def test_a_file_that_is_no_export_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / f"{DOMAIN}{SUFFIX}"
    path.parent.mkdir()
    path.write_bytes(b"what is this\n")
    exports = LedgerExports(tmp_path)
    exports.load()
    with pytest.raises(LogCorrupt, match="mlprivacy verify ledger"):
        exports.head(DOMAIN)
    assert path.read_bytes() == b"what is this\n"


async def test_two_who_export_at_once_leave_each_entry_once(start_collector: Any) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        ledgers = LedgerClient(client)
        await asyncio.gather(*(ledgers.export(DOMAIN, lines(LEDGER)) for _ in range(8)))
        assert [line async for line in ledgers.exported(DOMAIN)] == lines(LEDGER)


def test_batches_hold_every_line_once_within_their_size() -> None:
    sent = [b"x" * (BATCH // 3)] * 7 + [b"y" * (2 * BATCH), b"z"]
    found = list(batches(sent))
    assert b"\n".join(found).split(b"\n") == sent
    assert [len(one) <= BATCH for one in found] == [True, True, True, True, False, True][: len(found)]
