"""The ledgers' part of the collector's client: anchor a head, export entries, ask what is known."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from mlprivacy.audit.client import CollectorClient, CollectorUnavailable
from mlprivacy.budget.ledger.entry import Head

BATCH: Final = 2 << 20  # bytes of one request; a line may go beyond by itself, and no line is that long


@dataclass(frozen=True, slots=True)
class Kept:
    """What the collector knows of one domain's ledger. ``signature`` is over the anchor's message, in base64."""

    subject_domain: str
    anchor: Head | None
    signature: str
    exported: Head | None


class LedgerClient:
    """Speaks for one ledger keeper, over the connections of ``client``. Every method raises CollectorError:
    CollectorConflict when the collector knows another ledger of that domain, CollectorUnavailable when it is away.
    """

    def __init__(self, client: CollectorClient) -> None:
        self._client = client

    async def all(self) -> dict[str, Kept]:
        """What is known of every domain."""
        answer = await self._client.send("GET", "/v1/ledgers", None)
        try:
            return {one["subjectDomain"]: _kept(one) for one in answer["ledgers"]}
        except (TypeError, KeyError, AttributeError) as error:
            raise _garbled() from error

    async def known(self, domain: str) -> Kept:
        """What is known of one."""
        return _read(await self._client.send("GET", f"/v1/ledgers/{domain}/head", None))

    async def anchor(self, head: Head) -> Kept:
        """Have the head recorded; it is durable when this returns. Again is harmless."""
        body = orjson.dumps({"sequence": head.sequence, "hash": head.hash})
        return _read(await self._client.send("POST", f"/v1/ledgers/{head.subject_domain}/head", body))

    async def export(self, domain: str, lines: Iterable[bytes]) -> Kept | None:
        """Have lines kept (as ``export_line`` makes them), batch by batch, each durable; None when there are none."""
        kept: Kept | None = None
        for body in batches(lines):
            kept = _read(await self._client.send("POST", f"/v1/ledgers/{domain}", body))
        return kept

    def exported(self, domain: str) -> AsyncGenerator[bytes, None]:
        """The lines of an export. Not retried."""
        return self._client.stream(f"/v1/ledgers/{domain}", {})


def batches(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Bodies of about BATCH bytes."""
    parts: list[bytes] = []
    size = 0
    for line in lines:
        if parts and size + len(line) + 1 > BATCH:
            yield b"\n".join(parts)
            parts, size = [], 0
        parts.append(line)
        size += len(line) + 1
    if parts:
        yield b"\n".join(parts)


def _read(answer: Any) -> Kept:
    try:
        return _kept(answer)
    except (TypeError, KeyError, AttributeError) as error:
        raise _garbled() from error


def _kept(raw: Any) -> Kept:
    domain = str(raw["subjectDomain"])
    anchor, exported = (
        None if raw[key] is None else Head(domain, int(raw[key]["sequence"]), str(raw[key]["hash"]))
        for key in ("anchor", "exported")
    )
    return Kept(domain, anchor, str(raw["anchor"]["signature"]) if anchor is not None else "", exported)


def _garbled() -> CollectorUnavailable:
    return CollectorUnavailable("The collector's answer about a ledger is not in its own format.")
