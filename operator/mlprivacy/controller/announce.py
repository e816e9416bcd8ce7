"""Kubernetes Events, written beside the reconciles: a decision never waits for one, and a flood of them is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from mlprivacy.controller import metrics
from mlprivacy.kube.events import EventRecorder

WAITING_MAX = 1000


class Announcer:
    """A bounded queue in front of an `EventRecorder`."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self._waiting: asyncio.Queue[tuple[Mapping[str, Any], Literal["Normal", "Warning"], str, str]] = asyncio.Queue(
            WAITING_MAX
        )

    def say(self, job: Mapping[str, Any], type: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        """Say something about a job, soon; dropped where too much waits."""
        metadata = job["metadata"]
        about = {
            "apiVersion": job["apiVersion"],
            "kind": job["kind"],
            "metadata": {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in metadata},
        }
        try:
            self._waiting.put_nowait((about, type, reason, note))
        except asyncio.QueueFull:
            metrics.EVENTS_DROPPED.inc()

    async def run(self) -> None:
        """Write until cancelled; what can be said within a moment is said before the end."""
        try:
            while True:
                await self._recorder.publish(*await self._waiting.get())
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError, asyncio.QueueEmpty):
                async with asyncio.timeout(0.3):
                    while True:
                        await self._recorder.publish(*self._waiting.get_nowait())
            raise
