"""What the collector kept of a ledger, and the cluster's database lost: written there again, entry by entry.

After a restore of etcd the ledger ends too early. The entries that are missing are in the collector's export, each
bound to the one before by its hash, up to a head that was anchored; a name can be taken once, and none of them fits
elsewhere. So bringing them back can only make the ledger what it was.

The export is read twice. Nothing is written before all of it is known to be right, since what is written can not be
taken back. Then entries are written one after the other, so that whoever is cut off leaves a ledger that ends too
early again, and the next one goes on there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mlprivacy.budget.ledger.append import AlreadyExists, OutcomeUnknown
from mlprivacy.budget.ledger.entry import Entry, Head, entry_name, parse_entry
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.verify import Problem, read_lines

TRIES: Final = 3  # of one entry whose creation was not answered
TURN: Final = 64  # lines after which others get their turn


class Store(Protocol):
    """Where entries are written."""

    async def get(self, name: str) -> Mapping[str, Any] | None: ...
    async def list(self, subject_domain: str) -> Sequence[tuple[str, Mapping[str, Any]]]: ...
    async def create(self, name: str, spec: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Restored:
    """Entries ``first`` to ``last`` of a ledger were written again."""

    subject_domain: str
    first: int
    last: Head

    @property
    def count(self) -> int:
        """How many they are."""
        return self.last.sequence - self.first + 1


class Recovery:
    """One attempt at bringing back what a ledger lost. ``restored`` says what was written, also when it was cut off.

    Args:
        store: where the entries are.
        export: begins to read the collector's export of the domain, line by line.
        seen: heads of entries that were there; the newest is where the ledger has to lead. At least one.
    """

    def __init__(self, store: Store, export: Callable[[], AsyncGenerator[bytes, None]], seen: Sequence[Head]) -> None:
        self._store = store
        self._export = export
        self._seen = seen
        self._until = max(seen, key=lambda head: head.sequence)
        self._domain = self._until.subject_domain
        self.restored: Restored | None = None

    async def run(self) -> None:
        """Write what is missing.

        Raises:
            ChainError: when what is exported does not go on from what is there, or does not lead to what was seen.
            OutcomeUnknown: when the API server did not answer; what is written stays, and the rest follows later.
            ApiError, CollectorError: likewise, where store and export raise it.
        """
        fold = Fold(self._domain)
        for name, spec in await self._store.list(self._domain):
            fold.take(parse_entry(name, dict(spec)))
        ended = fold.head.sequence
        await self._read(fold)
        if ended:
            await self._write(fold, ended + 1)
        else:
            # Of a ledger that is gone altogether the newest checkpoint stands for what was before, as after pruning.
            await self._write(fold, fold.checkpoint.first if fold.checkpoint is not None else fold.first)

    async def _read(self, fold: Fold) -> None:
        """Go on from what is there by what is exported, up to the newest entry that was seen."""
        ended = fold.head.sequence
        async with contextlib.aclosing(self._entries()) as entries:
            async for entry in entries:
                if entry.sequence > self._until.sequence:
                    break
                if entry.sequence > fold.head.sequence:
                    _take(fold, entry)
                elif fold.hash_of(entry.sequence) not in (None, entry.hash):
                    raise ChainError(entry.name, "the collector exported another entry under this name")
        if fold.head.sequence < self._until.sequence:
            raise ChainError(
                entry_name(self._domain, fold.head.sequence + 1),
                f"it is not in the collector's export, which goes on from entry {ended} to {fold.head.sequence} only",
            )
        for head in self._seen:
            if fold.hash_of(head.sequence) not in (None, head.hash):
                raise ChainError(
                    entry_name(self._domain, head.sequence), "the collector exported another entry than was seen there"
                )
        if fold.state is None:
            raise ChainError(
                entry_name(self._domain, fold.first - 1),
                "the collector's export begins after it, and no whole checkpoint stands for the entries before",
            )

    async def _write(self, fold: Fold, first: int) -> None:
        following = first
        async with contextlib.aclosing(self._entries()) as entries:
            async for entry in entries:
                if following > self._until.sequence:
                    break
                if entry.sequence < following:
                    continue
                if entry.sequence > following or entry.hash != fold.hash_of(following):
                    raise _changed(self._domain, following)
                await self._create(entry)
                self.restored = Restored(self._domain, first, entry.head)
                following += 1
        if following <= self._until.sequence:
            raise _changed(self._domain, following)

    async def _create(self, entry: Entry) -> None:
        for _ in range(TRIES):
            try:
                await self._store.create(entry.name, entry.spec)
            except AlreadyExists:
                # Written by the try before, which was not answered, or by another controller that does the same.
                found = await self._store.get(entry.name)
                if found is not None and parse_entry(entry.name, dict(found)).hash != entry.hash:
                    raise ChainError(entry.name, "another entry has taken its name meanwhile") from None
                if found is not None:
                    return
            except OutcomeUnknown:
                continue
            else:
                return
        raise OutcomeUnknown(f"{entry.name} was to be written again, and it is not known whether it was")

    async def _entries(self) -> AsyncGenerator[Entry, None]:
        """The entries of the export. Raises ChainError for a line that is none."""
        async with contextlib.aclosing(self._export()) as lines:
            last = 0
            async for number, entry in _parsed(lines):
                if entry is None:
                    raise ChainError(
                        entry_name(self._domain, last + 1), f"line {number} of the collector's export is no entry"
                    )
                last = entry.sequence
                yield entry


async def _parsed(lines: AsyncIterator[bytes]) -> AsyncGenerator[tuple[int, Entry | None], None]:
    number = 0
    async for line in lines:
        number += 1
        if number % TURN == 0:
            await asyncio.sleep(0)  # probes and the lease do not wait for a long export
        for found in read_lines("the export", [line]):
            yield number, None if isinstance(found, Problem) else parse_entry(found.name, found.spec)


def _take(fold: Fold, entry: Entry) -> None:
    try:
        fold.take(entry)
    except ChainError as error:
        raise ChainError(error.entry, f"in the collector's export, {error.why}") from error


def _changed(domain: str, sequence: int) -> ChainError:
    return ChainError(entry_name(domain, sequence), "the collector's export is not the one of a moment before")
