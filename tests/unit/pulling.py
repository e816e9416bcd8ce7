"""A puller at work over a log of a test's own, and how its tests look at it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy.audit import reader
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.metrics import CollectorMetrics
from mlprivacy.audit.podkeys import FOLDER, PodKeys
from mlprivacy.audit.puller import Pod, Puller
from mlprivacy.audit.record import Record
from mlprivacy.audit.verify import Wrong, verify

KEY = Ed25519PrivateKey.generate()


def watched(pod: Any, uid: str = "pod-1", attempt: str | None = "6f1c-1") -> Pod:
    """The pod as the kube watch knows it."""
    return Pod("research", "diagnosis-x", uid, pod.ip, "training", attempt)


class Pulling:
    """A puller at work over a log."""

    def __init__(self, directory: Path, pods: list[Pod]) -> None:
        self.directory = directory
        self.pods = pods
        self.canary = True
        self.log_bytes = 64 << 20
        self.keys = PodKeys(directory / FOLDER)
        self.metrics: CollectorMetrics | None = None

    def knows(self, pod: Any, uid: str = "pod-1", attempt: str = "6f1c-1") -> None:
        """As if the pod's seal was confirmed before: its key is known."""
        assert self.keys.learn(uid, attempt, pod.make_key()) is None

    def unbelieved(self, reason: str) -> float:
        assert self.metrics is not None
        return self.metrics.unbelieved.labels(reason)._value.get()  # type: ignore[no-any-return]

    async def canary_alive(self) -> bool:
        return self.canary

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Puller]:
        with AuditLog(self.directory) as log:
            self.metrics = CollectorMetrics(log)
            puller = Puller(
                log,
                self.metrics,
                writer="collector",
                source=lambda: self.pods,
                canary_alive=self.canary_alive,
                key=KEY,
                keys=PodKeys(self.directory / FOLDER),
                log_bytes=self.log_bytes,
                poll=0.02,
                heartbeat=0.05,
                record_every=3600,
                timeout=1.0,
            )
            task = asyncio.create_task(puller.run())
            try:
                yield puller
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        problem = verify(self.directory).problem
        assert problem is None or problem.wrong == Wrong.EMPTY

    def records(self, kind: str, uid: str = "pod-1") -> list[dict[str, Any]]:
        lines = reader.chain_lines(self.directory / "collector", 1, 10**9)
        events = [Record.parse(line).event for line in lines]
        return [dict(event.data) for event in events if (event.kind, event.subject.uid) == (kind, uid)]

    def pulled_lines(self, uid: str = "pod-1") -> list[str]:
        return [line for page in self.records("sidecar", uid) for line in page.get("lines", [])]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process's doing
            await asyncio.sleep(0.02)


def state(puller: Puller, uid: str = "pod-1") -> dict[str, Any]:
    return next((found for found in puller.report() if found["uid"] == uid), {"stage": "unknown", "pulled": 0})
