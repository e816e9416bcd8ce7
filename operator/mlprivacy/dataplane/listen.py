"""Ports of a governed pod, on which the user's code may knock as well: it must neither exhaust nor silence them.

All containers of a pod share its network, so its program reaches what the sidecar listens on. Three walls:

1. The kernel drops what arrives by the loopback interface before there is a connection: traffic from within the pod
   goes that way, whatever address it names; kubelet, collector and clients come from outside. Where a kernel does not
   do so (gVisor), the others stand.
2. The number of connections is bounded, from within the pod by a number of its own. The oldest gives way to a new one:
   who floods drives out its own, and one of the kubelet's is answered within moments.
3. Little memory per connection: the kernel's buffers are small, and so is what is read ahead.
"""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OTHERS: Final = 64  # connections from outside the pod at once
WITHIN: Final = 4  # connections from within the pod at once: nothing in it has business there
BACKLOG: Final = 128  # connections that the kernel keeps ready, in each address family
AT_ONCE: Final = 8  # of them taken before what was taken is looked at: a flood drives nobody out who has just asked
BUFFER: Final = 64 << 10  # bytes that the kernel keeps of one connection, each way

_SO_ATTACH_FILTER: Final = 26
_LOOPBACK: Final = 1  # the index of `lo`, the first interface of every network namespace
# ld the interface's index; is it loopback: drop; else take the packet.
_FILTER: Final = (
    (0x20, 0, 0, 0xFFFFF008),
    (0x15, 0, 1, _LOOPBACK),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),
)


class Door:
    """Lets a bounded number of connections in to ``serve``; the oldest of its kind gives way to a new one.

    ``listen``: the address that is listened on, None for all of the pod's. ``evicted`` counts those that gave way.
    """

    def __init__(self, serve: Serve, listen: str | None, *, others: int = OTHERS, within: int = WITHIN) -> None:
        self._serve = serve
        self._pod = not _is_loopback(listen)
        self._limits = {True: within, False: others}
        self._inside: dict[bool, dict[asyncio.Task[None], asyncio.StreamWriter]] = {True: {}, False: {}}
        self.evicted = 0

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for asyncio.start_server."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A connection is served by a task of its own.")
        within = self._from_within(writer)
        inside = self._inside[within]
        while len(inside) >= self._limits[within]:
            oldest, its_writer = next(iter(inside.items()))
            del inside[oldest]
            its_writer.transport.abort()
            oldest.cancel()
            self.evicted += 1
        inside[task] = writer
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # it gave way, or the process ends; asyncio's streams would report it as an error
        finally:
            inside.pop(task, None)
            writer.close()

    def _from_within(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the other end is in this pod. On a loopback address, where tests listen, only that one itself is."""
        peer, local = (writer.get_extra_info(name) for name in ("peername", "sockname"))
        if not peer or not local:
            return True  # it is gone already
        if peer[0] == local[0]:
            return True
        return self._pod and (_is_loopback(local[0]) or _is_own(str(peer[0]), *peer[2:]))


def _is_loopback(host: str | None) -> bool:
    try:
        return host is not None and ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _is_own(host: str, *scope: int) -> bool:
    """Whether an address is one of this network namespace's: only those can be bound."""
    family = socket.AF_INET6 if scope else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
        try:
            sock.bind((host, 0, *scope))
        except OSError:
            return False
        return True


def listening(host: str | None, port: int) -> list[socket.socket]:
    """Sockets that listen at ``host`` (None: every address of the pod). Raises OSError when the port can not be had."""
    with contextlib.ExitStack() as made:
        found: list[socket.socket] = []
        for address in (host,) if host else ("0.0.0.0", "::"):
            try:
                sock = made.enter_context(contextlib.closing(_listening(address, port)))
            except OSError as error:
                if address == "::" and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue  # the pod has no IPv6
                raise
            found.append(sock)
        made.pop_all()
    return found


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as made:
        sock = made.enter_context(contextlib.closing(socket.socket(family, socket.SOCK_STREAM)))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        if not _is_loopback(address):
            drop_loopback(sock)
        sock.bind((address, port))
        sock.listen(BACKLOG)
        made.pop_all()
    return sock


def drop_loopback(sock: socket.socket) -> bool:
    """Has the kernel drop what reaches ``sock`` by the loopback interface. False where it does not do that."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _FILTER))
    program = struct.pack("HL", len(_FILTER), ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


@contextlib.asynccontextmanager
async def serving(door: Door, sockets: Sequence[socket.socket], limit: int) -> AsyncIterator[None]:
    """Serves at ``sockets`` while the block runs. ``limit``: bytes read ahead of one connection."""
    async with contextlib.AsyncExitStack() as stack:
        for sock in sockets:
            server = await asyncio.start_server(door.enter, sock=sock, limit=limit, backlog=AT_ONCE)
            sock.listen(BACKLOG)  # asyncio listens with what it takes at once
            stack.callback(server.close)
        yield
