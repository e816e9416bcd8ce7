"""rdma-ipc-lock: IPC_LOCK only with a device, and only where the classes permit one."""

import pytest
from builders import change, finding, rules_of, training_job
from fabric_objects import ISOLATED, classes, decide_with, rdma_job

from mlprivacy.policy.model import Action

ADD = "spec.template.spec.containers[0].securityContext.capabilities.add"


@pytest.mark.parametrize("name", ["IPC_LOCK", "CAP_IPC_LOCK", "ipc_lock"])
def test_without_a_device_it_is_refused(name):
    found = finding(decide_with(change(training_job(), ADD, [name])), "rdma-ipc-lock")
    assert (found.action, found.path, found.remedy) == (Action.DENY, ADD, "remove IPC_LOCK")


def test_with_a_device_that_a_class_does_not_permit_it_is_refused():
    decision = decide_with(change(rdma_job(), ADD, ["IPC_LOCK"]), *ISOLATED, world=classes("Deny"))
    assert "health" in finding(decision, "rdma-ipc-lock").message


def test_with_a_permitted_device_only_pod_hardening_refuses_it():
    decision = decide_with(change(rdma_job(), ADD, ["IPC_LOCK"]), *ISOLATED)
    assert [f.rule for f in decision.findings if f.path == ADD] == ["pod-hardening"]


def test_a_job_whose_device_is_taken_away_needs_none():
    decision = decide_with(change(rdma_job(networks=None), ADD, ["IPC_LOCK"]), rdma_fallback__action="Remove")
    assert "rdma-ipc-lock" in rules_of(decision)


def test_other_capabilities_are_not_its_matter():
    assert "rdma-ipc-lock" not in rules_of(decide_with(change(training_job(), ADD, ["CHOWN"])))
