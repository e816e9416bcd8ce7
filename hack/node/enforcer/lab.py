"""A small network for the enforcer's tests: network namespaces joined by veths, and packets sent between them.

The namespaces are anonymous: descriptors of this process hold them, so that they are gone with it whatever happens.
"""

import contextlib
import ctypes
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
# Longer than any answer within one machine takes, even on a busy one; only what is dropped silently waits for it.
_PATIENCE: Final = 1.0
# Echo ids and source ports: with the same one twice the second packet would belong to the first one's connection.
_NUMBERS: Final = itertools.count(40000)
_ECHO: Final = {4: (socket.AF_INET, socket.IPPROTO_ICMP, 8, 0), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129)}


def _libc(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _in_own_thread(action: Callable[[], T]) -> T:
    """Run it in a thread that ends afterwards: a thread that changed its namespace is of no other use."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - handed on to the caller
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@dataclass
class Host:
    """A network namespace and the addresses that it is known by."""

    name: str
    v4: str
    v6: str
    fd: int = field(init=False)

    def __post_init__(self) -> None:
        """Raises OSError when this process may not make network namespaces."""

        def create() -> int:
            _libc("unshare", _CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = _in_own_thread(create)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        """A path of the namespace that other processes can open while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def inside(self, action: Callable[[], T]) -> T:
        """Run it inside. A socket that is made inside stays there, whoever uses it later."""

        def enter() -> T:
            _libc("setns", self.fd, _CLONE_NEWNET)
            return action()

        return _in_own_thread(enter)

    def entering(self, *command: str) -> list[str]:
        """The command line that runs a command inside."""
        return ["nsenter", f"--net={self.path}", *command]

    def run(self, *command: str, given: str = "") -> str:
        """The output of a command inside. Raises RuntimeError with what it printed when it fails."""
        done = subprocess.run(self.entering(*command), input=given, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} in {self.name}: {done.stderr.strip()}\n{given}")
        return done.stdout

    def sysctl(self, name: str, value: int) -> None:
        """Set /proc/sys/net/<name>."""
        self.inside(lambda: Path("/proc/sys/net", name).write_text(str(value), encoding="ascii"))

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket inside."""
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def close(self) -> None:
        """Let go of the namespace; it and its interfaces vanish with the last socket in it."""
        os.close(self.fd)


def plug(node: Host, peer: Host, gateway4: str, gateway6: str) -> None:
    """Join a namespace to the node as the CNI plugin ptp does: a veth, host routes, one gateway address for all."""
    node.run("ip", "link", "add", peer.name, "type", "veth", "peer", "name", "eth0", "netns", peer.path)
    peer.sysctl("ipv6/conf/eth0/accept_dad", 0)
    node.sysctl(f"ipv6/conf/{peer.name}/accept_dad", 0)
    node.run("ip", "link", "set", peer.name, "up")
    peer.run("ip", "link", "set", "eth0", "up")
    for address, gateway, bits in ((peer.v4, gateway4, "32"), (peer.v6, gateway6, "128")):
        nodad = ("nodad",) if ":" in address else ()
        node.run("ip", "address", "add", f"{gateway}/{bits}", "dev", peer.name, *nodad)
        node.run("ip", "route", "add", f"{address}/{bits}", "dev", peer.name)
        peer.run("ip", "address", "add", f"{address}/{bits}", "dev", "eth0", *nodad)
        peer.run("ip", "route", "add", gateway, "dev", "eth0")
        peer.run("ip", "route", "add", "default", "via", gateway, "dev", "eth0")


def family_of(address: str) -> int:
    """The socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listener(host: Host, port: int, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A server's socket on all addresses of a host."""
    server = host.socket(family, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server


def tcp(source: Host, destination: Host, port: int, *, to: str | None = None) -> bool:
    """Whether a connection comes about; somebody listens for sure. `to` is the address if not the IPv4 one."""
    address = to or destination.v4
    with listener(destination, port, family_of(address)):
        return reaches(source, address, port)


def reaches(source: Host, address: str, port: int, interface: int = 0) -> bool:
    """Whether a TCP connection to whoever listens there comes about; a link-local address needs its interface."""
    family = family_of(address)
    place = (address, port, 0, interface) if family == socket.AF_INET6 else (address, port)
    with source.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE)
        try:
            client.connect(place)
        except OSError:
            return False
        return True


def udp(source: Host, destination: Host, port: int, *, to: str | None = None) -> bool:
    """Whether a datagram arrives."""
    address = to or destination.v4
    family = family_of(address)
    with (
        listener(destination, port, family, socket.SOCK_DGRAM) as server,
        source.socket(family, socket.SOCK_DGRAM) as client,
    ):
        client.connect((address, port))
        client.send(b"hello")
        # A refusal makes the client readable: no need to wait for the datagram.
        readable, _, _ = select.select([server, client], [], [], _PATIENCE)
        return server in readable


def sctp(source: Host, destination: Host, port: int) -> bool:
    """Whether an INIT chunk arrives; written by hand, since kernels often lack SCTP sockets."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
    packet = struct.pack("!HHII", next(_NUMBERS), port, 0, 0) + chunk
    raw = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with destination.socket(*raw) as server, source.socket(*raw) as client:
        client.sendto(packet, (destination.v4, 0))
        readable, _, _ = select.select([server], [], [], _PATIENCE)
        return bool(readable)


def ping(source: Host, address: str) -> bool:
    """Whether an echo request is answered."""
    version = 6 if ":" in address else 4
    family, protocol, request, reply = _ECHO[version]
    body = struct.pack("!BBHHH", request, 0, 0, next(_NUMBERS), 1)
    if version == 4:
        body = body[:2] + struct.pack("!H", _checksum(body)) + body[4:]
    with source.socket(family, socket.SOCK_RAW, protocol) as client:
        client.settimeout(_PATIENCE)
        client.sendto(body, (address, 0))
        with contextlib.suppress(TimeoutError):
            while True:
                answer, (sender, *_) = client.recvfrom(2048)
                kind = answer[20] if version == 4 else answer[0]
                if kind == reply and sender == address:
                    return True
    return False


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
