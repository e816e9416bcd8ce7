"""Data-plane processes as a pod would start them, each "pod" on a loopback address of its own."""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pulling import KEY

from mlprivacy.api import names
from mlprivacy.dataplane.keys import made

START_TIMEOUT = 30


@dataclass
class PodUnderTest:
    """An address in 127.0.0.0/8, a folder, and the processes started there."""

    ip: str
    directory: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def socket(self) -> Path:
        return self.directory / "accountant.sock"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def key(self) -> Path:
        return self.directory / "key"

    def make_key(self) -> str:
        """What the seal probe does before any sidecar starts; the public half, as it is offered."""
        return made(self.key).public_key().public_bytes_raw().hex()

    @property
    def termination(self) -> str:
        return (self.directory / "termination-log").read_text()

    async def start(self, command: str, **environ: str) -> asyncio.subprocess.Process:
        """``mlprivacy-dataplane COMMAND`` with a pod's environment; not waited for."""
        (self.directory / "termination-log").touch()
        standard = {
            "PATH": os.environ["PATH"],
            "MLPRIVACY_ATTEMPT_ID": "6f1c-1",
            "MLPRIVACY_LISTEN": self.ip,
            "MLPRIVACY_SOCKET": str(self.socket),
            "MLPRIVACY_LOG": str(self.log),
            "MLPRIVACY_KEY": str(self.key),
            "MLPRIVACY_PEER_UID": str(os.getuid()),
            "MLPRIVACY_TERMINATION_LOG": str(self.directory / "termination-log"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mlprivacy.dataplane.main",
            command,
            env=standard | environ,
            stderr=asyncio.subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    async def start_sidecar(self, command: str, **environ: str) -> asyncio.subprocess.Process:
        """A sidecar, once its startup probe succeeds, in a pod that has its key."""
        self.make_key()
        process = await self.start(command, **environ)
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    if (await self.get("/startupz"))[0] == 200:
                        return process
                if process.returncode is not None:
                    raise RuntimeError(await said(process))
                await asyncio.sleep(0.02)

    async def get(self, path: str, port: int = names.PORT_SIDECAR) -> tuple[int, bytes]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.ip}:{port}{path}") as response,
        ):
            return response.status, await response.read()

    async def post(self, path: str, value: object, port: int) -> tuple[int, bytes]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self.ip}:{port}{path}", data=json.dumps(value).encode()) as response,
        ):
            return response.status, await response.read()

    async def heartbeat(self) -> dict[str, Any]:
        status, body = await self.get("/heartbeat")
        assert status == 200
        return json.loads(body)  # type: ignore[no-any-return]


async def said(process: asyncio.subprocess.Process) -> str:
    """What a process that ends wrote to standard error."""
    _, error = await process.communicate()
    return error.decode()


@dataclass
class Trainer:
    """A connection to the accountant's socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, message: Mapping[str, object] | bytes) -> dict[str, Any]:
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.writer.write(raw + b"\n")
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        return json.loads(await self.reader.readline())  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def trainer(pod: PodUnderTest) -> AsyncIterator[Trainer]:
    reader, writer = await asyncio.open_unix_connection(str(pod.socket))
    try:
        yield Trainer(reader, writer)
    finally:
        writer.close()


@pytest.fixture
def connect() -> object:
    """``async with connect(pod) as trainer``."""
    return trainer


@pytest.fixture
async def pods(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    """Makes pods; ends their processes."""
    made: list[PodUnderTest] = []

    def make() -> PodUnderTest:
        ip = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
        made.append(PodUnderTest(ip, tmp_path_factory.mktemp("pod")))
        return made[-1]

    yield make
    for pod in made:
        for process in pod.processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
def pod(pods: Any) -> PodUnderTest:
    return pods()  # type: ignore[no-any-return]


@pytest.fixture
def seal_environment() -> dict[str, str]:
    """A canary out of the pod's reach: nobody listens at its address."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    return {
        "MLPRIVACY_CANARY": f"127.0.0.1:{port}:{port}",
        "MLPRIVACY_SEAL_KEY": base64.b64encode(KEY.public_key().public_bytes_raw()).decode(),
    }
