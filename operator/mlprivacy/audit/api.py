"""The collector's record API over mutual TLS: who may write what, bounded bodies, receipts, export.

POST /v1/records      a JSON list of events; answers {"receipts": [...]} once they are durable
GET  /v1/heads        the head of every chain
GET  /v1/records      ?writer=&from= one chain as stored, JSON lines
GET  /v1/pods         ?silent=SECONDS what the puller last heard of each governed pod not heard for so long
     /v1/ledgers      heads and exports of the privacy budgets' ledgers: audit/ledgerapi.py
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Final

import orjson
from aiohttp import web

from mlprivacy.audit.chain import LogError
from mlprivacy.audit.client import MAX_BATCH, MAX_BODY
from mlprivacy.audit.ledgerapi import LedgerAPI
from mlprivacy.audit.ledgerexports import LedgerExports
from mlprivacy.audit.ledgerheads import LedgerHeads
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.metrics import CollectorMetrics
from mlprivacy.audit.record import Event, RecordError, check_writer
from mlprivacy.audit.tls import common_name

PAGE: Final = 500  # lines of an export read from disk at a time

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PodReport = Callable[[float], list[dict[str, object]]]


class RecordAPI:
    """The routes. ``own`` are the collector's own chains, which no client may write.

    ``writers``: common names that may write (None: all that the client CA signed and are well formed); ``readers``:
    names that may export every chain. Everyone may export its own. ``keepers``: names that may write ledgers.
    """

    def __init__(
        self,
        log: AuditLog,
        metrics: CollectorMetrics,
        *,
        own: Collection[str],
        writers: Collection[str] | None,
        readers: Collection[str],
        pods: PodReport,
        heads: LedgerHeads,
        exports: LedgerExports,
        keepers: Collection[str],
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._own = own
        self._writers = writers
        self._readers = readers
        self._pods = pods
        self._ledgers = LedgerAPI(heads, exports, client=self._client, keepers=keepers, readers=readers)

    def application(self) -> web.Application:
        """The aiohttp application. Unknown paths are 404, its own errors a bare 500."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._answer_errors])
        app.router.add_post("/v1/records", self._append)
        app.router.add_get("/v1/records", self._export)
        app.router.add_get("/v1/heads", self._heads)
        app.router.add_get("/v1/pods", self._pod_report)
        self._ledgers.add_to(app.router)
        return app

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        response: web.StreamResponse
        try:
            response = await handler(request)
        except web.HTTPRequestEntityTooLarge:
            response = _error(413, f"The body is larger than {MAX_BODY} bytes; send fewer records at once.")
        except web.HTTPException as error:
            response = _error(error.status, error.reason)
        except RecordError as error:
            response = _error(400, str(error))
        except LogError as error:
            response = _error(503, str(error))
        self._metrics.requests.labels(request.method, str(response.status)).observe(time.perf_counter() - started)
        return response

    def _client(self, request: web.Request) -> str:
        """The common name of the client's certificate. Raises web.HTTPForbidden."""
        transport = request.transport
        name = common_name(transport.get_extra_info("peercert") if transport is not None else None)
        try:
            return check_writer(name or "")
        except RecordError:
            raise web.HTTPForbidden(
                reason="The client certificate's common name must be the writer's name: 1 to 63 of a-z, 0-9 and '-'."
            ) from None

    async def _append(self, request: web.Request) -> web.StreamResponse:
        writer = self._client(request)
        if writer in self._own or (self._writers is not None and writer not in self._writers):
            raise web.HTTPForbidden(reason=f"The client {writer!r} may not write audit records here.")
        events = _events(await request.read())
        receipts = await self._log.append(writer, events)
        return _json({"receipts": [receipt.as_dict() for receipt in receipts]})

    async def _heads(self, request: web.Request) -> web.StreamResponse:
        self._client(request)
        heads = sorted(self._log.heads().items())
        return _json({"heads": [{"writer": name, "seq": head.seq, "hash": head.hash} for name, head in heads]})

    async def _pod_report(self, request: web.Request) -> web.StreamResponse:
        self._client(request)
        silent = request.query.get("silent", "0")
        if not (silent.isascii() and silent.isdigit() and len(silent) <= 9):
            raise web.HTTPBadRequest(reason="`silent` must be a number of seconds.")
        return _json({"pods": self._pods(float(silent))})

    async def _export(self, request: web.Request) -> web.StreamResponse:
        client = self._client(request)
        writer = check_writer(request.query.get("writer", ""))
        start = request.query.get("from", "1")
        if not (start.isascii() and start.isdigit() and len(start) <= 18):
            raise web.HTTPBadRequest(reason="`from` must be a record's number, 1 or more.")
        if client != writer and client not in self._readers:
            raise web.HTTPForbidden(reason=f"The client {client!r} may not read the chain of {writer!r}.")
        if writer not in self._log.heads():
            raise web.HTTPNotFound(reason=f"There is no chain of {writer!r}.")
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        lines = self._log.lines(writer, int(start))
        while page := await asyncio.to_thread(_page, lines):
            await response.write(page)
        await response.write_eof()
        return response


def _page(lines: Iterator[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in islice(lines, PAGE))


def _events(body: bytes) -> list[Event]:
    """The events in a request's body. Raises RecordError with the index of the bad one."""
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RecordError(f"The body is not JSON: {error}.") from error
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_BATCH:
        raise RecordError(f"The body must be a JSON list of 1 to {MAX_BATCH} events.")
    events = []
    for index, item in enumerate(raw):
        try:
            events.append(Event.parse(item))
        except RecordError as error:
            raise RecordError(f"Event {index}: {error}") from error
    return events


def _json(value: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _error(status: int, sentence: str) -> web.Response:
    return web.Response(status=status, text=json.dumps({"error": sentence}), content_type="application/json")
