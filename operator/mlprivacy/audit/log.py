"""The audit log of a process: many chains in one locked folder, appended by group commit in one thread.

Callers hand events over from any thread; the committer takes all that wait, writes them chain by chain, syncs each
touched segment once, then acknowledges them all. While it syncs, the next group gathers. Standard library only.
"""

import asyncio
import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from mlprivacy.audit import reader
from mlprivacy.audit.chain import REMEMBER, SEGMENT_BYTES, Chain, Head, LogCorrupt, LogError, LogLocked, LogUnavailable
from mlprivacy.audit.record import Event, Receipt, RecordError, check_writer, utc_now

MAX_PENDING: Final = 20_000  # events in flight; more are refused at once
MAX_WRITERS: Final = 64
GROUP: Final = 4096  # events in one commit at most


@dataclass(slots=True)
class LogStats:
    """Counts since opening, read by metrics: records made durable, groups, syncs, groups that failed."""

    records: int = 0
    commits: int = 0
    fsyncs: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Task:
    writer: str
    events: Sequence[Event]
    future: Future[list[Receipt]]


class AuditLog:
    """The chains below ``directory``, one folder per writer.

    Raises LogLocked when another process has it open, OSError when the folder can not be used. A chain that does
    not verify is listed in ``broken`` and refuses appends; the others work.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        remember: int = REMEMBER,
        now: Callable[[], str] = utc_now,
    ) -> None:
        self.directory = directory
        self.stats = LogStats()
        self.broken: dict[str, str] = {}
        self._segment_bytes = segment_bytes
        self._remember = remember
        self._now = now
        directory.mkdir(parents=True, exist_ok=True)
        self._lock_fd = self._lock()
        self._chains: dict[str, Chain] = {}
        self._tasks: list[_Task] = []
        self._pending = 0
        self._closing = False
        self._wake = threading.Condition()
        try:
            for folder in sorted(directory.iterdir()):
                if folder.is_dir():
                    with contextlib.suppress(LogError, RecordError):
                        self._chain(folder.name)
        except BaseException:
            os.close(self._lock_fd)
            raise
        self._thread = threading.Thread(target=self._run, name="audit-commit", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, writer: str, events: Sequence[Event]) -> Future[list[Receipt]]:
        """Receipts of ``events`` in ``writer``'s chain, once they are durable; all of them or an error.

        The future fails with LogUnavailable (nothing acknowledged; may be tried again), LogCorrupt or RecordError.
        Raises RecordError for a bad name of a writer or a kind that is the log's own, LogUnavailable when too much
        is in flight or the log is closed.
        """
        check_writer(writer)
        for event in events:
            if event.kind in reader.RESERVED_KINDS:
                raise RecordError(f"The kind {event.kind!r} is the log's own; choose another.")
        future: Future[list[Receipt]] = Future()
        with self._wake:
            if self._closing:
                raise LogUnavailable("The audit log is closed; nothing was recorded.")
            if self._pending and self._pending + len(events) > MAX_PENDING:
                raise LogUnavailable(f"More than {MAX_PENDING} audit records are in flight; try again shortly.")
            self._pending += len(events)
            self._tasks.append(_Task(writer, events, future))
            self._wake.notify()
        return future

    async def append(self, writer: str, events: Sequence[Event]) -> list[Receipt]:
        """submit(), awaited. A cancelled caller's events may still be recorded."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(writer, events)))

    def heads(self) -> dict[str, Head]:
        """The durable head of every chain."""
        return {writer: chain.head for writer, chain in list(self._chains.items())}

    def lines(self, writer: str, start: int) -> Iterator[bytes]:
        """The durable lines of ``writer``'s chain from record ``start`` on, up to the head at the time of the call."""
        head = self.heads().get(writer)
        if head is None:
            return iter(())
        return reader.chain_lines(self.directory / writer, start, head.seq)

    def close(self) -> None:
        """Commits what is in flight, stops the thread, closes the files, gives the lock back. Twice does nothing."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        for chain in self._chains.values():
            chain.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _lock(self) -> int:
        descriptor = os.open(self.directory / reader.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise LogLocked(
                f"The audit log in {self.directory} is open in another process; stop that one, or give this one a "
                "directory of its own."
            ) from error
        return descriptor

    # The committer's thread (and opening, before the thread starts).

    def _chain(self, writer: str) -> Chain:
        if writer in self.broken:
            raise LogCorrupt(self.broken[writer])
        chain = self._chains.get(writer)
        if chain is None:
            if len(self._chains) >= MAX_WRITERS:
                raise LogUnavailable(f"The audit log has {MAX_WRITERS} writers already; {writer!r} can not be added.")
            check_writer(writer)
            folder = self.directory / writer
            try:
                chain = Chain(folder, writer, segment_bytes=self._segment_bytes, remember=self._remember, now=self._now)
            except LogCorrupt as error:
                self.broken[writer] = str(error)
                raise
            except OSError as error:
                raise LogUnavailable(
                    f"The audit log of {writer!r} can not be opened ({error.strerror or error}); nothing was recorded."
                ) from error
            self._chains = {**self._chains, writer: chain}
        return chain

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._tasks or self._closing)
                if not self._tasks:
                    return
                group, count = [], 0
                while self._tasks and count < GROUP:
                    group.append(self._tasks.pop(0))
                    count += len(group[-1].events)
                self._pending -= count
            self._commit(group)

    def _commit(self, group: Sequence[_Task]) -> None:
        by_writer: dict[str, list[_Task]] = {}
        for task in group:
            if task.future.set_running_or_notify_cancel():
                by_writer.setdefault(task.writer, []).append(task)
        self.stats.commits += 1
        for writer, tasks in by_writer.items():
            self._commit_chain(writer, tasks)
        self.stats.fsyncs = sum(chain.fsyncs for chain in self._chains.values())

    def _commit_chain(self, writer: str, tasks: Sequence[_Task]) -> None:
        staged: list[tuple[_Task, list[Receipt]]] = []
        try:
            chain = self._chain(writer)
            for task in tasks:
                try:
                    staged.append((task, chain.stage(task.events)))
                except RecordError as error:
                    task.future.set_exception(error)
            self.stats.records += chain.commit()
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it was
            self.stats.failures += 1
            for task in tasks:
                if not task.future.done():
                    task.future.set_exception(error)
            return
        for task, receipts in staged:
            task.future.set_result(receipts)
