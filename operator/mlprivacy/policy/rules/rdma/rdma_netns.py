"""rdma-netns: every node that may run the job keeps RDMA devices apart by network namespace (exclusive mode)."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import exclusive, rdma_of
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule


def check(case: Case) -> Iterator[Raised | Obligation]:
    """SriovNetworkPoolConfig ``spec.rdmaMode`` and SriovNetworkNodeState ``status.system.rdmaMode``: both exclusive."""
    if rdma_of(case) is not None and exclusive(case):
        yield from (item for rule, item in case.isolation if rule == RULE.id)


RULE = Rule(
    id="rdma-netns",
    family="rdma",
    action=Action.DENY,
    reason="In shared mode every pod of a node sees every RDMA device of it.",
    citations=("organisation",),
    remedy="choose nodes whose RDMA subsystem is in exclusive mode",
    check=check,
    yields_to="pod-hardening",
)
