"""The HTTP side of admission: aiohttp's low-level server over TLS, limits, peers, and a drain that ends cleanly."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from mlprivacy.admission.handler import JSON, Handler, Reply
from mlprivacy.admission.peers import PeerLimiter, common_name
from mlprivacy.admission.review import MAX_BODY

logger = logging.getLogger(__name__)

BODY_SECONDS: Final = 10.0
# Longer than client-go keeps an idle connection (90 s), so that it is the client that closes: a POST on a connection
# that the server closes at that moment is not repeated.
KEEPALIVE_SECONDS: Final = 180.0
_HEADERS: Final = {"Content-Type": JSON, "Server": "mlprivacy"}


class AdmissionServer:
    """Serves a `Handler`. There is no router and no middleware: one function sees every request."""

    def __init__(
        self,
        handler: Handler,
        context: ssl.SSLContext,
        *,
        client_name: str | None,
        limiter: PeerLimiter | None,
        finish_seconds: float = 10.0,
    ) -> None:
        """`client_name` demands that verified common name; `limiter` bounds peers where there is none.

        `finish_seconds` is how long requests under way may take when it stops.
        """
        self._handler = handler
        self._context = context
        self._client_name = client_name
        self._limiter = limiter
        self._finish_seconds = finish_seconds
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()

        def request(
            message: RawRequestMessage,
            payload: StreamReader,
            protocol: RequestHandler,
            writer: AbstractStreamWriter,
            task: asyncio.Task[None],
        ) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)

        server = web.Server(
            self.serve,
            request_factory=request,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            tcp_keepalive=True,
        )
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=self._finish_seconds)
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=self._context, backlog=512, reuse_address=True)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._site = runner, site
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop accepting, let requests under way finish, then close every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request."""
        reply = await self._reply(request)
        return web.Response(status=reply.status, body=reply.body, headers=_HEADERS)

    async def _reply(self, request: web.BaseRequest) -> Reply:
        refusal = self._handler.refusal
        trusted = self._client_name is not None
        if trusted:
            transport = request.transport
            peer = transport.get_extra_info("peercert") if transport is not None else None
            if common_name(peer) != self._client_name:
                return refusal("peer", 403, "it does not come from the API server")
        elif self._limiter is not None and not self._limiter.allow(request.remote or ""):
            return refusal("rate", 429, "too many requests from this address")
        if request.method != "POST":
            return refusal("method", 405, "only POST is served")
        if (request.content_length or 0) > MAX_BODY:
            return refusal("size", 413, f"the body is larger than {MAX_BODY >> 20} MiB")
        try:
            if request.content.is_eof():  # it came with the head, as nearly all do: there is nothing to wait for
                body = await request.read()
            else:
                async with asyncio.timeout(BODY_SECONDS):
                    body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return refusal("size", 413, f"the body is larger than {MAX_BODY >> 20} MiB")
        except TimeoutError:
            return refusal("slow", 408, "the body took too long to arrive")
        return await self._handler.handle(request.path, request.content_type, body, trusted=trusted)
