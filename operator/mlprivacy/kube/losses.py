"""Has the losses of jobs counted without stopping the event loop: the facts of a job with what its promise comes to."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from mlprivacy.kube import metrics
from mlprivacy.kube.counting import Child
from mlprivacy.policy.engine import losses_asked
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.loss import Lane, LossKey, LossOutcome, count, lane_of

logger = logging.getLogger(__name__)
REMEMBERED: Final = 4096  # losses
ASKERS: Final = 4096  # jobs that are told when their loss is counted; others are looked at again a minute later
WAITING: Final = 64  # that are being counted or wait for it, in each lane; beyond, a job holds and is looked at again
WAITING_EACH: Final[dict[Lane, int]] = {"quick": 16, "usual": 16, "long": 4}  # the same for one namespace
SECONDS: Final = 10.0  # that a job waits for its losses where nobody has a deadline
MOMENT: Final = 0.2  # seconds that a worker waits for a loss that is quickly counted

Asker = tuple[str, str, str]
"""Kind, namespace and name of a job."""
Count = Callable[[LossKey], LossOutcome]


class _Lane:
    """One thread, and what waits for it: namespaces take turns. All but the counting itself is done on the loop."""

    def __init__(self, name: str, work: Count, counted: Callable[[str, LossKey, LossOutcome | None], None]) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"losses-{name}")
        self._work, self._counted = work, counted
        self.begun: dict[LossKey, asyncio.Future[None]] = {}
        self._queues: OrderedDict[str, OrderedDict[LossKey, None]] = OrderedDict()  # whose turn it is comes first
        self._running: tuple[str, LossKey] | None = None
        self.closed = False

    def of(self, namespace: str) -> int:
        """How many of a namespace are being counted or wait."""
        running = self._running is not None and self._running[0] == namespace
        return len(self._queues.get(namespace, ())) + running

    def add(self, namespace: str, key: LossKey) -> asyncio.Future[None]:
        """Wait for a turn; the future is done when the loss is counted, or dropped."""
        done = self.begun[key] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(namespace, OrderedDict())[key] = None
        self._next()
        return done

    def drop(self, key: LossKey) -> None:
        """Nobody needs it any more. What is being counted is finished."""
        for namespace, queue in self._queues.items():
            if key in queue:
                del queue[key]
                self._end(key)
                if not queue:
                    del self._queues[namespace]
                return

    def _next(self) -> None:
        if self.closed or self._running is not None or not self._queues:
            return
        namespace, queue = self._queues.popitem(last=False)
        key, _ = queue.popitem(last=False)
        if queue:
            self._queues[namespace] = queue  # behind all the others
        self._running = namespace, key
        loop = asyncio.get_running_loop()

        def tell(future: Future[LossOutcome]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._done, namespace, key, future)

        self.thread.submit(self._work, key).add_done_callback(tell)

    def _done(self, namespace: str, key: LossKey, future: Future[LossOutcome]) -> None:
        self._running = None
        outcome = None
        if not future.cancelled():
            if (error := future.exception()) is None:
                outcome = future.result()
            else:  # it is forgotten, so that it is tried again
                logger.warning("a loss was not counted: %s", str(error) or type(error).__name__)
        if namespace in self._queues:
            self._queues.move_to_end(namespace)
        self._next()
        self._end(key)
        self._counted(namespace, key, outcome)

    def _end(self, key: LossKey) -> None:
        done = self.begun.pop(key)
        if not done.done():
            done.set_result(None)


def _here(key: LossKey) -> LossOutcome:
    """Counted in this process."""
    return count(key)


class LossCounter:
    """Counts losses beside the event loop, and remembers them. For one event loop; not thread-safe.

    A thread for those that take a moment, one for those that take a few seconds, and a process for those that may take
    minutes, so that nobody's odd numbers hold up usual jobs. In each, namespaces take turns and have a few places. The
    same loss is counted once, however many ask for it meanwhile, and what was begun is finished and remembered although
    nobody waits for it any more, so that the next look finds it; only what waits for jobs that are all gone or changed
    is dropped.
    """

    def __init__(self, *, remembered: int = REMEMBERED, waiting: int = WAITING, long: Count | None = None) -> None:
        """`long` counts what takes long, in a thread; by default it has a process count it."""
        self._remembered, self._waiting = remembered, waiting
        self._known: OrderedDict[LossKey, LossOutcome] = OrderedDict()
        self._asks: OrderedDict[Asker, frozenset[LossKey]] = OrderedDict()
        self._here: set[Asker] = set()  # that wait at this moment, and need not be told
        self._told: list[Callable[[Asker], None]] = []
        self._child = Child()
        self._lanes: dict[Lane, _Lane] = {
            "quick": _Lane("quick", _here, self._counted),
            "usual": _Lane("usual", _here, self._counted),
            "long": _Lane("long", long or self._child.count, self._counted),
        }

    def on_counted(self, callback: Callable[[Asker], None]) -> None:
        """Call `callback(job)` when a loss is counted, or failed to be, that this job asked for and did not get."""
        self._told.append(callback)

    def close(self) -> None:
        """Count nothing any more; what is remembered stays."""
        self._child.close()
        for lane in self._lanes.values():
            lane.closed = True
            lane.thread.shutdown(wait=False, cancel_futures=True)

    def known(self, keys: tuple[LossKey, ...]) -> dict[LossKey, LossOutcome]:
        """Those of these losses that need no counting."""
        found = {key: self._known[key] for key in keys if key in self._known}
        for key in found:
            self._known.move_to_end(key)
        return found

    async def count(
        self, keys: tuple[LossKey, ...], deadline: float, namespace: str = "", asker: Asker | None = None
    ) -> dict[LossKey, LossOutcome]:
        """These losses, as far as they are counted by `deadline` (loop time), in the places of `namespace`.

        For an `asker`, who is told later, what takes long is begun and not waited for.
        """
        found = self.known(keys)
        begun = {key: self._begin(key, namespace) for key in keys if key not in found}
        waited = [done for key, done in begun.items() if done is not None and not (asker and lane_of(key) == "long")]
        left = deadline - asyncio.get_running_loop().time()
        if waited and left > 0:
            if asker is not None:
                self._here.add(asker)
            try:
                with metrics.LOSS_SECONDS.time():
                    await asyncio.wait(waited, timeout=left)
            finally:
                if asker is not None:
                    self._here.discard(asker)
        return self.known(keys)

    def asked(self, asker: Asker, missing: frozenset[LossKey]) -> None:
        """These losses are all that a job needs and has not got; none when it is gone.

        What it asked for before and does not now is dropped, unless another asks for it or it is being counted.
        """
        before = self._asks.pop(asker, frozenset())
        if missing:
            self._asks[asker] = missing
        while len(self._asks) > ASKERS:
            self._asks.popitem(last=False)
        for key in before - missing:
            if not any(key in keys for keys in self._asks.values()):
                self._lanes[lane_of(key)].drop(key)

    def _begin(self, key: LossKey, namespace: str) -> asyncio.Future[None] | None:
        which = lane_of(key)
        lane = self._lanes[which]
        if (found := lane.begun.get(key)) is not None:
            return found
        if lane.closed or len(lane.begun) >= self._waiting or lane.of(namespace) >= WAITING_EACH[which]:
            return None
        return lane.add(namespace, key)

    def _counted(self, namespace: str, key: LossKey, outcome: LossOutcome | None) -> None:
        if outcome is not None:
            self._known[key] = outcome
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
            for asker in [asker for asker, keys in self._asks.items() if key in keys]:
                if left := self._asks[asker] - {key}:
                    self._asks[asker] = left
                else:
                    del self._asks[asker]
                self._tell(asker)
        # Whose numbers just failed looks again a minute later, so that what always fails is not tried all the time.
        if (next_one := self._without_place(namespace, key)) is not None:
            self._tell(next_one)

    def _without_place(self, namespace: str, done: LossKey) -> Asker | None:
        """Who waits for longest of those that had no place when they asked, now that one is free."""
        which = lane_of(done)
        begun = self._lanes[which].begun
        for asker, keys in self._asks.items():
            mine = asker[1] == namespace and done not in keys
            if mine and any(key not in begun and lane_of(key) == which for key in keys):
                return asker
        return None

    def _tell(self, asker: Asker) -> None:
        if asker not in self._here:
            for callback in self._told:
                callback(asker)


async def with_losses(
    raw: Mapping[str, Any],
    facts: Facts,
    counter: LossCounter,
    deadline: float | None = None,
    *,
    asker: Asker | None = None,
) -> Facts:
    """These facts with the losses that the decision on this raw job needs.

    Those that are remembered are there at once. After `deadline` (loop time) the others are left out, which holds the
    job; they are counted all the same. An `asker` waits a moment at most, and is told when they are counted.
    """
    keys = losses_asked(raw, facts)
    found = counter.known(keys)
    if asker is not None:  # before anything is begun: what the job needs no more makes room
        counter.asked(asker, frozenset(keys) - found.keys())
    if not keys:
        return facts
    if len(found) < len(keys):
        until = asyncio.get_running_loop().time() + (SECONDS if asker is None else MOMENT)
        found = await counter.count(keys, until if deadline is None else min(until, deadline), _namespace(raw), asker)
    metrics.LOSSES.labels("counted").inc(len(found))
    metrics.LOSSES.labels("late").inc(len(keys) - len(found))
    return replace(facts, losses=found)


def asker_of(raw: Mapping[str, Any]) -> Asker:
    """Who asks for the losses of this raw job."""
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return str(raw.get("kind") or ""), _namespace(raw), str(name or "")


def _namespace(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    return str(metadata.get("namespace") or "") if isinstance(metadata, Mapping) else ""
