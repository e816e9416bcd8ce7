"""rdma-vf-chain: an RDMA device is a virtual function that the CNI plugins move into the pod's network namespace."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import exclusive, rdma_of
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The NetworkAttachmentDefinition's plugins: ``sriov`` then ``rdma``, or ``ib-sriov`` with ``rdmaIsolation``."""
    if rdma_of(case) is not None and exclusive(case):
        yield from (item for rule, item in case.isolation if rule == RULE.id)


RULE = Rule(
    id="rdma-vf-chain",
    family="rdma",
    action=Action.DENY,
    reason="A device that stays in the node's namespace is everybody's device.",
    citations=("organisation",),
    remedy="use a network with the plugins sriov then rdma, or ib-sriov with rdmaIsolation: true",
    check=check,
    yields_to="pod-hardening",
)
