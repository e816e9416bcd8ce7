"""Compiled rulesets in a real kernel: real TCP, UDP, SCTP and ICMP packets between network namespaces.

One namespace is the node, four are pods behind veths that it routes (as the CNI plugin `ptp` does), one is a host
outside. All of them are anonymous: they are held by descriptors of this process and gone with it, whatever happens.
Nothing here needs an API server; no packet leaves the namespaces.
"""

import contextlib
import ctypes
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from node.enforcer.compiler import compile_policies
from node.enforcer.render import REMOVE, TABLE, chains, render

CLONE_NEWNET = 0x40000000
# Longer than any answer within one machine takes, even a busy one; only denied datagrams wait for it.
PATIENCE = 1.0

T = TypeVar("T")
Json = dict[str, Any]


# --- namespaces ------------------------------------------------------------------------------------------------------


def call_libc(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def in_own_thread(action: Callable[[], T]) -> T:
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
    """A network namespace with the addresses of its one interface (the node has several)."""

    name: str
    v4: str
    v6: str
    fd: int = field(init=False)

    def __post_init__(self) -> None:
        def create() -> int:
            call_libc("unshare", CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_own_thread(create)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def inside(self, action: Callable[[], T]) -> T:
        def enter() -> T:
            call_libc("setns", self.fd, CLONE_NEWNET)
            return action()

        return in_own_thread(enter)

    def run(self, *command: str, given: str = "") -> str:
        nsenter = ["nsenter", f"--net={self.path}", *command]
        done = subprocess.run(nsenter, input=given, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} in {self.name}: {done.stderr.strip()}\n{given}")
        return done.stdout

    def sysctl(self, name: str, value: int) -> None:
        self.inside(lambda: Path("/proc/sys/net", name).write_text(str(value), encoding="ascii"))

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def close(self) -> None:
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


class Net:
    """The node, its pods and a host outside, and what one can try between them."""

    def __init__(self) -> None:
        self.node = Host("node", "192.0.2.10", "fd00:192::10")
        self.web = Host("web", "10.77.0.2", "fd00:77::2")
        self.db = Host("db", "10.77.0.3", "fd00:77::3")
        self.job = Host("job", "10.77.0.4", "fd00:77::4")
        self.far = Host("far", "10.77.0.5", "fd00:77::5")
        self.outside = Host("outside", "198.51.100.20", "fd00:198::20")
        self.pods = (self.web, self.db, self.job, self.far)
        self.loaded: frozenset[str] | None = None

    def build(self) -> None:
        self.node.sysctl("ipv4/ip_forward", 1)
        self.node.sysctl("ipv6/conf/all/forwarding", 1)
        self.node.run("ip", "address", "add", f"{self.node.v4}/32", "dev", "lo")
        self.node.run("ip", "address", "add", f"{self.node.v6}/128", "dev", "lo", "nodad")
        for pod in self.pods:
            plug(self.node, pod, "10.77.0.1", "fd00:77::1")
        plug(self.node, self.outside, "198.51.100.1", "fd00:198::1")

    def close(self) -> None:
        for host in (self.node, *self.pods, self.outside):
            host.close()

    def enforce(self, *policies: Json) -> None:
        pods = [
            pod("team", "web", self.web, {"app": "web"}, [{"name": "http", "containerPort": 8080}]),
            pod("team", "db", self.db, {"app": "db"}, [{"name": "http", "containerPort": 5432}]),
            pod("team", "job", self.job, {"app": "job"}),
            pod("other", "far", self.far, {"app": "web"}),
        ]
        namespaces = [{"metadata": {"name": name, "labels": {"name": name}}} for name in ("team", "other")]
        ruleset = compile_policies(policies, pods, namespaces)
        self.node.run("nft", "-f", "-", given=render(ruleset, self.loaded))
        self.loaded = chains(ruleset)

    def reset(self) -> None:
        self.node.run("nft", "-f", "-", given=REMOVE)
        self.loaded = None


def pod(namespace: str, name: str, host: Host, labels: dict[str, str], ports: list[Json] | None = None) -> Json:
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "ports": ports or []}]},
        "status": {"phase": "Running", "podIPs": [{"ip": host.v4}, {"ip": host.v6}]},
    }


def policy(selector: Json, *, namespace: str = "team", **spec: Any) -> Json:
    return {"metadata": {"namespace": namespace, "name": "it"}, "spec": {"podSelector": selector, **spec}}


def app(name: str) -> Json:
    return {"matchLabels": {"app": name}}


DENY_ALL = policy({}, policyTypes=["Ingress", "Egress"])
NO_INGRESS = policy({}, policyTypes=["Ingress"])
NO_EGRESS = policy({}, policyTypes=["Egress"], egress=[])


# --- traffic ---------------------------------------------------------------------------------------------------------


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def link_local(interface: int) -> Callable[[str], tuple[str, int, int, int]]:
    return lambda address: (address, 0, 0, interface)


def tcp(source: Host, destination: Host, port: int, *, to: str | None = None) -> bool:
    """Whether a connection comes about; somebody listens for sure. `to` is the address if not the IPv4 one."""
    address = to or destination.v4
    with destination.socket(family_of(address), socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("::" if ":" in address else "0.0.0.0", port))
        server.listen()
        return reaches(source, address, port)


def reaches(source: Host, address: str, port: int) -> bool:
    with source.socket(family_of(address), socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect((address, port))
        except OSError:
            return False
        return True


def udp(source: Host, destination: Host, port: int, *, to: str | None = None) -> bool:
    """Whether a datagram arrives."""
    address = to or destination.v4
    with (
        destination.socket(family_of(address), socket.SOCK_DGRAM) as server,
        source.socket(family_of(address), socket.SOCK_DGRAM) as client,
    ):
        server.bind(("::" if ":" in address else "0.0.0.0", port))
        client.connect((address, port))
        client.send(b"hello")
        # A refusal makes the client readable: no need to wait for the datagram.
        readable, _, _ = select.select([server, client], [], [], PATIENCE)
        return server in readable


def sctp(source: Host, destination: Host, port: int) -> bool:
    """Whether an INIT chunk arrives; written by hand, since kernels often lack SCTP sockets."""
    init = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
    packet = struct.pack("!HHII", 40000, port, 0, 0) + init
    with (
        destination.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as server,
        source.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP) as client,
    ):
        client.sendto(packet, (destination.v4, 0))
        readable, _, _ = select.select([server], [], [], PATIENCE)
        return bool(readable)


# Sends one echo request and waits a second for its answer; `ping` itself is not everywhere.
_ECHO = """
import os, socket, struct, sys
address, six = sys.argv[1], ":" in sys.argv[1]
family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
with socket.socket(family, socket.SOCK_RAW, protocol) as wire:
    wire.settimeout(1)
    wire.connect((address, 0))
    mark = os.getpid() & 0xFFFF  # another one each time: an answered echo is an established connection
    body = struct.pack("!BBHHH", 128 if six else 8, 0, 0, mark, 1)
    if not six:  # the kernel fills in the sum for version 6 alone
        total = sum(struct.unpack("!4H", body))
        body = struct.pack("!BBHHH", 8, 0, ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF, mark, 1)
    wire.send(body)
    while True:
        answer = wire.recv(256)
        kind = answer[0] if six else answer[(answer[0] & 15) * 4]
        if kind == (129 if six else 0):
            break
"""


def ping(source: Host, address: str) -> bool:
    """Whether an echo request is answered."""
    with contextlib.suppress(RuntimeError):
        source.run(sys.executable, "-c", _ECHO, address)
        return True
    return False


# --- fixtures --------------------------------------------------------------------------------------------------------


def why_not() -> str | None:
    """The sentence that says why packets can not be sent here, or None."""
    if os.geteuid() != 0:
        return "network namespaces and nftables need root"
    missing = [name for name in ("ip", "nft", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"missing commands: {', '.join(missing)} (Debian: apt-get install nftables iproute2 util-linux)"
    try:
        probe = Host("probe", "", "")
    except OSError as error:
        return f"this kernel or container lets nobody make a network namespace: {error}"
    try:
        probe.run("nft", "--check", "-f", "-", given=render(compile_policies([], [], [])))
    except RuntimeError as error:
        return f"this kernel lacks a part of nftables that the enforcer needs: {error}"
    finally:
        probe.close()
    return None


@pytest.fixture(scope="module")
def wired() -> Iterator[Net]:
    reason = why_not()
    if reason is not None:
        pytest.fail(f"no packet can be sent here: {reason}")
    net = Net()
    try:
        net.build()
        yield net
    finally:
        net.close()


@pytest.fixture
def net(wired: Net) -> Iterator[Net]:
    wired.reset()
    yield wired
    wired.reset()


# --- what is open ----------------------------------------------------------------------------------------------------


def test_without_policies_everybody_talks(net: Net) -> None:
    net.enforce()
    for destination in (net.db, net.node, net.outside):
        assert tcp(net.web, destination, 80)
        assert tcp(net.web, destination, 80, to=destination.v6)
        assert udp(net.web, destination, 53)
    assert tcp(net.outside, net.web, 80)
    assert sctp(net.web, net.db, 7)
    assert ping(net.web, net.db.v4)
    assert ping(net.web, net.db.v6)


def test_a_pod_that_no_policy_selects_stays_open(net: Net) -> None:
    net.enforce(DENY_ALL)
    assert tcp(net.far, net.node, 80)
    assert tcp(net.outside, net.far, 80)
    assert udp(net.far, net.outside, 53)


# --- default deny ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_isolated_for_ingress_nobody_gets_in_and_it_gets_out(net: Net, family: str) -> None:
    net.enforce(NO_INGRESS)
    for source in (net.db, net.far, net.outside):
        assert not tcp(source, net.web, 80, to=getattr(net.web, family))
        assert not udp(source, net.web, 53, to=getattr(net.web, family))
    for destination in (net.far, net.outside, net.node):
        assert tcp(net.web, destination, 80, to=getattr(destination, family))
        assert udp(net.web, destination, 53, to=getattr(destination, family))


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_isolated_for_egress_it_gets_nowhere_and_others_get_in(net: Net, family: str) -> None:
    net.enforce(NO_EGRESS)
    for destination in (net.far, net.outside, net.node):
        assert not tcp(net.web, destination, 80, to=getattr(destination, family))
        assert not udp(net.web, destination, 53, to=getattr(destination, family))
    for source in (net.far, net.outside):
        assert tcp(source, net.web, 80, to=getattr(net.web, family))


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_the_node_reaches_its_isolated_pods(net: Net, family: str) -> None:
    net.enforce(DENY_ALL)
    assert tcp(net.node, net.web, 8080, to=getattr(net.web, family))
    assert udp(net.node, net.web, 53, to=getattr(net.web, family))
    assert ping(net.node, getattr(net.web, family))


def test_every_address_of_the_node_is_behind_the_pods_egress(net: Net) -> None:
    net.enforce(NO_EGRESS)
    for address in ("192.0.2.10", "10.77.0.1", "198.51.100.1", "fd00:192::10", "fd00:77::1", "fd00:198::1"):
        assert not tcp(net.web, net.node, 6443, to=address), address


def test_an_allowed_address_of_the_node_is_reached_on_the_allowed_port(net: Net) -> None:
    to_node = [{"ipBlock": {"cidr": f"{net.node.v4}/32"}}, {"ipBlock": {"cidr": f"{net.node.v6}/128"}}]
    net.enforce(DENY_ALL, policy(app("web"), egress=[{"to": to_node, "ports": [{"port": 6443}]}]))
    assert tcp(net.web, net.node, 6443)
    assert tcp(net.web, net.node, 6443, to=net.node.v6)
    assert not tcp(net.web, net.node, 10250)
    assert not tcp(net.web, net.node, 6443, to="10.77.0.1")


def test_the_link_local_way_to_the_node_is_closed(net: Net) -> None:
    shown = net.node.run("ip", "-6", "-o", "address", "show", "dev", "web", "scope", "link")
    address = shown.split(" inet6 ")[1].split("/")[0]
    index = net.web.inside(lambda: socket.if_nametoindex("eth0"))

    def connects() -> bool:
        with (
            net.node.socket(socket.AF_INET6, socket.SOCK_STREAM) as server,
            net.web.socket(socket.AF_INET6, socket.SOCK_STREAM) as client,
        ):
            server.bind(("::", 6443))
            server.listen()
            client.settimeout(PATIENCE)
            with contextlib.suppress(OSError):
                client.connect((address, 6443, 0, index))
                return True
            return False

    assert connects()
    net.enforce(NO_EGRESS)
    assert not connects()


def test_denied_tcp_is_refused_at_once(net: Net) -> None:
    net.enforce(DENY_ALL)
    for address in (net.far.v4, net.far.v6, net.node.v4, net.node.v6):
        with net.web.socket(family_of(address), socket.SOCK_STREAM) as client:
            client.settimeout(10)
            began = time.monotonic()
            with pytest.raises(ConnectionRefusedError):
                client.connect((address, 80))
            assert time.monotonic() - began < 1


def test_denied_udp_is_told_to_the_sender(net: Net) -> None:
    net.enforce(DENY_ALL)
    with net.web.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((net.far.v4, 53))
        client.send(b"hello")
        with pytest.raises(OSError, match=r"No route to host|refused|unreachable|denied"):
            client.recv(1)


# --- peers -----------------------------------------------------------------------------------------------------------


def test_a_pod_selector_means_pods_of_the_policys_namespace(net: Net) -> None:
    net.enforce(NO_INGRESS, policy(app("db"), ingress=[{"from": [{"podSelector": app("web")}]}]))
    assert tcp(net.web, net.db, 80)
    assert tcp(net.web, net.db, 80, to=net.db.v6)
    assert not tcp(net.job, net.db, 80)
    assert not tcp(net.far, net.db, 80), "it has the label, but lives elsewhere"
    assert not tcp(net.outside, net.db, 80)


def test_a_namespace_selector_alone_means_all_pods_there(net: Net) -> None:
    other = {"namespaceSelector": {"matchLabels": {"name": "other"}}}
    net.enforce(NO_INGRESS, policy(app("db"), ingress=[{"from": [other]}]))
    assert tcp(net.far, net.db, 80)
    assert not tcp(net.web, net.db, 80)


def test_both_selectors_in_one_peer_must_match(net: Net) -> None:
    peer = {"namespaceSelector": {}, "podSelector": app("web")}
    net.enforce(NO_INGRESS, policy(app("db"), ingress=[{"from": [peer]}]))
    assert tcp(net.web, net.db, 80)
    assert tcp(net.far, net.db, 80)
    assert not tcp(net.job, net.db, 80)


def test_both_ends_must_allow(net: Net) -> None:
    egress = policy(app("web"), egress=[{"to": [{"podSelector": app("db")}]}], policyTypes=["Egress"])
    net.enforce(DENY_ALL, egress)
    assert not tcp(net.web, net.db, 80)
    ingress = policy(app("db"), ingress=[{"from": [{"podSelector": app("web")}]}])
    net.enforce(DENY_ALL, ingress)
    assert not tcp(net.web, net.db, 80)
    net.enforce(DENY_ALL, egress, ingress)
    assert tcp(net.web, net.db, 80)
    assert not tcp(net.db, net.web, 80)


@pytest.mark.parametrize(
    ("family", "whole", "hole"), [("v4", "0.0.0.0/0", "10.77.0.2/31"), ("v6", "::/0", "fd00:77::2/127")]
)
def test_except_takes_addresses_out_of_a_block(net: Net, family: str, whole: str, hole: str) -> None:
    # The hole is web and db.
    block = {"ipBlock": {"cidr": whole, "except": [hole]}}
    net.enforce(policy(app("job"), egress=[{"to": [block]}], policyTypes=["Egress"]))
    assert not tcp(net.job, net.web, 80, to=getattr(net.web, family))
    assert not tcp(net.job, net.db, 80, to=getattr(net.db, family))
    assert tcp(net.job, net.far, 80, to=getattr(net.far, family))
    assert tcp(net.job, net.outside, 80, to=getattr(net.outside, family))
    assert tcp(net.job, net.node, 80, to=getattr(net.node, family))
    other = "v6" if family == "v4" else "v4"
    assert not tcp(net.job, net.outside, 80, to=getattr(net.outside, other)), "a block is of one family"


def test_a_block_lets_outsiders_in(net: Net) -> None:
    net.enforce(NO_INGRESS, policy(app("web"), ingress=[{"from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}]))
    assert tcp(net.outside, net.web, 80)
    assert not tcp(net.db, net.web, 80)


def test_rules_and_policies_add_up(net: Net) -> None:
    first = policy(app("db"), ingress=[{"from": [{"podSelector": app("web")}], "ports": [{"port": 80}]}])
    second = policy(app("db"), ingress=[{"from": [{"podSelector": app("job")}]}, {"ports": [{"port": 81}]}])
    net.enforce(first, second)
    assert tcp(net.web, net.db, 80)
    assert not tcp(net.web, net.db, 82)
    assert tcp(net.job, net.db, 82)
    assert tcp(net.outside, net.db, 81)
    assert not tcp(net.outside, net.db, 80)


# --- ports -----------------------------------------------------------------------------------------------------------


def test_end_port_is_included(net: Net) -> None:
    net.enforce(policy(app("db"), ingress=[{"ports": [{"port": 8000, "endPort": 8002}, {"port": 9000}]}]))
    answers = {port: tcp(net.web, net.db, port) for port in (7999, 8000, 8001, 8002, 8003, 9000, 9001)}
    assert answers == {7999: False, 8000: True, 8001: True, 8002: True, 8003: False, 9000: True, 9001: False}


def test_a_port_without_protocol_is_tcp(net: Net) -> None:
    net.enforce(policy(app("db"), ingress=[{"ports": [{"port": 80}, {"protocol": "UDP", "port": 81}]}]))
    assert tcp(net.web, net.db, 80)
    assert not udp(net.web, net.db, 80)
    assert not tcp(net.web, net.db, 81)
    assert udp(net.web, net.db, 81)
    assert not sctp(net.web, net.db, 80)


def test_sctp(net: Net) -> None:
    net.enforce(policy(app("db"), ingress=[{"ports": [{"protocol": "SCTP", "port": 7}]}]))
    assert sctp(net.web, net.db, 7)
    assert not sctp(net.web, net.db, 8)
    assert not tcp(net.web, net.db, 7)


def test_a_protocol_without_port_means_all_its_ports(net: Net) -> None:
    net.enforce(policy(app("db"), ingress=[{"ports": [{"protocol": "UDP"}]}]))
    assert udp(net.web, net.db, 1)
    assert udp(net.web, net.db, 65535)
    assert not tcp(net.web, net.db, 1)


def test_a_named_port_is_the_receivers(net: Net) -> None:
    named: list[Json] = [{"ports": [{"port": "http"}]}]
    net.enforce(policy({}, ingress=named))
    assert tcp(net.job, net.web, 8080)
    assert not tcp(net.job, net.web, 5432)
    assert tcp(net.job, net.db, 5432)
    assert not tcp(net.far, net.job, 8080), "it names no port http"
    net.enforce(policy(app("job"), egress=named, policyTypes=["Egress"]))
    assert tcp(net.job, net.web, 8080)
    assert tcp(net.job, net.db, 5432, to=net.db.v6)
    assert not tcp(net.job, net.db, 8080)
    assert not tcp(net.job, net.outside, 8080)


# --- ICMP ------------------------------------------------------------------------------------------------------------


def test_icmp_passes_by_a_rule_without_ports_only(net: Net) -> None:
    net.enforce(policy(app("db"), ingress=[{"ports": [{}, {"protocol": "UDP"}, {"protocol": "SCTP"}]}]))
    assert not ping(net.web, net.db.v4)
    assert not ping(net.web, net.db.v6)
    net.enforce(policy(app("db"), ingress=[{}]))
    assert ping(net.web, net.db.v4)
    assert ping(net.web, net.db.v6)


def test_neighbours_are_found_although_all_is_denied(net: Net) -> None:
    net.enforce(DENY_ALL, policy({}, namespace="other", egress=[{}], ingress=[{}]))
    for host in (net.node, *net.pods):
        host.run("ip", "-6", "neighbour", "flush", "all")
    assert tcp(net.node, net.web, 80, to=net.web.v6)
    for host in (net.node, *net.pods):
        host.run("ip", "-6", "neighbour", "flush", "all")
    assert not tcp(net.web, net.far, 80, to=net.far.v6)
    assert "FAILED" not in net.web.run("ip", "-6", "neighbour", "show")


# --- connections and translation -------------------------------------------------------------------------------------


def test_an_established_connection_outlives_a_new_deny(net: Net) -> None:
    net.enforce()
    with (
        net.db.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        net.web.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.bind(("0.0.0.0", 7000))
        server.listen()
        client.settimeout(5)
        client.connect((net.db.v4, 7000))
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(5)
            net.enforce(DENY_ALL)
            client.send(b"ping")
            assert accepted.recv(4) == b"ping"
            accepted.send(b"pong")
            assert client.recv(4) == b"pong"
        assert not reaches(net.web, net.db.v4, 7000)


def translate(net: Net, service: str, backend: Host) -> contextlib.AbstractContextManager[object]:
    """A Service as kube-proxy makes it, in a table of its own: DNAT before routing, masqueraded for a pod to itself."""
    stack = contextlib.ExitStack()
    net.node.run(
        "nft",
        "-f",
        "-",
        given=f"""
table ip services {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {service} tcp dport 80 dnat to {backend.v4}:8080
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {backend.v4} ip daddr {backend.v4} masquerade
  }}
}}
""",
    )
    stack.callback(net.node.run, "nft", "delete", "table", "ip", "services")
    return stack


def test_policies_see_addresses_after_service_translation(net: Net) -> None:
    service = "10.96.0.5"

    def through_the_service() -> bool:
        with net.web.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind(("0.0.0.0", 8080))
            server.listen()
            return reaches(net.job, service, 80)

    with translate(net, service, net.web):
        by_service = policy(app("job"), egress=[{"to": [{"ipBlock": {"cidr": f"{service}/32"}}]}])
        net.enforce(by_service)
        assert not through_the_service()
        by_pod = policy(app("job"), egress=[{"to": [{"podSelector": app("web")}], "ports": [{"port": 8080}]}])
        net.enforce(by_pod)
        assert through_the_service()


def test_a_pod_reaches_itself_through_its_service(net: Net) -> None:
    net.enforce(DENY_ALL)
    with translate(net, "10.96.0.5", net.web), net.web.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("0.0.0.0", 8080))
        server.listen()
        assert reaches(net.web, "10.96.0.5", 80)
        assert not reaches(net.job, "10.96.0.5", 80)


# --- the table -------------------------------------------------------------------------------------------------------


def test_no_connection_slips_through_while_the_ruleset_is_replaced(net: Net) -> None:
    net.enforce(DENY_ALL)
    stop = threading.Event()

    def replace() -> None:
        ports = 1
        while not stop.is_set():
            ports += 1
            net.enforce(DENY_ALL, policy(app("job"), ingress=[{"ports": [{"port": ports}]}]))

    replacing = threading.Thread(target=replace)
    with net.far.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("0.0.0.0", 80))
        server.listen()
        replacing.start()
        try:
            until = time.monotonic() + 3
            tried = slipped = 0
            while time.monotonic() < until:
                tried += 1
                slipped += reaches(net.web, net.far.v4, 80)
        finally:
            stop.set()
            replacing.join()
    assert tried > 20
    assert slipped == 0


def test_other_tables_are_left_alone(net: Net) -> None:
    net.node.run("nft", "add table inet stranger; add chain inet stranger keep")
    try:
        net.enforce(DENY_ALL)
        net.enforce()
        net.reset()
        tables = net.node.run("nft", "list", "tables").split("\n")
        assert "table inet stranger" in tables
        assert f"table inet {TABLE}" not in tables
        assert "chain keep" in net.node.run("nft", "list", "table", "inet", "stranger")
    finally:
        net.node.run("nft", "delete", "table", "inet", "stranger")


def test_the_table_tells_people_which_pod_an_address_is(net: Net) -> None:
    net.enforce(DENY_ALL)
    assert '10.77.0.2 comment "team/web"' in net.node.run("nft", "list", "map", "inet", TABLE, "egress4")
