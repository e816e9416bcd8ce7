"""rdma-segregation: an RDMA network is a VLAN, or an InfiniBand partition of the tenant's set."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import exclusive, rdma_of
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.parameters import EVERYTHING
from mlprivacy.policy.rule import Parameter, Raised, Rule


def check(case: Case) -> Iterator[Raised | Obligation]:
    """``vlan`` of the plugin sriov, ``pkey`` of the plugin ib-sriov."""
    if rdma_of(case) is not None and exclusive(case):
        yield from (item for rule, item in case.isolation if rule == RULE.id)


RULE = Rule(
    id="rdma-segregation",
    family="rdma",
    action=Action.DENY,
    reason="What shares a wire without a VLAN or partition can be reached over it.",
    citations=("organisation",),
    remedy="use a network with a VLAN, or a partition of your tenant",
    check=check,
    yields_to="pod-hardening",
    parameters=(
        Parameter(
            "pkeys",
            "list",
            (),
            "InfiniBand partitions of each namespace, as NAMESPACE=0x0010.",
            "intersection",
        ),
        Parameter(
            "vlans",
            "list",
            EVERYTHING,
            "VLANs of each namespace, as NAMESPACE=100; * accepts any VLAN. Once there is a list, a namespace without "
            "an entry in it has none.",
            "intersection",
        ),
    ),
)
