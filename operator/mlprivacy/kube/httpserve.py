"""The small HTTP server that every process has: /healthz, /readyz and /metrics, and nothing else."""

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

Check = Callable[[], str | None]
"""None when all is well, else a sentence that says what is not."""


class ProbeServer:
    """Serves probes and metrics in plain HTTP.

    /healthz and /readyz answer 200 `ok`, or 503 with one `name: sentence` per failing check; `?verbose` lists every
    check. A check that raises counts as failing.
    """

    def __init__(
        self,
        *,
        host: str = "0.0.0.0",
        port: int = 8080,
        healthy: Mapping[str, Check] | None = None,
        ready: Mapping[str, Check] | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """`port` 0 takes a free one; `self.port` tells which after `start`."""
        self.host, self.port = host, port
        self._healthy, self._ready, self._registry = dict(healthy or {}), dict(ready or {}), registry
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._readiness)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.host, self.port, reuse_address=True)
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return _answer(self._healthy, request)

    async def _readiness(self, request: web.Request) -> web.Response:
        return _answer(self._ready, request)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(checks: Mapping[str, Check], request: web.Request) -> web.Response:
    results = {name: _run(check) for name, check in checks.items()}
    failing = {name: text for name, text in results.items() if text is not None}
    lines = [f"{name}: {text}" for name, text in failing.items()]
    if "verbose" in request.query:
        lines = [f"{name}: {text or 'ok'}" for name, text in results.items()]
    return web.Response(status=503 if failing else 200, text="\n".join(lines) + "\n" if lines else "ok\n")


def _run(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a probe must answer, and a check that breaks is not healthy
        return f"the check itself failed ({type(error).__name__})"
