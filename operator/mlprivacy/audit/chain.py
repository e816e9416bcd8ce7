"""One writer's chain on disk: opens and repairs it, appends, rotates segments. Blocking; standard library only.

A chain is a folder of segments named by their first record's number. Every byte of a record is written before its
receipt exists, and ``fdatasync`` has returned. Rotation, in this order, so that a crash at any point leaves a chain
that opens and verifies: the next segment is made as ``*.jsonl.new`` with its first record (made durable, folder
too); the full segment gets its ``segment-end`` record; the new one is renamed into place, the folder is synced.

Idempotence: the ids of the newest ``remember`` records (by default 20,000, about 6 MB) are kept in memory and read
back at opening, which follows the segments that hold them. An event whose id is among them is not written again; it
gets the first one's receipt. An older id is written a second time, which is harmless and visible.
"""

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from mlprivacy.audit import reader
from mlprivacy.audit.record import Event, Receipt, Record, RecordError, Subject, event_id, genesis, utc_now

SEGMENT_BYTES: Final = 16 << 20
REMEMBER: Final = 20_000


class LogError(Exception):
    """The log could not do what was asked. The message is a sentence for people."""


class LogUnavailable(LogError):
    """Nothing of this append is acknowledged: disk full, I/O error, too much in flight. Try again later."""


class LogCorrupt(LogError):
    """What is on disk is not what was written. The chain is not continued; ``mlprivacy verify`` names the record."""


class LogLocked(LogError):
    """Another process has the log open."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest durable record of a chain: ``seq`` 0 and the genesis hash when there is none."""

    writer: str
    seq: int
    hash: str


def sync_directory(directory: Path) -> None:
    """Makes names in ``directory`` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Chain:
    """One writer's chain. One thread at a time; the folder's lock is the caller's (mlprivacy.audit.log.AuditLog).

    Raises LogCorrupt when the newest segments do not verify, OSError when the folder can not be read or written.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        remember: int = REMEMBER,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self.directory = directory
        self.writer = writer
        self.fsyncs = 0
        self._segment_bytes = segment_bytes
        self._remember = remember
        self._now = now
        self._subject = Subject("AuditLog", "", writer, "")
        self._ids: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._head = Head(writer, 0, genesis(writer))  # durable
        self._staged: list[Record] = []
        self._staged_ids: dict[str, Receipt] = {}
        self._fd = -1
        self._path = directory
        self._size = 0  # durable bytes of the open segment
        self._dirty = False  # bytes after _size may be in the file
        self._ended = False  # the open segment has its segment-end record
        directory.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def head(self) -> Head:
        """The newest durable record."""
        return self._head

    def stage(self, events: Sequence[Event]) -> list[Receipt]:
        """Places events after the head, in memory; the receipts count only once commit() has returned.

        Raises RecordError when an event is not well formed; then none of ``events`` is staged. Raises LogUnavailable
        when a segment is full and the next one can not be made.
        """
        if not self._staged and (self._ended or self._size >= self._segment_bytes):
            try:
                self._rotate()
            except OSError as error:
                raise self._unavailable(error) from error
        before = len(self._staged)
        receipts = []
        try:
            for event in events:
                receipt = self._known(event.id)
                if receipt is None:
                    receipt = self._stage(event)
                receipts.append(receipt)
        except RecordError:
            for record in self._staged[before:]:
                self._staged_ids.pop(record.event.id, None)
            del self._staged[before:]
            raise
        return receipts

    def commit(self) -> int:
        """Writes what is staged and makes it durable; returns how many records. Empties the stage in every case.

        Raises LogUnavailable; then nothing staged is in the chain.
        """
        staged, self._staged, self._staged_ids = self._staged, [], {}
        if not staged:
            return 0
        try:
            self._write(staged)
        except OSError as error:
            raise self._unavailable(error) from error
        return len(staged)

    def close(self) -> None:
        """Closes the open segment. What is staged and not committed is dropped."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _unavailable(self, error: OSError) -> LogUnavailable:
        return LogUnavailable(
            f"The audit log of {self.writer!r} can not be written ({error.strerror or error}); nothing was recorded. "
            "Free space on its volume, or mend it; the log goes on by itself then."
        )

    # Staging.

    def _known(self, ident: str) -> Receipt | None:
        staged = self._staged_ids.get(ident)
        if staged is not None:
            return staged
        found = self._ids.get(bytes.fromhex(ident))
        return None if found is None else Receipt(ident, found[0], found[1].hex(), self.writer)

    def _tip(self) -> tuple[int, str]:
        if self._staged:
            return self._staged[-1].seq, self._staged[-1].hash
        return self._head.seq, self._head.hash

    def _stage(self, event: Event) -> Receipt:
        seq, prev = self._tip()
        record = Record.link(self.writer, seq + 1, prev, event)
        self._staged.append(record)
        self._staged_ids[event.id] = record.receipt
        return record.receipt

    def _own(self, kind: str, seq: int, prev: str, data: dict[str, object]) -> Record:
        """A record the log writes about itself."""
        event = Event(self._now(), event_id(kind, self.writer, seq, prev), kind, self._subject, data)
        return Record.link(self.writer, seq, prev, event)

    def _remember_record(self, record: Record) -> None:
        self._ids[bytes.fromhex(record.event.id)] = (record.seq, bytes.fromhex(record.hash))
        if len(self._ids) > self._remember:
            self._ids.popitem(last=False)

    # Writing.

    def _write(self, records: Sequence[Record]) -> None:
        """Appends to the open segment and syncs; on OSError the segment is as before, or marked for mending."""
        self._mend()
        data = b"".join(record.line + b"\n" for record in records)
        self._dirty = True
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                self._mend()
            raise
        self.fsyncs += 1
        self._dirty = False
        self._size += len(data)
        self._head = Head(self.writer, records[-1].seq, records[-1].hash)
        for record in records:
            self._remember_record(record)

    def _mend(self) -> None:
        """Cuts the open segment back to its durable length after a failed write."""
        if self._dirty:
            os.ftruncate(self._fd, self._size)
            os.lseek(self._fd, self._size, os.SEEK_SET)
            os.fsync(self._fd)
            self._dirty = False

    # Segments.

    def _rotate(self) -> None:
        """Closes the full segment and begins the next one. Can be called again after an OSError half-way."""
        full = self._path
        if self._ended:
            end_seq, end_hash = self._head.seq, self._head.hash
            self._begin(end_seq, end_hash, full.name)
        else:
            end_seq = self._head.seq + 1
            following = reader.segment_name(end_seq + 1)
            records = end_seq - reader.first_seq(full) + 1
            end = self._own(
                reader.KIND_END,
                end_seq,
                self._head.hash,
                {"segment": full.name, "records": records, "next": following},
            )
            self._begin(end_seq, end.hash, full.name)
            self._write([end])
            self._ended = True
        self._adopt(reader.segment_name(self._head.seq + 1))

    def _begin(self, end_seq: int, end_hash: str, previous: str | None) -> None:
        """Makes the next segment as a pending file with its first record, durable with its name."""
        name = reader.segment_name(end_seq + 1)
        begin = self._own(reader.KIND_BEGIN, end_seq + 1, end_hash, {"segment": name, "previous": previous})
        pending = self.directory / (name.removesuffix(reader.SUFFIX) + reader.PENDING)
        with pending.open("wb") as file:
            file.write(begin.line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self.directory)
        self.fsyncs += 2

    def _adopt(self, name: str) -> None:
        """Renames the pending segment into place and makes it the open one."""
        path = self.directory / name
        pending = self.directory / (name.removesuffix(reader.SUFFIX) + reader.PENDING)
        pending.rename(path)
        sync_directory(self.directory)
        self.fsyncs += 1
        self.close()
        self._ended = False
        self._take(path, repair=False)

    # Opening.

    def _open(self) -> None:
        files = reader.segments(self.directory)
        if not files:
            self._begin(0, genesis(self.writer), None)
            self._adopt(reader.segment_name(1))
            return
        if len(files) == 1 and reader.first_seq(files[0]) != 1:
            raise LogCorrupt(self._corrupt(files[0], 1, "segments before it are missing"))
        oldest = reader.first_seq(files[-1]) - self._remember
        begin = max((index for index, path in enumerate(files) if reader.first_seq(path) <= oldest), default=0)
        begin = min(begin, max(len(files) - 2, 0))  # the last but one at least: its end is the link to the last
        if begin:
            self._head = Head(self.writer, reader.first_seq(files[begin]) - 1, "")
        for path in files[begin:-1]:
            self._recall(path)
        torn = self._take(files[-1], repair=True)
        if not self._ended:
            for pending in self.directory.glob(f"*{reader.PENDING}"):
                pending.unlink()  # a rotation that did not happen: nothing in it was ever acknowledged
        if torn is not None:
            if self._ended:
                self._rotate()
            self._staged = [self._own(reader.KIND_TORN, self._head.seq + 1, self._head.hash, torn)]
            self.commit()

    def _recall(self, path: Path) -> None:
        """Follows a closed segment for its ids and its end."""
        self._path = path
        for line in reader.lines(path):
            self._follow(line)
        if not self._ended:
            raise LogCorrupt(self._corrupt(path, self._head.seq, f"its last record is no {reader.KIND_END}"))
        self._ended = False

    def _take(self, path: Path, *, repair: bool) -> dict[str, object] | None:
        """Makes ``path`` the open segment: checks every record; moves an unfinished last line aside when ``repair``.

        Returns what was moved aside, as the data of a record.
        """
        self._path = path
        torn: dict[str, object] | None = None
        size = 0
        for line in reader.lines(path):
            if repair and (not line.whole or b"\0" in line.text):
                torn = self._set_aside(path, line.offset)
                break
            self._follow(line)
            size = line.offset + len(line.text) + 1
        self._fd = os.open(path, os.O_WRONLY)
        os.lseek(self._fd, size, os.SEEK_SET)
        self._size = size
        return torn

    def _follow(self, line: reader.Line) -> None:
        """Advances the head over one line. Raises LogCorrupt unless it continues the chain."""
        if self._ended:
            raise LogCorrupt(self._corrupt(self._path, line.number, f"it stands after the {reader.KIND_END}"))
        try:
            record = Record.parse(line.text)
        except RecordError as error:
            raise LogCorrupt(self._corrupt(self._path, line.number, str(error).rstrip("."))) from error
        linked = self._head.hash in ("", record.prev)
        if not line.whole or record.writer != self.writer or record.seq != self._head.seq + 1 or not linked:
            raise LogCorrupt(self._corrupt(self._path, line.number, "it does not continue the chain"))
        self._head = Head(self.writer, record.seq, record.hash)
        self._remember_record(record)
        self._ended = record.event.kind == reader.KIND_END

    def _corrupt(self, path: Path, number: int, why: str) -> str:
        return (
            f"The audit log of {self.writer!r} is not what was written: {path.name}, line {number}: {why}. "
            "It is left as it is and not continued; run `mlprivacy verify` on it and restore the segment."
        )

    def _set_aside(self, path: Path, offset: int) -> dict[str, object]:
        """Copies the bytes from ``offset`` to a ``*.torn`` file, makes that durable, then cuts them off."""
        with path.open("rb") as file:
            file.seek(offset)
            tail = file.read()
        kept = path.with_name(path.name + reader.TORN)
        count = 0
        while kept.exists():
            count += 1
            kept = path.with_name(f"{path.name}{reader.TORN}.{count}")
        with kept.open("xb") as copy:
            copy.write(tail)
            copy.flush()
            os.fsync(copy.fileno())
        sync_directory(self.directory)
        with path.open("rb+") as file:
            file.truncate(offset)
            os.fsync(file.fileno())
        return {
            "segment": path.name,
            "offset": offset,
            "bytes": len(tail),
            "sha256": sha256(tail).hexdigest(),
            "kept": kept.name,
        }
