"""Exported ledgers: one file of JSON lines for each subject domain, each line checked before it is kept, and synced.

A file is only ever added to. What a crash left of a line that was never acknowledged is cut off when the file is
opened; whoever exports asks for the head and goes on from there.
"""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import orjson

from mlprivacy.audit.chain import LogCorrupt, LogUnavailable, sync_directory
from mlprivacy.budget.ledger.entry import Entry, Head, parse_entry
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.verify import MAX_LINE, Problem, export_line, read_lines

FOLDER: Final = ".ledgers"  # in the log's folder; not the name of a chain
SUFFIX: Final = ".ledger.jsonl"
MAX_DOMAINS: Final = 1024
AT_ONCE: Final = 2  # exports that are checked at the same time; each is a thread's work
PIECE: Final = 1 << 18  # bytes of an export read from disk at a time


class LinesUnreadable(ValueError):
    """What was sent are no lines of an export. The message is a sentence."""


class LinesRefused(Exception):
    """The lines do not continue what was exported before, or are not what their hashes say. A sentence."""


def continuation(domain: str, body: bytes, known: Head | None, anchor: Head | None) -> tuple[bytes, Head | None]:
    """What the lines of ``body`` add to an export that ends with ``known``, and its head then.

    They may begin before ``known``'s end: since each entry holds the hash of the one before, meeting the known head
    says that all before it are the same too. The steps themselves are checked from the first whole checkpoint on.

    Args:
        domain: whose ledger it is.
        body: lines as :func:`mlprivacy.budget.ledger.verify.export_line` makes them.
        known: the head of what is exported, None for nothing.
        anchor: the newest head that was seen of this ledger.

    Raises:
        LinesUnreadable: when a line is no entry.
        LinesRefused: when an entry is wrong, missing, of another ledger, or of another chain than these heads.
    """
    fold = Fold(domain)
    fresh: list[bytes] = []
    head = known
    try:
        for line in read_lines("the export", body.split(b"\n")):
            if isinstance(line, Problem):
                raise LinesUnreadable(f"Line {line.line}: {line.message}.")
            entry = parse_entry(line.name, line.spec)
            _check(entry, head, known, anchor)
            fold.take(entry)
            if known is None or entry.sequence > known.sequence:
                fresh.append(export_line(entry) + b"\n")
                head = entry.head
    except ChainError as error:
        raise LinesRefused(f"{error}.") from error
    return b"".join(fresh), head


def _check(entry: Entry, head: Head | None, known: Head | None, anchor: Head | None) -> None:
    """Raises ChainError when an entry disagrees with the heads that are known."""
    for seen, where in ((known, "exported"), (anchor, "anchored")):
        if seen is not None and seen.sequence == entry.sequence and seen.hash != entry.hash:
            raise ChainError(
                entry.name, f"it is not the entry that was {where} under this name, whose hash is {seen.hash}"
            )
    if head is None or entry.sequence <= head.sequence:
        return
    if entry.sequence > head.sequence + 1:
        raise ChainError(
            entry.name, f"the export goes on with entry {head.sequence + 1}, so entries before this one are missing"
        )
    if entry.previous != head.hash:
        raise ChainError(
            entry.name,
            f"it does not follow the exported entry {head.sequence}: one of the two was changed or created anew",
        )


class LedgerExports:
    """The files below ``directory``, made when the first line comes. One event loop; the work is done in threads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / FOLDER
        self._ends: dict[str, tuple[int, Head | None]] = {}  # durable bytes and head, by domain
        self._broken: dict[str, str] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._turns = asyncio.Semaphore(AT_ONCE)

    def load(self) -> None:
        """Find where each file ends. Blocking."""
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            domain = path.name.removesuffix(SUFFIX)
            try:
                self._ends[domain] = _end_of(path, domain)
            except (OSError, LinesRefused, LinesUnreadable) as error:
                self._broken[domain] = (
                    f"The export of the ledger of {domain} can not be continued ({error}); run `mlprivacy verify "
                    f"ledger` on {path.name} and restore it from a copy."
                )

    def heads(self) -> Mapping[str, Head]:
        """How far each domain is exported, durably."""
        return {domain: head for domain, (_, head) in self._ends.items() if head is not None}

    def head(self, domain: str) -> Head | None:
        """How far one is; None for not at all. Raises LogCorrupt when its file can not be believed."""
        if domain in self._broken:
            raise LogCorrupt(self._broken[domain])
        return self._ends.get(domain, (0, None))[1]

    async def append(self, domain: str, body: bytes, anchor: Head | None) -> Head | None:
        """Keep what continues the export; the head is durable. Raises as :func:`continuation`, and LogError."""
        async with self._locks[domain], self._turns:
            known = self.head(domain)
            if domain not in self._ends and len(self._ends) >= MAX_DOMAINS:
                raise LogUnavailable(f"{MAX_DOMAINS} ledgers are exported here already; {domain} can not be added.")
            return await asyncio.to_thread(self._append, domain, body, known, anchor)

    def pieces(self, domain: str) -> Iterator[bytes]:
        """The durable bytes of an export, as of now."""
        left, _ = self._ends.get(domain, (0, None))
        if not left:
            return
        with self._path(domain).open("rb") as file:
            while left and (piece := file.read(min(PIECE, left))):
                left -= len(piece)
                yield piece

    def _path(self, domain: str) -> Path:
        return self._directory / f"{domain}{SUFFIX}"

    def _append(self, domain: str, body: bytes, known: Head | None, anchor: Head | None) -> Head | None:
        data, head = continuation(domain, body, known, anchor)
        if not data:
            return head
        size, _ = self._ends.get(domain, (0, None))
        try:
            self._write(self._path(domain), size, data)
        except OSError as error:
            raise LogUnavailable(
                f"The export of the ledger of {domain} can not be written ({error.strerror or error}); nothing of it "
                "was kept. Free space on the collector's volume, or mend it."
            ) from error
        self._ends[domain] = size + len(data), head
        return head

    def _write(self, path: Path, size: int, data: bytes) -> None:
        """Put the lines after the durable bytes. On OSError nothing after them counts."""
        new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)  # what an earlier try left
            os.lseek(descriptor, size, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)
        if new:
            sync_directory(path.parent)
            sync_directory(path.parent.parent)


def _end_of(path: Path, domain: str) -> tuple[int, Head | None]:
    """The bytes up to the last whole line, and the head that it is. What a crash left after it is cut off.

    Raises:
        LinesRefused, LinesUnreadable: when the last whole line is no entry of this domain.
        OSError: when the file can not be read.
    """
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2 * (MAX_LINE + 1))
        file.seek(start)
        tail = file.read()
        end = tail.rfind(b"\n") + 1
        if end == 0 and start:
            raise LinesUnreadable("its last line is longer than any entry")
        if start + end < size:
            file.truncate(start + end)
            os.fsync(file.fileno())
    if end == 0:
        return 0, None
    line = tail[tail.rfind(b"\n", 0, end - 1) + 1 : end]
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LinesUnreadable("its last line is no entry of a ledger") from error
    _, head = continuation(domain, line, None, None)
    return start + end, head
