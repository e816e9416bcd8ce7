"""What a NetworkPolicy means to the enforcer, one example per sentence of the API reference.

The cluster of all examples: namespace `team` (label kind=trusted) with pods web (10.0.0.1), db (10.0.0.2) and job
(10.0.0.3), namespace `other` with pod far (10.0.0.4); all dual-stack, all with the label app=<name>.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import pytest

from node.enforcer.compiler import PolicyError, compile_policies, policy_types
from node.enforcer.model import Ruleset
from node.enforcer.selectors import matches

Json = dict[str, Any]

ADDRESSES = {"web": "10.0.0.1", "db": "10.0.0.2", "job": "10.0.0.3", "far": "10.0.0.4", "outside": "198.51.100.7"}
ADDRESSES_6 = {"web": "fd00::1", "db": "fd00::2", "job": "fd00::3", "far": "fd00::4", "outside": "2001:db8::7"}
NAMESPACES = [
    {"metadata": {"name": "team", "labels": {"kind": "trusted"}}},
    {"metadata": {"name": "other", "labels": {}}},
]


def pod(name: str, namespace: str = "team", *, phase: str = "Running", **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"containers": [], **spec},
        "status": {"phase": phase, "podIPs": [{"ip": ADDRESSES[name]}, {"ip": ADDRESSES_6[name]}]},
    }


def container(*ports: Json, **more: Any) -> Json:
    return {"name": "c", "ports": list(ports), **more}


PODS = [pod("web"), pod("db"), pod("job"), pod("far", "other")]


def policy(selector: Json, *, namespace: str = "team", **spec: Any) -> Json:
    return {"metadata": {"name": "it", "namespace": namespace}, "spec": {"podSelector": selector, **spec}}


def app(*names: str) -> Json:
    if len(names) == 1:
        return {"matchLabels": {"app": names[0]}}
    return {"matchExpressions": [{"key": "app", "operator": "In", "values": list(names)}]}


def passes(
    rules: Ruleset, path: str, port: int = 80, protocol: str = "TCP", addresses: Mapping[str, str] = ADDRESSES
) -> bool:
    """Whether a packet on a path like `web>db` passes."""
    source, destination = (ip_address(addresses[name]) for name in path.split(">"))
    return rules.permits(source, destination, protocol, port)


def enforced(*policies: Json, pods: Sequence[Json] = PODS) -> Ruleset:
    return compile_policies(policies, pods, NAMESPACES)


# --- who is isolated -------------------------------------------------------------------------------------------------


def test_without_policies_everything_passes() -> None:
    assert enforced() == Ruleset()


def test_a_policy_isolates_the_pods_it_selects_in_its_namespace_and_nobody_else() -> None:
    rules = enforced(policy(app("web", "far"), policyTypes=["Ingress"]))
    assert not passes(rules, "db>web")
    assert not passes(rules, "outside>web")
    assert passes(rules, "web>db")
    assert passes(rules, "web>far"), "far has the label but lives in another namespace"


def test_an_empty_pod_selector_selects_the_whole_namespace() -> None:
    rules = enforced(policy({}))
    assert not passes(rules, "far>web")
    assert not passes(rules, "web>db")
    assert passes(rules, "web>far")


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ("Ingress",)),
        ({"ingress": [{}]}, ("Ingress",)),
        ({"egress": [{}]}, ("Ingress", "Egress")),
        ({"egress": []}, ("Ingress",)),
        ({"policyTypes": [], "egress": [{}]}, ("Ingress", "Egress")),
        ({"policyTypes": ["Egress"]}, ("Egress",)),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, ("Egress",)),
        ({"policyTypes": ["Egress", "Ingress"]}, ("Ingress", "Egress")),
    ],
)
def test_policy_types_default_to_ingress_and_to_egress_where_it_has_rules(spec: Json, types: tuple[str, ...]) -> None:
    assert policy_types(spec) == types


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_ended_are_neither_isolated_nor_peers(phase: str) -> None:
    ended = [pod("web", phase=phase), pod("db")]
    assert passes(enforced(policy(app("web")), pods=ended), "db>web")
    assert not passes(enforced(policy(app("db"), ingress=[{"from": [{"podSelector": {}}]}]), pods=ended), "web>db")


def test_pods_of_the_hosts_network_are_neither_isolated_nor_peers() -> None:
    pods = [pod("web", hostNetwork=True), pod("db")]
    assert passes(enforced(policy(app("web")), pods=pods), "db>web")
    assert not passes(enforced(policy(app("db"), ingress=[{"from": [{"podSelector": {}}]}]), pods=pods), "web>db")


def test_a_pod_without_an_address_yet_changes_nothing() -> None:
    young = pod("web")
    young["status"] = {"phase": "Pending"}
    assert enforced(policy(app("web")), pods=[young]) == Ruleset()


def test_an_address_that_two_pods_claim_belongs_to_the_younger() -> None:
    old, young = pod("web"), pod("db")
    young["status"] = old["status"]
    old["metadata"]["creationTimestamp"] = "2024-01-01T00:00:00Z"
    young["metadata"]["creationTimestamp"] = "2024-01-01T00:00:01Z"
    for pods in ([old, young], [young, old]):
        assert passes(enforced(policy(app("web")), pods=pods), "far>web")
        assert not passes(enforced(policy(app("db")), pods=pods), "far>web")


def test_both_families_are_isolated_and_status_podip_alone_will_do() -> None:
    assert not passes(enforced(policy(app("web"))), "db>web", addresses=ADDRESSES_6)
    single = pod("web")
    single["status"] = {"phase": "Running", "podIP": ADDRESSES["web"]}
    assert not passes(enforced(policy(app("web")), pods=[single]), "db>web")


def test_a_pod_always_reaches_itself() -> None:
    rules = enforced(policy({}, policyTypes=["Ingress", "Egress"]))
    assert passes(rules, "web>web")
    assert passes(rules, "web>web", addresses=ADDRESSES_6)


# --- rules -----------------------------------------------------------------------------------------------------------


def test_no_rules_deny_all_and_one_empty_rule_allows_all() -> None:
    for denying in ({"ingress": []}, {"ingress": None}, {}):
        assert not passes(enforced(policy(app("web"), **denying)), "db>web")
    rules = enforced(policy(app("web"), ingress=[{}]))
    assert passes(rules, "outside>web", 1)
    assert passes(rules, "outside>web", 0, "ICMP")


@pytest.mark.parametrize("peers", [{}, {"from": []}, {"from": None}])
def test_missing_and_empty_from_mean_everybody(peers: Json) -> None:
    rules = enforced(policy(app("web"), ingress=[{**peers, "ports": [{"port": 80}]}]))
    assert passes(rules, "outside>web", 80)
    assert not passes(rules, "outside>web", 81)


@pytest.mark.parametrize("ports", [{}, {"ports": []}, {"ports": None}])
def test_missing_and_empty_ports_mean_every_port_of_every_protocol(ports: Json) -> None:
    rules = enforced(policy(app("web"), ingress=[{"from": [{"podSelector": app("db")}], **ports}]))
    for protocol in ("TCP", "UDP", "SCTP", "ICMP"):
        assert passes(rules, "db>web", 4711, protocol)
    assert not passes(rules, "job>web", 4711)


def test_peers_and_ports_of_one_rule_must_both_match_and_rules_add_up() -> None:
    rules = enforced(
        policy(
            app("web"),
            ingress=[
                {"from": [{"podSelector": app("db")}], "ports": [{"port": 80}]},
                {"from": [{"podSelector": app("job")}], "ports": [{"port": 81}]},
            ],
        )
    )
    assert passes(rules, "db>web", 80)
    assert passes(rules, "job>web", 81)
    assert not passes(rules, "db>web", 81)
    assert not passes(rules, "job>web", 80)


def test_policies_add_up_in_any_order() -> None:
    one = policy(app("web"), ingress=[{"from": [{"podSelector": app("db")}]}])
    two = policy({}, ingress=[{"from": [{"podSelector": app("job")}], "ports": [{"port": 81}]}])
    assert enforced(one, two) == enforced(two, one)
    rules = enforced(one, two)
    assert passes(rules, "db>web", 80)
    assert passes(rules, "job>web", 81)
    assert not passes(rules, "db>job", 80)


def test_egress_rules_judge_the_destination_and_both_ends_must_allow() -> None:
    out = policy(app("web"), policyTypes=["Egress"], egress=[{"to": [{"podSelector": app("db")}]}])
    assert passes(enforced(out), "web>db")
    assert not passes(enforced(out), "web>job")
    assert passes(enforced(out), "job>web"), "ingress is not this policy's"
    assert not passes(enforced(out, policy(app("db"))), "web>db")


# --- peers -----------------------------------------------------------------------------------------------------------


def entering(*peers: Json) -> Ruleset:
    """Only these peers may reach db."""
    return enforced(policy(app("db"), ingress=[{"from": list(peers)}]))


def test_a_pod_selector_alone_stays_in_the_policys_namespace() -> None:
    rules = entering({"podSelector": {}})
    assert passes(rules, "web>db")
    assert not passes(rules, "far>db")
    assert not passes(rules, "outside>db")


def test_a_namespace_selector_alone_takes_all_pods_of_the_namespaces() -> None:
    rules = entering({"namespaceSelector": {"matchLabels": {"kind": "trusted"}}})
    assert passes(rules, "web>db")
    assert not passes(rules, "far>db")
    everywhere = entering({"namespaceSelector": {}})
    assert passes(everywhere, "far>db")
    assert not passes(everywhere, "outside>db"), "a selector never matches what is no pod"


def test_both_selectors_in_one_peer_narrow_and_in_two_peers_widen() -> None:
    here = {"matchLabels": {"kind": "trusted"}}
    narrow = entering({"namespaceSelector": here, "podSelector": app("web", "far")})
    assert passes(narrow, "web>db")
    assert not passes(narrow, "job>db")
    assert not passes(narrow, "far>db")
    wide = entering({"namespaceSelector": here}, {"namespaceSelector": {}, "podSelector": app("far")})
    assert passes(wide, "job>db")
    assert passes(wide, "far>db")


def test_a_namespace_that_is_not_known_yet_is_matched_by_no_selector() -> None:
    rules = compile_policies([policy(app("db"), ingress=[{"from": [{"namespaceSelector": {}}]}])], PODS, NAMESPACES[1:])
    assert passes(rules, "far>db")
    assert not passes(rules, "web>db")


def test_a_block_matches_pods_and_outsiders_alike_except_where_it_says_so() -> None:
    rules = entering({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.1/32", "10.0.0.4/30"]}})
    assert not passes(rules, "web>db")
    assert passes(rules, "job>db")
    assert not passes(rules, "far>db")
    assert not passes(rules, "outside>db")


def test_what_one_block_excepts_another_peer_may_allow() -> None:
    rules = entering({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, {"podSelector": app("web")})
    assert passes(rules, "outside>db")
    assert passes(rules, "web>db")
    assert not passes(rules, "job>db")


def test_a_block_is_of_one_family() -> None:
    assert not passes(entering({"ipBlock": {"cidr": "0.0.0.0/0"}}), "web>db", addresses=ADDRESSES_6)
    six = entering({"ipBlock": {"cidr": "::/0", "except": ["2001:db8::/32"]}})
    assert passes(six, "web>db", addresses=ADDRESSES_6)
    assert not passes(six, "outside>db", addresses=ADDRESSES_6)
    assert not passes(six, "web>db")


# --- selectors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "labels", "expected"),
    [
        ({"operator": "In", "values": ["a", "b"]}, {"k": "b"}, True),
        ({"operator": "In", "values": ["a", "b"]}, {"k": "c"}, False),
        ({"operator": "In", "values": ["a", "b"]}, {}, False),
        ({"operator": "NotIn", "values": ["a", "b"]}, {"k": "b"}, False),
        ({"operator": "NotIn", "values": ["a", "b"]}, {"k": "c"}, True),
        ({"operator": "NotIn", "values": ["a", "b"]}, {}, True),
        ({"operator": "Exists"}, {"k": ""}, True),
        ({"operator": "Exists"}, {}, False),
        ({"operator": "DoesNotExist"}, {"k": ""}, False),
        ({"operator": "DoesNotExist"}, {}, True),
    ],
)
def test_match_expressions(expression: Json, labels: dict[str, str], expected: bool) -> None:
    assert matches({"matchExpressions": [{"key": "k", **expression}]}, labels) is expected


def test_all_parts_of_a_selector_must_match_and_an_empty_one_does() -> None:
    both = {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}
    assert matches(both, {"a": "1", "b": "2"})
    assert not matches(both, {"a": "1"})
    assert not matches(both, {"b": "2"})
    assert matches({}, {})


# --- ports -----------------------------------------------------------------------------------------------------------


def serving(*ports: Json, pods: Sequence[Json] = PODS) -> Ruleset:
    """Everybody may reach these ports of db."""
    return enforced(policy(app("db"), ingress=[{"ports": list(ports)}]), pods=pods)


def test_a_port_without_protocol_is_tcp() -> None:
    rules = serving({"port": 80})
    assert passes(rules, "web>db", 80)
    assert not passes(rules, "web>db", 80, "UDP")
    assert not passes(rules, "web>db", 81)
    assert not passes(rules, "web>db", 0, "ICMP")


def test_a_protocol_without_port_is_all_its_ports() -> None:
    rules = serving({"protocol": "UDP"})
    assert passes(rules, "web>db", 65535, "UDP")
    assert not passes(rules, "web>db", 65535)
    assert passes(serving({}), "web>db", 1)
    assert not passes(serving({}), "web>db", 1, "UDP")


def test_end_port_is_included() -> None:
    rules = serving({"protocol": "SCTP", "port": 10, "endPort": 12})
    assert [passes(rules, "web>db", port, "SCTP") for port in (9, 10, 11, 12, 13)] == [False, True, True, True, False]


def test_a_named_port_is_looked_up_in_each_pod_that_receives() -> None:
    web = pod("web", containers=[container({"name": "http", "containerPort": 8080})])
    db = pod("db", containers=[container({"name": "http", "containerPort": 5432, "protocol": "TCP"})])
    job = pod("job", containers=[container({"name": "http", "containerPort": 53, "protocol": "UDP"})])
    pods = [web, db, job, pod("far", "other")]
    rules = enforced(policy({}, ingress=[{"ports": [{"port": "http"}]}]), pods=pods)
    assert passes(rules, "far>web", 8080)
    assert not passes(rules, "far>web", 5432)
    assert passes(rules, "far>db", 5432)
    assert not passes(rules, "far>job", 53), "its port of that name is of another protocol"
    assert not passes(rules, "far>job", 53, "UDP"), "the rule means TCP"


def test_a_native_sidecars_ports_count_and_other_init_containers_do_not() -> None:
    sidecar = container({"name": "seal", "containerPort": 7000}, restartPolicy="Always")
    setup = container({"name": "setup", "containerPort": 7001})
    rules = serving({"port": "seal"}, {"port": "setup"}, pods=[pod("web"), pod("db", initContainers=[sidecar, setup])])
    assert passes(rules, "web>db", 7000)
    assert not passes(rules, "web>db", 7001)


def test_a_named_port_of_an_egress_rule_is_the_destinations() -> None:
    db = pod("db", containers=[container({"name": "http", "containerPort": 5432})])
    far = pod("far", "other", containers=[container({"name": "http", "containerPort": 9000})])
    pods = [pod("web"), db, pod("job"), far]
    anywhere = policy(app("web"), policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}, {"port": 443}]}])
    rules = enforced(anywhere, pods=pods)
    assert passes(rules, "web>db", 5432)
    assert passes(rules, "web>db", 5432, addresses=ADDRESSES_6)
    assert not passes(rules, "web>db", 9000)
    assert passes(rules, "web>far", 9000)
    assert not passes(rules, "web>job", 5432)
    assert not passes(rules, "web>outside", 5432)
    assert passes(rules, "web>outside", 443)
    block = [{"ipBlock": {"cidr": "10.0.0.4/32"}}]
    narrow = policy(app("web"), policyTypes=["Egress"], egress=[{"to": block, "ports": [{"port": "http"}]}])
    assert passes(enforced(narrow, pods=pods), "web>far", 9000)
    assert not passes(enforced(narrow, pods=pods), "web>far", 9000, addresses=ADDRESSES_6)
    assert not passes(enforced(narrow, pods=pods), "web>db", 5432)


# --- what no API server accepts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ingress": [{"from": [{}]}]}, "none of ipBlock, namespaceSelector, podSelector"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/64"}}]}]}, "10.0.0.0/64"),
        ({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, "ICMP"),
        ({"ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}]}]}, "'Is'"),
    ],
)
def test_nonsense_is_named_and_not_guessed_at(spec: Json, said: str) -> None:
    with pytest.raises(PolicyError, match=f"NetworkPolicy team/it .*{said}"):
        enforced(policy({}, **spec))
