"""rdma-encryption: a probe of the last 24 hours says that the node encrypts RDMA; nothing else is believed."""

from datetime import UTC, datetime

import pytest
from builders import finding, rules_of
from fabric_objects import ISOLATED, LIMITS, PROBE, classes, decide_with, lacking, node, rdma_job, swapped

from mlprivacy.policy.model import Action


def decided(value):
    return decide_with(rdma_job(), *swapped(node(**{PROBE: value})))


@pytest.mark.parametrize("value", ["20260601T115959Z", "20260531T120001Z", "20260601T120400Z"])
def test_a_fresh_probe_passes(value):
    assert "rdma-encryption" not in rules_of(decided(value))


@pytest.mark.parametrize("value", ["20260531T120000Z", "20260601T120600Z", "true", "enabled", "", "20260631T000000Z"])
def test_an_old_one_none_and_anything_that_is_no_moment_hold(value):
    found = finding(decided(value), "rdma-encryption")
    assert (found.action, found.path) == (Action.HOLD, LIMITS)
    assert PROBE in found.remedy


def test_a_probe_that_found_it_in_the_clear_is_a_breach():
    assert finding(decided("false"), "rdma-encryption").action is Action.DENY


def test_the_decision_ends_with_the_probe():
    assert decide_with(rdma_job(), *ISOLATED).valid_until == datetime(2026, 6, 2, 11, 0, tzinfo=UTC)


def test_a_policy_can_shorten_the_age_and_not_lengthen_it():
    short = decide_with(rdma_job(), *ISOLATED, rdma_encryption__maxAge="30m")
    assert finding(short, "rdma-encryption").action is Action.HOLD
    long = decide_with(rdma_job(), *swapped(node(**{PROBE: "20260530T120000Z"})), rdma_encryption__maxAge="90d")
    assert finding(long, "rdma-encryption").action is Action.HOLD


def test_every_node_counts_and_nodes_must_be_known():
    two = decide_with(rdma_job(), *ISOLATED, node("gpu-2", **{PROBE: ""}))
    assert "gpu-2" in finding(two, "rdma-encryption").message
    assert finding(decide_with(rdma_job(), *lacking("Node"), complete=False), "rdma-encryption").action is Action.HOLD


def test_classes_that_do_not_demand_it_pass():
    health, other = classes(encryption={"inTransit": "Optional"})
    other["spec"]["encryption"] = {"inTransit": "Optional"}
    decision = decide_with(rdma_job(), *swapped(node(**{PROBE: "false"})), world=(health, other))
    assert "rdma-encryption" not in rules_of(decision)
