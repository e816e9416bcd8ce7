"""Runs kopf in a thread and loop of its own, and starts it anew when it gives up.

In the controller's own loop kopf would take over the signals, wait five seconds at its end for tasks that are none of
its own and then cancel them, and take the process along when a watch fails for good.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf

from mlprivacy.controller import metrics
from mlprivacy.controller.handlers import registry_for, settings_for_events

logger = logging.getLogger(__name__)
LONGEST_PAUSE = 30.0  # seconds between two starts


class Framework:
    """kopf, supervised. ``seen(kind, event type, object)`` is called in the loop in which `start` was called."""

    def __init__(self, seen: Callable[[str, str | None, dict[str, Any]], None], kubeconfig: str | None) -> None:
        self._seen = seen
        self._kubeconfig = kubeconfig
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        self._inner: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def start(self) -> None:
        """Run until `stop`."""
        self._home = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._supervise, name="kopf", daemon=True)
        self._thread.start()

    def restart(self) -> None:
        """End the present run; the next begins with a complete list."""
        inner = self._inner
        if inner is not None:
            loop, flag = inner
            try:
                loop.call_soon_threadsafe(flag.set)
            except RuntimeError:  # its loop has just been closed
                return

    async def stop(self, within: float = 1.0) -> None:
        """End; what has not ended after that many seconds is left to the end of the process."""
        self._ending.set()
        self.restart()
        thread = self._thread
        if thread is not None:
            await asyncio.to_thread(thread.join, within)

    def _supervise(self) -> None:
        pause = 0.5
        while not self._ending.is_set():
            try:
                asyncio.run(self._operate())
                pause = 0.5
            except Exception as error:  # noqa: BLE001 - whatever it is, jobs must be heard of again
                metrics.FRAMEWORK_RESTARTS.inc()
                if not self._ending.is_set():
                    logger.warning(
                        "kopf ended (%s: %s); starting it again in %.1f s", type(error).__name__, error, pause
                    )
                self._ending.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _operate(self) -> None:
        flag = asyncio.Event()
        self._inner = asyncio.get_running_loop(), flag
        if self._ending.is_set():
            return
        await kopf.operator(
            registry=registry_for(self._pass_on, self._kubeconfig),
            settings=settings_for_events(),
            standalone=True,
            clusterwide=True,
            stop_flag=flag,
        )

    def _pass_on(self, kind: str, event: str | None, obj: dict[str, Any]) -> None:
        if self._home is not None and not self._ending.is_set():
            self._home.call_soon_threadsafe(self._seen, kind, event, obj)
