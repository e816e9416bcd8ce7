"""The ports of a governed pod under a flood from within it: the kubelet and the collector are answered all the same."""

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import aiohttp

from mlprivacy.api import names
from mlprivacy.dataplane.listen import OTHERS, Door, listening

PORT = 18080
FLOOD = 600


async def hold(ip: str, port: int, source: str | None) -> None:
    """Connects from an address, sends half a request, waits to be thrown out; again and again."""
    while True:
        with contextlib.suppress(OSError):
            local = (source, 0) if source else None
            reader, writer = await asyncio.open_connection(ip, port, local_addr=local)
            writer.write(b"G" * 9000)
            await reader.read(1)
            writer.close()
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def flooded(ip: str, port: int, source: str | None = None, size: int = FLOOD) -> Any:
    tasks = [asyncio.create_task(hold(ip, port, source)) for _ in range(size)]
    await asyncio.sleep(1)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def descriptors(process: asyncio.subprocess.Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def peak(process: asyncio.subprocess.Process) -> int:
    """The most memory a process ever had, in bytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


async def test_a_flood_from_within_the_pod_takes_its_own_share_alone(pod: Any) -> None:
    process = await pod.start_sidecar("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
    before = descriptors(process)
    for port in (names.PORT_SIDECAR, PORT):
        async with flooded(pod.ip, port, source=pod.ip):
            for path in ("/healthz", "/startupz", "/heartbeat", "/log?from=1"):
                assert (await pod.get(path))[0] == 200
            assert descriptors(process) < before + 300
    assert process.returncode is None
    assert peak(process) < 80 << 20  # of the 96 MiB it has


async def test_the_oldest_of_a_flood_from_elsewhere_gives_way(pod: Any) -> None:
    process = await pod.start_sidecar("accountant")
    async with flooded(pod.ip, names.PORT_SIDECAR, size=4 * OTHERS), aiohttp.ClientSession() as session:
        answered = 0
        end = time.monotonic() + 60
        while answered < 3 and time.monotonic() < end:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://{pod.ip}:{names.PORT_SIDECAR}/healthz") as response:
                    answered += response.status == 200
        assert answered == 3
    assert process.returncode is None


async def test_startup_succeeds_only_once_the_gateways_port_is_bound(pod: Any) -> None:
    pod.make_key()
    with contextlib.closing(socket.create_server((pod.ip, PORT))):
        process = await pod.start("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
        while process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError):
                assert (await pod.get("/startupz"))[0] == 503
            await asyncio.sleep(0.01)
    assert process.returncode == 1
    await pod.start_sidecar("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
    with contextlib.suppress(OSError), contextlib.closing(socket.create_server((pod.ip, PORT))):
        raise AssertionError("the port was not bound when startup succeeded")


def test_the_kernel_drops_what_comes_from_within_the_pod() -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(contextlib.closing(sock)) for sock in listening(None, 0)[:1]]
        port = sockets[0].getsockname()[1]
        for address in ("127.0.0.1", "127.9.9.9"):
            with contextlib.closing(socket.socket()) as client:
                client.settimeout(0.5)
                assert client.connect_ex((address, port)) != 0


async def test_where_the_kernel_drops_nothing_the_pods_own_have_places_of_their_own() -> None:
    """A door of a whole pod, at a socket without the filter: whatever comes over loopback is the pod's own."""

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    door = Door(serve, None, within=2)
    server = await asyncio.start_server(door.enter, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    made = [await asyncio.open_connection(*address, local_addr=(f"127.0.0.{n}", 0)) for n in range(2, 7)]
    for reader, _ in made[:3]:
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""  # the oldest gave way
    assert door.evicted == 3
    assert not any(reader.at_eof() for reader, _ in made[3:])
    for _, writer in made:
        writer.close()
    server.close()


async def test_a_connection_of_the_trainers_is_told_when_the_log_is_full(pod: Any, connect: Any) -> None:
    pod.log.joinpath("accountant").mkdir(parents=True)
    with pod.log.joinpath("accountant", "ballast").open("wb") as file:
        file.truncate(48 << 20)
    await pod.start_sidecar("accountant")
    async with connect(pod) as trainer:
        answer = await trainer.say({"type": "step", "step": 1})
    assert (answer["ok"], "full" in answer["error"]) == (False, True)
    assert (await pod.get("/healthz"))[0] == 200
    assert (await pod.heartbeat())["seq"] >= 1


async def test_messages_that_swell_when_read_do_not_end_the_accountant(pod: Any, connect: Any) -> None:
    process = await pod.start_sidecar("accountant")
    swollen = b'{"type":"note","x":[' + b",".join([b"{}"] * 20_000) + b"]}\n"

    async def swell() -> None:
        async with connect(pod) as trainer:
            for _ in range(8):
                trainer.writer.write(swollen)
            for _ in range(8):
                assert (await trainer.hear())["ok"]

    await asyncio.gather(*(swell() for _ in range(12)))
    assert peak(process) < 90 << 20
