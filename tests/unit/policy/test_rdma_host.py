"""rdma-host: with an RDMA device nothing of the host, and one finding for one field."""

from dataclasses import replace

import pytest
from builders import change, clinic_world, facts_of, finding, rules_of, training_job
from fabric_objects import ISOLATED, classes, decide_with, fabric_of, rdma_job, rdma_policy

from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Action, Verdict

SPEC = "spec.template.spec"
FIRST = f"{SPEC}.containers[0].securityContext"
FIELDS = [
    (f"{SPEC}.hostNetwork", True, f"{SPEC}.hostNetwork"),
    (f"{SPEC}.hostIPC", True, f"{SPEC}.hostIPC"),
    (f"{SPEC}.hostPID", True, f"{SPEC}.hostPID"),
    (f"{FIRST}.privileged", True, f"{FIRST}.privileged"),
    (f"{FIRST}.capabilities.add", ["NET_ADMIN"], f"{FIRST}.capabilities.add"),
    (f"{FIRST}.capabilities.add", ["CAP_NET_RAW"], f"{FIRST}.capabilities.add"),
    (f"{FIRST}.capabilities.add", ["sys_rawio"], f"{FIRST}.capabilities.add"),
    (f"{SPEC}.volumes", [{"name": "d", "hostPath": {"path": "/dev/infiniband"}}], f"{SPEC}.volumes[0].hostPath"),
]


@pytest.mark.parametrize(("field", "value", "path"), FIELDS)
def test_a_field_that_reaches_the_host_is_refused_once(field, value, path):
    decision = decide_with(change(rdma_job(), field, value), *ISOLATED)
    found = [f for f in decision.findings if f.path == path]
    assert [(f.rule, f.action) for f in found] == [("rdma-host", Action.DENY)]
    assert found[0].remedy.startswith("remove ")


@pytest.mark.parametrize("where", ["/", "/dev", "/dev/", "//dev/shm", "/x/../dev"])
def test_a_path_that_covers_device_files_is_refused_too(where):
    volumes = [{"name": "d", "hostPath": {"path": where}}]
    decision = decide_with(change(rdma_job(), f"{SPEC}.volumes", volumes), *ISOLATED)
    assert finding(decision, "rdma-host").path == f"{SPEC}.volumes[0].hostPath"
    plain = decide_with(change(training_job(), f"{SPEC}.volumes", volumes))
    assert rules_of(plain) == ["pod-hardening"], "without a device it is no matter of RDMA"


@pytest.mark.parametrize(("field", "value", "path"), FIELDS[:7])
def test_without_a_device_it_is_the_matter_of_pod_hardening(field, value, path):
    decision = decide_with(change(training_job(), field, value))
    assert [f.rule for f in decision.findings if f.path == path] == ["pod-hardening"]


def test_false_is_no_access():
    assert decide_with(change(rdma_job(), f"{FIRST}.privileged", False), *ISOLATED).verdict is Verdict.ALLOW


@pytest.mark.parametrize(("softened", "shown"), [("rdma-host", "pod-hardening"), ("pod-hardening", "rdma-host")])
def test_the_stricter_of_the_two_stays_where_one_is_softened(softened, shown):
    soft = rdma_policy()
    soft["spec"]["rules"] = [{"id": softened, "action": "Warn"}]
    job = change(rdma_job(), f"{SPEC}.hostIPC", True)
    facts = replace(facts_of(clinic_world(soft, *classes())), fabric=fabric_of(job, *ISOLATED))
    decision = evaluate(job, facts)
    assert decision.verdict is Verdict.DENY
    assert finding(decision, shown, f"{SPEC}.hostIPC").action is Action.DENY
    assert softened not in rules_of(decision)
