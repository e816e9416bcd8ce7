"""rdma-vf-chain: sriov then rdma, or ib-sriov with rdmaIsolation; nothing else keeps the device to the pod."""

import pytest
from builders import finding, rules_of
from fabric_objects import (
    ANNOTATIONS,
    ISOLATED,
    LIMITS,
    classes,
    decide_with,
    ib_network,
    lacking,
    network,
    problems,
    rdma_job,
    sriov_plugin,
    swapped,
)

from mlprivacy.policy.fabric.isolation import chained
from mlprivacy.policy.fabric.objects import plugins
from mlprivacy.policy.model import Action

RDMA = {"type": "rdma"}


@pytest.mark.parametrize(
    ("chain", "good"),
    [
        ([sriov_plugin(), RDMA], True),
        ([sriov_plugin(), RDMA, {"type": "tuning"}], True),
        ([{"type": "ib-sriov", "rdmaIsolation": True}], True),
        ([sriov_plugin()], False),
        ([RDMA, sriov_plugin()], False),
        ([sriov_plugin(), {"type": "tuning"}, RDMA], False),
        ([{"type": "ib-sriov"}], False),
        ([{"type": "ib-sriov", "rdmaIsolation": "true"}], False),
        ([{"type": "ib-sriov", "rdmaIsolation": True}, RDMA], False),
        ([{"type": "host-device"}, RDMA], False),
        ([{"type": "macvlan"}], False),
        ([{}], False),
    ],
)
def test_the_chain(chain, good):
    assert chained(tuple(chain)) is good
    decision = decide_with(rdma_job(), *swapped(network(*chain)))
    assert ("rdma-vf-chain" in rules_of(decision)) is not good


def test_what_is_wrong_is_said_with_the_plugins():
    found = finding(decide_with(rdma_job(), *swapped(network(sriov_plugin()))), "rdma-vf-chain")
    assert (found.action, found.path) == (Action.DENY, ANNOTATIONS)
    assert "are sriov, which leaves" in found.message


def test_a_single_plugin_without_a_chain_is_read():
    decision = decide_with(rdma_job(), *swapped(ib_network()), rdma_segregation__pkeys="research=0x0010")
    assert problems(decision) == []


def test_a_device_that_no_network_takes_is_refused():
    found = finding(decide_with(rdma_job(networks=None), *ISOLATED), "rdma-vf-chain")
    assert (found.action, found.path) == (Action.DENY, LIMITS)


def test_a_network_that_is_not_there_holds_and_is_said_once():
    decision = decide_with(rdma_job(), *lacking("NetworkAttachmentDefinition"))
    assert finding(decision, "rdma-vf-chain").action is Action.HOLD
    assert "rdma-detect" not in rules_of(decision)
    assert not [f for f in decision.findings if f.action is Action.DENY]


@pytest.mark.parametrize(
    "config", [None, 7, "", "{", "[]", "{}", '{"plugins": []}', '{"plugins": [7]}', '{"plugins": {}}', "[" * 9000]
)
def test_a_config_that_can_not_be_read_holds(config):
    raw = network()
    raw["spec"]["config"] = config
    assert plugins(raw) is None
    assert finding(decide_with(rdma_job(), *swapped(raw)), "rdma-vf-chain").action is Action.HOLD


def test_classes_that_allow_rdma_do_not_demand_it():
    world = classes("Allow", sensitivity="Internal", specialCategory=False, encryption={"inTransit": "Optional"})
    assert "rdma-vf-chain" not in rules_of(decide_with(rdma_job(networks=None), *ISOLATED, world=world))
