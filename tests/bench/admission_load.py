"""A load generator for one HTTP/1.1 server: prepared bytes over kept connections, little work per request."""

import asyncio
import ssl
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Prepared:
    """One request, and what must be in its answer."""

    raw: bytes
    expect: bytes


def prepare(path: str, body: bytes, expect: bytes) -> Prepared:
    """A POST of JSON."""
    fields = f"Host: admission\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return Prepared(f"POST {path} HTTP/1.1\r\n{fields}".encode() + body, expect)


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._done: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        end = lower.find(b"\r\n", start)
        length = int(lower[start : end if end >= 0 else None])
        if len(body) >= length and self._done is not None and not self._done.done():
            self._buffer = b""
            self._done.set_result(head[:12] + body)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))

    async def ask(self, request: Prepared) -> None:
        """Send and wait for the answer. Raises RuntimeError for another answer than was expected."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request.raw)
        answer = await self._done
        if not answer.startswith(b"HTTP/1.1 200") or request.expect not in answer:
            raise RuntimeError(f"unexpected answer: {answer[:400]!r}")

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int, context: ssl.SSLContext, count: int) -> list[Connection]:
    """Connections to a server on this machine."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, "127.0.0.1", port, ssl=context) for _ in range(count)]
    return [protocol for _, protocol in made]


async def saturate(connections: list[Connection], request: Prepared, seconds: float) -> int:
    """How many requests were answered while each connection asked without a pause."""
    end = time.perf_counter() + seconds

    async def one(connection: Connection) -> int:
        count = 0
        while time.perf_counter() < end:
            await connection.ask(request)
            count += 1
        return count

    return sum(await asyncio.gather(*(one(c) for c in connections)))


async def paced(
    connections: list[Connection], requests: list[Prepared], per_second: float, seconds: float
) -> list[float]:
    """Latencies in ms at a steady rate, counted from when each request was due, sent in time or not."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    latencies: list[float] = []

    async def one(due: float, request: Prepared) -> None:
        connection = await free.get()
        await connection.ask(request)
        latencies.append((time.perf_counter() - due) * 1000)
        free.put_nowait(connection)

    begun = time.perf_counter()
    tasks = []
    for index in range(int(per_second * seconds)):
        due = begun + index / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, requests[index % len(requests)])))
    await asyncio.gather(*tasks)
    return latencies
