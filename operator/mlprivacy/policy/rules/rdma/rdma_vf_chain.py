"""rdma-vf-chain: an RDMA device is a virtual function that the CNI plugins move into the pod's network namespace."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.isolation import chain_problems
from mlprivacy.policy.fabric.use import exclusive, rdma_of
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The NetworkAttachmentDefinition's plugins: ``sriov`` then ``rdma``, or ``ib-sriov`` with ``rdmaIsolation``."""
    use = rdma_of(case)
    if use is not None and exclusive(case):
        yield from chain_problems(use)


RULE = Rule(
    id="rdma-vf-chain",
    family="rdma",
    action=Action.DENY,
    reason="A device that stays in the node's namespace is everybody's device.",
    citations=("organisation",),
    remedy="use a network with the plugins sriov then rdma, or ib-sriov with rdmaIsolation: true",
    check=check,
)
