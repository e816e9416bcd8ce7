"""rdma-multinetpol: a MultiNetworkPolicy closes the kernel's path of each network, and is no control of RDMA."""

import pytest
from builders import finding, rules_of
from fabric_objects import (
    ANNOTATIONS,
    ISOLATED,
    classes,
    decide_with,
    lacking,
    network,
    network_policy,
    rdma_job,
    sriov_plugin,
    swapped,
)

from mlprivacy.policy.model import Action, Verdict

NONE = lacking("MultiNetworkPolicy")
RENDERED = {"matchExpressions": [{"key": "mlprivacy.dev/rendered", "operator": "Exists"}]}


@pytest.mark.parametrize(
    "known",
    [
        network_policy(),
        network_policy(target="rdma-net"),
        network_policy(target="other, research/rdma-net"),
        network_policy(podSelector=RENDERED),
        network_policy(podSelector={"matchLabels": {"mlprivacy.dev/training-job": "diagnosis"}}),
        network_policy(ingress=[], egress=[]),
    ],
)
def test_one_that_closes_both_directions_is_enough(known):
    assert decide_with(rdma_job(), *NONE, known).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "known",
    [
        network_policy(target="other-net"),
        network_policy(target="clinic/rdma-net"),
        network_policy(policyTypes=["Ingress"]),
        network_policy(policyTypes=[]),
        network_policy(podSelector={"matchLabels": {"app": "other"}}),
        network_policy(podSelector={"matchExpressions": [{"key": "x", "operator": "Unheard"}]}),
        network_policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
        network_policy(ingress=[{}]),
    ],
)
def test_one_that_does_not_is_refused(known):
    found = finding(decide_with(rdma_job(), *NONE, known), "rdma-multinetpol")
    assert (found.action, found.path) == (Action.DENY, ANNOTATIONS)


def test_none_at_all_is_refused_and_not_known_holds():
    assert finding(decide_with(rdma_job(), *NONE), "rdma-multinetpol").action is Action.DENY
    assert finding(decide_with(rdma_job(), *NONE, complete=False), "rdma-multinetpol").action is Action.HOLD


def test_policies_are_a_union_so_one_that_opens_is_enough_to_refuse():
    opened = network_policy("open", podSelector={"matchLabels": {"app": "x"}}, egress=[{}])
    assert decide_with(rdma_job(), *ISOLATED, opened).verdict is Verdict.ALLOW
    opened["spec"]["podSelector"] = {}
    assert "open opens egress" in finding(decide_with(rdma_job(), *ISOLATED, opened), "rdma-multinetpol").message
    opened["spec"]["podSelector"] = {"matchExpressions": [{"key": "x", "operator": "Unheard"}]}
    assert "rdma-multinetpol" in rules_of(decide_with(rdma_job(), *ISOLATED, opened))


def test_it_never_stands_in_for_the_controls_of_rdma():
    bare = swapped(network(sriov_plugin()))
    assert "rdma-vf-chain" in rules_of(decide_with(rdma_job(), *bare))


def test_a_network_without_a_device_needs_one_too():
    macvlan = network({"type": "macvlan", "master": "eth1"}, resource=None)
    plain = classes("Allow", "Allow")
    assert "rdma-multinetpol" in rules_of(decide_with(rdma_job(None), macvlan, world=plain))
    assert decide_with(rdma_job(None), macvlan, network_policy(), world=plain).verdict is Verdict.ALLOW
