"""rdma-drift: a later change of a network, a device or a node decides anew on the jobs that rest on it."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import touch
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, record

KINDS = ("ConfigMap", "MultiNetworkPolicy", "Node", "SriovNetwork", "SriovNetworkNodeState", "SriovNetworkPoolConfig")


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Refuses nothing. What the job rests on is remembered, whoever of the other rules looked at it, and written down.

    The networks and claims themselves are remembered where the use of them is read.
    """
    use = case.fabric_use
    if use is None or not (use.rdma or use.networks):
        return
    touch(case, *KINDS)
    rests = [
        *use.resource_names,
        *(n.asked.ref for n in use.networks),
        *(c.name for c in (*use.claims, *use.unknown_claims)),
    ]
    yield record(use.path, f"a change of {', '.join(rests) or 'the device'} or of its nodes decides on this job anew")


RULE = Rule(
    id="rdma-drift",
    family="rdma",
    action=Action.EVIDENCE,
    reason="A network that was isolated when the job began can be opened while it runs.",
    citations=("organisation",),
    remedy="undo the change of the network, or let the job run anew without it",
    check=check,
    yields_to="pod-hardening",
)
