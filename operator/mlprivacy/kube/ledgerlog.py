"""The entries of ledgers on the API server: what budget/ledger/append.py reads and writes, and what pruning needs.

Every read is a quorum read: no resourceVersion is sent, so that the API server answers with what etcd has now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, overload

import orjson

from mlprivacy.api.ledger_entry import KIND
from mlprivacy.api.names import API_VERSION
from mlprivacy.budget.ledger.append import AlreadyExists, OutcomeUnknown
from mlprivacy.budget.ledger.entry import domain_hash
from mlprivacy.kube import errors
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.resources import LEDGERENTRIES

CHUNK: Final = 250  # entries of one page; a page of the largest parts of a checkpoint is 25 MB
LISTS: Final = 3  # attempts at a list whose continue token expired half-way


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as the API server has it, not checked. The spec is kept as JSON, which takes a fifth of the memory.

    ``created`` is aware, by the API server's clock; ``time`` is the writer's stamp.
    """

    name: str
    sequence: int
    uid: str
    created: datetime
    time: str
    hash: str
    text: bytes

    @property
    def spec(self) -> Any:
        """The spec, parsed anew."""
        return orjson.loads(self.text)


class _Specs(Sequence[tuple[str, Mapping[str, Any]]]):
    """Names and specs of stored entries, each parsed when it is asked for."""

    def __init__(self, entries: Sequence[StoredEntry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> tuple[str, Mapping[str, Any]]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[str, Mapping[str, Any]]]: ...

    def __getitem__(
        self, index: int | slice
    ) -> tuple[str, Mapping[str, Any]] | Sequence[tuple[str, Mapping[str, Any]]]:
        if isinstance(index, slice):
            return _Specs(self._entries[index])
        entry = self._entries[index]
        return entry.name, entry.spec

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return ((entry.name, entry.spec) for entry in self._entries)


class ApiLedgerLog:
    """The Log of mlprivacy.budget.ledger.append on the API server. Serves any number of domains."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def get(self, name: str) -> Mapping[str, Any] | None:
        """The spec of the entry, or None when there is no entry of this name.

        Raises:
            ApiError: also when the API server does not know ledger entries at all: that says nothing of the entry.
        """
        try:
            found = await self._client.get(LEDGERENTRIES, name)
        except errors.NotFound as error:
            if error.of_resource:
                raise
            return None
        return _spec(found)

    async def list(self, subject_domain: str) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Name and spec of every entry of the domain, by ascending sequence. Raises ApiError."""
        return _Specs(await self.stored(subject_domain))

    async def stored(self, subject_domain: str) -> Sequence[StoredEntry]:
        """Every entry of the domain, by ascending sequence, from one consistent list. Raises ApiError."""
        for attempt in range(1, LISTS + 1):
            found: list[StoredEntry] = []
            pages = self._client.list_pages(
                LEDGERENTRIES, field_selector=f"spec.domain={domain_hash(subject_domain)}", chunk_size=CHUNK
            )
            try:
                async for page in pages:
                    found += map(_stored, page.items)
            except errors.Expired:
                if attempt == LISTS:
                    raise
                continue
            return sorted(found, key=lambda entry: entry.sequence)
        raise AssertionError("unreachable")

    async def create(self, name: str, spec: Mapping[str, Any]) -> None:
        """Create the entry; it is durable when this returns. Sent once.

        Raises:
            AlreadyExists: there is an entry of this name.
            OutcomeUnknown: it may have been created, or may be later.
            ApiError: it was refused, and nothing was done.
        """
        manifest = {"apiVersion": API_VERSION, "kind": KIND.kind, "metadata": {"name": name}, "spec": spec}
        try:
            await self._client.create(LEDGERENTRIES, manifest, field_validation="Strict")
        except errors.AlreadyExists as error:
            raise AlreadyExists(name) from error
        except errors.ApiError as error:
            if outcome_unknown(error):
                raise OutcomeUnknown(f"{name}: {error}") from error
            raise

    async def delete(self, name: str, uid: str | None = None) -> bool:
        """Delete the entry; whether it was there.

        Raises:
            ApiError: Conflict where ``uid`` is given and the entry is another one of the same name, which stays.
        """
        return await self._client.delete(LEDGERENTRIES, name, uid=uid, missing_ok=True)

    def now(self) -> datetime | None:
        """The API server's clock at its newest answer; None where that is not known."""
        return self._client.server_time

    async def domains(self) -> set[str]:
        """The subject domains that have entries. Raises ApiError.

        Names alone are paged through; a domain's own name is then read from its newest entry, which is never pruned.
        """
        newest: dict[str, int] = {}
        async for page in self._client.list_pages(LEDGERENTRIES, metadata_only=True):
            for item in page.items:
                domain, _, sequence = str(item["metadata"]["name"]).rpartition("-")
                newest[domain] = max(newest.get(domain, 0), int(sequence))
        found: set[str] = set()
        for domain, last in newest.items():
            entry = await self._client.get(LEDGERENTRIES, f"{domain}-{last}")
            found.add(str(_spec(entry).get("subjectDomain", "")))
        return found


def outcome_unknown(error: errors.ApiError) -> bool:
    """Whether a create that failed so may have been carried out: no answer, a time-out, or an error of the server.

    What it refused by its own word (4xx) was not. A 504 is a time-out although etcd may have written it.
    """
    return isinstance(error, errors.Unreachable) or error.status >= 500 or error.status in {0, 408}


def _stored(item: Object) -> StoredEntry:
    metadata, spec = item["metadata"], _spec(item)
    name = str(metadata["name"])
    return StoredEntry(
        name,
        int(name.rpartition("-")[2]),
        str(metadata["uid"]),
        datetime.fromisoformat(str(metadata["creationTimestamp"])),
        str(spec.get("time")),
        str(spec.get("hash")),
        orjson.dumps(spec),
    )


def _spec(obj: Object) -> dict[str, Any]:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}
