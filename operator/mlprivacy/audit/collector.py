"""The collector process: record API, log, seal canary, puller, health; wires them and takes them down in order."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from mlprivacy.audit import ledgerheads
from mlprivacy.audit.api import RecordAPI
from mlprivacy.audit.canary import Canary, alive
from mlprivacy.audit.chain import SEGMENT_BYTES
from mlprivacy.audit.ledgerexports import LedgerExports
from mlprivacy.audit.ledgerheads import LedgerHeads
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.metrics import CollectorMetrics
from mlprivacy.audit.podkeys import FOLDER, PodKeys
from mlprivacy.audit.puller import PodSource, Puller
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.audit.settled import Settled
from mlprivacy.audit.tls import TLSSource

WRITER: Final = "collector"  # the collector's own chain
CANARY_EVERY: Final = 2.0  # seconds between two checks of the canary for /readyz
CANARY_TIMEOUT: Final = 0.5
SHUTDOWN: Final = 5.0  # seconds requests have to end


@runtime_checkable
class Expiring(Protocol):
    """A TLSSource that knows when its certificate ends."""

    def expires_at(self) -> float:
        """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """What the collector needs to know.

    ``canary``: where the canary listens; ``canary_advertised``: where pods and the collector's own check look for it
    (the same where empty). ``canary_service`` gives the addresses of its Service besides, None while they are not
    known: no seal is confirmed unless it answers at each of them, with its own proof. ``pods`` gives the governed pods
    now; without it nothing is pulled. ``seal_key`` signs the confirmations and is needed with ``pods``. ``writers``:
    client names that may write (None: all well-formed ones); ``readers``: client names that may export every chain;
    ``keepers``: client names that may anchor and export ledgers. A port 0 takes any free one. Times are seconds.
    """

    directory: Path
    tls: TLSSource
    host: str | None = None
    port: int = 8443
    health_host: str | None = None
    health_port: int = 8080
    canary: tuple[CanaryAddress, ...] = ()
    canary_advertised: tuple[CanaryAddress, ...] = ()
    canary_service: Callable[[], tuple[CanaryAddress, ...] | None] = tuple
    segment_bytes: int = SEGMENT_BYTES
    pods: PodSource | None = None
    seal_key: Ed25519PrivateKey | None = None
    writers: Collection[str] | None = None
    readers: Collection[str] = field(default=("auditor", "controller"))
    keepers: Collection[str] = field(default=("controller",))
    poll: float = 0.25
    heartbeat: float = 10.0
    record_every: float = 60.0

    def __post_init__(self) -> None:
        if self.pods is not None and self.seal_key is None:
            raise ValueError(
                "The collector was given pods but no seal key; give the Ed25519 key that signs confirmations."
            )
        if self.pods is not None and not self.canary:
            raise ValueError("The collector was given pods but no canary address; no seal could ever be confirmed.")


@dataclass(frozen=True, slots=True)
class Listening:
    """The ports that were taken."""

    port: int
    health_port: int


def load_seal_key(pem: bytes) -> Ed25519PrivateKey:
    """The key in a PEM file. Raises ValueError with a sentence when it is not an Ed25519 key."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("The seal key must be an Ed25519 private key in PEM.")  # noqa: TRY004 - the file's content is wrong, not a type
    return key


class _Health:
    """/healthz, /readyz and /metrics on a plain port. Ready: the log is open and the canary answers."""

    def __init__(self, config: CollectorConfig, metrics: CollectorMetrics, secret: bytes) -> None:
        self._config = config
        self._secret = secret
        self._metrics = metrics
        self._advertised = config.canary_advertised or config.canary
        self.listening = False
        self._canary = not self._advertised
        self._settled = Settled(time.monotonic)

    async def canary_alive(self) -> bool:
        """Whether the canary answers at this moment, here and through its Service: what answers pods there may be
        another's. Readiness asks for the first alone, since the Service leads here only once the process is ready.
        """
        service = self._config.canary_service()
        here, there = await asyncio.gather(self._answers(self._advertised), self._answers(service or ()))
        self._canary = here
        self._settled.looked(here)
        found = here and there and service is not None
        self._metrics.canary_alive.set(found)
        return found

    async def _answers(self, addresses: tuple[CanaryAddress, ...]) -> bool:
        return all(await asyncio.gather(*(alive(address, self._secret, CANARY_TIMEOUT) for address in addresses)))

    async def canary_within_reach(self) -> bool:
        """Whether it answers at this moment and its Service leads here, so that a refusal there means something."""
        return await self.canary_alive() and bool(self._settled)

    async def watch(self) -> None:
        """Keeps the gauges fresh until cancelled."""
        while True:
            await self.canary_alive()
            if isinstance(self._config.tls, Expiring):
                with contextlib.suppress(OSError, ValueError):
                    self._metrics.certificate_days.set((self._config.tls.expires_at() - time.time()) / 86400)
            await asyncio.sleep(CANARY_EVERY)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1024)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._show)
        return app

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        self._settled.answered(self.listening and self._canary)
        if not self.listening:
            return web.Response(status=503, text="The record API does not listen yet.\n")
        if not self._canary:
            return web.Response(status=503, text="The seal canary does not answer at its advertised address.\n")
        return web.Response(text="ok\n")

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )


async def run_collector(
    config: CollectorConfig, stop: asyncio.Event, *, listening: "asyncio.Future[Listening] | None" = None
) -> None:
    """Runs until ``stop`` is set; then ends requests, commits what is in flight and closes the log.

    ``listening`` is given the ports once everything serves. Raises LogLocked when another process has the log,
    OSError when a port or the folder can not be had, and whatever ends a part that must not end.
    """
    log = await asyncio.to_thread(AuditLog, config.directory, segment_bytes=config.segment_bytes)
    try:
        metrics = CollectorMetrics(log)
        canary = Canary(config.canary, secrets.token_bytes(32))
        health = _Health(config, metrics, canary.secret)
        puller = _puller(config, log, metrics, health)
        heads, exports = LedgerHeads(log, config.seal_key), LedgerExports(config.directory)
        for part in (heads, exports):
            await asyncio.to_thread(part.load)
        api = RecordAPI(
            log,
            metrics,
            own=(WRITER, ledgerheads.WRITER),
            writers=config.writers,
            readers=config.readers,
            pods=puller.report if puller is not None else lambda _: [],
            heads=heads,
            exports=exports,
            keepers=config.keepers,
        )
        async with (
            _site(health.application(), config.health_host, config.health_port, None) as health_port,
            canary,
            _site(api.application(), config.host, config.port, config.tls) as port,
        ):
            health.listening = True
            parts = [asyncio.create_task(health.watch())]
            if puller is not None:
                parts.append(asyncio.create_task(puller.run()))
            if listening is not None:
                listening.set_result(Listening(port, health_port))
            await _until(stop, parts)
    finally:
        await asyncio.to_thread(log.close)


def _puller(config: CollectorConfig, log: AuditLog, metrics: CollectorMetrics, health: _Health) -> Puller | None:
    if config.pods is None or config.seal_key is None:
        return None
    return Puller(
        log,
        metrics,
        writer=WRITER,
        source=config.pods,
        canary_alive=health.canary_within_reach,
        key=config.seal_key,
        keys=PodKeys(config.directory / FOLDER),
        poll=config.poll,
        heartbeat=config.heartbeat,
        record_every=config.record_every,
    )


@contextlib.asynccontextmanager
async def _site(app: web.Application, host: str | None, port: int, tls: TLSSource | None) -> AsyncIterator[int]:
    """Serves ``app``; gives the port."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    try:
        context = tls.server_context() if tls is not None else None
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _until(stop: asyncio.Event, parts: list[asyncio.Task[None]]) -> None:
    """Waits for ``stop`` or for a part to end, which none should; then cancels all parts."""
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({waiting, *parts}, return_when=asyncio.FIRST_COMPLETED)
        for part in parts:
            if part in done:
                part.result()
                raise RuntimeError("A part of the collector ended by itself; the process must be started again.")
    finally:
        for task in (waiting, *parts):
            task.cancel()
        await asyncio.gather(waiting, *parts, return_exceptions=True)
