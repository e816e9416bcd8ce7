"""All desks of the process, by subject domain; each is open once its ledger is known to be whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from mlprivacy.audit.client import CollectorError
from mlprivacy.budget.ledger.append import Log
from mlprivacy.budget.ledger.errors import ChainError, EndsEarly
from mlprivacy.controller.budgets.desk import Desk
from mlprivacy.controller.store import JobKey


class Closed(Exception):
    """Nothing of the domain is decided now; the message is a sentence. ``broken``: until people have looked."""

    def __init__(self, domain: str, why: str, *, broken: bool) -> None:
        super().__init__(why)
        self.domain = domain
        self.broken = broken


class Keeper(Protocol):
    """Who holds ledgers against what was seen of them elsewhere (Keeping)."""

    def broken(self, domain: str) -> str | None:
        """Why nothing may be decided until people have looked."""

    def not_ready(self, domain: str) -> str | None:
        """Why nothing may be decided now."""

    def behind(self, domain: str) -> int:
        """How many entries came after the head that is anchored."""

    def found_broken(self, domain: str, why: str) -> str:
        """Hold the domain for this reason."""

    def doubt(self, domain: str) -> None:
        """Entries are missing at the end: it is admitted anew, with them, before anything is decided."""

    async def admit(self, books: Desk) -> str | None:
        """Know the whole ledger and hold it against what was seen of it; None when decisions may begin.

        Raises what says that it can not be done now.
        """


class Desks:
    """Makes each desk on first use.

    Args:
        log: where entries are.
        writer: the name that this process's entries bear.
        clock: the present, aware.
        wake: told which job to look at; others tell by it, too.
        changed: told which domain's ledger has a new entry.
        keeper: who says whether a ledger is whole.
    """

    def __init__(
        self,
        log: Log,
        writer: str,
        clock: Callable[[], datetime],
        wake: Callable[[JobKey], None],
        changed: Callable[[str], None],
        keeper: Keeper,
    ) -> None:
        self._log = log
        self._writer, self._clock, self.wake, self._changed = writer, clock, wake, changed
        self._keeper = keeper
        self._desks: dict[str, Desk] = {}

    def of(self, domain: str) -> Desk:
        """The desk of a domain, open or not."""
        found = self._desks.get(domain)
        if found is None:
            found = self._desks[domain] = Desk(self._log, domain, self._writer, self._clock, self.wake, self._changed)
        return found

    def __iter__(self) -> Iterator[Desk]:
        return iter(tuple(self._desks.values()))

    async def open(self, domain: str) -> Desk:
        """The desk, ready to decide; its ledger is as new as it has to be.

        Raises:
            Closed: when the ledger is broken, or can not be compared with what was seen of it.
            ApiError: when it can not be read now.
        """
        desk = self.of(domain)
        if self._keeper.not_ready(domain) is not None:
            await self._admit(desk)
        try:
            async with desk.lock:
                await desk.ledger.current()
        except ChainError as error:
            raise self.broke(domain, error) from error
        return desk

    async def _admit(self, desk: Desk) -> None:
        if (why := self._keeper.broken(desk.domain)) is not None:
            raise Closed(desk.domain, why, broken=True)
        try:
            wrong = await self._keeper.admit(desk)
        except CollectorError as error:
            why = f"the ledger can not be compared with what the collector saw of it: {error}"
            raise Closed(desk.domain, why, broken=False) from error
        if wrong is not None:
            raise Closed(desk.domain, wrong, broken=True)
        for held in desk.state.reservations.values():  # what ended meanwhile is to be settled
            self.wake(JobKey("TrainingJob", held.reserve.job.namespace, held.reserve.job.name))

    def broke(self, domain: str, error: ChainError) -> Closed:
        """Nothing of the domain is decided any more, or until what is missing at its end is back; to be raised."""
        if isinstance(error, EndsEarly) and self._keeper.broken(domain) is None:
            self._keeper.doubt(domain)
            return Closed(domain, f"the ledger ends too early, and is brought back: {error}", broken=False)
        return Closed(domain, self._keeper.found_broken(domain, str(error)), broken=True)

    def behind(self, domain: str) -> int:
        """How many entries came after the head that is anchored."""
        return self._keeper.behind(domain)

    def holding(self, uid: str) -> list[Desk]:
        """The desks at which a job holds something."""
        found = []
        for desk in self:
            state = desk.ledger.fold.state
            if state is not None and state.newest_attempt(uid) and desk.held_by(uid):
                found.append(desk)
        return found
