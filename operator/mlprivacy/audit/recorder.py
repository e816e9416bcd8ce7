"""Records that need no receipt: a bounded queue in front of the collector's client, drops counted. For admission."""

import asyncio
import contextlib
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from mlprivacy.audit.client import CollectorClient, CollectorError, CollectorRefused
from mlprivacy.audit.record import Event, RecordError

CAPACITY: Final = 10_000
BATCH: Final = 500
LINGER: Final = 0.05  # seconds the first event of a batch waits for others
AGAIN: Final = 1.0  # seconds between tries while the collector is away


class AsyncRecorder:
    """Takes events without waiting and sends them in batches.

    While the collector is away events wait, ``capacity`` of them; then the newest are dropped and counted in
    ``mlprivacy_audit_dropped_total``. Events it refuses are dropped and counted too. start() before use, stop()
    at the end.
    """

    def __init__(
        self,
        client: CollectorClient,
        *,
        registry: CollectorRegistry,
        capacity: int = CAPACITY,
        linger: float = LINGER,
        again: float = AGAIN,
    ) -> None:
        self._client = client
        self._queue: asyncio.Queue[Event] = asyncio.Queue(capacity)
        self._linger = linger
        self._again = again
        self._task: asyncio.Task[None] | None = None
        self._held = 0
        self._dropped = Counter(
            "mlprivacy_audit_dropped", "Audit records that were not sent", ["reason"], registry=registry
        )
        self._sent = Counter("mlprivacy_audit_sent", "Audit records acknowledged by the collector", registry=registry)
        Gauge("mlprivacy_audit_queue", "Audit records waiting", registry=registry).set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        """Events not acknowledged yet."""
        return self._queue.qsize() + self._held

    def record(self, event: Event) -> bool:
        """Takes ``event``; False (and counted) when the queue is full. Never waits, never raises."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._dropped.labels("queue-full").inc()
            return False
        return True

    def start(self) -> None:
        """Begins to send. Twice does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="audit-recorder")

    async def stop(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - a bound on the flush
        """Sends what waits, for ``timeout`` seconds at most; what is left then is dropped and counted."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._queue.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        if self.waiting:
            self._dropped.labels("stopped").inc(self.waiting)

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            self._held = 1
            await asyncio.sleep(self._linger)
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            self._held = len(batch)
            await self._deliver(batch)
            self._held = 0
            for _ in batch:
                self._queue.task_done()

    async def _deliver(self, batch: list[Event]) -> None:
        while True:
            try:
                await self._client.receipt(batch)
            except (CollectorRefused, RecordError):
                await self._singly(batch)
                return
            except CollectorError:
                await asyncio.sleep(self._again)
            else:
                self._sent.inc(len(batch))
                return

    async def _singly(self, batch: list[Event]) -> None:
        """One bad event must not cost the others their place."""
        if len(batch) == 1:
            self._dropped.labels("refused").inc()
            return
        for event in batch:
            await self._deliver([event])
