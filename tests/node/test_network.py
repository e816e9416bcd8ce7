"""What gets out of a governed pod and what gets in, in packets; a plain pod tries the same, and may.

An address that the plain pod does not reach either proves nothing, so it has to reach each one that is listed.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mlprivacy.api import names
from mlprivacy.audit.seal import CanaryAddress
from node.cluster import NodeCluster
from node.operator import NAMESPACE, Operator
from node.world import World, eventually

# Tries every target of the file it is told, again and again, and prints what it reached: one line of JSON a round.
KNOCK = """
import json, socket, time
TARGETS = json.loads('''%s''')
def tcp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        s.settimeout(1.5)
        s.connect((host, port))
    return True
def udp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1.5)
        s.connect((host, port))
        s.send(b"\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x0akubernetes\\x07default\\x03svc\\x07cluster\\x05local\\x00\\x00\\x01\\x00\\x01")
        s.recv(512)
    return True
while True:
    found = {}
    for name, (way, host, port) in TARGETS.items():
        try:
            found[name] = (tcp if way == "tcp" else udp)(host, port)
        except OSError:
            found[name] = False
    print(json.dumps(found), flush=True)
    time.sleep(1)
"""
# Answers over TCP and UDP, over both address families where the pod has them.
ANSWER = """
import socket, threading
def serve(family, kind):
    s = socket.socket(family, kind)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 8080))
    if kind == socket.SOCK_DGRAM:
        while True:
            data, peer = s.recvfrom(2048)
            s.sendto(data, peer)
    s.listen(64)
    while True:
        s.accept()[0].close()
families = [socket.AF_INET] + ([socket.AF_INET6] if socket.has_ipv6 and open("/proc/net/if_inet6").read() else [])
for family in families:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        threading.Thread(target=serve, args=(family, kind)).start()
print("listening", flush=True)
"""


def rounds(world: World, pod: str, container: str) -> list[dict[str, bool]]:
    return [json.loads(line) for line in world.log(pod, container).splitlines() if line.startswith("{")]


def addresses(pod: dict[str, Any]) -> tuple[str, str | None]:
    """IPv4 and IPv6 address of a pod; the second None where the cluster has none."""
    found = [entry["ip"] for entry in pod["status"]["podIPs"]]
    return next(ip for ip in found if ":" not in ip), next((ip for ip in found if ":" in ip), None)


@pytest.fixture(scope="module")
def places(operator: Operator) -> Iterator[dict[str, Any]]:
    """A governed world with a neighbour pod, and an ungoverned one with a pod and a Service; both answer."""
    world, street = World(operator), World(operator, None)
    world.apply(world.plain_pod(ANSWER, "neighbour"))
    street.apply(
        street.plain_pod(ANSWER, "house", {"app": "house"}),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "house", "namespace": street.namespace},
            "spec": {"type": "NodePort", "selector": {"app": "house"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    for place, pod in ((world, "neighbour"), (street, "house")):
        place.ready(pod)
        place.said(pod, "listening")
    yield {"world": world, "street": street}
    world.close()
    street.close()


@pytest.fixture(scope="module")
def targets(places: dict[str, Any]) -> dict[str, tuple[str, str, int]]:
    """Every way out by name: protocol, address, port."""
    world, street = places["world"], places["street"]
    cluster = world.cluster
    near, near6 = addresses(world.get("pods", "neighbour"))
    far, far6 = addresses(street.get("pods", "house"))
    service = street.get("services", "house")
    dns = cluster.get("services", "kube-dns", "kube-system")["spec"]["clusterIP"]
    node = next(
        a["address"]
        for a in json.loads(cluster.kubectl("get", "nodes", "-o", "json").stdout)["items"][0]["status"]["addresses"]
        if a["type"] == "InternalIP" and ":" not in a["address"]
    )
    canaries = cluster.get("services", "mlprivacy-collector", NAMESPACE)["spec"]["clusterIPs"]
    listed = {
        "pod of the same namespace": ("tcp", near, 8080),
        "pod of the same namespace, UDP": ("udp", near, 8080),
        "pod of another namespace": ("tcp", far, 8080),
        "pod of another namespace, UDP": ("udp", far, 8080),
        "Service": ("tcp", service["spec"]["clusterIP"], 80),
        "node port": ("tcp", node, service["spec"]["ports"][0]["nodePort"]),
        "kubelet": ("tcp", node, 10250),
        "API server": ("tcp", cluster.get("services", "kubernetes", "default")["spec"]["clusterIP"], 443),
        "DNS": ("udp", dns, 53),
        "DNS, TCP": ("tcp", dns, 53),
        "admission": ("tcp", cluster.get("services", "mlprivacy-admission", NAMESPACE)["spec"]["clusterIP"], 443),
    }
    listed |= {f"canary {address}": ("tcp", address, 15019) for address in canaries}  # one of each address family
    if near6 and far6:
        listed |= {
            "pod of the same namespace, IPv6": ("tcp", near6, 8080),
            "pod of another namespace, IPv6": ("tcp", far6, 8080),
            "pod of another namespace, IPv6 and UDP": ("udp", far6, 8080),
        }
    if isinstance(cluster, NodeCluster):
        listed["metadata address"] = ("tcp", cluster.metadata_address, 80)
    return listed


@pytest.fixture(scope="module")
def metadata(operator: Operator) -> Iterator[None]:
    """Something that answers on the metadata address, where the node is ours."""
    cluster = operator.cluster
    if not isinstance(cluster, NodeCluster):
        yield
        return
    program = (
        "import socket\ns=socket.socket()\ns.setsockopt(1,2,1)\n"
        f"s.bind(({cluster.metadata_address!r},80))\ns.listen(64)\nwhile True: s.accept()[0].close()\n"
    )
    server = cluster.helper("metadata", program)
    yield
    server.stop(grace=1)


@pytest.fixture(scope="module")
def reached(places: dict[str, Any], targets: dict[str, Any], metadata: None) -> dict[str, dict[str, bool]]:
    """What a plain pod reaches and what a governed one reaches: the last of some rounds."""
    program = KNOCK % json.dumps(targets).replace("\\", "\\\\")
    world, street = places["world"], places["street"]
    street.apply(street.plain_pod(program, "stranger"))
    world.apply(world.training_job(program))
    pod = world.governed_pod()["metadata"]["name"]
    eventually(lambda: len(rounds(world, pod, "trainer")) >= 3, "three rounds of the trainer")
    eventually(lambda: len(rounds(street, "stranger", "main")) >= 2, "two rounds of the plain pod")
    first = rounds(world, pod, "trainer")[:3]
    return {
        "plain": rounds(street, "stranger", "main")[-1],
        # From the very first: there is no moment in which it is open.
        "governed": {name: any(one[name] for one in first) for name in targets},
    }


def test_a_plain_pod_reaches_everything(reached: dict[str, dict[str, bool]]) -> None:
    assert [name for name, was in reached["plain"].items() if not was] == []


def test_the_seal_is_seen_over_every_address_of_the_canary(places: dict[str, Any], reached: dict[str, Any]) -> None:
    """Where pods have both families, a plugin that enforces one of them only must not pass for sealing."""
    world = places["world"]
    service = world.cluster.get("services", "mlprivacy-collector", NAMESPACE)["spec"]
    probe = next(c for c in world.governed_pod()["spec"]["initContainers"] if c["name"] == names.CONTAINER_SEAL)
    canary = next(entry["value"] for entry in probe["env"] if entry["name"] == names.ENV_CANARY)
    assert [CanaryAddress(ip, 15019, 15019) for ip in service["clusterIPs"]] == list(CanaryAddress.parse_all(canary))
    if isinstance(world.cluster, NodeCluster):
        assert len(service["clusterIPs"]) == 1 + world.cluster.sandbox.ipv6


def test_a_training_pod_reaches_nothing(reached: dict[str, dict[str, bool]]) -> None:
    assert [name for name, was in reached["governed"].items() if was] == []


def test_nobody_but_the_collector_reaches_a_training_pod(places: dict[str, Any], reached: dict[str, Any]) -> None:
    world, street = places["world"], places["street"]
    pod = world.governed_pod()
    ip, _ = addresses(pod)
    doors = {f"port {port}": ("tcp", ip, port) for port in (names.PORT_SEAL, names.PORT_SIDECAR)}
    for place, name in ((street, "visitor"), (world, "lodger")):
        place.apply(place.plain_pod(KNOCK % json.dumps(doors), name))
        eventually(lambda place=place, name=name: rounds(place, name, "main"), f"a round of {name}")
        assert [door for door, was in rounds(place, name, "main")[-1].items() if was] == []


def test_without_an_enforcer_the_same_pod_reaches_what_it_may_not(
    places: dict[str, Any], reached: dict[str, Any], own_node: NodeCluster
) -> None:
    """The control of the experiment: these tests fail where NetworkPolicy is not enforced."""
    world = places["world"]
    pod = world.governed_pod()["metadata"]["name"]
    try:
        own_node.enforcing(False)
        before = len(rounds(world, pod, "trainer"))
        eventually(lambda: len(rounds(world, pod, "trainer")) >= before + 2, "two more rounds")
        assert rounds(world, pod, "trainer")[-1]["pod of another namespace"] is True
    finally:
        own_node.enforcing(True)


def test_a_server_is_reached_through_its_gateway_alone(places: dict[str, Any], operator: Operator) -> None:
    world, street = places["world"], places["street"]
    world.apply(world.inference_job(ANSWER.replace("8080", "9090")))
    world.until("Running", "True", look=world.inference)
    pod = next(p for p in world.pods(f"{names.LABEL_RENDERED}=inference") if p["status"]["phase"] == "Running")
    ip, ip6 = addresses(pod)
    service = world.get("services", "mlp-api")["spec"]["clusterIP"]
    doors = {
        "gateway": ("tcp", service, world.get("services", "mlp-api")["spec"]["ports"][0]["port"]),
        "model server": ("tcp", ip, 9090),
        "model server, UDP": ("udp", ip, 9090),
        "sidecar": ("tcp", ip, names.PORT_SIDECAR),
        **({"model server, IPv6": ("tcp", ip6, 9090)} if ip6 else {}),
    }
    street.apply(street.plain_pod(KNOCK % json.dumps(doors), "client"))

    def at_last() -> bool:
        return any(one["gateway"] for one in rounds(street, "client", "main"))

    eventually(at_last, "the gateway to be reached")
    everything = rounds(street, "client", "main")
    assert [door for door in doors if door != "gateway" and any(one[door] for one in everything)] == []


def test_the_gateway_refuses_every_request(places: dict[str, Any]) -> None:
    world, street = places["world"], places["street"]
    service = world.get("services", "mlp-api")["spec"]
    ask = f"""
import urllib.request, urllib.error
try:
    urllib.request.urlopen("http://{service["clusterIP"]}:{service["ports"][0]["port"]}/", timeout=5)
    print("answered")
except urllib.error.HTTPError as error:
    print("refused", error.code, error.read().decode())
"""
    street.apply(street.plain_pod(ask, "asker"))
    assert "answered" not in street.said("asker", "refused")
