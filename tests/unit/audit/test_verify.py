"""The verifier finds every kind of damage, says where, and needs no more memory for a longer log."""

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlprivacy.audit import reader
from mlprivacy.audit.chain import Head
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.record import Event, Record, genesis
from mlprivacy.audit.verify import Wrong, verify

MakeEvent = Callable[..., Event]


@pytest.fixture
def log(tmp_path: Path, event: MakeEvent) -> Path:
    """Two writers, the controller's chain in several segments."""
    directory = tmp_path / "log"
    with AuditLog(directory, segment_bytes=2500) as open_log:
        for number in range(20):
            open_log.submit("controller", [event(number)]).result()
        open_log.submit("admission", [event(1)]).result()
    return directory


def segments(log: Path) -> list[Path]:
    return reader.segments(log / "controller")


def test_a_good_log_is_good(log: Path) -> None:
    report = verify(log)
    assert report.ok
    assert report.problem is None
    assert [head.writer for head in report.heads] == ["admission", "controller"]
    assert report.files == 1 + len(segments(log))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found_in_the_file_it_is_in(log: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(segments(log)))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    try:
        path.write_bytes(content[:at] + bytes([other]) + content[at + 1 :])
        problem = verify(log).problem
        assert problem is not None
        assert Path(problem.file) == path
        assert problem.line == content[:at].count(b"\n") + 1
    finally:
        path.write_bytes(content)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_removed_or_repeated_or_swapped_line_is_found(log: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(segments(log)[:-1]))
    lines = path.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(0, len(lines) - 2))
    how = data.draw(st.sampled_from(["remove", "repeat", "swap"]))
    changed = {
        "remove": lines[:at] + lines[at + 1 :],
        "repeat": [*lines[: at + 1], *lines[at:]],
        "swap": [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
    }[how]
    try:
        path.write_bytes(b"".join(changed))
        assert not verify(log).ok
    finally:
        path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("index", [0, 1, -1])
def test_a_missing_segment_is_named(log: Path, index: int) -> None:
    gone = segments(log)[index]
    gone.unlink()
    problem = verify(log).problem
    assert problem is not None
    assert problem.wrong == Wrong.MISSING_SEGMENT
    assert gone.name in problem.file


def test_a_rewritten_record_breaks_the_link_of_the_next(log: Path, event: MakeEvent) -> None:
    path = segments(log)[1]
    lines = path.read_bytes().splitlines(keepends=True)
    old = Record.parse(lines[2].strip())
    forged = Record.link(old.writer, old.seq, old.prev, event(999, verdict="Allow"))
    path.write_bytes(b"".join([*lines[:2], forged.line + b"\n", *lines[3:]]))
    problem = verify(log).problem
    assert problem is not None
    assert (problem.wrong, problem.line, problem.seq) == (Wrong.BROKEN_LINK, 4, old.seq + 1)
    assert "prev" in str(problem)


def test_a_changed_value_is_a_hash_mismatch_of_that_record(log: Path) -> None:
    path = segments(log)[0]
    path.write_bytes(path.read_bytes().replace(b'"number":1}', b'"number":7}'))
    problem = verify(log).problem
    assert problem is not None
    assert (problem.wrong, problem.line, problem.seq) == (Wrong.HASH_MISMATCH, 3, 3)


def test_a_segment_that_does_not_name_the_next_is_found(tmp_path: Path, event: MakeEvent) -> None:
    """Hashes and numbers are right, but the log itself would never have gone on in another file there."""
    folder = tmp_path / "log" / "controller"
    folder.mkdir(parents=True)
    prev = genesis("controller")
    for seq in (1, 2):
        record = Record.link("controller", seq, prev, event(seq))
        prev = record.hash
        (folder / reader.segment_name(seq)).write_bytes(record.line + b"\n")
    problem = verify(tmp_path / "log").problem
    assert problem is not None
    assert problem.wrong == Wrong.MISSING_SEGMENT
    assert "segment-end" in problem.message


def test_a_chain_under_another_writers_name_is_found(log: Path) -> None:
    shutil.rmtree(log / "admission")
    shutil.copytree(log / "controller", log / "admission")
    problem = verify(log).problem
    assert problem is not None
    assert problem.wrong == Wrong.UNKNOWN_WRITER


def test_a_writer_that_is_not_expected_is_found(log: Path) -> None:
    problem = verify(log, writers={"controller"}).problem
    assert problem is not None
    assert (problem.wrong, problem.writer) == (Wrong.UNKNOWN_WRITER, "admission")


def test_a_cut_end_is_found_with_an_anchor_only(log: Path) -> None:
    anchors = {head.writer: head for head in verify(log).heads}
    assert verify(log, anchors=anchors).ok
    path = segments(log)[-1]
    kept = path.read_bytes().splitlines(keepends=True)[:-1]
    path.write_bytes(b"".join(kept))
    assert verify(log).ok
    problem = verify(log, anchors=anchors).problem
    assert problem is not None
    assert problem.wrong == Wrong.TRUNCATED


def test_a_chain_written_anew_is_found_with_an_anchor(log: Path, tmp_path: Path, event: MakeEvent) -> None:
    anchors = {head.writer: head for head in verify(log).heads}
    other = tmp_path / "other"
    with AuditLog(other, segment_bytes=2500) as forged:
        for number in range(100, 130):
            forged.submit("controller", [event(number)]).result()
    assert verify(other).ok
    found = {problem.wrong for problem in verify(other, anchors=anchors).problems}
    assert found == {Wrong.ANCHOR_MISMATCH, Wrong.MISSING_CHAIN}


def test_an_exported_file_is_verified_from_where_it_begins(log: Path, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    lines = list(reader.chain_lines(log / "controller", 5, 15))
    export.write_bytes(b"".join(line + b"\n" for line in lines))
    report = verify(export)
    assert report.ok
    assert report.records == 11
    export.write_bytes(b"".join(line + b"\n" for line in lines[:3] + lines[4:]))
    problem = verify(export).problem
    assert problem is not None
    assert (problem.wrong, problem.line, problem.seq) == (Wrong.MISSING_SEQ, 4, 8)


def test_an_export_of_several_chains_names_the_first_bad_record_of_each(log: Path, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    lines = [line for writer in ("admission", "controller") for line in reader.chain_lines(log / writer, 1, 10)]
    assert len(lines) > 6
    export.write_bytes(b"".join(line + b"\n" for line in lines))
    assert {head.writer for head in verify(export).heads} == {"admission", "controller"}


def test_one_chains_folder_can_be_verified_alone(log: Path) -> None:
    report = verify(log / "controller")
    assert report.ok
    assert [head.writer for head in report.heads] == ["controller"]


def test_nothing_there_is_said_and_not_passed(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.jsonl"):
        problem = verify(path).problem
        assert problem is not None
        assert problem.wrong in (Wrong.EMPTY, Wrong.UNREADABLE)
    gone = verify(tmp_path, anchors={"controller": Head("controller", 4, "ab" * 32)}).problem
    assert gone is not None
    assert gone.wrong == Wrong.MISSING_CHAIN


def test_an_endless_line_is_a_problem_and_not_read_into_memory(tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    export.write_bytes(b"x" * (8 << 20))
    tracemalloc.start()
    problem = verify(export).problem
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem is not None
    assert problem.wrong == Wrong.MALFORMED
    assert peak < 4 << 20


def test_memory_does_not_grow_with_the_log(tmp_path: Path, event: MakeEvent) -> None:
    def peak_of(records: int) -> int:
        path = tmp_path / f"{records}.jsonl"
        prev = genesis("controller")
        with path.open("wb") as file:
            for seq in range(1, records + 1):
                record = Record.link("controller", seq, prev, event(seq, pad="p" * 200))
                prev = record.hash
                file.write(record.line + b"\n")
        verify(path)
        tracemalloc.start()
        assert verify(path).records == records
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_of(3000) < peak_of(300) + 100_000
