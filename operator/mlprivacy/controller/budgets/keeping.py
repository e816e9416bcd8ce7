"""Keeps the ledgers: compares them with what the collector saw, anchors their heads, makes checkpoints, exports entries
and prunes those that are exported and stand in a checkpoint.

Every step can be cut off at any point and is taken up again by whoever comes next: what is done is asked of the
collector and of the cluster each time, and never remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from mlprivacy.audit.client import CollectorConflict, CollectorError
from mlprivacy.audit.ledgerclient import Kept
from mlprivacy.budget.ledger.append import Contended, Ledger, OutcomeUnknown
from mlprivacy.budget.ledger.checkpoint import parts_of, prunable
from mlprivacy.budget.ledger.entry import Head, entry_name, parse_entry
from mlprivacy.budget.ledger.errors import ChainError, EndsEarly, Refused
from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.controller.budgets.anchoring import PAUSE, Anchoring
from mlprivacy.controller.budgets.housekeeping import (
    CHECKPOINT_EVERY,
    checkpoint_due,
    contradicted,
    to_export,
    wrong_in,
)
from mlprivacy.controller.budgets.recovery import Recovery, Restored
from mlprivacy.kube.errors import ApiError, Conflict, Unreachable
from mlprivacy.kube.ledgerlog import StoredEntry

logger = logging.getLogger(__name__)
EVERY: Final = 600.0  # seconds between two rounds
EXPORT_AT_ONCE: Final = 200  # entries that are exported with an anchor; more wait for the next round


class Books(Protocol):
    """One domain's ledger, and the lock under which it is used."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def lock(self) -> asyncio.Lock: ...


class Store(Protocol):
    """Where entries are: ApiLedgerLog."""

    async def get(self, name: str) -> Mapping[str, Any] | None: ...
    async def list(self, subject_domain: str) -> Sequence[tuple[str, Mapping[str, Any]]]: ...
    async def create(self, name: str, spec: Mapping[str, Any]) -> None: ...

    async def stored(self, subject_domain: str) -> Sequence[StoredEntry]: ...
    async def delete(self, name: str, uid: str | None = None) -> bool: ...
    async def domains(self) -> set[str]: ...
    def now(self) -> datetime | None: ...


class Witness(Protocol):
    """Who saw the ledgers from outside the cluster's database: LedgerClient."""

    async def all(self) -> dict[str, Kept]: ...
    async def known(self, domain: str) -> Kept: ...
    async def anchor(self, head: Head) -> Kept: ...
    async def export(self, domain: str, lines: Iterable[bytes]) -> Kept | None: ...
    def exported(self, domain: str) -> AsyncGenerator[bytes, None]: ...


class Keeping:
    """The keeper of all ledgers of a controller.

    The order for a domain: ``admit`` before anything is decided, ``appended`` after every append. ``run`` does the
    rest. What ``broken`` says holds until the process is started anew: people must have looked.

    Args:
        store: where entries are.
        witness: who saw them.
        books: the ledgers that are open now.
        checkpoint_every: entries from one checkpoint to the next.
        every: seconds between two rounds.
        now: the present, for pruning. The API server's clock unless given, and this process's where that is unknown.
        pause: seconds before an anchor is tried a second time.
        restored: told what was brought back of a ledger.
    """

    def __init__(
        self,
        store: Store,
        witness: Witness,
        books: Callable[[], Iterable[Books]],
        *,
        checkpoint_every: int = CHECKPOINT_EVERY,
        every: float = EVERY,
        now: Callable[[], datetime] | None = None,
        pause: float = PAUSE,
        restored: Callable[[Restored], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._witness = witness
        self._books = books
        self._checkpoint_every = checkpoint_every
        self._every = every
        self._now = now or (lambda: store.now() or datetime.now(UTC))
        self._anchoring = Anchoring(self._seen, self._agrees, pause=pause)
        self._admitted: set[str] = set()
        self._broken: dict[str, str] = {}
        self._restored = restored
        self._wake = asyncio.Event()

    def broken(self, domain: str) -> str | None:
        """What is wrong with the domain's ledger, as a sentence: nothing may be decided. None when nothing is known."""
        return self._broken.get(domain)

    def not_ready(self, domain: str) -> str | None:
        """Why nothing may be decided in the domain, as a sentence; None when it may."""
        if domain in self._admitted:
            return self._broken.get(domain)
        return self._broken.get(domain) or (
            f"the ledger of {domain} has not been compared yet with the heads that the collector saw of it"
        )

    def behind(self, domain: str) -> int:
        """How many entries were appended after the head that is anchored."""
        return self._anchoring.behind(domain)

    async def settled(self, domain: str) -> None:
        """Wait until every head of the domain that is known here is anchored, or is known never to be."""
        await self._anchoring.settled(domain)

    def found_broken(self, domain: str, why: str) -> str:
        """Hold the domain for this reason, which whoever uses the ledger came upon; the first one stays."""
        if domain not in self._broken:
            logger.error("the ledger of %s is broken and nothing is decided in it: %s", domain, why)
        return self._broken.setdefault(domain, why)

    def doubt(self, domain: str) -> None:
        """Entries are missing at the end: the domain is admitted anew, with them, before anything is decided in it."""
        self._admitted.discard(domain)

    async def domains(self) -> set[str]:
        """All that have entries, or had some when the collector saw them last. Raises ApiError, CollectorError."""
        return await self._store.domains() | (await self._witness.all()).keys()

    async def admit(self, books: Books) -> str | None:
        """Know the whole ledger and hold it against what the collector saw; None when decisions may begin.

        What the cluster's database lost at its end, and the collector has, is written again before.

        Raises:
            CollectorError, ApiError: when one of the two is away. The domain waits; ask again.
        """
        domain = books.ledger.fold.subject_domain
        # The collector first: what another process appends meanwhile must not look like a head that is missing.
        kept = await self._witness.known(domain)
        try:
            async with books.lock:
                wrong = await self._whole(books.ledger, kept)
        except ChainError as error:
            wrong = str(error)
        if wrong is not None:
            return self.found_broken(domain, wrong)
        if domain not in self._admitted:
            self._admitted.add(domain)
            self._wake.set()
        if kept.anchor is not None:
            self._anchoring.seen(kept.anchor)
        self.appended(books)
        return self.broken(domain)

    async def _whole(self, ledger: Ledger, kept: Kept) -> str | None:
        """Know the ledger, and make it whole where it ends too early; what is wrong with it then.

        Raises:
            ChainError: when it is broken.
            CollectorError, ApiError: it goes on when it is asked again.
        """
        domain = ledger.fold.subject_domain
        seen = [head for head in (kept.anchor, kept.exported) if head is not None]
        ledger.least = max((head.sequence for head in seen), default=0)
        short: str | None = None
        try:
            await ledger.refresh()
        except EndsEarly as error:
            short = str(error)
            seen.append(ledger.fold.head)
        if ledger.fold.head.sequence < ledger.least:
            short = contradicted(ledger.fold, seen)
        if short is not None:
            self.doubt(domain)
            try:
                await self._bring_back(ledger, seen)
            except ChainError as error:
                return f"{short}. They can not be brought back from there: {error}"
        fold = ledger.fold
        if fold.state is None:
            name = entry_name(domain, fold.first - 1)
            return f"{name}: it is missing, and no checkpoint stands for the entries before"
        return contradicted(fold, seen)

    async def _bring_back(self, ledger: Ledger, seen: Sequence[Head]) -> None:
        """Write what the cluster's database lost and the collector has. Raises as Recovery.run."""
        domain = ledger.fold.subject_domain
        logger.error("the ledger of %s ends too early; what the collector kept of it is written again", domain)
        recovery = Recovery(self._store, lambda: self._witness.exported(domain), seen)
        try:
            await recovery.run()
            await ledger.reload()
        except OutcomeUnknown as error:
            raise Unreachable(str(error), "Timeout") from error
        finally:
            if (done := recovery.restored) is not None:
                logger.error("entries %d to %d of the ledger of %s are back", done.first, done.last.sequence, domain)
                self._restored(done)

    async def _seen(self, head: Head) -> Kept:
        """Have the collector keep the entries up to a head, and anchor it: what it anchors it can give back.

        An export that fails does not keep a head from being anchored. The next round exports the rest.
        """
        domain = head.subject_domain
        try:
            await self._export_to(head)
        except ChainError as error:
            self.found_broken(domain, str(error))
        except (CollectorError, ApiError) as error:
            logger.warning("the newest entries of the ledger of %s are exported later: %s", domain, error)
        return await self._witness.anchor(head)

    async def _export_to(self, head: Head) -> None:
        domain = head.subject_domain
        kept = await self._witness.known(domain)
        first = 1 if kept.exported is None else kept.exported.sequence + 1
        if head.sequence - first >= EXPORT_AT_ONCE:
            return
        lines = []
        for sequence in range(first, head.sequence + 1):
            name = entry_name(domain, sequence)
            spec = await self._store.get(name)
            if spec is None:
                return  # pruned, or worse: the next round finds out
            entry = parse_entry(name, dict(spec))
            if entry.sequence == head.sequence and entry.hash != head.hash:
                raise ChainError(name, "it is not the entry that was there before: it was created anew")
            lines.append(export_line(entry))
        await self._witness.export(domain, lines)

    def appended(self, books: Books) -> None:
        """The ledger has a new head. Returns at once; anchoring goes on beside."""
        fold = books.ledger.fold
        if fold.head.sequence and fold.subject_domain not in self._broken:
            self._anchoring.want(fold.head)
            if checkpoint_due(fold, self._checkpoint_every):
                self._wake.set()

    async def run(self) -> None:
        """Rounds over all ledgers until cancelled: at once, every so often, and when a checkpoint is due."""
        try:
            while True:
                self._wake.clear()
                for books in list(self._books()):
                    await self._kept(books)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._every)
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Leave anchoring to the next process."""
        await self._anchoring.stop()

    async def _kept(self, books: Books) -> None:
        domain = books.ledger.fold.subject_domain
        try:
            await self.keep(books)
        except (CollectorError, ApiError, Contended) as error:
            logger.warning("the ledger of %s waits for the next round: %s", domain, error)
        except Exception:
            logger.exception("keeping the ledger of %s failed", domain)

    async def keep(self, books: Books) -> None:
        """One round over one ledger: a checkpoint if it is due, export, prune.

        A ledger that is found broken is held; nothing of it is exported or pruned then. One that ends too early is
        made whole, and kept in the next round.

        Raises:
            CollectorError, ApiError, Contended: it goes on in the next round.
        """
        ledger, domain = books.ledger, books.ledger.fold.subject_domain
        if self.not_ready(domain) is not None:
            return
        try:
            async with books.lock:
                await ledger.refresh()
                await self._checkpoint(ledger)
                fold = ledger.fold
                head, hashes, checkpoint = fold.head, fold.hashes(), fold.checkpoint
            self.appended(books)
            entries = await self._store.stored(domain)
            wrong = await asyncio.to_thread(wrong_in, entries, hashes, head, checkpoint)
            if wrong is not None:
                raise wrong
            exported = await self._export(domain, entries, head)
        except EndsEarly as error:
            logger.warning("the ledger of %s ends too early: %s", domain, error)
            self.doubt(domain)
            await self.admit(books)
            return
        except ChainError as error:
            self.found_broken(domain, str(error))
            return
        if exported is not None:
            there = [(entry, entry.created) for entry in entries]
            await self._prune(books, entries, prunable(there, checkpoint, exported, self._now()))

    async def _checkpoint(self, ledger: Ledger) -> None:
        """Say the whole state again, if that is due. Another writer in between makes it void; the next one is whole."""
        state = ledger.fold.state
        if state is None or not checkpoint_due(ledger.fold, self._checkpoint_every):
            return
        try:
            for part in parts_of(state):
                await ledger.append([part])
        except Refused as refused:
            logger.info("the checkpoint of %s is begun anew later: %s", ledger.fold.subject_domain, refused)

    async def _export(self, domain: str, entries: Sequence[StoredEntry], head: Head) -> Head | None:
        """How far the ledger is exported now, at least up to ``head``; None when that is not known to be so."""
        kept = await self._witness.known(domain)
        lines = await asyncio.to_thread(lambda: list(to_export(entries, kept.exported, head)))
        try:
            return (await self._witness.export(domain, lines) or kept).exported
        except CollectorConflict as error:
            logger.warning("the collector does not take entries of the ledger of %s: %s", domain, error)
            await self._agrees(domain)
            return None

    async def _prune(self, books: Books, entries: Sequence[StoredEntry], names: Sequence[str]) -> None:
        uids = {entry.name: entry.uid for entry in entries}
        for number, name in enumerate(names):
            try:
                await self._store.delete(name, uids[name])
            except Conflict:
                domain = books.ledger.fold.subject_domain
                self.found_broken(domain, f"{name}: it was pruned and created anew")
                return
            # The fold's own table of hashes would grow for ever; the entries themselves are in the export.
            books.ledger.fold.forget(entries[number].sequence + 1)
        if names:
            logger.info("%d entries of %s were pruned", len(names), books.ledger.fold.subject_domain)

    async def _agrees(self, domain: str) -> bool:
        """Whether a ledger that the collector contradicts is the one that it knows after all."""
        books = next((one for one in self._books() if one.ledger.fold.subject_domain == domain), None)
        if books is None:
            raise CollectorError("the ledger is not open here, so it can not be looked at; it is tried again")
        return await self.admit(books) is None
