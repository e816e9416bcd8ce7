"""Gives the collector what it needs from the cluster: its certificate and seal key from Secrets, the governed pods."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy.api import names
from mlprivacy.audit.collector import CollectorConfig, run_collector
from mlprivacy.audit.puller import Pod
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.controller.sealing import seal_of
from mlprivacy.kube.certificates import load_seal_key
from mlprivacy.kube.certkeeper import SEAL_PRIVATE, SEAL_SECRET, secret_data
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.httpserve import ProbeServer
from mlprivacy.kube.informer import Informer, identity_and_labels
from mlprivacy.kube.resources import NAMESPACES, PODS, SECRETS, SERVICES
from mlprivacy.kube.tls import SecretTLS

logger = logging.getLogger(__name__)

READERS: Final = ("auditor", "mlprivacy-controller")  # common names that may export every chain
KEEPERS: Final = ("mlprivacy-controller",)  # common names that may anchor and export ledgers
_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_RETRY: Final = 1.0  # seconds between two looks at a Secret that is empty
_OVER: Final = ("Succeeded", "Failed")
_OWNERS: Final = {"training": "Job", "inference": "ReplicaSet"}
_SERVICE: Final = "mlprivacy-collector"
_SERVICE_EVERY: Final = 30.0  # seconds between two looks at the Service


@dataclass(frozen=True)
class Collecting:
    """Settings of the process. ``pull`` is False where pods are simulated."""

    namespace: str
    kubeconfig: str | None
    directory: Path
    listen: tuple[str, int]
    health: tuple[str, int]
    canary: tuple[str, int]
    tls_secret: str
    pull: bool = True


class _SecretSource:
    """The record API's TLSSource over a SecretTLS: client certificates are demanded, sessions never resumed."""

    def __init__(self, tls: SecretTLS) -> None:
        self._tls = tls
        tls.server_context.options |= ssl.OP_NO_TICKET
        tls.server_context.num_tickets = 0

    def server_context(self) -> ssl.SSLContext:
        return self._tls.server_context

    def expires_at(self) -> float:
        return time.time() + self._tls.days_left() * 86400


async def collect(settings: Collecting, stop: asyncio.Event) -> None:
    """Run the collector until ``stop`` is set.

    Raises:
        ConfigurationError: when there is no way to the API server.
        LogLocked, OSError: what run_collector raises.
    """
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(await KubeClient.connect(settings.kubeconfig))
        tls = SecretTLS(client, settings.namespace, settings.tls_secret, clients="required")
        source = _SecretSource(tls)
        tls.start()
        stack.push_async_callback(tls.stop)
        key = await _prerequisites(settings, client, tls, stop)
        if key is None:
            return
        pods = Informer(client, PODS, label_selector=names.LABEL_RENDERED, name="pods/rendered")
        namespaces = Informer(
            client,
            NAMESPACES,
            label_selector=names.LABEL_ENFORCE,
            metadata_only=True,
            transform=identity_and_labels,
            name="namespaces/governed",
        )
        # Where it listens on one address only, as beside a test's control plane, no Service leads to it.
        service = CanaryService(client, settings.namespace, settings.canary[1])
        followed = settings.pull and settings.canary[0] in _ANY
        if settings.pull:
            for informer in (pods, namespaces):
                informer.start()
                stack.push_async_callback(informer.stop)
            if followed:
                asking = asyncio.create_task(service.keep_looking(), name="service")
                stack.callback(asking.cancel)
        canary = canary_addresses(*settings.canary, ipv6=has_ipv6())
        config = CollectorConfig(
            directory=settings.directory,
            tls=source,
            host=settings.listen[0],
            port=settings.listen[1],
            health_host=settings.health[0],
            health_port=settings.health[1],
            canary=canary,
            canary_advertised=tuple(replace(one, host=_ANY.get(one.host, one.host)) for one in canary),
            canary_service=(lambda: service.addresses) if followed else tuple,
            pods=(lambda: governed_pods(pods, namespaces)) if settings.pull else None,
            seal_key=key,
            readers=READERS,
            keepers=KEEPERS,
        )
        await run_collector(config, stop)


def has_ipv6() -> bool:
    """Whether this host, or pod, has IPv6 at all."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def canary_addresses(host: str, port: int, *, ipv6: bool) -> tuple[CanaryAddress, ...]:
    """Where the canary listens: at ``host``, and where that is every address, at those of both families."""
    hosts = ("0.0.0.0", "::") if host == "0.0.0.0" and ipv6 else (host,)
    return tuple(CanaryAddress(one, port, port) for one in hosts)


async def _prerequisites(
    settings: Collecting, client: KubeClient, tls: SecretTLS, stop: asyncio.Event
) -> Ed25519PrivateKey | None:
    """The seal key, once it and the certificate are there; the controller writes both. None when stopped meanwhile."""
    state = {"key": "the seal key has not been read yet"}
    waiting = ProbeServer(
        host=settings.health[0],
        port=settings.health[1],
        ready={"certificate": lambda: tls.problem, "seal key": lambda: state["key"]},
    )
    await waiting.start()
    stopping = asyncio.create_task(stop.wait())
    ready = asyncio.create_task(_both(settings.namespace, client, tls, state))
    try:
        await asyncio.wait({stopping, ready}, return_when=asyncio.FIRST_COMPLETED)
        return ready.result() if ready.done() else None
    finally:
        for task in (stopping, ready):
            task.cancel()
        await asyncio.gather(stopping, ready, return_exceptions=True)
        await waiting.stop()


async def _both(namespace: str, client: KubeClient, tls: SecretTLS, state: dict[str, str]) -> Ed25519PrivateKey:
    while True:
        try:
            found = secret_data(await client.get(SECRETS, SEAL_SECRET, namespace)).get(SEAL_PRIVATE, b"")
            if found:
                key = load_seal_key(found)
                break
            why = f"the Secret {SEAL_SECRET} is empty; is the controller running?"
        except (ApiError, ValueError) as error:
            why = f"the Secret {SEAL_SECRET} can not be used: {error}"
        if why != state["key"]:
            logger.warning("%s", why)
        state["key"] = why
        await asyncio.sleep(_RETRY)
    await tls.ready.wait()
    return key


class CanaryService:
    """Where the Service of the canary is: its ClusterIPs, looked up now and then, since a Service may be made anew."""

    def __init__(self, client: KubeClient, namespace: str, port: int) -> None:
        self._client = client
        self._namespace = namespace
        self._port = port
        self.addresses: tuple[CanaryAddress, ...] | None = None

    async def keep_looking(self) -> None:
        """Until cancelled. While the API server is away the last answer counts; a missing Service counts at once."""
        while True:
            pause = _SERVICE_EVERY
            try:
                spec = (await self._client.get(SERVICES, _SERVICE, self._namespace)).get("spec") or {}
                found = spec.get("clusterIPs") or [spec.get("clusterIP")]
                addresses = tuple(CanaryAddress(ip, self._port, self._port) for ip in found if ip and ip != "None")
                self.addresses = addresses or None
            except NotFound:
                self.addresses = None
            except ApiError as error:
                logger.warning("the Service %s can not be read: %s", _SERVICE, error)
            if self.addresses is None:
                pause = _RETRY
            await asyncio.sleep(pause)


def governed_pods(pods: Informer, namespaces: Informer) -> Collection[Pod] | None:
    """The pods of governed namespaces that have an address and are not over; None while they are not known."""
    if not (pods.synced and namespaces.synced):
        return None
    governed = {name for _, name in namespaces.keys(None)}
    found = (as_pod(raw) for raw in pods.list() if raw["metadata"]["namespace"] in governed)
    return [pod for pod in found if pod is not None]


def as_pod(raw: Object) -> Pod | None:
    """What the puller needs of a pod; None for one without an address, or over, or of another kind or another's.

    Its phase is Pending while the seal probe runs, and an address comes with its sandbox. One that is being deleted is
    pulled from until it is over: its sidecar has more to say.
    """
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels: Mapping[str, Any] = metadata.get("labels") or {}
    kind: Literal["training", "inference"] | None = None
    match labels.get(names.LABEL_RENDERED):
        case "training":
            kind = "training"
        case "inference":
            kind = "inference"
    ip = status.get("podIP")
    if kind is None or not isinstance(ip, str) or not ip or status.get("phase") in _OVER:
        return None
    if not any(_is_ours(owner, _OWNERS[kind]) for owner in metadata.get("ownerReferences") or ()):
        return None
    # A served model has one attempt. What names another is not this pod: addresses are given anew soon.
    uid, attempt = labels.get(names.LABEL_JOB_UID), labels.get(names.LABEL_ATTEMPT) or "1"
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        ip=ip,
        kind=kind,
        attempt=names.attempt_id(uid, attempt) if uid else None,
        begun=bool(seal_of(status).get("began")),
    )


def _is_ours(owner: Mapping[str, Any], kind: str) -> bool:
    """Whether an owner is a workload that the operator rendered, or what a Deployment that it rendered made."""
    named = str(owner.get("name") or "").startswith(names.OBJECT_PREFIX)
    return owner.get("controller") is True and owner.get("kind") == kind and named
