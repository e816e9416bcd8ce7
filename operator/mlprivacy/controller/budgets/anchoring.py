"""Has the collector record the newest head of each ledger, after every append: one request at a time for each domain.

While a request is under way later heads replace each other, and the newest one follows it. A head stands for all
entries before it, so that nothing is lost by leaving some out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from mlprivacy.audit.client import CollectorConflict, CollectorError
from mlprivacy.audit.ledgerclient import Kept
from mlprivacy.budget.ledger.entry import Head

logger = logging.getLogger(__name__)
PAUSE: Final = 0.5  # seconds before the second try; doubled after each, up to PAUSE_MOST
PAUSE_MOST: Final = 30.0

Anchor = Callable[[Head], Awaitable[Kept]]


class Judge(Protocol):
    """Looks at a ledger that the collector contradicts."""

    async def __call__(self, domain: str) -> bool:
        """Whether ledger and collector agree after all, as when another process anchored a later head.

        Raises CollectorError or ApiError when that could not be found out now.
        """


class Anchoring:
    """``anchor`` records one head; ``judge`` is asked when it is refused as that of another ledger."""

    def __init__(self, anchor: Anchor, judge: Judge, *, pause: float = PAUSE) -> None:
        self._anchor = anchor
        self._judge = judge
        self._pause = pause
        self._wanted: dict[str, Head] = {}
        self._done: dict[str, Head] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def want(self, head: Head) -> None:
        """This is a ledger's newest head. Returns at once."""
        domain = head.subject_domain
        if head.sequence <= self._wanted.get(domain, Head.none(domain)).sequence:
            return
        self._wanted[domain] = head
        if domain not in self._tasks:
            self._tasks[domain] = asyncio.create_task(self._run(domain), name=f"anchor {domain}")

    def seen(self, head: Head) -> None:
        """The collector has this head already."""
        if head.sequence > self._done.get(head.subject_domain, Head.none(head.subject_domain)).sequence:
            self._done[head.subject_domain] = head

    def behind(self, domain: str) -> int:
        """How many entries come after the head that is anchored."""
        none = Head.none(domain)
        return max(0, self._wanted.get(domain, none).sequence - self._done.get(domain, none).sequence)

    async def settled(self, domain: str) -> None:
        """Wait until nothing is under way for the domain."""
        while (task := self._tasks.get(domain)) is not None:
            await asyncio.wait({task})

    async def stop(self) -> None:
        """Give up what is under way. The next start anchors what was not."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self, domain: str) -> None:
        pause = self._pause
        try:
            while self.behind(domain):
                try:
                    if not await self._once(self._wanted[domain]):
                        return
                except Exception as error:  # noqa: BLE001 - whatever it was, the head is still to be anchored
                    logger.warning("the ledger of %s is not anchored yet: %s", domain, error)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, PAUSE_MOST)
                else:
                    pause = self._pause
        finally:
            del self._tasks[domain]

    async def _once(self, head: Head) -> bool:
        """Anchor it. Whether the ledger is that which the collector knows."""
        try:
            kept = await self._anchor(head)
        except CollectorConflict as error:
            logger.warning("the collector contradicts the ledger of %s: %s", head.subject_domain, error)
            if not await self._judge(head.subject_domain):
                return False
            self.seen(head)
            return True
        if kept.anchor is None or kept.anchor.sequence < head.sequence:
            raise CollectorError("the collector answered with an older head than it was given")
        self.seen(kept.anchor)
        return True
