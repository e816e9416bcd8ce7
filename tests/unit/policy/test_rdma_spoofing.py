"""rdma-spoofing: spoofchk on, trust off, link_state left alone; in the network and in what it is written from."""

import pytest
from builders import finding, rules_of
from fabric_objects import (
    ANNOTATIONS,
    ISOLATED,
    decide_with,
    ib_network,
    lacking,
    network,
    rdma_job,
    sriov_network,
    sriov_plugin,
    swapped,
)

from mlprivacy.policy.model import Action, Verdict


def decided(**fields):
    return decide_with(rdma_job(), *swapped(network(sriov_plugin(**fields), {"type": "rdma"})))


@pytest.mark.parametrize(
    "fields",
    [
        {"spoofchk": "off"},
        {"spoofchk": None},
        {"trust": "on"},
        {"trust": True},
        {"link_state": "enable"},
        {"link_state": "disable"},
    ],
)
def test_a_network_that_lets_a_pod_pretend_is_refused(fields):
    found = finding(decided(**fields), "rdma-spoofing")
    assert (found.action, found.path) == (Action.DENY, ANNOTATIONS)


@pytest.mark.parametrize("fields", [{}, {"trust": None}, {"link_state": None}])
def test_what_is_not_set_is_off_but_for_the_check_itself(fields):
    assert decided(**fields).verdict is Verdict.ALLOW


def test_an_infiniband_network_has_no_such_check():
    pkeys = {"rdma_segregation__pkeys": "research=0x0010"}
    assert decide_with(rdma_job(), *swapped(ib_network()), **pkeys).verdict is Verdict.ALLOW
    forced = decide_with(rdma_job(), *swapped(ib_network(link_state="enable")), **pkeys)
    assert "link_state enable" in finding(forced, "rdma-spoofing").message


@pytest.mark.parametrize("spec", [{"spoofChk": "off"}, {"trust": "on"}, {"linkState": "enable"}])
def test_the_source_of_the_network_counts_too(spec):
    assert finding(decide_with(rdma_job(), *swapped(sriov_network(**spec))), "rdma-spoofing").action is Action.DENY


def test_the_source_of_another_network_does_not():
    other = sriov_network(networkNamespace="clinic", trust="on")
    assert decide_with(rdma_job(), *swapped(other)).verdict is Verdict.ALLOW


def test_sources_that_are_not_known_hold_and_none_is_none():
    assert (
        finding(decide_with(rdma_job(), *lacking("SriovNetwork"), complete=False), "rdma-spoofing").action
        is Action.HOLD
    )
    assert "rdma-spoofing" not in rules_of(decide_with(rdma_job(), *lacking("SriovNetwork")))
    assert decide_with(rdma_job(), *ISOLATED).verdict is Verdict.ALLOW
