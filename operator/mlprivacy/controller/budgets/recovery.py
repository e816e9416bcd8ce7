"""What the collector kept of a ledger, and the cluster's database lost: written there again, entry by entry.

After a restore of etcd the ledger ends too early. The entries that are missing are in the collector's export, each
bound to the one before by its hash, up to a head that was anchored; a name can be taken once, and none of them fits
elsewhere. So bringing them back can only make the ledger what it was.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import orjson

from mlprivacy.budget.ledger.append import AlreadyExists, OutcomeUnknown
from mlprivacy.budget.ledger.entry import Entry, Head, parse_entry
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import Fold

logger = logging.getLogger(__name__)
TRIES: Final = 3  # of one entry whose creation was not answered


class Creates(Protocol):
    """Where entries are written."""

    async def get(self, name: str) -> Mapping[str, Any] | None: ...
    async def create(self, name: str, spec: Mapping[str, Any]) -> None: ...


def missing_after(fold: Fold, entry: Entry) -> bool:
    """Whether an exported entry comes after the ledger's end.

    Raises:
        ChainError: when the export has another entry under a name that is there.
    """
    if entry.sequence <= fold.head.sequence:
        known = fold.hash_of(entry.sequence)
        if known is not None and known != entry.hash:
            raise ChainError(entry.name, "the collector exported another entry under this name")
        return False
    return True


async def bring_back(store: Creates, fold: Fold, lines: AsyncIterator[bytes], until: Head) -> int:
    """Write the entries after the ledger's end that are among the lines, up to ``until``; how many.

    ``fold`` goes on by them, so that each is checked as when it was written.

    Raises:
        ChainError: when what is exported does not go on from what is there, or does not lead to ``until``.
        ApiError, OutcomeUnknown: when it can not be written now; what is written stays, and the rest follows later.
    """
    count = 0
    async for line in lines:
        if not line.strip():
            continue
        body = orjson.loads(line)
        entry = parse_entry(str(body["metadata"]["name"]), body["spec"])
        if entry.sequence > until.sequence:
            break
        if missing_after(fold, entry):
            fold.take(entry)
            await _create(store, entry)
            count += 1
    if fold.head.sequence < until.sequence or fold.hash_of(until.sequence) != until.hash:
        raise ChainError(
            f"{until.subject_domain}: entry {until.sequence}",
            "it was anchored, and what the collector exported does not lead to it",
        )
    return count


async def _create(store: Creates, entry: Entry) -> None:
    for _ in range(TRIES):
        try:
            await store.create(entry.name, entry.spec)
        except AlreadyExists:
            found = await store.get(entry.name)
            if found is None or parse_entry(entry.name, dict(found)).hash != entry.hash:
                raise ChainError(entry.name, "another entry has taken its name meanwhile") from None
            return
        except OutcomeUnknown:
            continue
        return
    raise OutcomeUnknown
