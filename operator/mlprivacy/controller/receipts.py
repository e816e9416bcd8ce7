"""Receipts: many reconciles wait for the collector at once, so their records travel together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from mlprivacy.audit.client import CollectorClient, CollectorError, CollectorRefused
from mlprivacy.audit.record import Event, Receipt, RecordError
from mlprivacy.controller import metrics

logger = logging.getLogger(__name__)
LINGER = 0.004  # seconds a record waits for others
BATCH = 200
REST_SECONDS = 2.0  # after a failure nobody waits for the collector: a worker that waits is one that decides nothing


class Receipts:
    """Fetches receipts in batches. A receipt means that the record is durable."""

    def __init__(self, client: CollectorClient) -> None:
        self._client = client
        self._waiting: list[tuple[Event, asyncio.Future[Receipt]]] = []
        self._task: asyncio.Task[None] | None = None
        self._resting: tuple[float, str] = (0.0, "")

    async def get(self, event: Event, *, within: float = 5.0) -> Receipt:
        """The receipt of ``event``. Asking again after a crash gives the same one: ids are deterministic.

        Raises:
            CollectorError: when it could not be had within that many seconds, or a moment ago could not.
        """
        until, why = self._resting
        if time.monotonic() < until:
            metrics.RECEIPT_FAILURES.inc()
            raise CollectorError(why)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send(), name="receipts")
        began = time.perf_counter()
        try:
            async with asyncio.timeout(within):
                receipt = await future
        except TimeoutError:
            metrics.RECEIPT_FAILURES.inc()
            why = f"the collector gave no receipt within {within:g} s"
            self._resting = (time.monotonic() + REST_SECONDS, why)
            raise CollectorError(why) from None
        except CollectorError:
            metrics.RECEIPT_FAILURES.inc()
            raise
        metrics.RECEIPT_SECONDS.observe(time.perf_counter() - began)
        return receipt

    async def _send(self) -> None:
        while self._waiting:
            await asyncio.sleep(LINGER)
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            batch = [(event, future) for event, future in batch if not future.done()]
            try:
                await self._deliver(batch)
            except (CollectorRefused, RecordError):
                # One bad record must not keep the others from their receipts.
                for single in batch:
                    await self._alone(single)
            except CollectorError as error:
                self._resting = (time.monotonic() + REST_SECONDS, str(error))
                _fail(batch, error)
            except Exception as error:
                logger.exception("the collector's receipts could not be read")
                _fail(batch, CollectorError(f"unexpected {type(error).__name__}: {error}"))
            except asyncio.CancelledError:
                _fail([*batch, *self._waiting], CollectorError("the controller is stopping"))
                raise

    async def _alone(self, single: tuple[Event, asyncio.Future[Receipt]]) -> None:
        try:
            await self._deliver([single])
        except CollectorError as error:
            _fail([single], error)
        except RecordError as error:
            _fail([single], CollectorError(f"the record can not be written down: {error}"))

    async def _deliver(self, batch: Sequence[tuple[Event, asyncio.Future[Receipt]]]) -> None:
        if not batch:
            return
        # The same record may be asked for twice in one batch; it is sent once.
        events = {event.id: event for event, _ in batch}
        receipts = {r.id: r for r in await self._client.receipt(list(events.values()))}
        for event, future in batch:
            if not future.done():
                future.set_result(receipts[event.id])


def _fail(batch: Sequence[tuple[Event, asyncio.Future[Receipt]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
