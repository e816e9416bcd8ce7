"""Appending by compare-and-swap: the next entry is created under its name, and whoever comes second looks again.

Each step can be repeated after a crash at any point: a step that is in the chain already is known by its content, and
a request that was lost and arrives late can only take a name that is still free, which is then the next one's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from mlprivacy.budget.ledger.checks import Terms, check, known_as
from mlprivacy.budget.ledger.entry import Entry, entry_name, link, parse_entry, stamp
from mlprivacy.budget.ledger.errors import ChainError, EndsEarly, Refused
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Checkpoint, Transition

AWAY: Final = timedelta(seconds=60)  # without contact for longer, the head is read before anything is written
TRIES: Final = 64  # lost races in a row, each of which another writer won


class AlreadyExists(Exception):
    """There is an entry of this name."""


class OutcomeUnknown(Exception):
    """The request may or may not have been carried out, or may be later: a timeout, a connection that was cut."""


class Contended(Exception):
    """Other writers won every time; nothing was written."""


class Log(Protocol):
    """Where entries are: the API server, or memory. Reads are linearizable (quorum), never from a cache."""

    async def get(self, name: str) -> Mapping[str, Any] | None:
        """The spec of the entry, or None when there is no entry of this name."""

    async def list(self, subject_domain: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Name and spec of every entry of the domain, by ascending sequence."""

    async def create(self, name: str, spec: Mapping[str, Any]) -> None:
        """Create the entry, durably. Raises AlreadyExists, OutcomeUnknown, or what says that nothing was done."""


@dataclass(frozen=True, slots=True)
class Appended:
    """``entry`` holds the steps that were new; None when all of them were in the chain before.

    A reservation that was there before may have been settled since: ``fold.state.reservations`` says what is held.
    """

    entry: Entry | None

    @property
    def already(self) -> bool:
        """Nothing had to be written."""
        return self.entry is None


class Ledger:
    """One domain's ledger as one process knows it. One call at a time.

    Args:
        log: where the entries are.
        subject_domain: whose ledger it is.
        writer: the name that this process's entries bear.
        clock: the present, aware.
    """

    def __init__(self, log: Log, subject_domain: str, writer: str, clock: Callable[[], datetime]) -> None:
        self._log = log
        self._writer = writer
        self._clock = clock
        self._contact: datetime | None = None
        self.fold = Fold(subject_domain)
        self.least = 0  # entries that were seen elsewhere: while there are fewer, none is added

    async def refresh(self) -> None:
        """Know every entry that was written before this call.

        Raises:
            ChainError: when the chain is broken; EndsEarly when it ends before an entry that this process knows.
        """
        self._contact = None  # whatever is wrong is found again by the next call
        head = self.fold.head
        if head.sequence == 0:
            await self.reload()
        else:
            found = await self._log.get(entry_name(head.subject_domain, head.sequence))
            if found is None:
                await self.reload()  # pruned while this process was away, or worse
            elif parse_entry(name := entry_name(head.subject_domain, head.sequence), found).hash != head.hash:
                raise ChainError(name, "it is not the entry that was there before: it was created anew")
            await self._walk()
        self._contact = self._clock()

    async def current(self) -> None:
        """Know what others wrote, when that was asked last more than AWAY ago. Raises ChainError as `refresh` does."""
        if self._contact is None or not timedelta(0) <= self._clock() - self._contact <= AWAY:
            await self.refresh()

    async def append(self, transitions: Sequence[Transition], terms: Terms | None = None) -> Appended:
        """Write the steps that are not in the chain yet, in one entry: all of them, or none.

        It returns once they are durable. Repeating it, with the same steps, is safe at any time.

        Raises:
            Refused: when a step is not allowed in the newest state, or was taken otherwise; nothing was written.
            ChainError: when the chain is broken; nothing is written until people have looked.
            EndsEarly: when entries that were there are missing at its end; nothing is written until they are back.
            Contended: when other writers won TRIES times in a row.
        """
        await self.current()
        if self.fold.head.sequence < self.least:
            raise EndsEarly(
                entry_name(self.fold.subject_domain, self.fold.head.sequence + 1),
                "it was there once and is not back yet; nothing is added before it is",
            )
        for _ in range(TRIES):
            try:
                new = self._allowed(transitions, terms)
            except Refused:
                if await self._walk():
                    continue  # it was refused in a state that is older than the newest
                raise
            if not new:
                return Appended(None)
            entry = link(self.fold.head, new, stamp(self._clock()), self._writer)
            try:
                await self._log.create(entry.name, entry.spec)
            except (AlreadyExists, OutcomeUnknown):
                await self._walk()
                continue
            self._contact = self._clock()
            self.fold.take(entry)
            return Appended(entry)
        raise Contended(f"others wrote to the ledger of {self.fold.subject_domain} {TRIES} times in between; try again")

    def _allowed(self, transitions: Sequence[Transition], terms: Terms | None) -> list[Transition]:
        """The steps that are new. Raises Refused unless each may be taken after those before it."""
        state = self.fold.state
        if state is None:
            raise ChainError(
                entry_name(self.fold.subject_domain, self.fold.first - 1),
                "it is missing, and no checkpoint stands for the entries before; bring them back from an export",
            )
        new = [one for one in transitions if not self._known(state, one)]
        if len(new) == 1:
            self.fold.check(new[0], terms)
            return new
        kept: list[Transition] = []
        state = state.copy() if new else state
        for one in new:
            if known_as(state, one) is None:  # the same step may be among them twice
                check(state, one, terms)
                state.apply(one, self.fold.head.sequence + 1)
                kept.append(one)
        return kept

    def _known(self, state: State, transition: Transition) -> bool:
        """The step is in the chain. Of a checkpoint the state tells nothing: what it says changes nothing."""
        if isinstance(transition, Checkpoint):
            return self.fold.has_part(transition)
        return known_as(state, transition) is not None

    async def _walk(self) -> bool:
        """Take what others wrote, entry by entry. Returns whether there was any."""
        found = False
        while True:
            head = self.fold.head
            name = entry_name(head.subject_domain, head.sequence + 1)
            spec = await self._log.get(name)
            if spec is None:
                self._contact = self._clock()
                return found
            self.fold.take(parse_entry(name, dict(spec)))
            found = True

    async def reload(self) -> None:
        """Begin anew from all that is there; hold it against what was known. Raises as `refresh`."""
        known = self.fold
        fresh = Fold(known.subject_domain)
        for name, spec in await self._log.list(known.subject_domain):
            fresh.take(parse_entry(name, dict(spec)))
        if fresh.head.sequence < known.head.sequence:
            raise EndsEarly(
                entry_name(known.subject_domain, known.head.sequence),
                f"it was there and is not any more: the ledger ends with entry {fresh.head.sequence}. The cluster's "
                "database was restored, or entries were deleted",
            )
        if (same := fresh.hash_of(known.head.sequence)) is not None and same != known.head.hash:
            raise ChainError(
                entry_name(known.subject_domain, known.head.sequence), "it is not the entry that was there before"
            )
        self.fold = fresh
