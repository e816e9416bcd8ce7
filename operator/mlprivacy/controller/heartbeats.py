"""Which governed pods' sidecars the collector does not hear: asked of it now and then, kept as it said.

While the collector gives no answer nothing gets older: what is silent then may be the collector itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from mlprivacy.audit.client import CollectorError, PodHeard
from mlprivacy.controller.silence import Patience, Silence

logger = logging.getLogger(__name__)
EVERY: Final = 15.0  # seconds between two questions


class Source(Protocol):
    """Who knows what was heard."""

    async def silent_pods(self, seconds: int) -> list[PodHeard]:
        """The governed pods whose sidecar was not heard for so long. Raises CollectorError."""


class Heartbeats:
    """The newest answer. ``changed(namespace, name)`` is called with each pod whose silence has passed a limit of
    ``patience`` since the answer before, or ended.
    """

    def __init__(self, source: Source, patience: Patience, changed: Callable[[str, str], None]) -> None:
        self._source = source
        self._patience = patience
        self._changed = changed
        self._silent: dict[str, PodHeard] = {}

    def silence(self, uids: Iterable[str]) -> Silence | None:
        """The longest silence among these pods' sidecars; None when it means nothing yet."""
        level = max((self._level(self._silent.get(uid)) for uid in uids), default=0)
        return Silence(self._patience, too_long=level > 1) if level else None

    async def run(self) -> None:
        """Ask until cancelled."""
        told = False
        while True:
            try:
                self.take(await self._source.silent_pods(self._patience.told))
                told = False
            except CollectorError as error:
                if not told:
                    logger.warning("it is not known which sidecars are heard: %s", error)
                told = True
            await asyncio.sleep(EVERY)

    def take(self, silent: Iterable[PodHeard]) -> None:
        """Take in an answer."""
        before, self._silent = self._silent, {pod.uid: pod for pod in silent}
        for uid, pod in {**before, **self._silent}.items():
            if self._level(before.get(uid)) != self._level(self._silent.get(uid)):
                self._changed(pod.namespace, pod.name)

    def _level(self, pod: PodHeard | None) -> int:
        if pod is None:
            return 0
        return 2 if self._patience.stopped and pod.silent_seconds >= self._patience.stopped else 1
