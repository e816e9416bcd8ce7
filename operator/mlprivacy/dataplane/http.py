"""A small HTTP/1.1 responder for the sidecars: one request a connection, everything bounded. Standard library only.

Not aiohttp, by measurement: it costs 13 MB of private memory per sidecar, and every governed pod carries one.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from mlprivacy.dataplane import listen

MAX_HEAD: Final = 16 << 10  # bytes of request line and headers
MAX_BODY: Final = 64 << 10
TIMEOUT: Final = 5.0  # seconds from connection to the end of the answer


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes
    target: str = ""  # path and query as they were sent


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, body, content type, further headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


def answer(status: int, value: object) -> Response:
    """``value`` as JSON."""
    return Response(status, json.dumps(value, separators=(",", ":")).encode() + b"\n")


def text(status: int, sentence: str) -> Response:
    """``sentence`` as plain text."""
    return Response(status, sentence.encode() + b"\n", "text/plain; charset=utf-8")


class BadRequest(Exception):
    """The request is not one this responder reads. ``status`` is what it is answered with."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def read_request(reader: asyncio.StreamReader) -> Request:
    """One request. Raises BadRequest, or IncompleteReadError when the client leaves."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadRequest(431, f"The request's head is longer than {MAX_HEAD} bytes.") from error
    first, *rest = head[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400, "The request line is not HTTP/1.1.")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or (name.lower() in headers and name.lower() == "content-length"):
            raise BadRequest(400, "A header is not well formed.")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequest(411, "Send the body with Content-Length, not chunked.")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 12):
        raise BadRequest(400, "Content-Length is not a number.")
    if int(length) > MAX_BODY:
        raise BadRequest(413, f"The body is larger than {MAX_BODY} bytes.")
    body = await reader.readexactly(int(length))
    try:
        target = urlsplit(parts[1])
        query = dict(parse_qsl(target.query, max_num_fields=16))
    except ValueError as error:
        raise BadRequest(400, "The request's target is not well formed.") from error
    return Request(parts[0], target.path, query, body, parts[1])


class Responder:
    """Answers each connection's one request with ``handler``; then closes it. A handler's error is a bare 500."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def settled(self) -> None:
        """Waits until no answer is under way."""
        await self._idle.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For asyncio.start_server."""
        self._open += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await self._respond(reader)
                writer.write(render(response))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left or is too slow, or the process ends; nothing to say to it
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def _respond(self, reader: asyncio.StreamReader) -> Response:
        try:
            return await self._handler(await read_request(reader))
        except BadRequest as error:
            return answer(error.status, {"error": str(error)})
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            raise
        except Exception:  # noqa: BLE001 - an answer must not end the process, nor tell its inside
            return answer(500, {"error": "The request could not be answered."})


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, response: Response) -> None:
    """Answers whatever was sent with ``response`` and closes.

    What the client still sends is read and thrown away, up to 64 MiB and TIMEOUT seconds: closing with bytes unread
    would reset the connection, and the client would not see the answer.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            if not await reader.read(MAX_HEAD):
                return
            writer.write(render(response))
            await writer.drain()
            writer.write_eof()
            for _ in range(4096):
                if not await reader.read(MAX_HEAD):
                    return
    except (OSError, TimeoutError, asyncio.CancelledError):
        pass  # the client left or is too slow, or the process ends
    finally:
        writer.close()


def render(response: Response) -> bytes:
    """The bytes of an answer."""
    try:
        phrase = HTTPStatus(response.status).phrase
    except ValueError:
        phrase = "Unknown"
    head = (
        f"HTTP/1.1 {response.status} {phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        "Connection: close\r\nX-Content-Type-Options: nosniff\r\n"
    )
    head += "".join(f"{name}: {value}\r\n" for name, value in response.headers) + "\r\n"
    return head.encode("latin-1") + response.body


@contextlib.asynccontextmanager
async def listening(responder: Responder, host: str | None, port: int) -> AsyncIterator[None]:
    """Serves on TCP while the block runs, bounded. Raises OSError when the port can not be had."""
    async with listen.serving(listen.Door(responder.serve, host), listen.listening(host, port), MAX_HEAD):
        yield
