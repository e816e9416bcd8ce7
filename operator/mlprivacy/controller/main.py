"""The controller process: leader election, certificates, caches, kopf, workers; and the order in which they start."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import REGISTRY

from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.recorder import AsyncRecorder
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.cel.pool import CelPool
from mlprivacy.controller.active import PARTING_SECONDS, Controller
from mlprivacy.controller.addresses import Addresses
from mlprivacy.controller.children import Children
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.kube.certificates import LeafSpec
from mlprivacy.kube.certkeeper import (
    ADMISSION_SECRET,
    COLLECTOR_SECRET,
    CONTROLLER_SECRET,
    SEAL_PUBLIC,
    SEAL_SECRET,
    CertKeeper,
    WebhookConfiguration,
    secret_data,
)
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import ApiError
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.httpserve import ProbeServer
from mlprivacy.kube.lease import Lease
from mlprivacy.kube.resources import SECRETS, SERVICES
from mlprivacy.kube.tls import SecretTLS
from mlprivacy.workloads.context import RenderSettings

logger = logging.getLogger(__name__)
NAME = "mlprivacy-controller"
CANARY_PORT = 15019


class LeaseLost(Exception):
    """Another controller may be active; this process must end."""


async def run_controller(config: ControllerConfig, stop: asyncio.Event) -> None:
    """Run until ``stop`` is set.

    Raises:
        LeaseLost: when the lease was lost; the process should exit and start anew.
        ConfigurationError: when there is no way to the API server.
    """
    identity = config.identity or f"{os.environ.get('POD_NAME') or socket.gethostname()}-{secrets.token_hex(4)}"
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.connect(config.kubeconfig))
        lease = Lease(client, config.namespace, NAME, identity)
        state: dict[str, Callable[[], str | None]] = {}
        probes = ProbeServer(
            host=config.health_host,
            port=config.health_port,
            healthy={"lease": lambda: lease.lost_reason},
            # A standby is ready: it waits for the lease and has nothing to serve.
            ready={"caches": lambda: state["caches"]() if "caches" in state else None},
        )
        await probes.start()
        stack.push_async_callback(probes.stop)
        if not await _first(lease.acquire(), stop):
            return
        stack.push_async_callback(lease.release)
        state["caches"] = lambda: "certificates have not been read yet"
        logger.info("this process is the active controller (%s)", identity)
        controller = await _start(config, client, identity, stack, stop)
        if controller is None:
            return
        state["caches"] = controller.not_ready
        await _until(stop, lease, controller.run(stop))


async def _first(work: Awaitable[Any], stop: asyncio.Event) -> bool:
    """Await ``work``; False when ``stop`` came first."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return False


async def _until(stop: asyncio.Event, lease: Lease, work: Awaitable[None]) -> None:
    running = asyncio.ensure_future(work)
    lost = asyncio.create_task(lease.lost.wait())
    await asyncio.wait({running, lost}, return_when=asyncio.FIRST_COMPLETED)
    if not running.done():
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        raise LeaseLost(lease.lost_reason or "the lease was lost")
    lost.cancel()
    running.result()


async def _start(
    config: ControllerConfig,
    client: KubeClient,
    identity: str,
    stack: contextlib.AsyncExitStack,
    stop: asyncio.Event,
) -> Controller | None:
    """Certificates first, then what needs them; None when stopped meanwhile."""
    keeper = CertKeeper(client, config.namespace, leaves(config), _webhooks(config))
    keeping = asyncio.create_task(keeper.run(), name="certificates")
    stack.callback(keeping.cancel)
    tls = SecretTLS(client, config.namespace, config.tls_secret)
    tls.start()
    stack.push_async_callback(tls.stop)
    # Not keeper.ready: a webhook configuration that is missing must not keep jobs from being looked after.
    seal_key = asyncio.create_task(_seal_key(client, config.namespace))
    if not await _first(asyncio.gather(seal_key, tls.ready.wait()), stop):
        return None
    settings = RenderSettings(
        operator_namespace=config.namespace,
        dataplane_image=config.dataplane_image,
        canary=config.canary or await _canary(client, config.namespace),
        seal_key=await seal_key,
        seal_deadline_seconds=config.seal_deadline_seconds,
        grace_seconds=config.grace_seconds,
    )
    # Before anything is rendered: admission accepts pods that are rendered with what is written down there.
    addresses = Addresses(client, config.namespace, settings)
    if not await _first(addresses.keep(), stop):
        return None
    keeping_addresses = asyncio.create_task(addresses.run(), name="addresses")
    stack.callback(keeping_addresses.cancel)
    collector = await stack.enter_async_context(CollectorClient(config.collector_url, tls.client_context, attempts=3))
    facts = FactStore(
        client,
        operator_namespace=config.namespace,
        audit_retention_days=config.audit_retention_days,
        custom=stack.enter_context(CelPool()),
    )
    children = Children(client)
    recorder = AsyncRecorder(collector, registry=REGISTRY)
    recorder.start()
    stack.push_async_callback(recorder.stop, PARTING_SECONDS)
    controller = Controller(config, client, identity, settings, facts, children, collector, record=recorder.record)
    for source in (facts, children):
        source.start()
        stack.push_async_callback(source.stop)
    return controller


def leaves(config: ControllerConfig) -> dict[str, LeafSpec]:
    """What each component's certificate must say."""

    def server(name: str, hosts: tuple[str, ...]) -> LeafSpec:
        service = f"{name}.{config.namespace}.svc"
        names = [service, f"{service}.cluster.local", *(h for h in hosts if not _is_address(h))]
        return LeafSpec(name, tuple(names), tuple(h for h in hosts if _is_address(h)), server=True, client=True)

    return {
        ADMISSION_SECRET: server("mlprivacy-admission", config.admission_hosts),
        COLLECTOR_SECRET: server("mlprivacy-collector", config.collector_hosts),
        CONTROLLER_SECRET: LeafSpec(NAME, server=False, client=True),
    }


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _webhooks(config: ControllerConfig) -> tuple[WebhookConfiguration, ...]:
    if not config.webhooks:
        return ()
    return WebhookConfiguration.mutating("mlprivacy-stamp"), WebhookConfiguration.validating("mlprivacy-decide")


async def _canary(client: KubeClient, namespace: str) -> str:
    """The collector's Service, in every address family that it has."""
    service = await client.get(SERVICES, "mlprivacy-collector", namespace)
    spec = service["spec"]
    addresses = spec.get("clusterIPs") or [spec["clusterIP"]]
    return ",".join(str(CanaryAddress(address, CANARY_PORT, CANARY_PORT)) for address in addresses)


async def _seal_key(client: KubeClient, namespace: str) -> str:
    """The collector's public key in base64, once the certificate keeper has made it."""
    while True:
        try:
            public = secret_data(await client.get(SECRETS, SEAL_SECRET, namespace)).get(SEAL_PUBLIC, b"").strip()
        except ApiError as error:
            logger.warning("the Secret %s can not be read: %s", SEAL_SECRET, error)
            public = b""
        if public:
            return public.decode("ascii")
        await asyncio.sleep(0.5)
