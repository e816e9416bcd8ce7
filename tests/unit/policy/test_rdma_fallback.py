"""rdma-fallback: what can not be isolated is refused, or taken away where the policy says so."""

import pytest
from builders import change, finding, rules_of
from fabric_objects import (
    ANNOTATIONS,
    ISOLATED,
    LIMITS,
    RESOURCE,
    classes,
    decide_with,
    lacking,
    network,
    node_state,
    problems,
    rdma_job,
    sriov_plugin,
    swapped,
)

from mlprivacy.api.base import parse_spec
from mlprivacy.api.training_job import KIND
from mlprivacy.controls.render import render
from mlprivacy.policy.fabric.asks import NETWORKS
from mlprivacy.policy.model import Action, Verdict
from mlprivacy.workloads.context import RenderContext, RenderSettings

SETTINGS = RenderSettings(
    dataplane_image="registry.example/dataplane@sha256:" + "1" * 64,
    operator_namespace="mlprivacy-system",
    canary="10.0.0.1:8443",
    seal_key="k" * 16,
)
REMOVE = {"rdma_fallback__action": "Remove"}
OPEN = swapped(network(sriov_plugin()))


def test_by_default_it_refuses_and_says_what_would_be_done_instead():
    found = finding(decide_with(rdma_job(), *OPEN), "rdma-fallback")
    assert found.action is Action.DENY
    assert "rdma-vf-chain" in found.message
    assert "rdma-fallback.action to Remove" in found.remedy


@pytest.mark.parametrize(
    "objects", [OPEN, swapped(node_state("shared")), swapped(network(sriov_plugin(vlan=0), {"type": "rdma"}))]
)
def test_with_remove_the_job_runs_without_rdma(objects):
    decision = decide_with(rdma_job(), *objects, **REMOVE)
    assert decision.verdict is Verdict.ALLOW
    assert decision.obligations.rdma_removed == (RESOURCE,)
    assert [(f.rule, f.action, f.path) for f in problems(decision)] == [("rdma-fallback", Action.WARN, LIMITS)]


def test_a_class_that_denies_rdma_is_served_without_it():
    decision = decide_with(rdma_job(), *ISOLATED, world=classes("Deny"), **REMOVE)
    assert (decision.verdict, decision.obligations.rdma_removed) == (Verdict.ALLOW, (RESOURCE,))


def test_what_is_isolated_stays():
    decision = decide_with(rdma_job(), *ISOLATED, **REMOVE)
    assert (decision.verdict, problems(decision)) == (Verdict.ALLOW, [])
    assert decision.obligations.rdma_removed is None


def test_what_is_only_not_known_holds():
    decision = decide_with(rdma_job(), *lacking("SriovNetworkNodeState"), **REMOVE)
    assert decision.verdict is Verdict.HOLD
    assert "rdma-fallback" not in rules_of(decision)


def test_a_device_that_no_policy_admits_can_be_taken_away_too():
    decision = decide_with(rdma_job("rdma/hca", None), pod_hardening__secondaryNetworks="false", **REMOVE)
    assert decision.verdict is Verdict.ALLOW


def test_a_class_that_is_not_restricted_is_refused_by_the_other_rules_alone():
    world = classes("ExclusiveOnly", sensitivity="Confidential")
    assert [f.rule for f in problems(decide_with(rdma_job(), *OPEN, world=world))] == ["rdma-vf-chain"]


def test_the_digest_of_a_job_without_rdma_is_what_it_was():
    assert "rdmaRemoved" not in decide_with(rdma_job(None, None)).obligations.as_dict()


def test_the_rendered_pod_has_neither_device_nor_network_and_nccl_knows():
    job = change(rdma_job(), "spec.template.spec.containers[0].env", [{"name": "NCCL_IB_DISABLE", "value": "0"}])
    decision = decide_with(job, *OPEN, **REMOVE)
    pod = _pod(job, decision)
    trainer = next(c for c in pod["spec"]["containers"] if c["name"] == "trainer")
    assert NETWORKS not in pod["metadata"]["annotations"]
    assert trainer["resources"] == {"limits": {}, "requests": {}}
    assert [e for e in trainer["env"] if e["name"] == "NCCL_IB_DISABLE"] == [{"name": "NCCL_IB_DISABLE", "value": "1"}]


def test_without_the_obligation_the_pod_is_as_asked():
    pod = _pod(rdma_job(), decide_with(rdma_job(), *ISOLATED))
    assert pod["metadata"]["annotations"][NETWORKS] == "rdma-net"
    trainer = next(c for c in pod["spec"]["containers"] if c["name"] == "trainer")
    assert trainer["resources"]["limits"] == {RESOURCE: "1"}


def _pod(job, decision):
    parsed = parse_spec(KIND, job)
    context = RenderContext("TrainingJob", parsed.name, "research", "u", parsed.spec, decision, 1, SETTINGS)
    return render(context).pod


def test_the_path_of_a_job_that_only_names_a_network():
    decision = decide_with(rdma_job(None), *OPEN, **REMOVE)
    assert (decision.obligations.rdma_removed, decision.findings[0].path) == ((), ANNOTATIONS)
