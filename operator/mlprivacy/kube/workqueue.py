"""A deduplicating queue of keys: no key is worked on twice at once, and a failing key waits longer each time."""

import asyncio
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from mlprivacy.kube import metrics

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST_SECONDS: Final = 0.5
BACKOFF_LONGEST_SECONDS: Final = 300.0


class QueueState(Generic[K]):
    """The queue's bookkeeping without a clock or a loop of its own: every method is told the time in seconds.

    A key is in at most one of *waiting* and *processing*; added while processing it is *dirty* and waits again once
    done. First come, first served.
    """

    def __init__(self, first: float = BACKOFF_FIRST_SECONDS, longest: float = BACKOFF_LONGEST_SECONDS) -> None:
        self.first, self.longest = first, longest
        self._waiting: dict[K, None] = {}
        self._processing: set[K] = set()
        self._dirty: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._counter = 0
        self._failures: dict[K, int] = {}

    @property
    def depth(self) -> int:
        """Keys ready to be processed now (delayed and running ones are not counted)."""
        return len(self._waiting)

    @property
    def processing(self) -> frozenset[K]:
        """Keys that a worker holds."""
        return frozenset(self._processing)

    def add(self, key: K) -> None:
        """Process `key` as soon as a worker is free, and not before a worker that holds it is done."""
        if key in self._processing:
            self._dirty.add(key)
        else:
            self._waiting.setdefault(key)

    def add_at(self, key: K, when: float) -> None:
        """Add `key` at the time `when`; of several such times the earliest counts."""
        if when < self._due.get(key, float("inf")):
            self._due[key] = when
            self._counter += 1
            heapq.heappush(self._heap, (when, self._counter, key))

    def failed(self, key: K) -> float:
        """Count a failure of `key`; returns the seconds to wait before it is tried again."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        return float(min(self.first * 2 ** min(count, 32), self.longest))

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure waits the shortest time again."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often `key` failed in a row."""
        return self._failures.get(key, 0)

    def advance(self, now: float) -> float | None:
        """Move keys that are due to the queue; returns when the next delayed key is due, or None."""
        while self._heap:
            when, _, key = self._heap[0]
            if self._due.get(key) != when:
                heapq.heappop(self._heap)  # an earlier time was added since
            elif when <= now:
                heapq.heappop(self._heap)
                del self._due[key]
                self.add(key)
            else:
                return when
        return None

    def take(self) -> K | None:
        """The next key, now processing; None when nothing waits."""
        if not self._waiting:
            return None
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker let go of `key`. Raises KeyError if no worker held it."""
        self._processing.remove(key)
        if key in self._dirty:
            self._dirty.discard(key)
            self._waiting.setdefault(key)


class WorkQueue(Generic[K]):
    """The queue for asyncio workers of one loop."""

    def __init__(
        self, name: str, *, first: float = BACKOFF_FIRST_SECONDS, longest: float = BACKOFF_LONGEST_SECONDS
    ) -> None:
        """`name` labels the depth metric; `first` and `longest` bound the per-key back-off in seconds."""
        self.name = name
        self._state: QueueState[K] = QueueState(first, longest)
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        metrics.follow(metrics.QUEUE_DEPTH, {"queue": name}, lambda: float(self.depth))

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return self._state.depth

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is processed (delayed keys do not count)."""
        return not self._state.depth and not self._state.processing

    def add(self, key: K, *, after: float = 0.0) -> None:
        """Process `key` now, or `after` seconds from now (the earliest such time counts)."""
        if after > 0:
            self._state.add_at(key, time.monotonic() + after)
        else:
            self._state.add(key)
        self._pump()

    def retry(self, key: K) -> float:
        """Add `key` after its back-off, which doubles with each failure in a row; returns the seconds."""
        wait = self._state.failed(key) * self._random.uniform(0.75, 1.0)
        self.add(key, after=wait)
        return wait

    def forget(self, key: K) -> None:
        """Reset the back-off of `key`."""
        self._state.forget(key)

    async def get(self) -> K:
        """Wait for a key; hand it back with `done`. Raises QueueClosed after `close`."""
        while True:
            if self._closed:
                raise QueueClosed(f"the queue {self.name} is closed")
            key = self._state.take()
            if key is not None:
                return key
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                else:
                    self._pump()  # woken and cancelled at once: pass the wake-up on
                raise

    def done(self, key: K) -> None:
        """Let go of `key`; if it was added meanwhile it waits again."""
        self._state.done(key)
        self._pump()

    def close(self) -> None:
        """Wake all waiting workers with QueueClosed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake(len(self._waiters))

    async def run(self, handler: Callable[[K], Awaitable[float | None]], workers: int) -> None:
        """Process keys until `close`: the handler's result is the seconds until the key's next turn, or None.

        An exception of the handler is logged and the key retried with back-off.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(handler))

    async def _work(self, handler: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            try:
                key = await self.get()
            except QueueClosed:
                return
            try:
                after = await handler(key)
            except Exception:
                wait = self.retry(key)
                logger.exception("queue %s: %r failed; trying again in %.1f s", self.name, key, wait)
            else:
                self.forget(key)
                if after is not None:
                    self.add(key, after=after)
            finally:
                self.done(key)

    def _pump(self) -> None:
        due = self._state.advance(time.monotonic())
        self._wake(min(self._state.depth, len(self._waiters)))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._closed:
            delay = max(0.0, due - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._pump)

    def _wake(self, count: int) -> None:
        for _ in range(count):
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)


class QueueClosed(Exception):
    """The queue was closed; workers end."""
