"""The gateway without a policy: every client is refused in its own protocol's terms, and counted in the log."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from mlprivacy.audit import reader
from mlprivacy.audit.record import Record
from mlprivacy.audit.verify import verify

PORT = 18080


async def raw(ip: str, request: bytes) -> bytes:
    """What the gateway answers to bytes."""
    connection, writer = await asyncio.open_connection(ip, PORT)
    try:
        writer.write(request)
        with contextlib.suppress(OSError):
            writer.write_eof()
        return await connection.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("GET", {}),
        ("DELETE", {}),
        ("POST", {"data": b"x" * 3_000_000}),
        ("POST", {"data": b"x" * 100, "expect100": True}),
        ("PUT", {"json": {"inputs": [1, 2]}}),
    ],
)
async def test_every_request_is_refused_with_a_sentence(pod: Any, method: str, options: dict[str, Any]) -> None:
    await pod.start_sidecar("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://{pod.ip}:{PORT}/v1/predict", **options) as response,
    ):
        assert response.status == 503
        assert (await response.json())["reason"] == "NoPolicyLoaded"


async def test_other_protocols_are_refused_too(pod: Any) -> None:
    await pod.start_sidecar("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
    for request in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00", b"hello\n", b"A" * 200_000):
        assert (await raw(pod.ip, request)).startswith(b"HTTP/1.1 503 ")


async def test_refusals_are_counted_into_the_log(pod: Any) -> None:
    process = await pod.start_sidecar("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
    for _ in range(7):
        await raw(pod.ip, b"GET / HTTP/1.1\r\n\r\n")
    assert b'mlprivacy_gateway_refused_total{reason="no-policy"} 7' in (await pod.get("/metrics"))[1]
    assert (await pod.heartbeat())["role"] == "gateway"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    stored = [Record.parse(line).event for line in reader.chain_lines(pod.log / "gateway", 1, 10**6)]
    refused = [event.data["requests"] for event in stored if event.kind == "refused"]
    assert sum(map(int, map(str, refused))) == 7
    assert stored[-1].kind == "stopped"
    assert verify(pod.log).ok


async def test_a_port_in_use_is_a_sentence(pod: Any) -> None:
    pod.make_key()
    with contextlib.closing(socket.create_server((pod.ip, PORT))):
        process = await pod.start("gateway", MLPRIVACY_GATEWAY_PORT=str(PORT))
        await process.communicate()
    assert process.returncode == 1
    assert "could not start" in pod.termination


@pytest.mark.parametrize("value", ["", "0", "70000", "http"])
async def test_a_bad_port_is_a_sentence(pod: Any, value: str) -> None:
    process = await pod.start("gateway", MLPRIVACY_GATEWAY_PORT=value)
    await process.communicate()
    assert process.returncode == 2
    assert "MLPRIVACY_GATEWAY_PORT" in pod.termination


def test_json_is_what_a_client_gets() -> None:
    from mlprivacy.dataplane.http import answer, render  # noqa: PLC0415

    made: Callable[..., bytes] = render
    head, _, body = made(answer(503, {"error": "x"})).partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    assert json.loads(body) == {"error": "x"}
