"""rdma-shared-device: no device that pods share from Confidential up, unless the node is one tenant's."""

import pytest
from builders import finding, rules_of
from fabric_objects import (
    ISOLATED,
    LIMITS,
    RESOURCE,
    classes,
    decide_with,
    lacking,
    node,
    rdma_job,
    shared_config,
)

from mlprivacy.policy.model import Action

SHARED = "rdma/hca_shared_a"
JOB = rdma_job(SHARED, None)
TENANT = "mlprivacy.dev/tenant"


@pytest.mark.parametrize("sensitivity", ["Confidential", "Restricted"])
def test_it_is_refused_from_confidential_up(sensitivity):
    world = classes("Allow", sensitivity=sensitivity)
    found = finding(decide_with(JOB, node(resource=SHARED), shared_config(), world=world), "rdma-shared-device")
    assert (found.action, found.path) == (Action.DENY, LIMITS)
    assert "SR-IOV" in found.remedy


def test_it_passes_below():
    world = classes("Allow", sensitivity="Internal", specialCategory=False)
    assert "rdma-shared-device" not in rules_of(decide_with(JOB, node(resource=SHARED), shared_config(), world=world))


@pytest.mark.parametrize(
    ("nodes", "refused"),
    [
        ([node(resource=SHARED, **{TENANT: "a"})], False),
        ([node(resource=SHARED, **{TENANT: "b"})], True),
        ([node(resource=SHARED, **{TENANT: "a"}), node("gpu-2", SHARED)], True),
        ([node(resource=SHARED, **{TENANT: "a"}), node("gpu-2", "other.example/x")], False),
        ([], True),
    ],
)
def test_a_node_of_one_tenant_may_share_it_with_itself(nodes, refused):
    decision = decide_with(JOB, *nodes, shared_config(), namespaces={TENANT: "a"}, world=classes("Allow"))
    assert ("rdma-shared-device" in rules_of(decision)) is refused


def test_a_namespace_without_a_tenant_has_no_node_of_its_own():
    decision = decide_with(JOB, node(resource=SHARED), shared_config(), world=classes("Allow"))
    assert "rdma-shared-device" in rules_of(decision)


def test_the_plugin_s_settings_tell_it_whatever_its_prefix():
    config = shared_config()
    config["data"]["config.json"] = (
        '{"configList": [{"resourcePrefix": "openshift.io", "resourceName": "mlx_rdma", "rdmaHcaMax": 8}]}'
    )
    assert "rdma-shared-device" in rules_of(decide_with(rdma_job(), *lacking("ConfigMap"), config))


def test_settings_of_a_namespace_that_is_not_the_plugin_s_are_not_believed():
    config = shared_config("research", "mlx_rdma")
    assert "rdma-shared-device" not in rules_of(decide_with(rdma_job(), *ISOLATED, config))


def test_settings_that_are_not_known_or_not_readable_hold():
    unknown = decide_with(rdma_job(), *lacking("ConfigMap"), complete=False)
    assert finding(unknown, "rdma-shared-device").action is Action.HOLD
    broken = shared_config()
    broken["data"] = {"config.json": "{"}
    assert finding(decide_with(rdma_job(), *lacking("ConfigMap"), broken), "rdma-shared-device").action is Action.HOLD


def test_a_cluster_without_the_plugin_passes():
    assert "rdma-shared-device" not in rules_of(decide_with(rdma_job(RESOURCE), *lacking("ConfigMap")))
