"""rdma-drift: a job rests on everything that decides over its device, and is judged anew when any of it changes."""

from builders import change, finding, training_job
from fabric_objects import ISOLATED, LIMITS, claim_template, decide_with, network, rdma_job, sriov_plugin, swapped

from mlprivacy.policy.model import Action, Dependency, Verdict

ALL = ("ConfigMap", "MultiNetworkPolicy", "Node", "SriovNetwork", "SriovNetworkNodeState", "SriovNetworkPoolConfig")


def test_a_job_rests_on_its_network_and_on_all_that_decides():
    rests = decide_with(rdma_job(), *ISOLATED).dependencies
    assert Dependency("NetworkAttachmentDefinition", "research", "rdma-net") in rests
    assert {Dependency(kind, "", "*") for kind in ALL} <= rests


def test_it_is_written_down_and_refuses_nothing():
    found = finding(decide_with(rdma_job(), *ISOLATED), "rdma-drift")
    assert (found.action, found.path) == (Action.EVIDENCE, LIMITS)
    assert "openshift.io/mlx_rdma, research/rdma-net" in found.message


def test_also_where_the_device_was_taken_away():
    rests = decide_with(rdma_job(), *swapped(network(sriov_plugin())), rdma_fallback__action="Remove").dependencies
    assert {Dependency(kind, "", "*") for kind in ALL} <= rests


def test_also_where_the_network_is_not_there_yet():
    assert Dependency("NetworkAttachmentDefinition", "research", "rdma-net") in decide_with(rdma_job()).dependencies


def test_a_job_rests_on_its_claims_and_their_class():
    job = change(
        training_job(), "spec.template.spec.resourceClaims", [{"name": "n", "resourceClaimTemplateName": "nic"}]
    )
    rests = decide_with(job, claim_template(expression="true")).dependencies
    assert Dependency("ResourceClaimTemplate", "research", "nic") in rests
    assert Dependency("DeviceClass", "", "dranet") in rests


def test_a_job_without_a_device_rests_on_none_of_it():
    assert not {d.kind for d in decide_with(rdma_job("nvidia.com/gpu", None), *ISOLATED).dependencies} & set(ALL)


def test_an_edit_that_opens_the_network_turns_the_decision():
    assert decide_with(rdma_job(), *ISOLATED).verdict is Verdict.ALLOW
    edited = swapped(network(sriov_plugin(trust="on"), {"type": "rdma"}))
    assert decide_with(rdma_job(), *edited).verdict is Verdict.DENY
