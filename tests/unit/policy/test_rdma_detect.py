"""rdma-detect: every way to ask for an RDMA device is seen, and the data classes say whether they permit one."""

import pytest
from builders import change, clinic_world, decide, facts_of, finding, rules_of, template, training_job
from fabric_objects import (
    ANNOTATIONS,
    ISOLATED,
    LIMITS,
    claim_template,
    classes,
    decide_with,
    device_class,
    fabric_of,
    lacking,
    network,
    network_policy,
    rdma_job,
    rdma_policy,
)

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.fabric.asks import asks_of, networks_of
from mlprivacy.policy.model import Action, Verdict

REQUESTS = LIMITS.replace("limits", "requests")
PERMITTED = classes("Allow", "Allow", sensitivity="Confidential", encryption={"inTransit": "Optional"})


def test_an_isolated_device_passes_and_a_job_without_one_is_not_concerned():
    assert decide_with(rdma_job(), *ISOLATED).verdict is Verdict.ALLOW
    assert not [r for r in rules_of(decide(training_job())) if r.startswith("rdma")]


@pytest.mark.parametrize(
    ("resource", "rdma"),
    [
        ("rdma/hca_shared_a", True),
        ("openshift.io/mlx_rdma", True),
        ("mellanox.com/SRIOV_RDMA", True),
        ("example.com/infiniband", True),
        ("example.com/roce-vf", True),
        ("nvidia.com/gpu", False),
        ("example.com/process", False),
        ("cpu", False),
        ("hugepages-2Mi", False),
    ],
)
def test_a_device_is_known_by_its_name(resource, rdma):
    assert asks_of(rdma_job(resource, None)["spec"]["template"], "research").looks_further is rdma


def test_a_class_that_denies_rdma_refuses_it():
    found = finding(decide_with(rdma_job(), *ISOLATED, world=classes("ExclusiveOnly", "Deny")), "rdma-detect")
    assert (found.action, found.path) == (Action.DENY, LIMITS)
    assert "demographic" in found.message
    assert "NCCL_IB_DISABLE=1" in found.remedy


def test_the_default_of_a_class_is_to_deny():
    assert "rdma-detect" in rules_of(decide_with(rdma_job("rdma/hca_shared_a", None), world=classes("Deny")))


def test_what_no_policy_admits_is_said_once_and_by_pod_hardening():
    assert [(f.rule, f.path) for f in decide(rdma_job("rdma/hca", None)).findings] == [
        ("pod-hardening", LIMITS),
        ("pod-hardening", REQUESTS),
    ]


def test_a_device_by_another_name_is_known_by_its_network():
    plain = rdma_job("example.com/vf")
    world = (network(resource="example.com/vf"), *lacking("NetworkAttachmentDefinition"))
    admitted = {"pod_hardening__extendedResources": "example.com/vf"}
    found = finding(decide_with(plain, *world, world=classes("Deny", "Allow"), **admitted), "rdma-detect", LIMITS)
    assert "example.com/vf" in found.message


def test_a_resource_that_nobody_knows_is_refused_for_a_restricted_class_whoever_softens_pod_hardening():
    softened = rdma_policy()
    softened["spec"]["rules"] = [{"id": "pod-hardening", "action": "Warn"}]
    job = rdma_job("example.com/fast", None)
    decision = evaluate(job, facts_of(clinic_world(softened, *classes())))
    found = finding(decision, "rdma-detect", LIMITS)
    assert (found.action, decision.verdict) == (Action.DENY, Verdict.DENY)
    assert "pod-hardening.extendedResources" in found.remedy
    assert decide_with(rdma_job("nvidia.com/gpu", None)).verdict is Verdict.ALLOW


def test_else_pod_hardening_says_it_and_nobody_again():
    assert set(rules_of(decide_with(rdma_job("example.com/fast", None)))) == {"pod-hardening"}


@pytest.mark.parametrize(
    "path", ["/dev/infiniband", "/dev//infiniband/uverbs0", "/./dev/infiniband/", "/a/../dev/infiniband"]
)
def test_a_device_file_of_the_host_is_seen_and_left_to_rdma_host(path):
    job = training_job(template=template(volumes=[{"name": "ib", "hostPath": {"path": path}}]))
    found = [(f.rule, f.path) for f in decide_with(job, world=classes("Deny")).findings if f.action is Action.DENY]
    assert found == [("rdma-host", "spec.template.spec.volumes[0].hostPath")]


class TestClaims:
    JOB = change(
        training_job(), "spec.template.spec.resourceClaims", [{"name": "n", "resourceClaimTemplateName": "nic"}]
    )
    PATH = "spec.template.spec.resourceClaims[0].resourceClaimTemplateName"

    def test_one_that_selects_by_an_attribute_of_rdma(self):
        found = finding(decide_with(self.JOB, claim_template(), world=classes("Deny")), "rdma-detect")
        assert (found.action, found.path) == (Action.DENY, self.PATH)

    def test_one_whose_class_does(self):
        plain, fast = claim_template(expression="true"), device_class(expression='device.attributes["dra.net"].rdma')
        assert "rdma-detect" in rules_of(decide_with(self.JOB, plain, fast, world=classes("Deny")))
        assert "rdma-detect" not in rules_of(decide_with(self.JOB, plain, device_class(), world=classes("Deny")))

    def test_one_that_is_not_there_holds(self):
        found = finding(decide_with(self.JOB, world=PERMITTED), "rdma-detect")
        assert (found.action, found.reason) == (Action.HOLD, Reason.FACT_MISSING)

    def test_pod_hardening_refuses_every_claim_besides(self):
        assert "pod-hardening" in rules_of(decide_with(self.JOB, claim_template(), world=PERMITTED))


class TestNetworks:
    def test_one_that_is_not_there_holds(self):
        found = finding(
            decide_with(rdma_job(), *lacking("NetworkAttachmentDefinition"), world=PERMITTED), "rdma-detect"
        )
        assert (found.action, found.path) == (Action.HOLD, ANNOTATIONS)

    def test_what_is_not_known_is_no_breach_even_where_a_class_denies_rdma(self):
        decision = decide_with(rdma_job(None), complete=False, world=classes("Deny", "Deny"))
        assert decision.verdict is Verdict.HOLD
        assert not [f for f in decision.findings if f.action is Action.DENY]
        claimed = decide_with(TestClaims.JOB, world=classes("Deny", "Deny"))
        assert [f.rule for f in claimed.findings if f.action is Action.DENY] == ["pod-hardening"]

    def test_one_of_another_namespace_is_refused_and_not_even_read(self):
        job = rdma_job(networks="clinic/rdma-net")
        assert fabric_of(job, network(namespace="clinic")).networks == {}
        found = finding(decide_with(job, *ISOLATED, network(namespace="clinic")), "rdma-detect", ANNOTATIONS)
        assert (found.action, "another namespace" in found.message) == (Action.DENY, True)

    def test_an_annotation_that_can_not_be_read_is_refused(self):
        found = finding(decide_with(rdma_job(networks='[{"name": 1}]'), *ISOLATED), "rdma-detect")
        assert (found.action, found.path) == (Action.DENY, ANNOTATIONS)

    def test_a_network_without_a_device_is_no_rdma(self):
        macvlan = network({"type": "macvlan", "master": "eth1"}, resource=None)
        job = rdma_job(None)
        decision = decide_with(job, macvlan, network_policy(), world=classes("Deny", "Deny"))
        assert decision.verdict is Verdict.ALLOW

    def test_without_the_parameter_no_network_is_accepted(self):
        found = finding(decide_with(rdma_job(), *ISOLATED, pod_hardening__secondaryNetworks="false"), "pod-hardening")
        assert found.path == ANNOTATIONS

    @pytest.mark.parametrize(
        ("value", "names"),
        [
            ("a", ["here/a"]),
            (" a , b@net1 ", ["here/a", "here/b"]),
            ("other/a@net1", ["other/a"]),
            ('[{"name": "a"}, {"name": "b", "namespace": "other", "interface": "net1"}]', ["here/a", "other/b"]),
            ("", []),
            ("a,,b", None),
            ("A", None),
            ("a/b/c", None),
            ("[", None),
            ('[{"name": "a", "mac": "02:00:00:00:00:01"}]', None),
            ('[{"name": "a", "infiniband-guid": "24:8a:07:03:00:8d:ae:2e"}]', None),
            ('[{"name": "a", "cni-args": {"vlan": 1}}]', None),
            ("[" * 5000, None),
            (",".join(f"n{i}" for i in range(17)), None),
            (7, None),
            (None, None),
        ],
    )
    def test_the_annotation_is_read_as_multus_reads_it_and_no_further(self, value, names):
        found = networks_of(value, "here")
        assert (None if found is None else [n.ref for n in found]) == names


@pytest.mark.parametrize(
    "junk", [None, 3, [], "x", {"spec": 7}, {"spec": {"containers": 7, "volumes": [7]}, "metadata": 7}]
)
def test_any_template_can_be_asked(junk):
    assert not asks_of(junk, "research").looks_further
