"""The log on disk: receipts are durable, a crash at any byte is survived, damage is never papered over."""

import asyncio
import itertools
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from mlprivacy.audit import reader
from mlprivacy.audit.chain import Chain, LogCorrupt, LogLocked, LogUnavailable
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.record import Event, Record, RecordError, genesis
from mlprivacy.audit.verify import Wrong, verify

MakeEvent = Callable[..., Event]


def kinds(directory: Path, writer: str = "controller") -> list[str]:
    return [Record.parse(line).event.kind for line in reader.chain_lines(directory / writer, 1, 10**9)]


async def test_a_receipt_names_the_record_that_is_on_disk(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        (receipt,) = await log.append("controller", [event(1, verdict="Allow")])
        (line,) = log.lines("controller", receipt.seq)
    record = Record.parse(line)
    assert (record.hash, record.event.id) == (receipt.hash, receipt.id)
    assert record.event.data["verdict"] == "Allow"
    assert verify(tmp_path).ok


async def test_each_writer_has_a_chain_of_its_own(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        first, second = await asyncio.gather(
            log.append("admission", [event(1)]), log.append("controller", [event(1), event(2)])
        )
        assert [receipt.writer for receipt in first + second] == ["admission", "controller", "controller"]
        assert set(log.heads()) == {"admission", "controller"}
    assert verify(tmp_path).ok


async def test_a_restart_continues_the_chain_and_knows_what_was_sent_before(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        before = await log.append("controller", [event(number) for number in range(5)])
    with AuditLog(tmp_path) as log:
        again = await log.append("controller", [event(4), event(5)])
        assert again[0] == before[4]
        assert again[1].seq == before[4].seq + 1
    assert verify(tmp_path).ok


async def test_the_same_event_twice_in_flight_is_one_record(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        receipts = await asyncio.gather(*(log.append("controller", [event(1), event(1)]) for _ in range(20)))
        assert len({receipt for batch in receipts for receipt in batch}) == 1
    assert kinds(tmp_path) == ["segment-begin", "decision"]


async def test_memory_of_ids_is_bounded_and_forgets_the_oldest(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path, remember=3) as log:
        first, *_ = await log.append("controller", [event(number) for number in range(4)])
        (again,) = await log.append("controller", [event(0)])
        (known,) = await log.append("controller", [event(3)])
    assert again.seq > first.seq
    assert known.seq < again.seq
    assert verify(tmp_path).ok


async def test_many_appends_in_flight_share_one_fsync(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        await log.append("controller", [event(0)])
        before = log.stats.fsyncs
        await asyncio.gather(*(log.append("controller", [event(number)]) for number in range(1, 1001)))
        assert log.stats.records == 1001
        assert log.stats.fsyncs - before < 200
    assert verify(tmp_path).records == 1002


async def test_full_segments_are_closed_and_linked(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path, segment_bytes=4000) as log:
        for number in range(60):
            await log.append("controller", [event(number)])
    files = reader.segments(tmp_path / "controller")
    assert len(files) > 3
    for path, following in itertools.pairwise(files):
        last = Record.parse(path.read_bytes().splitlines()[-1])
        first = Record.parse(following.read_bytes().splitlines()[0])
        assert last.event.data["next"] == following.name
        assert first.event.data["previous"] == path.name
        assert first.prev == last.hash
    assert verify(tmp_path).ok


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with AuditLog(tmp_path):
        code = (
            "import sys; from pathlib import Path; from mlprivacy.audit.log import AuditLog\n"
            "try: AuditLog(Path(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e); sys.exit(7)"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 7
        assert done.stdout.startswith("LogLocked")
        with pytest.raises(LogLocked, match="another process"):
            AuditLog(tmp_path)
    AuditLog(tmp_path).close()


async def test_a_line_torn_at_any_byte_is_set_aside_and_the_chain_goes_on(tmp_path: Path, event: MakeEvent) -> None:
    whole = tmp_path / "whole"
    with AuditLog(whole) as log:
        receipts = await log.append("controller", [event(1), event(2)])
    (path,) = reader.segments(whole / "controller")
    content = path.read_bytes()
    start = content.rindex(b"\n", 0, len(content) - 1) + 1
    for cut in range(start + 1, len(content)):
        copy = tmp_path / f"cut-{cut}"
        shutil.copytree(whole, copy)
        torn = copy / "controller" / path.name
        torn.write_bytes(content[:cut])
        assert verify(copy).problem is not None
        assert verify(copy).problem.wrong == Wrong.TORN_LINE  # type: ignore[union-attr]
        with AuditLog(copy) as log:
            again = await log.append("controller", [event(1), event(2)])
        assert again[0] == receipts[0]
        assert again[1].seq == receipts[1].seq + 1  # after the record that tells of the torn line
        report = verify(copy)
        assert report.ok
        assert report.set_aside == (str(torn) + ".torn",)
        assert torn.with_name(path.name + ".torn").read_bytes() == content[start:cut]
        assert kinds(copy) == ["segment-begin", "decision", "torn", "decision"]
        shutil.rmtree(copy)


async def test_a_damaged_record_stops_its_chain_and_no_other(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        await log.append("admission", [event(1)])
        await log.append("controller", [event(1), event(2)])
    (path,) = reader.segments(tmp_path / "controller")
    damaged = path.read_bytes().replace(b'"number":1', b'"number":7')
    path.write_bytes(damaged)
    with AuditLog(tmp_path) as log:
        with pytest.raises(LogCorrupt, match=r"line 2: .*hash does not match"):
            await log.append("controller", [event(3)])
        await log.append("admission", [event(2)])
        assert set(log.broken) == {"controller"}
    assert path.read_bytes() == damaged


async def test_a_complete_last_line_with_a_wrong_hash_is_damage_and_not_a_torn_line(
    tmp_path: Path, event: MakeEvent
) -> None:
    with AuditLog(tmp_path) as log:
        await log.append("controller", [event(1)])
    (path,) = reader.segments(tmp_path / "controller")
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":7'))
    with AuditLog(tmp_path) as log, pytest.raises(LogCorrupt):
        await log.append("controller", [event(2)])


@pytest.mark.parametrize("stage", ["pending made", "segment ended", "renamed"])
def test_a_crash_at_each_step_of_a_rotation_leaves_a_good_chain(
    tmp_path: Path, event: MakeEvent, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    chain = Chain(tmp_path / "controller", "controller", segment_bytes=100)
    kept = chain.stage([event(1)])
    chain.commit()
    target = {"pending made": "_write", "segment ended": "_adopt", "renamed": "_take"}[stage]
    with monkeypatch.context() as patch:
        patch.setattr(chain, target, crash)
        with pytest.raises(Crash):
            chain.stage([event(2)])
    chain.close()
    assert verify(tmp_path).ok
    with AuditLog(tmp_path, segment_bytes=100) as log:
        again = log.submit("controller", [event(1)]).result()
        (new,) = log.submit("controller", [event(2)]).result()
        assert again == kept
        assert new.seq > kept[0].seq
    assert verify(tmp_path).ok
    assert list((tmp_path / "controller").glob("*.new")) == []


def test_a_full_disk_acknowledges_nothing_and_is_recovered_from(tmp_path: Path) -> None:
    """A process with a tiny RLIMIT_FSIZE gets a short write and then EFBIG, as a full disk gives ENOSPC."""
    code = textwrap.dedent("""
        import resource, sys
        from pathlib import Path
        from mlprivacy.audit.chain import LogUnavailable
        from mlprivacy.audit.log import AuditLog
        from mlprivacy.audit.record import Event, Subject, event_id

        def event(number):
            subject = Subject("Pod", "", "", "")
            return Event("2026-03-01T12:00:00Z", event_id("x", number), "x", subject, {"pad": "p" * 300})

        log = AuditLog(Path(sys.argv[1]))
        log.submit("controller", [event(0)]).result()
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        good, failed = [], []
        for number in range(1, 30):
            try:
                good += log.submit("controller", [event(number)]).result()
            except LogUnavailable as error:
                failed.append(str(error))
        assert good and failed, (good, failed)
        assert "nothing was recorded" in failed[0], failed[0]
        assert log.heads()["controller"].seq == good[-1].seq
        (segment,) = Path(sys.argv[1], "controller").glob("*.jsonl")
        assert segment.read_bytes().endswith(b"\\n"), "half a line was left"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        good += log.submit("controller", [event(100)]).result()
        for receipt in good:
            print(receipt.seq, receipt.hash)
        log.close()
    """)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = verify(tmp_path)
    assert report.ok, report.problem
    stored = {
        (str(record.seq), record.hash)
        for record in map(Record.parse, reader.chain_lines(tmp_path / "controller", 1, 10**6))
    }
    given = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert given <= stored
    assert len(stored) == len(given) + 2  # and segment-begin, and the first


async def test_one_bad_event_does_not_fail_its_neighbours(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        results = await asyncio.gather(
            log.append("controller", [event(1)]),
            log.append("controller", [event(2), event(3, bad=float("nan"))]),
            log.append("controller", [event(4)]),
            return_exceptions=True,
        )
    assert [type(result) for result in results] == [list, RecordError, list]
    assert verify(tmp_path).records == 3  # segment-begin, 1 and 4; event 2 went with event 3


async def test_the_logs_own_kinds_and_bad_writers_are_refused(tmp_path: Path, event: MakeEvent) -> None:
    with AuditLog(tmp_path) as log:
        with pytest.raises(RecordError, match="log's own"):
            await log.append("controller", [event(1, kind="segment-end")])
        for name in ("", "..", "a/b", "A", "a" * 64):
            with pytest.raises(RecordError, match="writer's name"):
                await log.append(name, [event(1)])


async def test_a_closed_log_refuses(tmp_path: Path, event: MakeEvent) -> None:
    log = AuditLog(tmp_path)
    log.close()
    log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append("controller", [event(1)])


def test_an_empty_folder_begins_at_the_genesis(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "controller", "controller")
    chain.close()
    (first,) = map(Record.parse, reader.chain_lines(tmp_path / "controller", 1, 10))
    assert (first.seq, first.prev, first.event.kind) == (1, genesis("controller"), "segment-begin")
