"""Recomputes an audit log and names the first record of each chain that is wrong. Reads files, nothing else.

What a chain alone can not show is that its newest records were cut off: give the heads seen elsewhere (receipts,
``/v1/heads``, a head noted in another system) as anchors.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mlprivacy.audit import reader
from mlprivacy.audit.chain import Head
from mlprivacy.audit.record import MAX_LINE, HashError, Record, RecordError, genesis


class Wrong(StrEnum):
    """What can be wrong with a log."""

    UNREADABLE = "unreadable"  # the file can not be read
    TORN_LINE = "torn line"  # the last line has no end: a crash, or the writer is at work right now
    MALFORMED = "malformed record"  # not JSON, not canonical, not of version 1
    HASH_MISMATCH = "hash mismatch"  # the content is not what was hashed
    MISSING_SEQ = "missing seq"  # a number is skipped or comes twice
    BROKEN_LINK = "broken link"  # prev is not the hash of the record before
    UNKNOWN_WRITER = "unknown writer"  # the record is another writer's than its folder, or not an expected one
    MISSING_SEGMENT = "missing segment"  # a segment named by its neighbours is not there
    MISSING_CHAIN = "missing chain"  # an anchored writer has no records
    TRUNCATED = "truncated"  # the chain ends before the anchored head
    ANCHOR_MISMATCH = "anchor mismatch"  # the chain holds another record at the anchored place
    EMPTY = "empty"  # there is no record at all


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing wrong in a chain. ``line`` and ``seq`` are 0 where there is none; ``message`` is a sentence."""

    file: str
    line: int
    seq: int
    writer: str
    wrong: Wrong
    message: str

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        record = f", record {self.seq} of {self.writer!r}" if self.seq else ""
        return f"{place}{record}: {self.wrong}: {self.message}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found. ``problems`` holds at most one per chain; ``heads`` are the last good records."""

    problems: tuple[Problem, ...]
    heads: tuple[Head, ...]
    records: int
    files: int
    set_aside: tuple[str, ...] = ()  # *.torn files: unfinished lines that the log moved away after a crash

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def problem(self) -> Problem | None:
        """The first bad record, or None."""
        return self.problems[0] if self.problems else None


@dataclass(slots=True)
class _State:
    """Where one chain stands: its last good record, the segment named next, what is wrong."""

    writer: str
    seq: int = 0
    hash: str = ""
    following: str | None = None
    problem: Problem | None = None
    records: int = 0


@dataclass(slots=True)
class _Run:
    anchors: Mapping[str, Head]
    writers: Collection[str] | None
    states: dict[str, _State] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    set_aside: list[str] = field(default_factory=list)


def verify(
    path: Path, *, anchors: Mapping[str, Head] | None = None, writers: Collection[str] | None = None
) -> VerifyReport:
    """Checks a log's folder, one chain's folder, or one exported file of JSON lines; in constant memory.

    ``anchors``: heads known from elsewhere, by writer; each must be in its chain. ``writers``: the names expected;
    another one is a problem. In a folder a chain must begin at record 1; an exported file may begin anywhere, and
    what precedes it is not judged. A problem ends the reading of its chain, not of the others.
    """
    run = _Run(anchors or {}, writers)
    if path.is_dir():
        folders = sorted(item for item in path.iterdir() if item.is_dir())
        if reader.segments(path):
            _folder(run, path, named=False)
        for folder in folders:
            _folder(run, folder, named=True)
    else:
        _file(run, path)
    for writer, anchor in sorted(run.anchors.items()):
        _end_of_anchor(run, path, writer, anchor)
    if not run.states and not run.problems:
        run.problems.append(Problem(str(path), 0, 0, "", Wrong.EMPTY, "there is no audit record here"))
    return VerifyReport(
        problems=tuple(run.problems),
        heads=tuple(Head(state.writer, state.seq, state.hash) for _, state in sorted(run.states.items())),
        records=sum(state.records for state in run.states.values()),
        files=run.files,
        set_aside=tuple(run.set_aside),
    )


def _folder(run: _Run, folder: Path, *, named: bool) -> None:
    """Checks one chain's folder; ``named``: its name must be the writer's."""
    files = reader.segments(folder)
    run.set_aside.extend(str(path) for path in sorted(folder.glob(f"*{reader.TORN}*")))
    if not files:
        return
    writer = folder.name if named else _writer_of(files[0]) or folder.name
    state = run.states.setdefault(writer, _State(writer, 0, genesis(writer)))
    for index, path in enumerate(files):
        expected = reader.segment_name(state.seq + 1)
        if path.name != expected:
            message = f"the segment after record {state.seq} is missing; {path.name} comes next"
            _missing(run, state, folder / expected, state.seq + 1, message)
            return
        if index and state.following != path.name:
            message = f"it does not end with a {reader.KIND_END} that names {path.name}"
            _missing(run, state, files[index - 1], state.seq, message)
            return
        state.following = None
        run.files += 1
        if not _lines(run, path, state):
            return
    if state.following is not None:
        pending = folder / (state.following.removesuffix(reader.SUFFIX) + reader.PENDING)
        if not pending.exists():
            message = f"the newest segment, {state.following}, is missing"
            _missing(run, state, folder / state.following, state.seq + 1, message)


def _missing(run: _Run, state: _State, path: Path, seq: int, message: str) -> None:
    _report(run, state, Problem(str(path), 0, seq, state.writer, Wrong.MISSING_SEGMENT, message))


def _writer_of(path: Path) -> str | None:
    """The writer that the first record names, if there is a good one."""
    try:
        for line in reader.lines(path):
            return Record.parse(line.text).writer
    except (OSError, RecordError):
        return None
    return None


def _file(run: _Run, path: Path) -> None:
    run.files += 1
    _lines(run, path, None)


def _read(run: _Run, path: Path) -> Iterator[reader.Line]:
    try:
        yield from reader.lines(path)
    except OSError as error:
        run.problems.append(
            Problem(str(path), 0, 0, "", Wrong.UNREADABLE, f"it can not be read ({error.strerror or error})")
        )


def _lines(run: _Run, path: Path, only: _State | None) -> bool:
    """Checks the lines of one file; ``only`` is the chain a segment belongs to. False when it is no use to go on."""
    before = len(run.problems)
    for line in _read(run, path):
        state = only
        try:
            record = _parse(line, only)
            if state is None:
                state = run.states.setdefault(record.writer, _State(record.writer))
                if state.problem is not None:
                    continue
            _check(run, state, record)
        except _Bad as bad:
            writer, seq = (state.writer, state.seq + 1) if state is not None else ("", 0)
            found = Problem(str(path), line.number, seq, writer, bad.wrong, bad.message)
            if state is None:
                run.problems.append(found)
                return False
            _report(run, state, found)
            if only is not None:
                return False
    return len(run.problems) == before


class _Bad(Exception):
    def __init__(self, wrong: Wrong, message: str) -> None:
        super().__init__(message)
        self.wrong = wrong
        self.message = message


def _parse(line: reader.Line, only: _State | None) -> Record:
    """The record on ``line``. Raises _Bad."""
    if len(line.text) > MAX_LINE:
        raise _Bad(Wrong.MALFORMED, f"the line is longer than a record may be ({MAX_LINE} bytes)")
    if not line.whole:
        raise _Bad(Wrong.TORN_LINE, "the last line has no end; a crash cut it, or the writer is at work")
    if only is not None and only.following is not None:
        raise _Bad(Wrong.MISSING_SEQ, f"it stands after the {reader.KIND_END} of its segment")
    try:
        return Record.parse(line.text)
    except HashError as error:
        raise _Bad(Wrong.HASH_MISMATCH, str(error).rstrip(".")) from error
    except RecordError as error:
        raise _Bad(Wrong.MALFORMED, str(error).rstrip(".")) from error


def _check(run: _Run, state: _State, record: Record) -> None:
    """Advances ``state`` over ``record``. Raises _Bad."""
    if record.writer != state.writer:
        raise _Bad(Wrong.UNKNOWN_WRITER, f"the record is of {record.writer!r}, the chain of {state.writer!r}")
    if run.writers is not None and record.writer not in run.writers:
        raise _Bad(Wrong.UNKNOWN_WRITER, f"{record.writer!r} is not among the writers expected")
    if not state.hash:  # an export that begins in the middle
        state.seq = record.seq - 1
        state.hash = record.prev if record.seq > 1 else genesis(record.writer)
    if record.seq != state.seq + 1:
        raise _Bad(Wrong.MISSING_SEQ, f"record {state.seq + 1} was expected, record {record.seq} is here")
    if record.prev != state.hash:
        raise _Bad(Wrong.BROKEN_LINK, "its prev is not the hash of the record before")
    anchor = run.anchors.get(record.writer)
    if anchor is not None and anchor.seq == record.seq and anchor.hash != record.hash:
        raise _Bad(Wrong.ANCHOR_MISMATCH, "its hash is not the anchored one: the chain was written anew")
    state.seq, state.hash = record.seq, record.hash
    state.records += 1
    if record.event.kind == reader.KIND_END:
        state.following = str(record.event.data.get("next", ""))


def _report(run: _Run, state: _State, problem: Problem) -> None:
    state.problem = problem
    run.problems.append(problem)


def _end_of_anchor(run: _Run, path: Path, writer: str, anchor: Head) -> None:
    state = run.states.get(writer)
    if state is None:
        if anchor.seq:
            message = f"no record of {writer!r} is here, the anchor names record {anchor.seq}"
            run.problems.append(Problem(str(path), 0, 0, writer, Wrong.MISSING_CHAIN, message))
    elif state.problem is None and state.seq < anchor.seq:
        message = f"the chain ends at record {state.seq}, the anchor names record {anchor.seq}: its end was cut off"
        _report(run, state, Problem(str(path), 0, state.seq, writer, Wrong.TRUNCATED, message))
