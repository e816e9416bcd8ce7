"""Receipts: many reconciles wait for the collector at once, so their records travel together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mlprivacy.audit.client import CollectorClient, CollectorError, CollectorRefused
from mlprivacy.audit.record import Event, Receipt

LINGER = 0.004  # seconds a record waits for others
BATCH = 200


class Receipts:
    """Fetches receipts in batches. A receipt means that the record is durable."""

    def __init__(self, client: CollectorClient) -> None:
        self._client = client
        self._waiting: list[tuple[Event, asyncio.Future[Receipt]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, event: Event, *, within: float = 10.0) -> Receipt:
        """The receipt of ``event``. Asking again after a crash gives the same one: ids are deterministic.

        Raises:
            CollectorError: when it could not be had within that many seconds.
        """
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send())
        try:
            async with asyncio.timeout(within):
                return await future
        except TimeoutError:
            raise CollectorError(f"the collector gave no receipt within {within:g} s") from None

    async def _send(self) -> None:
        while self._waiting:
            await asyncio.sleep(LINGER)
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            batch = [(event, future) for event, future in batch if not future.done()]
            if not batch:
                continue
            try:
                await self._deliver(batch)
            except CollectorRefused:
                # One bad record must not keep the others from their receipts.
                for single in batch:
                    try:
                        await self._deliver([single])
                    except CollectorError as error:
                        _fail([single], error)
            except CollectorError as error:
                _fail(batch, error)
            except asyncio.CancelledError:
                _fail(batch, CollectorError("the controller is stopping"))
                raise

    async def _deliver(self, batch: Sequence[tuple[Event, asyncio.Future[Receipt]]]) -> None:
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
