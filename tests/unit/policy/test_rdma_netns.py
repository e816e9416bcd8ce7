"""rdma-netns: every node that may run the job is in exclusive mode, by intent and as the SR-IOV operator reports it."""

import pytest
from builders import change, finding, rules_of
from fabric_objects import ISOLATED, decide_with, lacking, node, node_state, pool, rdma_job, swapped

from mlprivacy.policy.model import Action, Verdict


def test_exclusive_passes():
    assert decide_with(rdma_job(), *ISOLATED).verdict is Verdict.ALLOW


def test_a_node_in_shared_mode_is_a_breach():
    found = finding(decide_with(rdma_job(), *swapped(node_state("shared"))), "rdma-netns")
    assert (found.action, "gpu-1" in found.message) == (Action.DENY, True)
    assert "nodeSelector" in found.remedy


@pytest.mark.parametrize(
    "wrong",
    [pool("shared"), pool(None), pool(pool="other"), change(pool(), "spec.nodeSelector", None)],
    ids=["shared", "unset", "of other nodes", "of no nodes"],
)
def test_a_pool_that_does_not_mean_it_is_a_breach(wrong):
    assert finding(decide_with(rdma_job(), *swapped(wrong)), "rdma-netns").action is Action.DENY


@pytest.mark.parametrize("known", [lacking("SriovNetworkNodeState"), swapped(node_state(None))], ids=["none", "silent"])
def test_a_node_that_does_not_say_holds(known):
    assert finding(decide_with(rdma_job(), *known), "rdma-netns").action is Action.HOLD


def test_what_is_only_wished_for_does_not_count():
    wished = swapped(node_state(None))
    assert wished[-1]["spec"]["system"]["rdmaMode"] == "exclusive"
    assert decide_with(rdma_job(), *wished).verdict is Verdict.HOLD


@pytest.mark.parametrize("kind", ["Node", "SriovNetworkPoolConfig", "SriovNetworkNodeState"])
def test_what_is_not_known_holds(kind):
    assert finding(decide_with(rdma_job(), *lacking(kind), complete=False), "rdma-netns").action is Action.HOLD


def test_a_cluster_without_such_nodes_holds():
    assert finding(decide_with(rdma_job(), *lacking("Node")), "rdma-netns").action is Action.HOLD


def test_a_cluster_without_the_operator_is_a_breach():
    decision = decide_with(rdma_job(), *lacking("SriovNetworkPoolConfig", "SriovNetworkNodeState"))
    assert finding(decision, "rdma-netns").action is Action.DENY


def test_one_bad_node_spoils_it_until_the_job_avoids_it():
    bad = (node("gpu-2", pool="rdma"), node_state("shared", "gpu-2"))
    assert "gpu-2" in finding(decide_with(rdma_job(), *ISOLATED, *bad), "rdma-netns").message
    away = rdma_job(nodeSelector={"kubernetes.io/hostname": "gpu-1"})
    assert "rdma-netns" not in rules_of(decide_with(away, *ISOLATED, *bad))


def test_nodes_without_the_device_do_not_matter():
    other = (node("cpu-1", "nvidia.com/gpu"), node_state("shared", "cpu-1"))
    assert decide_with(rdma_job(), *ISOLATED, *other).verdict is Verdict.ALLOW
