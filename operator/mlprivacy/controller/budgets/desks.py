"""All desks of the process, by subject domain; and what is known of a ledger that can not be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Protocol

from mlprivacy.budget.ledger.append import Log
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.controller.budgets.desk import Desk
from mlprivacy.controller.store import JobKey

logger = logging.getLogger(__name__)


class Entries(Log, Protocol):
    """A log that can say which domains it holds."""

    async def domains(self) -> Collection[str]:
        """The subject domains that have entries."""


class Desks:
    """Makes each desk on first use.

    Args:
        log: where entries are.
        writer: the name that this process's entries bear.
        clock: the present, aware.
        wake: told which job to look at.
        changed: told which domain's ledger has a new entry.
    """

    def __init__(
        self,
        log: Entries,
        writer: str,
        clock: Callable[[], datetime],
        wake: Callable[[JobKey], None],
        changed: Callable[[str], None],
    ) -> None:
        self._log = log
        self._writer, self._clock, self._wake, self._changed = writer, clock, wake, changed
        self._desks: dict[str, Desk] = {}
        self.broken: dict[str, str] = {}  # by domain: why people have to look

    def of(self, domain: str) -> Desk:
        """The desk of a domain."""
        found = self._desks.get(domain)
        if found is None:
            found = self._desks[domain] = Desk(self._log, domain, self._writer, self._clock, self._wake, self._changed)
        return found

    def __iter__(self) -> Iterator[Desk]:
        return iter(tuple(self._desks.values()))

    async def begin(self) -> None:
        """Read every ledger there is. One that is broken is said to be, and stands still; the others go on.

        Raises:
            ApiError: they can not be read now.
        """
        for domain in sorted(await self._log.domains()):
            try:
                await self.of(domain).ledger.refresh()
            except ChainError as error:
                self.found_broken(domain, error)

    def found_broken(self, domain: str, error: ChainError) -> None:
        """Nothing of this domain is decided any more until the operator starts anew."""
        if domain not in self.broken:
            logger.error("the ledger of %s is broken, so nothing of it is granted: %s", domain, error)
        self.broken[domain] = str(error)

    def holding(self, uid: str) -> list[Desk]:
        """The desks at which a job holds something."""
        found = []
        for desk in self:
            state = desk.ledger.fold.state
            if state is not None and state.newest_attempt(uid) and desk.held_by(uid):
                found.append(desk)
        return found
