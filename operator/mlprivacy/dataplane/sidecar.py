"""What accountant and gateway share: the durable log, and health, heartbeat and log on PORT_SIDECAR.

GET /startupz    200 once every port of it is bound; the pod's startup probe gates the user's container on it
GET /healthz     200 while records can be written: readiness. There is no liveness probe: nothing that the pod does may
                 have its sidecar started anew, since the program could take the freed port
GET /heartbeat   attempt, role, uptime, head of the log
GET /log?from=N  records from N on, JSON lines, bounded pages
GET /metrics

Heartbeat and log are signed where the target has a nonce: see audit/evidence.py.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy import __version__
from mlprivacy.api import names
from mlprivacy.audit.chain import LogError
from mlprivacy.audit.evidence import HEADER, evidence_bytes, is_nonce
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.record import Event, Receipt, RecordError, Subject, event_id, utc_now
from mlprivacy.dataplane import http, listen
from mlprivacy.dataplane.counters import Counters
from mlprivacy.dataplane.outcome import Outcome
from mlprivacy.dataplane.settings import Settings

SEGMENT_BYTES: Final = 4 << 20
REMEMBER: Final = 16  # ids; every message is an event of its own, so there is nothing to recognise
PAGE_LINES: Final = 500
PAGE_BYTES: Final = 256 << 10
MAX_PAGES: Final = 2  # read at the same time
LOG_BYTES: Final = 48 << 20  # of messages in the log; more are refused. The collector takes a little more of one pod
_LOOK_AGAIN: Final = 256 << 10  # bytes of messages between two looks at how large the log is
FLUSH: Final = 1.5  # seconds that closing the log may take at SIGTERM

Run = Callable[[Settings, asyncio.Event], Awaitable[Outcome]]


def told(run: Run) -> Run:
    """``run`` whose log's errors become its last words."""

    async def telling(settings: Settings, stop: asyncio.Event) -> Outcome:
        try:
            return await run(settings, stop)
        except (LogError, RecordError) as error:
            return Outcome(1, str(error))

    return telling


class Sidecar:
    """A sidecar's log and its answers on PORT_SIDECAR. ``role``: the writer's name in the log; ``key``: the pod's own.

    Raises LogError when the log can not be opened or continued, OSError when its folder can not be used.
    """

    def __init__(self, role: str, attempt: str, directory: Path, key: Ed25519PrivateKey, counters: Counters) -> None:
        self.counters = counters
        self._role = role
        self._attempt = attempt
        self._started = time.monotonic()
        self._boot = secrets.token_hex(8)
        self._count = 0
        self._failing: str | None = None
        self._ready = False
        self._routes = {
            "/startupz": self._startupz,
            "/healthz": self._healthz,
            "/heartbeat": self._heartbeat,
            "/metrics": self._metrics,
        }
        self._key = key
        self._pages = asyncio.Semaphore(MAX_PAGES)
        self._directory = directory / role
        self._size = 0
        self._unseen = _LOOK_AGAIN
        self._log = AuditLog(directory, segment_bytes=SEGMENT_BYTES, remember=REMEMBER)
        counters.gauge("mlprivacy_sidecar_log_head", "Newest durable record of the log", lambda: self.head[0])
        counters.gauge(
            "mlprivacy_sidecar_uptime_seconds", "Time since the start", lambda: time.monotonic() - self._started
        )

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the newest durable record; (0, "") before the first."""
        found = self._log.heads().get(self._role)
        return (found.seq, found.hash) if found is not None else (0, "")

    def room(self, size: int) -> bool:
        """Whether a message of so many bytes has room in the log. What it is given is taken to be recorded."""
        self._unseen += size
        if self._unseen >= _LOOK_AGAIN:
            self._size = sum(path.stat().st_size for path in self._directory.glob("*") if path.is_file())
            self._unseen = size
        return self._size + self._unseen <= LOG_BYTES

    async def record(self, kind: str, data: Mapping[str, object]) -> Receipt:
        """Makes an event durable. Raises LogError, or RecordError when ``data`` is not canonical JSON."""
        self._count += 1
        ident = event_id(self._role, self._attempt, self._boot, self._count)
        event = Event(utc_now(), ident, kind, Subject("Attempt", "", self._attempt, ""), data)
        try:
            receipts = await self._log.append(self._role, [event])
        except LogError as error:
            self._failing = str(error)
            raise
        self._failing = None
        return receipts[0]

    @contextlib.asynccontextmanager
    async def serving(self, host: str | None, more: Sequence[tuple[int, listen.Door]] = ()) -> AsyncIterator[None]:
        """Binds PORT_SIDECAR and the ports of ``more``, writes the ``started`` record, then answers while the block
        runs; flushes at its end. The pod's startup probe succeeds only once all of it is open.

        Raises LogError when the first record can not be written, OSError when a port can not be had.
        """
        doors = [(names.PORT_SIDECAR, listen.Door(http.Responder(self._answer).serve, host)), *more]
        try:
            async with contextlib.AsyncExitStack() as stack:
                bound = [(door, listen.listening(host, port)) for port, door in doors]
                await self.record("started", {"version": __version__, "boot": self._boot})
                for door, sockets in bound:
                    await stack.enter_async_context(listen.serving(door, sockets, http.MAX_HEAD))
                self._ready = True
                yield
                self._ready = False
                with contextlib.suppress(LogError):
                    async with asyncio.timeout(FLUSH):
                        await self.record("stopped", {"boot": self._boot})
        finally:
            # A disk that hangs must not hold the pod: a thread of its own, waited for FLUSH seconds.
            closing = threading.Thread(target=self._log.close, daemon=True)
            closing.start()
            await asyncio.to_thread(closing.join, FLUSH)

    async def _answer(self, request: http.Request) -> http.Response:
        response = await self._respond(request)
        if response.status != 200 or not is_nonce(request.query.get("nonce", "")):
            return response
        signature = self._key.sign(evidence_bytes(self._attempt, request.target, response.body)).hex()
        return replace(response, headers=((HEADER, signature),))

    async def _respond(self, request: http.Request) -> http.Response:
        if request.method != "GET":
            return http.answer(405, {"error": "Use GET."})
        if request.path == "/log":
            return await self._page(request.query.get("from", "1"))
        route = self._routes.get(request.path)
        if route is None:
            return http.answer(404, {"error": f"Only {', '.join(self._routes)} and /log are here."})
        return route()

    def _startupz(self) -> http.Response:
        return http.text(200, "ok") if self._ready else http.text(503, "The sidecar is still starting.")

    def _healthz(self) -> http.Response:
        return http.text(200, "ok") if self._failing is None else http.text(503, self._failing)

    def _metrics(self) -> http.Response:
        return http.Response(200, self.counters.render(), "text/plain; version=0.0.4; charset=utf-8")

    def _heartbeat(self) -> http.Response:
        seq, digest = self.head
        return http.answer(
            200,
            {
                "attempt": self._attempt,
                "role": self._role,
                "version": __version__,
                "uptimeSeconds": round(time.monotonic() - self._started, 3),
                "seq": seq,
                "hash": digest,
                "records": seq,
            },
        )

    async def _page(self, start: str) -> http.Response:
        if not (start.isascii() and start.isdigit() and len(start) <= 18):
            return http.answer(400, {"error": "`from` must be a record's number, 1 or more."})
        async with self._pages:
            body = await asyncio.to_thread(self._read, int(start))
        return http.Response(200, body, "application/jsonl")

    def _read(self, start: int) -> bytes:
        page = bytearray()
        for line in islice(self._log.lines(self._role, start), PAGE_LINES):
            if page and len(page) + len(line) > PAGE_BYTES:
                break
            page += line + b"\n"
        return bytes(page)
