"""Compiled rulesets in a real kernel: real TCP, UDP, SCTP and ICMP packets between network namespaces.

One namespace is the node, four are pods behind veths that it routes (as the CNI plugin `ptp` does), one is a host
outside. Nothing here needs an API server; no packet leaves the namespaces.
"""

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from node.enforcer.compiler import compile_policies
from node.enforcer.lab import Host, family_of, listener, ping, plug, reaches, sctp, tcp, udp
from node.enforcer.render import REMOVE, TABLE, Table, change, lay_out, replace

Json = dict[str, Any]


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
        self.loaded: Table | None = None

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
        table = lay_out(compile_policies(policies, pods, namespaces))
        self.node.run("nft", "-f", "-", given=change(self.loaded, table) if self.loaded else replace(table))
        self.loaded = table

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
        probe.run("nft", "--check", "-f", "-", given=replace(lay_out(compile_policies([], [], []))))
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

    with listener(net.node, 6443, socket.AF_INET6):
        assert reaches(net.web, address, 6443, index)
        net.enforce(NO_EGRESS)
        assert not reaches(net.web, address, 6443, index)


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
    with listener(net.db, 7000) as server, net.web.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
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


@contextlib.contextmanager
def service(net: Net, address: str, backend: Host) -> Iterator[None]:
    """A Service as kube-proxy makes it, in a table of its own: DNAT, and masquerading for a pod that reaches itself."""
    table = f"""table ip services {{
      chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr {address} tcp dport 80 dnat to {backend.v4}:8080
      }}
      chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {backend.v4} ip daddr {backend.v4} masquerade
      }}
    }}
    """
    net.node.run("nft", "-f", "-", given=table)
    try:
        yield
    finally:
        net.node.run("nft", "delete", "table", "ip", "services")


def test_policies_see_addresses_after_service_translation(net: Net) -> None:
    with service(net, "10.96.0.5", net.web), listener(net.web, 8080):
        net.enforce(policy(app("job"), egress=[{"to": [{"ipBlock": {"cidr": "10.96.0.5/32"}}]}]))
        assert not reaches(net.job, "10.96.0.5", 80)
        net.enforce(policy(app("job"), egress=[{"to": [{"podSelector": app("web")}], "ports": [{"port": 8080}]}]))
        assert reaches(net.job, "10.96.0.5", 80)


def test_a_pod_reaches_itself_through_its_service(net: Net) -> None:
    net.enforce(DENY_ALL)
    with service(net, "10.96.0.5", net.web), listener(net.web, 8080):
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
    with listener(net.far, 80):
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
