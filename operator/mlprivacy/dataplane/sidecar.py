"""What accountant and gateway share: the durable log, and health, heartbeat and log on PORT_SIDECAR.

GET /startupz    200 once everything is open; the pod's startup probe gates the user's container on it
GET /healthz     200 while records can be written
GET /heartbeat   attempt, role, uptime, head of the log
GET /log?from=N  records from N on, JSON lines, bounded pages
GET /metrics
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from mlprivacy import __version__
from mlprivacy.api import names
from mlprivacy.audit.chain import LogError
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.record import Event, Receipt, RecordError, Subject, event_id, utc_now
from mlprivacy.dataplane import http
from mlprivacy.dataplane.counters import Counters
from mlprivacy.dataplane.outcome import Outcome
from mlprivacy.dataplane.settings import Settings

SEGMENT_BYTES: Final = 4 << 20
REMEMBER: Final = 16  # ids; every message is an event of its own, so there is nothing to recognise
PAGE_LINES: Final = 500
PAGE_BYTES: Final = 256 << 10
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
    """A sidecar's log and its answers on PORT_SIDECAR. ``role``: the writer's name in the log.

    Raises LogError when the log can not be opened or continued, OSError when its folder can not be used.
    """

    def __init__(self, role: str, attempt: str, directory: Path, counters: Counters) -> None:
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
    async def serving(self, listen: str | None) -> AsyncIterator[None]:
        """Writes the ``started`` record, then answers on PORT_SIDECAR while the block runs; flushes at its end.

        Raises LogError when the first record can not be written, OSError when the port can not be had.
        """
        try:
            await self.record("started", {"version": __version__, "boot": self._boot})
            async with http.listening(http.Responder(self._answer), listen, names.PORT_SIDECAR):
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
        body = await asyncio.to_thread(self._read, int(start))
        return http.Response(200, body, "application/jsonl")

    def _read(self, start: int) -> bytes:
        page = bytearray()
        for line in islice(self._log.lines(self._role, start), PAGE_LINES):
            if page and len(page) + len(line) > PAGE_BYTES:
                break
            page += line + b"\n"
        return bytes(page)
