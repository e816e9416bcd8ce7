"""The admission process: facts, certificate, probes, server; ready only with all of them; drains before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from mlprivacy.admission import metrics
from mlprivacy.admission.config import AdmissionConfig, host_and_port
from mlprivacy.admission.handler import Handler
from mlprivacy.admission.installation import Installation
from mlprivacy.admission.jobs import JobStore
from mlprivacy.admission.logs import DecisionLog, log_as_json
from mlprivacy.admission.peers import PeerLimiter
from mlprivacy.admission.pods import PodJudge
from mlprivacy.admission.recording import Recording
from mlprivacy.admission.server import AdmissionServer
from mlprivacy.cel.pool import CelPool
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.httpserve import ProbeServer
from mlprivacy.kube.tls import SecretTLS
from mlprivacy.policy.packs import built_in_packs
from mlprivacy.policy.rules import all_rules

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Something that is kept up to date by watches."""

    @property
    def synced(self) -> bool:
        """True once everything was read."""

    def staleness_seconds(self) -> float:
        """Seconds since the API server last spoke."""


class Freshness:
    """Says whether decisions can be made: everything was read once, and the API server spoke not too long ago."""

    def __init__(
        self,
        facts: Source,
        jobs: Source,
        stale_seconds: float,
        *,
        look_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look_seconds` is how long one look is good for: eight copies need not be asked for each pod."""
        self._sources = (facts, jobs)
        self._stale_seconds = stale_seconds
        self._look_seconds = look_seconds
        self._clock = clock
        self._looked = float("-inf")
        self._seen: str | None = None

    def age(self) -> float:
        """Seconds since the API server last spoke on the copy that has been silent for longest."""
        return max(source.staleness_seconds() for source in self._sources)

    def problem(self) -> str | None:
        """A sentence without any name of an object, or None. What was no problem is not looked at again at once."""
        now = self._clock()
        if self._seen is not None or now - self._looked >= self._look_seconds:
            self._seen, self._looked = self._look(), now
        return self._seen

    def _look(self) -> str | None:
        if not all(source.synced for source in self._sources):
            return "mlprivacy has not read all policies and data sets yet"
        age = self.age()
        if age > self._stale_seconds:
            return f"mlprivacy has had no word from the API server for {age:.0f} s, so what it knows may be out of date"
        return None


async def run_admission(config: AdmissionConfig, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set, then drain.

    Raises:
        ConfigurationError: when there is no way to the API server.
        ValueError: with a sentence for an address that is none.
        OSError: when a port is taken, or the file of the client CA can not be read.
    """
    log_as_json(logging.getLogger().getEffectiveLevel())
    host, port = host_and_port(config.listen)
    health_host, health_port = host_and_port(config.health)
    all_rules(), built_in_packs()  # a rule or pack that can not be loaded ends the start, not the first request
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.connect(config.kubeconfig))
        facts = FactStore(
            client,
            operator_namespace=config.namespace,
            audit_retention_days=config.audit_retention_days,
            custom=stack.enter_context(CelPool()),
        )
        jobs = JobStore(client)
        freshness = Freshness(facts, jobs, config.stale_seconds)
        metrics.STALENESS.set_function(freshness.age)
        mutual = config.client_ca is not None
        tls = SecretTLS(
            client,
            config.namespace,
            config.tls_secret,
            clients="required" if mutual else "none",
            client_ca_file=config.client_ca,
        )
        installation = Installation(client, config.namespace)
        pods = PodJudge(facts, jobs, installation.settings, images=config.dataplane_images)
        jobs.on_change(pods.forget)
        writer = tls
        if config.collector_tls_secret != config.tls_secret:
            writer = SecretTLS(client, config.namespace, config.collector_tls_secret)
        recording = Recording(config.collector_url, writer.client_context) if config.collector_url else None
        decisions = DecisionLog(sys.stderr.buffer)
        stack.callback(decisions.flush)
        handler = Handler(
            facts,
            pods,
            namespace=config.namespace,
            fresh=freshness.problem,
            log=decisions,
            record=recording.record if recording else None,
        )
        server = AdmissionServer(
            handler,
            tls.server_context,
            client_name=config.client_name if mutual else None,
            limiter=None if mutual else PeerLimiter(config.peer_requests_per_second),
            finish_seconds=config.finish_seconds,
        )
        probes = ProbeServer(
            host=health_host,
            port=health_port,
            ready={
                "facts": freshness.problem,
                "certificate": lambda: tls.problem if tls.days_left() <= 0 else None,
                "draining": lambda: "this process is ending" if stop.is_set() else None,
            },
        )
        await probes.start()
        stack.push_async_callback(probes.stop)
        watched: list[FactStore | JobStore | SecretTLS | Installation] = [facts, jobs, tls, installation]
        if writer is not tls:
            watched.append(writer)
        for source in watched:
            source.start()
            stack.push_async_callback(source.stop)
        if recording is not None:
            await stack.enter_async_context(recording)
        if await _first(tls.ready, stop):
            await server.start(host, port)
            settling = asyncio.create_task(_settle(facts))
            stack.callback(settling.cancel)
            logger.info("admission serves on %s:%s, %s", host, server.port, "mutual TLS" if mutual else "rate-limited")
            await stop.wait()
            logger.info("admission drains: not ready, still serving for %.0f s", config.drain_seconds)
            await asyncio.sleep(config.drain_seconds)
            await server.stop()
            logger.info("admission has ended")


async def _first(ready: asyncio.Event, stop: asyncio.Event) -> bool:
    """Wait for either; True when it is time to serve."""
    waits = [asyncio.ensure_future(event.wait()) for event in (ready, stop)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return not stop.is_set()


async def _settle(facts: FactStore) -> None:
    """Once everything was read, tell the collector of garbage to leave alone what is here to stay."""
    await facts.wait_synced()
    settle_memory()


def settle_memory() -> None:
    """Collect once, then look for cycles rarely: a review leaves none behind, and a full look stops all answers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
