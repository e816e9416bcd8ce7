"""The collector's client: events in, fsynced receipts out, with bounded retries."""

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import aiohttp
import orjson

from mlprivacy.audit.chain import Head
from mlprivacy.audit.record import Event, Receipt, canonical

MAX_BATCH: Final = 1000  # records in one request
MAX_BODY: Final = 8 << 20  # bytes of one request


@dataclass(frozen=True, slots=True)
class PodHeard:
    """A governed pod, and for how many seconds its sidecar was not heard."""

    namespace: str
    name: str
    uid: str
    silent_seconds: float


class CollectorError(Exception):
    """The collector gave no receipt. The message is a sentence for people."""


class CollectorRefused(CollectorError):
    """The collector refused the records (4xx); sending them again does not help."""


class CollectorConflict(CollectorRefused):
    """What was sent contradicts what the collector knows (409)."""


class CollectorUnavailable(CollectorError):
    """The collector was away, too slow or could not write, after all attempts. Nothing is known to be recorded."""


class CollectorClient:
    """Speaks to one collector over mutual TLS; the writer's name is the client certificate's common name.

    ``url``: https://host:port. ``attempts`` tries in all, ``timeout`` seconds each, with growing pauses between of
    at most ``pause`` × 2^n seconds. One connection pool; use as an async context manager or call aclose().
    """

    def __init__(
        self, url: str, ssl_context: ssl.SSLContext, *, attempts: int = 5, timeout: float = 5.0, pause: float = 0.1
    ) -> None:
        self._url = url.rstrip("/")
        self._ssl = ssl_context
        self._attempts = attempts
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def receipt(self, events: Sequence[Event]) -> list[Receipt]:
        """The receipts of ``events``, in order, once all are durable. Sending the same events again is harmless.

        Raises CollectorRefused, CollectorUnavailable, or RecordError for data that is not canonical JSON.
        """
        receipts: list[Receipt] = []
        for body, ids in _batches(events):
            receipts.extend(_receipts(await self.send("POST", "/v1/records", body), ids))
        return receipts

    async def heads(self) -> dict[str, Head]:
        """The durable head of every chain, by writer. Raises as receipt()."""
        found = await self.send("GET", "/v1/heads", None)
        try:
            heads = [Head(str(item["writer"]), int(item["seq"]), str(item["hash"])) for item in found["heads"]]
        except (TypeError, KeyError, ValueError) as error:
            raise CollectorUnavailable("The collector's list of heads is not in its own format.") from error
        return {head.writer: head for head in heads}

    async def silent_pods(self, seconds: int) -> list[PodHeard]:
        """The governed pods whose sidecar was not heard for so long. Raises as receipt()."""
        answer = await self.send("GET", f"/v1/pods?silent={seconds}", None)
        try:
            return [
                PodHeard(
                    str(item["namespace"]),
                    str(item["name"]),
                    str(item["uid"]),
                    float(item["followedSeconds"] if item["heardSecondsAgo"] is None else item["heardSecondsAgo"]),
                )
                for item in answer["pods"]
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise CollectorUnavailable("The collector's report of pods is not in its own format.") from error

    def lines(self, writer: str, start: int = 1) -> AsyncIterator[bytes]:
        """The lines of a chain from record ``start``, as stored, for ``mlprivacy verify``. Not retried."""
        return self.stream("/v1/records", {"writer": writer, "from": str(start)})

    async def stream(self, path: str, parameters: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """The lines of an answer of any length. Not retried. Raises as receipt()."""
        try:
            async with self._open().get(
                self._url + path, params=parameters, timeout=aiohttp.ClientTimeout(sock_read=30)
            ) as response:
                if response.status != 200:
                    raise CollectorRefused(await _sentence(response))
                rest = b""
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    for line in whole:
                        yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CollectorUnavailable(self._away(error)) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._ssl, limit=8)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    def _away(self, error: BaseException | str) -> str:
        reason = str(error) or type(error).__name__
        return f"The collector at {self._url} gave no receipt: {reason}. Nothing governed starts until it does."

    async def send(self, method: str, path: str, body: bytes | None) -> Any:
        """The answer's JSON, after as many tries as it takes within the bounds. Raises as receipt()."""
        why: BaseException | str = "no attempt was made"
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(self._pause * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - spreads load
            try:
                async with self._open().request(
                    method, self._url + path, data=body, headers={"Content-Type": "application/json"}
                ) as response:
                    if response.status == 200:
                        return orjson.loads(await response.read())
                    why = await _sentence(response)
                    if 400 <= response.status < 500 and response.status not in (408, 429):
                        refused = CollectorConflict if response.status == 409 else CollectorRefused
                        raise refused(f"The collector refused the records: {why}")
            except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
                why = error
        raise CollectorUnavailable(self._away(why))


async def _sentence(response: aiohttp.ClientResponse) -> str:
    """The error a collector's answer carries."""
    body = await response.content.read(4096)
    try:
        return str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"it answered {response.status}"


def _batches(events: Sequence[Event]) -> list[tuple[bytes, list[str]]]:
    """Bodies within the collector's bounds, each with its events' ids."""
    batches: list[tuple[bytes, list[str]]] = []
    parts: list[bytes] = []
    ids: list[str] = []
    size = 2
    for event in events:
        part = canonical(event.as_dict())
        if parts and (len(parts) == MAX_BATCH or size + len(part) + 1 > MAX_BODY):
            batches.append((b"[" + b",".join(parts) + b"]", ids))
            parts, ids, size = [], [], 2
        parts.append(part)
        ids.append(event.id)
        size += len(part) + 1
    if parts:
        batches.append((b"[" + b",".join(parts) + b"]", ids))
    return batches


def _receipts(answer: dict[str, list[dict[str, str | int]]], ids: Sequence[str]) -> list[Receipt]:
    """The receipts in ``answer``, which must be those of ``ids``. Raises CollectorUnavailable."""
    try:
        found = [
            Receipt(str(item["id"]), int(item["seq"]), str(item["hash"]), str(item["writer"]))
            for item in answer["receipts"]
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise CollectorUnavailable("The collector's receipts are not in its own format.") from error
    if [receipt.id for receipt in found] != list(ids):
        raise CollectorUnavailable("The collector's receipts are not those of the records sent.")
    return found
