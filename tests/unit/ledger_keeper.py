"""What the tests of the ledgers' keeper share: a store and a witness in memory that fail on request.

Both decide by the product's own rules (audit/ledgerheads.py, audit/ledgerexports.py); only where they keep things and
that they fail is the tests' own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from ledger_world import DOMAIN, NOON, MemoryLog, domain_hash

from mlprivacy.audit.client import CollectorConflict, CollectorUnavailable
from mlprivacy.audit.ledgerclient import Kept, batches
from mlprivacy.audit.ledgerexports import LinesRefused, continuation
from mlprivacy.audit.ledgerheads import judge
from mlprivacy.budget.ledger.append import Ledger
from mlprivacy.budget.ledger.entry import Head
from mlprivacy.kube.errors import Conflict
from mlprivacy.kube.ledgerlog import StoredEntry


class Life:
    """How many more looks out of itself a process has before it is killed; None for as many as it likes."""

    def __init__(self) -> None:
        self.left: int | None = None

    def spend(self) -> None:
        """One more. Raises Killed, and again for whatever the dead process still tries."""
        if self.left is None:
            return
        if self.left == 0:
            raise Killed
        self.left -= 1


class MemoryStore(MemoryLog):
    """Entries with uids and the time at which they were created. ``clock`` is the server's."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.life = life
        self.clock = NOON
        self.created: dict[str, datetime] = {}
        self.deleted: list[str] = []
        self.recreated: set[str] = set()

    async def stored(self, subject_domain: str) -> Sequence[StoredEntry]:
        return [
            StoredEntry(
                name,
                int(name.rpartition("-")[2]),
                f"uid-{name}",
                self.created.setdefault(name, self.clock),
                str(spec["time"]),
                str(spec["hash"]),
                orjson.dumps(spec),
            )
            for name, spec in await self.list(subject_domain)
        ]

    async def delete(self, name: str, uid: str | None = None) -> bool:
        self.life.spend()
        if name in self.recreated:
            raise Conflict(409, "Conflict", "the uid is another")
        assert uid == f"uid-{name}"
        self.deleted.append(name)
        found = self.specs.pop(name, None) is not None
        self.life.spend()
        return found

    async def domains(self) -> set[str]:
        return {str(spec["subjectDomain"]) for spec in self.specs.values()}

    async def _turn(self) -> None:
        self.life.spend()
        await super()._turn()

    def now(self) -> datetime | None:
        return self.clock

    def sequences(self, domain: str = DOMAIN) -> list[int]:
        """What is there."""
        mine = domain_hash(domain)
        return sorted(int(name.rpartition("-")[2]) for name in self.specs if name.startswith(mine))


class Killed(BaseException):
    """The process ends here."""


class MemoryWitness:
    """A collector in memory. ``away``: it does not answer. ``unheard``: so many answers are lost after the work."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.anchors: dict[str, Head] = {}
        self.exports: dict[str, tuple[bytes, Head | None]] = {}
        self.away = False
        self.unheard = 0
        self.requests: list[int] = []  # sequences that were offered as heads
        self.full = False  # there is no room for exports
        self.cut_after: int | None = None  # lines of an export after which the connection breaks
        self.at_once = 0
        self.most_at_once = 0

    async def all(self) -> dict[str, Kept]:
        return {domain: self._kept(domain) for domain in {*self.anchors, *self.exports}}

    async def known(self, domain: str) -> Kept:
        await self._answer()
        return self._kept(domain)

    async def anchor(self, head: Head) -> Kept:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._answer()
            self.requests.append(head.sequence)
            if (wrong := judge(self.anchors.get(head.subject_domain), head)) is not None:
                raise CollectorConflict(wrong)
            self.anchors[head.subject_domain] = head
            self._heard()
            return self._kept(head.subject_domain)
        finally:
            self.at_once -= 1

    async def export(self, domain: str, lines: Iterable[bytes]) -> Kept | None:
        kept = None
        for body in batches(lines):
            await self._answer()
            if self.full:
                raise CollectorUnavailable("no space is left on the volume")
            data, head = self.exports.get(domain, (b"", None))
            try:
                more, head = continuation(domain, body, head, self.anchors.get(domain))
            except LinesRefused as error:
                raise CollectorConflict(str(error)) from error
            self.exports[domain] = data + more, head
            self._heard()
            kept = self._kept(domain)
        return kept

    async def exported(self, domain: str) -> AsyncGenerator[bytes, None]:
        await self._answer()
        for number, line in enumerate(self.exports.get(domain, (b"", None))[0].split(b"\n")):
            if number == self.cut_after:
                raise CollectorUnavailable("the connection broke")
            self.life.spend()
            await asyncio.sleep(0)
            yield line

    def first_lines(self, domain: str, count: int) -> tuple[bytes, Head | None]:
        """An export as it was when it had so many lines."""
        lines = self.exports[domain][0].splitlines(keepends=True)[:count]
        return continuation(domain, b"".join(lines), None, None)

    def _kept(self, domain: str) -> Kept:
        return Kept(domain, self.anchors.get(domain), "", self.exports.get(domain, (b"", None))[1])

    async def _answer(self) -> None:
        self.life.spend()
        await asyncio.sleep(0)
        if self.away:
            raise CollectorUnavailable("the collector is away")

    def _heard(self) -> None:
        self.life.spend()
        if self.unheard:
            self.unheard -= 1
            raise CollectorUnavailable("the answer was lost")


@dataclass
class Desk:
    """One domain's ledger and its lock."""

    ledger: Ledger
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
