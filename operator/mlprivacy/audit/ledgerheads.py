"""The newest heads of the privacy budgets' ledgers, outside the cluster's database: an anchor can not be restored away.

They are events of a chain of their own in the audit log, so that what was anchored is evidence like all that is
recorded. In memory is the newest of each domain, read back from that chain at the start.
"""

import asyncio
import base64
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy.audit.chain import LogCorrupt
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.record import Event, Record, RecordError, Subject, event_id, utc_now
from mlprivacy.budget.ledger.entry import Head, entry_name

WRITER: Final = "ledger-heads"  # their chain, which no client may write
KIND: Final = "ledger-head"


class HeadRefused(Exception):
    """A head can not be one of the same ledger as the newest that is anchored. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A head, and the signature of the seal key over its message in base64; empty where the collector has no key."""

    head: Head
    signature: str


def judge(newest: Head | None, offered: Head) -> str | None:
    """Why ``offered`` can not follow the newest head that was anchored of its domain; None where it can."""
    if newest is None or offered == newest or offered.sequence > newest.sequence:
        return None
    name = entry_name(newest.subject_domain, newest.sequence)
    if offered.sequence == newest.sequence:
        return (
            f"{name} was anchored with the hash {newest.hash} and is offered with {offered.hash}: the ledger of "
            f"{newest.subject_domain} was written anew from there"
        )
    return (
        f"{name} was anchored, and the head that is offered of the ledger of {newest.subject_domain} is entry "
        f"{offered.sequence}: the cluster's database was restored, entries were deleted, or this head is late"
    )


class LedgerHeads:
    """The newest head of each domain. One event loop; ``load`` comes first."""

    def __init__(self, log: AuditLog, key: Ed25519PrivateKey | None) -> None:
        self._log = log
        self._key = key
        self._newest: dict[str, Anchor] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unreadable: str | None = None

    def load(self) -> None:
        """Read the chain. Blocking. One that can not be believed makes every later call raise, rather than say less."""
        self._unreadable = self._log.broken.get(WRITER)
        if self._unreadable is not None:
            return
        try:
            for line in self._log.lines(WRITER, 1):
                record = Record.parse(line)
                if record.event.kind == KIND:
                    self._keep(_anchor(record.event.data))
        except (RecordError, OSError) as error:
            self._unreadable = (
                f"The chain of the ledgers' heads can not be read ({error}); run `mlprivacy verify` on the audit log "
                "and restore the segment. Until then no head is known here."
            )

    def newest(self) -> Mapping[str, Anchor]:
        """The newest of each domain. Raises LogCorrupt when their chain can not be believed."""
        if self._unreadable is not None:
            raise LogCorrupt(self._unreadable)
        return self._newest

    async def anchor(self, head: Head, client: str) -> Anchor:
        """Record the head; it is durable when this returns. The newest one again is no new record.

        Raises:
            HeadRefused: it is older than the newest, or another one of the same sequence.
            LogError: it could not be recorded.
        """
        domain = head.subject_domain
        async with self._locks[domain]:
            known = self.newest().get(domain)
            if known is not None and known.head == head:
                return known
            if (wrong := judge(known.head if known else None, head)) is not None:
                raise HeadRefused(f"{wrong}.")
            signature = base64.b64encode(self._key.sign(head.message())).decode() if self._key is not None else ""
            anchor = Anchor(head, signature)
            await self._log.append(WRITER, [_event(anchor, client)])
            self._keep(anchor)
            return anchor

    def _keep(self, anchor: Anchor) -> None:
        known = self._newest.get(anchor.head.subject_domain)
        if known is None or known.head.sequence < anchor.head.sequence:
            self._newest[anchor.head.subject_domain] = anchor


def _event(anchor: Anchor, client: str) -> Event:
    head = anchor.head
    return Event(
        utc_now(),
        event_id(KIND, head.subject_domain, head.sequence, head.hash),
        KIND,
        Subject("LedgerEntry", "", entry_name(head.subject_domain, head.sequence), ""),
        {
            "subjectDomain": head.subject_domain,
            "sequence": head.sequence,
            "hash": head.hash,
            "signature": anchor.signature,
            "client": client,
        },
    )


def _anchor(data: Mapping[str, object]) -> Anchor:
    """Raises RecordError when the data is not that of a head."""
    domain, sequence, digest, signature = (data.get(key) for key in ("subjectDomain", "sequence", "hash", "signature"))
    if not (
        isinstance(domain, str) and isinstance(sequence, int) and isinstance(digest, str) and isinstance(signature, str)
    ):
        raise RecordError("A record of a ledger's head does not hold one.")
    return Anchor(Head(domain, sequence, digest), signature)
