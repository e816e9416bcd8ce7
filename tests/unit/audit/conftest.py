"""Events to record, and a collector with real TLS on loopback."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pki import Authority

from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.collector import CollectorConfig, Listening, run_collector
from mlprivacy.audit.record import Event, Subject, event_id
from mlprivacy.audit.tls import FileTLS, client_context


def make_event(number: int, *, kind: str = "decision", **data: object) -> Event:
    """A decision about a training job; ``number`` makes it another one."""
    subject = Subject("TrainingJob", "research", "diagnosis", "6f1c")
    return Event("2026-03-01T12:00:00Z", event_id(kind, "6f1c", number), kind, subject, {"number": number, **data})


@pytest.fixture
def event() -> Callable[..., Event]:
    return make_event


@pytest.fixture
def pki(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def authority() -> Callable[..., Authority]:
    """Makes another CA."""
    return Authority


@dataclass(frozen=True)
class RunningCollector:
    """A collector that serves, and clients for it."""

    ports: Listening
    config: CollectorConfig
    pki: Authority

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports.port}"

    @property
    def health(self) -> str:
        return f"http://127.0.0.1:{self.ports.health_port}"

    def client(self, name: str, **options: float) -> CollectorClient:
        files = self.pki.issue(name)
        return CollectorClient(
            self.url,
            client_context(files.cert, files.key, files.ca),
            **{"attempts": 1, **options},  # type: ignore[arg-type]
        )


Start = Callable[..., "contextlib.AbstractAsyncContextManager[RunningCollector]"]


@pytest.fixture
def start_collector(tmp_path: Path, pki: Authority) -> Start:
    """Runs a collector in this loop: ``async with start_collector(option=…) as collector``."""
    files = pki.issue("collector-server")
    standard = CollectorConfig(
        directory=tmp_path / "log",
        tls=FileTLS(files.cert, files.key, files.ca, reload_after=0),
        host="127.0.0.1",
        port=0,
        health_host="127.0.0.1",
        health_port=0,
    )

    @contextlib.asynccontextmanager
    async def start(**options: object) -> AsyncIterator[RunningCollector]:
        config = dataclasses.replace(standard, **options)  # type: ignore[arg-type]
        stop = asyncio.Event()
        listening: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run_collector(config, stop, listening=listening))
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        try:
            yield RunningCollector(listening.result(), config, pki)
        finally:
            stop.set()
            await task

    return start
