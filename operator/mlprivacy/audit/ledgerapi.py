"""The collector's routes for the privacy budgets' ledgers: heads that are anchored, entries that are exported.

GET  /v1/ledgers                what is anchored and exported of every subject domain
GET  /v1/ledgers/DOMAIN/head    the same of one
POST /v1/ledgers/DOMAIN/head    {"sequence": …, "hash": …} anchors a head; 409 when it can not be of the same ledger
POST /v1/ledgers/DOMAIN         lines of an export; 409 when they do not continue what is here
GET  /v1/ledgers/DOMAIN         the export, JSON lines, as `mlprivacy verify ledger` reads it

Writing is the ledger keeper's alone: the controller. An answer to a POST means that it is durable.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

import orjson
from aiohttp import web

from mlprivacy.api.ledger_entry import MAX_SEQUENCE
from mlprivacy.audit.ledgerexports import LedgerExports, LinesRefused, LinesUnreadable
from mlprivacy.audit.ledgerheads import HeadRefused, LedgerHeads
from mlprivacy.budget.ledger.entry import Head

_HASH: Final = re.compile(r"[0-9a-f]{64}")


class LedgerAPI:
    """The routes. ``keepers``: common names that may write; ``readers``: those that may read an export besides.

    ``client`` gives the common name behind a request, or raises web.HTTPForbidden.
    """

    def __init__(
        self,
        heads: LedgerHeads,
        exports: LedgerExports,
        *,
        client: Callable[[web.Request], str],
        keepers: Collection[str],
        readers: Collection[str],
    ) -> None:
        self._heads = heads
        self._exports = exports
        self._client = client
        self._keepers = keepers
        self._readers = readers

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Put the routes where the record API has its own."""
        router.add_get("/v1/ledgers", self._all)
        router.add_get("/v1/ledgers/{domain}/head", self._one)
        router.add_post("/v1/ledgers/{domain}/head", self._anchor)
        router.add_post("/v1/ledgers/{domain}", self._export)
        router.add_get("/v1/ledgers/{domain}", self._exported)

    async def _all(self, request: web.Request) -> web.StreamResponse:
        self._client(request)
        domains = sorted({*self._heads.newest(), *self._exports.heads()})
        return _json({"ledgers": [self._known(domain) for domain in domains]})

    async def _one(self, request: web.Request) -> web.StreamResponse:
        self._client(request)
        return _json(self._known(_domain(request)))

    async def _anchor(self, request: web.Request) -> web.StreamResponse:
        keeper, domain = self._keeper(request), _domain(request)
        head = _head(domain, await request.read())
        exported = self._exports.head(domain)
        if exported is not None and exported.sequence == head.sequence and exported.hash != head.hash:
            raise web.HTTPConflict(
                reason=f"Entry {head.sequence} of the ledger of {domain} was exported with the hash {exported.hash} "
                f"and is offered with {head.hash}: the ledger was written anew from there."
            )
        try:
            await self._heads.anchor(head, keeper)
        except HeadRefused as error:
            raise web.HTTPConflict(reason=str(error)) from None
        return _json(self._known(domain))

    async def _export(self, request: web.Request) -> web.StreamResponse:
        self._keeper(request)
        domain = _domain(request)
        anchor = self._heads.newest().get(domain)
        body = await request.read()
        try:
            await self._exports.append(domain, body, anchor.head if anchor is not None else None)
        except LinesUnreadable as error:
            raise web.HTTPBadRequest(reason=_one_line(error)) from None
        except LinesRefused as error:
            raise web.HTTPConflict(reason=_one_line(error)) from None
        return _json(self._known(domain))

    async def _exported(self, request: web.Request) -> web.StreamResponse:
        client, domain = self._client(request), _domain(request)
        if client not in self._keepers and client not in self._readers:
            raise web.HTTPForbidden(reason=f"The client {client!r} may not read exported ledgers.")
        if self._exports.head(domain) is None:
            raise web.HTTPNotFound(reason=f"Nothing of the ledger of {domain} is exported yet.")
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        pieces = self._exports.pieces(domain)
        while piece := await asyncio.to_thread(next, pieces, b""):
            await response.write(piece)
        await response.write_eof()
        return response

    def _keeper(self, request: web.Request) -> str:
        client = self._client(request)
        if client not in self._keepers:
            raise web.HTTPForbidden(reason=f"The client {client!r} may not keep ledgers here.")
        return client

    def _known(self, domain: str) -> dict[str, object]:
        anchor, exported = self._heads.newest().get(domain), self._exports.head(domain)
        return {
            "subjectDomain": domain,
            "anchor": _place(anchor.head) | {"signature": anchor.signature} if anchor is not None else None,
            "exported": _place(exported) if exported is not None else None,
        }


def _place(head: Head) -> dict[str, object]:
    return {"sequence": head.sequence, "hash": head.hash}


def _domain(request: web.Request) -> str:
    domain = request.match_info["domain"]
    try:
        return Head.none(domain).subject_domain
    except ValueError as error:
        raise web.HTTPBadRequest(reason=f"{error}.") from None


def _head(domain: str, body: bytes) -> Head:
    """The head in a request's body. Raises web.HTTPBadRequest."""
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        raw = None
    sequence, digest = (raw.get("sequence"), raw.get("hash")) if isinstance(raw, dict) else (None, None)
    if type(sequence) is not int or not 1 <= sequence <= MAX_SEQUENCE:
        raise web.HTTPBadRequest(reason="`sequence` must be the number of an entry, from 1.")
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise web.HTTPBadRequest(reason="`hash` must be 64 lower-case hexadecimal digits.")
    return Head(domain, sequence, digest)


def _one_line(error: Exception) -> str:
    """The sentence, within bounds: it may quote what was sent."""
    return " ".join(str(error).split())[:1000]


def _json(value: Mapping[str, object]) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
