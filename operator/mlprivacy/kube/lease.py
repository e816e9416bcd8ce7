"""Leader election on a coordination.k8s.io Lease: at most one process acts, and it knows when it no longer may."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from mlprivacy.kube import metrics
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from mlprivacy.kube.resources import LEASES

logger = logging.getLogger(__name__)

DURATION_SECONDS: Final = 15.0
RENEW_WITHIN_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0


def _micro_time(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Lease:
    """One contender for one Lease.

    A holder that can not renew within `renew_within` seconds gives up before `duration` is over, so that a successor,
    who waits `duration` since it last *saw* the record change, never acts at the same time. Nobody's wall clock is
    compared with anybody else's. Once lost, a Lease object is not to be used again: the process should exit.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        duration: float = DURATION_SECONDS,
        renew_within: float = RENEW_WITHIN_SECONDS,
        retry: float = RETRY_SECONDS,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """`identity` must differ between contenders (pod name and a random part). Raises ValueError for odd times.

        `on_lost` is called once with the reason, when a held lease is lost (not on `release`).
        """
        if not 0 < retry < renew_within < duration:
            raise ValueError("a lease needs 0 < retry < renew_within < duration (seconds)")
        self.namespace, self.name, self.identity = namespace, name, identity
        self.lost = asyncio.Event()
        self.acquired = asyncio.Event()
        self.lost_reason: str | None = None
        self._client = client
        self._duration, self._renew_within, self._retry = duration, renew_within, retry
        self._on_lost = on_lost
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._record: Object | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._renewed = float("-inf")
        self._task: asyncio.Task[None] | None = None
        metrics.follow(metrics.LEADER, {"lease": name}, lambda: float(self.held))

    @property
    def held(self) -> bool:
        """Whether this process may act now; turns False by itself when renewals stop coming through."""
        return (
            self.acquired.is_set() and not self.lost.is_set() and time.monotonic() - self._renewed < self._renew_within
        )

    @property
    def holder(self) -> str | None:
        """The holder's identity as last seen."""
        record = self._record
        return (record["spec"].get("holderIdentity") or None) if record else None

    async def acquire(self) -> None:
        """Wait, as long as it takes, until this process holds the lease; then renew it in the background."""
        while True:
            try:
                async with asyncio.timeout(self._renew_within):
                    if await self._try():
                        break
            except (ApiError, TimeoutError) as error:
                logger.warning("lease %s: can not be acquired now: %s", self.name, error or "no answer in time")
            await asyncio.sleep(self._retry * self._random.uniform(0.8, 1.2))
        self.acquired.set()
        logger.info("lease %s: held by %s", self.name, self.identity)
        self._task = asyncio.create_task(self._renew(), name=f"lease {self.name}")

    async def release(self) -> None:
        """Stop renewing and, if still the holder, empty the record so that a successor need not wait."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if not self.held:
            return
        self.acquired.clear()
        record = self._record
        if record is None:
            return
        spec = {**record["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            async with asyncio.timeout(self._retry):
                await self._client.replace(LEASES, {**record, "spec": spec})
        except (ApiError, TimeoutError) as error:
            logger.info("lease %s: not released (%s); it expires by itself", self.name, error or "no answer in time")

    async def _renew(self) -> None:
        reason = "renewals did not come through in time"
        while True:
            await asyncio.sleep(self._retry)
            deadline = self._renewed + self._renew_within
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    if not await self._try():
                        reason = f"{self.holder or 'somebody else'} holds it"
                        break
            except (ApiError, TimeoutError) as error:
                logger.warning("lease %s: renewal failed: %s", self.name, error or "no answer in time")
            except Exception:
                # Whatever it is: a holder that stops renewing must come to the end of this loop and say so.
                logger.exception("lease %s: renewal failed unexpectedly", self.name)
            if time.monotonic() >= deadline and time.monotonic() - self._renewed >= self._renew_within:
                break
        self.lost_reason = f"the lease {self.namespace}/{self.name} is lost: {reason}"
        self.lost.set()
        logger.error("%s", self.lost_reason)
        if self._on_lost is not None:
            self._on_lost(self.lost_reason)

    async def _try(self) -> bool:
        """One attempt to take or renew the lease; True when it is ours."""
        started = time.monotonic()
        if self.acquired.is_set() and self._record is not None:
            try:
                await self._write(self._record, started)
            except (Conflict, NotFound):
                self._record = None  # changed under us: look who holds it
            else:
                return True
        try:
            record = await self._client.get(LEASES, self.name, self.namespace)
        except NotFound:
            return await self._create(started)
        self._observe(record)
        spec = record.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder and holder != self.identity:
            duration = float(spec.get("leaseDurationSeconds") or self._duration)
            if self.acquired.is_set() or time.monotonic() - self._seen[1] < duration:
                return False
        try:
            await self._write(record, started)
        except Conflict:
            return False
        return True

    def _observe(self, record: Object) -> None:
        record.setdefault("spec", {})
        self._record = record
        version = str(record["metadata"].get("resourceVersion"))
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())

    async def _create(self, started: float) -> bool:
        metadata = {"name": self.name, "namespace": self.namespace}
        spec = self._spec({}, takeover=True)
        body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        try:
            self._observe(await self._client.create(LEASES, body))
        except AlreadyExists:
            return False
        self._renewed = started
        return True

    async def _write(self, record: Object, started: float) -> None:
        spec = record.get("spec") or {}
        takeover = spec.get("holderIdentity") != self.identity
        self._observe(await self._client.replace(LEASES, {**record, "spec": self._spec(spec, takeover=takeover)}))
        self._renewed = started

    def _spec(self, old: Object, *, takeover: bool) -> Object:
        now = _now()
        return {
            **old,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._duration)),
            "acquireTime": now if takeover else old.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if takeover and old else 0),
        }


def _now() -> str:
    return _micro_time(datetime.now(UTC))
