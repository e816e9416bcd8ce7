"""The compiler against a slow evaluator that reads the objects themselves: they agree about every packet.

The matrix: any policies of three namespaces (one of which has no object yet), any pods in any phase, any two addresses,
TCP, UDP, SCTP and ICMP, every port that a rule could have an edge at.
"""

import random
import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from itertools import pairwise, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from node.enforcer.compiler import compile_policies
from node.enforcer.facts import essence_of_namespace, essence_of_pod, essence_of_policy
from node.enforcer.model import Addresses, Allow, Ports, normalise
from node.enforcer.render import Table, change, lay_out, replace
from node.enforcer.spans import contains, subtract, union

Json = dict[str, Any]
World = tuple[list[Json], list[Json], list[Json]]
"""Policies, pods and namespaces."""


# --- the reference: one packet at a time, straight from the text of the API reference --------------------------------


def allows(
    policies: Sequence[Json],
    pods: Sequence[Json],
    namespaces: Sequence[Json],
    src: str,
    dst: str,
    protocol: str,
    port: int,
) -> bool:
    sender, receiver = pod_at(pods, src), pod_at(pods, dst)
    if sender is not None and sender is receiver:
        return True
    world = (pods, namespaces)
    return permitted(policies, world, "Egress", sender, dst, protocol, port, receiver) and permitted(
        policies, world, "Ingress", receiver, src, protocol, port, receiver
    )


def permitted(
    policies: Sequence[Json],
    world: tuple[Sequence[Json], Sequence[Json]],
    direction: str,
    subject: Json | None,
    peer: str,
    protocol: str,
    port: int,
    receiver: Json | None,
) -> bool:
    """Whether `subject` may talk to `peer`: it is not isolated, or one rule of one policy that selects it says so."""
    if subject is None:
        return True
    isolated = False
    for policy in policies:
        namespace, spec = policy["metadata"]["namespace"], policy["spec"]
        if namespace != subject["metadata"]["namespace"] or not selects(spec["podSelector"], labels_of(subject)):
            continue
        said = spec.get("policyTypes")
        if direction not in (said or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])):
            continue
        isolated = True
        rules, key = (spec.get("ingress"), "from") if direction == "Ingress" else (spec.get("egress"), "to")
        for rule in rules or []:
            if peers_match(rule.get(key), namespace, world, peer) and ports_match(
                rule.get("ports"), protocol, port, receiver
            ):
                return True
    return not isolated


def peers_match(
    peers: list[Json] | None, namespace: str, world: tuple[Sequence[Json], Sequence[Json]], address: str
) -> bool:
    if not peers:
        return True
    pods, namespaces = world
    pod = pod_at(pods, address)
    for peer in peers:
        if "ipBlock" in peer:
            block = peer["ipBlock"]
            inside = ip_address(address) in ip_network(block["cidr"])
            if inside and not any(ip_address(address) in ip_network(hole) for hole in block.get("except", [])):
                return True
        elif pod is not None and selects(peer.get("podSelector", {}), labels_of(pod)):
            home = pod["metadata"]["namespace"]
            if "namespaceSelector" not in peer:
                if home == namespace:
                    return True
            elif any(
                n["metadata"]["name"] == home and selects(peer["namespaceSelector"], labels_of(n)) for n in namespaces
            ):
                return True
    return False


def ports_match(ports: list[Json] | None, protocol: str, port: int, receiver: Json | None) -> bool:
    if not ports:
        return True
    for entry in ports:
        if entry.get("protocol", "TCP") != protocol:
            continue
        if "port" not in entry:
            return True
        if isinstance(entry["port"], int):
            if entry["port"] <= port <= entry.get("endPort", entry["port"]):
                return True
        elif receiver is not None:
            for container in serving_containers(receiver):
                for named in container["ports"]:
                    if (named["name"], named.get("protocol", "TCP"), named["containerPort"]) == (
                        entry["port"],
                        protocol,
                        port,
                    ):
                        return True
    return False


def serving_containers(pod: Json) -> list[Json]:
    init = [c for c in pod["spec"]["initContainers"] if c.get("restartPolicy") == "Always"]
    return [*pod["spec"]["containers"], *init]


def pod_at(pods: Sequence[Json], address: str) -> Json | None:
    for pod in pods:
        if pod["status"]["phase"] in ("Succeeded", "Failed") or pod["spec"].get("hostNetwork"):
            continue
        if any(entry["ip"] == address for entry in pod["status"]["podIPs"]):
            return pod
    return None


def labels_of(obj: Json) -> dict[str, str]:
    labels: dict[str, str] = obj["metadata"]["labels"]
    return labels


def selects(selector: Json, labels: dict[str, str]) -> bool:
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        value = labels.get(expression["key"])
        holds = {
            "In": value is not None and value in expression.get("values", []),
            "NotIn": value is None or value not in expression.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[expression["operator"]]:
            return False
    return True


# --- worlds ----------------------------------------------------------------------------------------------------------
# Few values, so that rules, pods and packets meet often enough to disagree.

NAMES = ["a", "b", "unknown"]
POD_ADDRESSES = [(f"10.0.0.{n}", f"fd00::{n}") for n in range(1, 4)]
OUTSIDE = ["10.0.0.4", "198.51.100.1", "fd00::9"]
ADDRESSES = [*(address for pair in POD_ADDRESSES for address in pair), *OUTSIDE]
PORTS = [79, 80, 81, 82, 443]
PACKETS = [("TCP", port) for port in PORTS] + [("UDP", 80), ("UDP", 81), ("SCTP", 80), ("ICMP", 0)]
BLOCKS = ["0.0.0.0/0", "10.0.0.0/30", "10.0.0.2/31", "10.0.0.4/32", "::/0", "fd00::/126", "fd00::2/127"]


def mostly(often: st.SearchStrategy[Any], rarely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Four times out of five the first; what stops traffic altogether must be rare, or nothing is left to compare."""
    return st.integers(0, 4).flatmap(lambda number: rarely if number == 4 else often)


names = mostly(st.sampled_from(["a", "b"]), st.just("unknown"))
labels = st.sampled_from([{"app": "x"}, {"app": "y"}, {}])
expressions = st.fixed_dictionaries(
    {
        "key": st.just("app"),
        "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
        "values": st.sampled_from([["x"], ["x", "y"]]),
    }
)
selectors = st.one_of(
    st.just({}),
    labels.map(lambda chosen: {"matchLabels": chosen}),
    expressions.map(lambda expression: {"matchExpressions": [expression]}),
)
blocks = st.fixed_dictionaries(
    {"cidr": st.sampled_from(BLOCKS), "except": st.lists(st.sampled_from(BLOCKS), max_size=2)}
)
peers = st.one_of(
    blocks.map(lambda block: {"ipBlock": block}),
    selectors.map(lambda selector: {"podSelector": selector}),
    selectors.map(lambda selector: {"namespaceSelector": selector}),
    st.tuples(selectors, selectors).map(lambda two: {"namespaceSelector": two[0], "podSelector": two[1]}),
)
numbers = st.sampled_from(PORTS)
protocols = st.sampled_from(["TCP", "UDP", "SCTP"])
rule_ports = st.builds(
    lambda port, protocol: {**port, **protocol},
    st.one_of(
        st.just({}),
        st.just({"port": "http"}),
        numbers.map(lambda port: {"port": port}),
        st.tuples(numbers, numbers).map(lambda two: {"port": min(two), "endPort": max(two)}),
    ),
    st.one_of(st.just({}), protocols.map(lambda protocol: {"protocol": protocol})),
)


def rules(key: str) -> st.SearchStrategy[list[Json] | None]:
    named = st.lists(peers, min_size=1, max_size=2).map(lambda p: {key: p})
    said = mostly(named, st.sampled_from([{}, {key: []}, {key: None}]))
    ports = st.one_of(
        st.sampled_from([{}, {"ports": []}]), st.lists(rule_ports, min_size=1, max_size=2).map(lambda p: {"ports": p})
    )
    rule = st.builds(lambda one, two: {**one, **two}, said, ports)
    return mostly(st.lists(rule, min_size=1, max_size=2), st.sampled_from([[], None]))


policies = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries({"namespace": names, "name": st.just("p")}),
        "spec": st.fixed_dictionaries(
            {
                "podSelector": mostly(st.just({}), selectors),
                "policyTypes": st.sampled_from([[], ["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
                "ingress": rules("from"),
                "egress": rules("to"),
            }
        ),
    }
)
named_ports = st.fixed_dictionaries(
    {"name": st.just("http"), "containerPort": numbers}, optional={"protocol": st.sampled_from(["TCP", "UDP"])}
)
containers = st.fixed_dictionaries(
    {"ports": st.lists(named_ports, min_size=1, max_size=2)}, optional={"restartPolicy": st.just("Always")}
)


@st.composite
def pod_lists(draw: st.DrawFn) -> list[Json]:
    """Pods in any state; no two live ones claim one address, but one that ended may have had it."""
    found: list[Json] = []
    for number, (v4, v6) in enumerate(POD_ADDRESSES):
        for phase in draw(st.sampled_from([["Running"], ["Running"], ["Failed"], ["Succeeded", "Pending"]])):
            addresses = draw(mostly(st.just([v4, v6]), st.sampled_from([[v4], [v6], []])))
            pod = {
                "metadata": {"name": f"{number}-{phase}", "namespace": draw(names), "labels": draw(labels)},
                "spec": {
                    "containers": [draw(containers)],
                    "initContainers": draw(st.lists(containers, max_size=2)),
                    "hostNetwork": draw(mostly(st.just(False), st.booleans())),
                },
                "status": {"phase": phase, "podIPs": [{"ip": address} for address in addresses]},
            }
            found.append(pod)
    return found


namespace_lists = st.tuples(labels, labels).map(
    lambda two: [{"metadata": {"name": name, "labels": one}} for name, one in zip(NAMES, two, strict=False)]
)
worlds: st.SearchStrategy[World] = st.tuples(st.lists(policies, min_size=1, max_size=3), pod_lists(), namespace_lists)


@settings(max_examples=250)
@given(worlds)
def test_compiled_rules_and_the_objects_agree_about_every_packet(world: World) -> None:
    compiled = compile_policies(*world)
    for src, dst in product(ADDRESSES, ADDRESSES):
        source, destination = ip_address(src), ip_address(dst)
        if source.version != destination.version:
            continue
        for protocol, port in PACKETS:
            expected = allows(*world, src, dst, protocol, port)
            assert compiled.permits(source, destination, protocol, port) is expected, (src, dst, protocol, port)


@given(worlds, st.randoms(use_true_random=False))
def test_the_order_of_objects_changes_nothing(world: World, chance: random.Random) -> None:
    before = replace(lay_out(compile_policies(*world)))
    for objects in world:
        chance.shuffle(objects)
    assert replace(lay_out(compile_policies(*world))) == before


@given(worlds)
def test_what_the_caches_keep_of_the_objects_is_enough(world: World) -> None:
    policies, pods, namespaces = world
    kept = (map(essence_of_policy, policies), map(essence_of_pod, pods), map(essence_of_namespace, namespaces))
    assert compile_policies(*kept) == compile_policies(*world)


@given(worlds)
def test_maps_name_every_chain_and_no_other(world: World) -> None:
    table = lay_out(compile_policies(*world))
    named = {rest.rpartition(" ")[2] for elements in table.elements.values() for rest in elements.values() if rest}
    assert named == set(table.chains)
    assert all(text.startswith(f"  chain {name} {{\n") for name, text in table.chains.items())


@given(worlds, worlds)
def test_a_change_of_one_table_into_another_is_what_differs(one: World, other: World) -> None:
    before, after = lay_out(compile_policies(*one)), lay_out(compile_policies(*other))
    assert applied(before, change(before, after)) == after
    assert change(after, after) == ""


def applied(table: Table, text: str) -> Table:
    """A table after the lines of a change, read the way nft reads them; nothing is deleted while it is in use."""
    chains, elements = dict(table.chains), {name: dict(held) for name, held in table.elements.items()}
    for name, body in re.findall(r"^  chain (\S+) \{\n(.*?)^  \}\n", text, re.MULTILINE | re.DOTALL):
        assert name not in chains
        chains[name] = f"  chain {name} {{\n{body}  }}\n"
    for verb, name, listed in re.findall(r"^(add|delete) element inet \w+ (\w+) \{ (.*) \}$", text, re.MULTILINE):
        for element in listed.split(", "):
            key, separator, rest = element.partition(" comment ")
            if verb == "add":
                assert key not in elements[name]
                elements[name][key] = f"{separator}{rest}"
            else:
                del elements[name][key]
    for name in re.findall(r"^delete chain inet \w+ (\S+)$", text, re.MULTILINE):
        assert not any(rest.endswith(f" {name}") for held in elements.values() for rest in held.values())
        del chains[name]
    return Table(chains, elements)


# --- arithmetic ------------------------------------------------------------------------------------------------------

spans = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=6))
def test_a_union_has_the_same_numbers_in_spans_that_do_not_touch(some: list[tuple[int, int]]) -> None:
    merged = union(some)
    assert all(contains(merged, n) == any(a <= n <= b for a, b in some) for n in range(60))
    assert all(first[1] + 1 < second[0] for first, second in pairwise(merged))


@given(spans, st.lists(spans, max_size=6))
def test_a_difference_has_the_numbers_that_are_in_no_hole(whole: tuple[int, int], holes: list[tuple[int, int]]) -> None:
    left = subtract(whole, holes)
    inside = {n for n in range(60) if whole[0] <= n <= whole[1] and not any(a <= n <= b for a, b in holes)}
    assert {n for n in range(60) if contains(left, n)} == inside


def test_what_matches_nothing_is_left_out_and_what_matches_all_makes_the_rest_needless() -> None:
    something = Allow(Addresses(v4=((1, 2),)), Ports(tcp=((80, 80),)))
    assert normalise([something, Allow(Addresses(), None), Allow(None, Ports())]) == (something,)
    assert normalise([something, Allow(None, None)]) == (Allow(None, None),)
