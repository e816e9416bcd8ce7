"""kill -9 of the collector while clients append: every receipt that was given is in the log, and the log verifies."""

import asyncio
import contextlib
import itertools
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlprivacy.audit import reader
from mlprivacy.audit.client import CollectorClient, CollectorError
from mlprivacy.audit.record import Event, Receipt, Record
from mlprivacy.audit.tls import client_context
from mlprivacy.audit.verify import Wrong, verify

PAUSES = (0.11, 0.17, 0.23, 0.31, 0.37)  # seconds until the kill: wherever the collector is then


def free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Collector:
    """Starts the process and makes clients for it."""

    directory: Path
    server: Any
    client_files: Any
    port: int = 0

    async def start(self) -> asyncio.subprocess.Process:
        self.port = free_port()
        files = self.server
        return await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("collector_process.py")),
            *map(str, (self.directory, files.cert, files.key, files.ca, self.port)),
        )

    def client(self, attempts: int) -> CollectorClient:
        files = self.client_files
        context = client_context(files.cert, files.key, files.ca)
        return CollectorClient(f"https://127.0.0.1:{self.port}", context, attempts=attempts, pause=0.01)


async def append(collector: Collector, events: Iterator[Event], given: list[Receipt]) -> None:
    """Appends until the collector is gone."""
    async with collector.client(attempts=1) as client:
        with contextlib.suppress(CollectorError):
            while True:
                given += await client.receipt([next(events), next(events), next(events)])


async def test_every_receipt_survives_kill_9(tmp_path: Path, pki: Any, event: Callable[..., Event]) -> None:
    collector = Collector(tmp_path / "log", pki.issue("server"), pki.issue("controller"))
    given: list[Receipt] = []
    events = (event(number) for number in itertools.count())
    for pause in PAUSES:
        process = await collector.start()
        async with collector.client(attempts=12) as client:
            given += await client.receipt([next(events)])
        appending = [asyncio.create_task(append(collector, events, given)) for _ in range(4)]
        enough = len(given) + 11
        await asyncio.sleep(pause)
        while len(given) < enough:  # noqa: ASYNC110 - so that on a busy machine too there is something to lose
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.gather(*appending)
        problem = verify(collector.directory).problem
        assert problem is None or problem.wrong == Wrong.TORN_LINE

    assert len(given) > 10 * len(PAUSES)
    process = await collector.start()
    try:
        async with collector.client(attempts=12) as client:
            assert await client.receipt([event(0)]) == given[:1]
            heads = await client.heads()
    finally:
        process.kill()
        await process.wait()
    report = verify(collector.directory, anchors=heads)
    assert report.ok, report.problem
    stored = {
        record.receipt for record in map(Record.parse, reader.chain_lines(collector.directory / "controller", 1, 10**9))
    }
    assert set(given) <= stored
