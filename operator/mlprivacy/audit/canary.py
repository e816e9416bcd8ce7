"""The seal canary: an address that a sealed pod must not reach, and the check that it is alive. Standard library only.

A young pod gets out before its network rules arrive; its seal probe waits until this canary stops answering it.
"""

import asyncio
import contextlib
import secrets
import socket
from dataclasses import dataclass
from typing import Final, Self, cast

from mlprivacy.audit.seal import ANSWER_BYTES, MESSAGE_BYTES, NONCE_BYTES, PONG, CanaryAddress, answer, ping

MAX_CONNECTIONS: Final = 512
READ_TIMEOUT: Final = 2.0  # seconds a client has to send its ping


@dataclass(frozen=True, slots=True)
class Reached:
    """Which way led to the canary. ``tcp`` is true as soon as a connection stands: that is a way out already."""

    tcp: bool
    udp: bool

    @property
    def any(self) -> bool:
        return self.tcp or self.udp


class Canary:
    """Listens on TCP and UDP at each address and answers pings. Raises OSError when a port can not be had."""

    def __init__(self, addresses: tuple[CanaryAddress, ...], secret: bytes | None = None) -> None:
        """``secret`` makes the proof in its answers; what alive() is asked with must be the same."""
        self.secret = secret if secret is not None else secrets.token_bytes(32)
        self._addresses = addresses
        self._servers: list[asyncio.Server] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._open = 0

    async def __aenter__(self) -> Self:
        try:
            for address in self._addresses:
                await self._listen(address)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        self._transports, self._servers = [], []

    async def _listen(self, address: CanaryAddress) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await asyncio.start_server(self._serve, address.host, address.tcp, limit=MESSAGE_BYTES))
        with contextlib.ExitStack() as made:
            sock = made.enter_context(_bound(address))
            transport, _ = await loop.create_datagram_endpoint(lambda: _Answering(self.secret), sock=sock)
            made.pop_all()
        self._transports.append(transport)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(READ_TIMEOUT):
                    reply = answer(await reader.readexactly(MESSAGE_BYTES), self.secret)
                    if reply is not None:
                        writer.write(reply)
                        await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a client that says nothing gets nothing
        finally:
            self._open -= 1
            writer.close()


def _bound(address: CanaryAddress) -> socket.socket:
    """A UDP socket at the address, of its family alone, as asyncio makes those for TCP. Raises OSError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with contextlib.ExitStack() as made:
        sock = made.enter_context(contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)))
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.udp))
        made.pop_all()
    return sock


class _Answering(asyncio.DatagramProtocol):
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = answer(data, self._secret)
        if reply is not None:
            self._transport.sendto(reply, addr)


async def reach(address: CanaryAddress, timeout: float) -> Reached:  # noqa: ASYNC109 - handed to sockets below
    """Tries the canary over TCP and UDP at once, for ``timeout`` seconds at most. Never raises for a network's sake."""
    tcp, udp = await asyncio.gather(_tcp(address, timeout), _udp(address, timeout))
    return Reached(tcp, udp)


async def alive(address: CanaryAddress, secret: bytes, timeout: float) -> bool:  # noqa: ASYNC109
    """Whether the canary with this secret answers a ping both ways.

    Stricter than reach(): neither a bare connection nor the answer of another is a sign of its life.
    """
    tcp, udp = await asyncio.gather(_tcp(address, timeout, secret), _udp(address, timeout, secret))
    return tcp and udp


async def _tcp(address: CanaryAddress, timeout: float, secret: bytes | None = None) -> bool:  # noqa: ASYNC109
    writer = None
    nonce = secrets.token_bytes(NONCE_BYTES)
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address.host, address.tcp)
            if secret is None:
                return True
            writer.write(ping(nonce))
            return await reader.readexactly(ANSWER_BYTES) == answer(ping(nonce), secret)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        if writer is not None:
            writer.close()


async def _udp(address: CanaryAddress, timeout: float, secret: bytes | None = None) -> bool:  # noqa: ASYNC109
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    loop = asyncio.get_running_loop()
    nonce = secrets.token_bytes(NONCE_BYTES)
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, (address.host, address.udp))
            async with asyncio.timeout(timeout):
                await loop.sock_sendall(sock, ping(nonce))
                while True:
                    reply = await loop.sock_recv(sock, ANSWER_BYTES + 1)
                    if secret is None:
                        if reply.startswith(PONG + nonce):
                            return True
                    elif reply == answer(ping(nonce), secret):
                        return True
        except (OSError, TimeoutError):
            return False
