"""rdma-segregation: a VLAN, or a partition of the tenant's set."""

import pytest
from builders import finding, rules_of
from fabric_objects import ANNOTATIONS, ISOLATED, decide_with, ib_network, network, rdma_job, sriov_plugin, swapped

from mlprivacy.policy.fabric.isolation import partition
from mlprivacy.policy.model import Action, Verdict


@pytest.mark.parametrize("vlan", [0, None, 4095, -1, "100", True, 1.5])
def test_a_network_in_no_vlan_is_refused(vlan):
    raw = network(sriov_plugin(vlan=vlan), {"type": "rdma"})
    found = finding(decide_with(rdma_job(), *swapped(raw)), "rdma-segregation")
    assert (found.action, found.path) == (Action.DENY, ANNOTATIONS)


@pytest.mark.parametrize(
    ("vlans", "refused"),
    [("*", False), ("", True), ("research=100", False), ("research=200", True), ("clinic=100", True)],
)
def test_a_list_of_vlans_binds_each_namespace(vlans, refused):
    decision = decide_with(rdma_job(), *ISOLATED, rdma_segregation__vlans=vlans)
    assert ("rdma-segregation" in rules_of(decision)) is refused


class TestPartitions:
    def decided(self, pkey, listed="research=0x0010,research=0x0020"):
        return decide_with(rdma_job(), *swapped(ib_network(pkey=pkey)), rdma_segregation__pkeys=listed)

    @pytest.mark.parametrize("pkey", ["0x8010", "0x0010", "0x10", "0x8020"])
    def test_one_of_the_tenant_s_passes_as_a_full_or_limited_member(self, pkey):
        assert self.decided(pkey).verdict is Verdict.ALLOW

    @pytest.mark.parametrize("pkey", ["0x8011", "0xFFFF", "0x7FFF", "0x8000", "0x0", "", None, "zz", "0x18010"])
    def test_another_one_the_default_one_and_none_are_refused(self, pkey):
        assert finding(self.decided(pkey), "rdma-segregation").action is Action.DENY

    def test_whose_it_is_must_be_known(self):
        assert finding(self.decided("0x8010", ""), "rdma-segregation").action is Action.HOLD
        assert finding(self.decided("0x8010", "clinic=0x0010"), "rdma-segregation").action is Action.HOLD

    def test_a_pkey_is_its_lower_fifteen_bits(self):
        assert partition("0x8010") == partition("0x0010") == 0x10
