"""rdma-fallback: RDMA that can not be kept to its pod is taken away, or refused, for Restricted classes."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.base import Sensitivity
from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import names, rdma_of
from mlprivacy.policy.model import Action, Demand, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, note, oblige


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Action Remove: the resource and every further network go, and NCCL_IB_DISABLE=1 is set. Action Deny: refused."""
    taken = case.rdma_removed
    use = case.fabric_use
    if taken is not None and use is not None:
        yield oblige(Demand.RDMA, ",".join(taken))
        yield note(
            use.path,
            f"RDMA ({', '.join(taken) or 'the further networks'}) is taken away from this job and NCCL_IB_DISABLE=1 is "
            "set, since its data may not use it here",
            "leave the device and the networks out, so that the job says what it gets",
        )
        return
    use = rdma_of(case)
    restricted = tuple(c for c in case.classes if c.spec.sensitivity is Sensitivity.RESTRICTED)
    if use is None or not restricted:
        return
    lacking = dict.fromkeys(rule for rule, item in case.isolation if not item.hold)
    if lacking:
        yield breach(
            use.path,
            f"{names(restricted)} is Restricted, and this RDMA device is not kept to its pod ({', '.join(lacking)})",
            "leave the device out and set NCCL_IB_DISABLE=1, or ask the privacy office to set rdma-fallback.action to "
            "Remove, which does both",
        )


RULE = Rule(
    id="rdma-fallback",
    family="rdma",
    action=Action.DENY,
    reason="Slower over TCP is better than open over RDMA.",
    citations=("organisation",),
    remedy="leave the device out and set NCCL_IB_DISABLE=1",
    check=check,
    yields_to="pod-hardening",
    parameters=(
        Parameter(
            "action",
            "choice",
            "Deny",
            "Deny refuses a job whose RDMA device its data may not use; Remove runs it without the device.",
            "first",
            choices=("Deny", "Remove"),
        ),
    ),
)
