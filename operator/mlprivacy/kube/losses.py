"""Has the losses of jobs counted without stopping the event loop: the facts of a job with what its promise comes to."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from mlprivacy.kube import metrics
from mlprivacy.policy.engine import losses_asked
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.loss import LossKey, LossOutcome, count, takes_long

REMEMBERED: Final = 4096  # losses
WAITING: Final = 64  # that are being counted or wait for it, in each lane; beyond, a job holds and is looked at again
SECONDS: Final = 10.0  # that a job waits for its losses where nobody has a deadline


class _Lane:
    """One thread, and what it was given."""

    def __init__(self, name: str) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=f"losses-{name}")
        self.begun: dict[LossKey, Future[LossOutcome]] = {}


class LossCounter:
    """Counts losses in threads of its own, and remembers them. Not thread-safe.

    One thread for those that take a second at most and another for those that may take minutes, so that nobody's odd
    numbers hold up usual jobs. The same loss is counted once, however many ask for it meanwhile, and what was begun is
    finished and remembered although nobody waits for it any more, so that the next look finds it.
    """

    def __init__(self, *, remembered: int = REMEMBERED, waiting: int = WAITING) -> None:
        self._remembered, self._waiting = remembered, waiting
        self._known: OrderedDict[LossKey, LossOutcome] = OrderedDict()
        self._lanes = {False: _Lane("quick"), True: _Lane("long")}

    def known(self, keys: tuple[LossKey, ...]) -> dict[LossKey, LossOutcome]:
        """Those of these losses that need no counting."""
        self._harvest()
        found = {key: self._known[key] for key in keys if key in self._known}
        for key in found:
            self._known.move_to_end(key)
        return found

    async def count(self, keys: tuple[LossKey, ...], deadline: float) -> dict[LossKey, LossOutcome]:
        """These losses, as far as they are counted by `deadline` (loop time)."""
        found = self.known(keys)
        begun = [self._begin(key) for key in keys if key not in found]
        waited = [asyncio.wrap_future(future) for future in begun if future is not None]
        left = deadline - asyncio.get_running_loop().time()
        if waited and left > 0:
            with metrics.LOSS_SECONDS.time():
                await asyncio.wait(waited, timeout=left)
        return self.known(keys)

    def _begin(self, key: LossKey) -> Future[LossOutcome] | None:
        lane = self._lanes[takes_long(key)]
        found = lane.begun.get(key)
        if found is None and len(lane.begun) < self._waiting:
            found = lane.begun[key] = lane.thread.submit(count, key)
        return found

    def _harvest(self) -> None:
        """Remember what was counted meanwhile. What went wrong is forgotten, so that it is tried again."""
        for lane in self._lanes.values():
            for key in [key for key, future in lane.begun.items() if future.done()]:
                future = lane.begun.pop(key)
                if not future.cancelled() and future.exception() is None:
                    self._known[key] = future.result()
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)


async def with_losses(
    raw: Mapping[str, Any], facts: Facts, counter: LossCounter, deadline: float | None = None
) -> Facts:
    """These facts with the losses that the decision on this raw job needs.

    Those that are remembered are there at once. After `deadline` (loop time) the others are left out, which holds the
    job; they are counted all the same.
    """
    keys = losses_asked(raw, facts)
    if not keys:
        return facts
    found = counter.known(keys)
    if len(found) < len(keys):
        until = asyncio.get_running_loop().time() + SECONDS
        found = await counter.count(keys, until if deadline is None else min(until, deadline))
    metrics.LOSSES.labels("counted").inc(len(found))
    metrics.LOSSES.labels("late").inc(len(keys) - len(found))
    return replace(facts, losses=found)
