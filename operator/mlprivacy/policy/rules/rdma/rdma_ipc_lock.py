"""rdma-ipc-lock: IPC_LOCK comes only with an RDMA device, and only where the data classes permit one."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import names, rdma_of
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Every container that adds IPC_LOCK. The rule pod-hardening and the guards refuse every capability besides."""
    use = case.fabric_use
    if use is None or not use.asks.ipc_lock:
        return
    denying = tuple(c for c in case.classes if c.spec.network.rdma == "Deny")
    if rdma_of(case) is None:
        why = "IPC_LOCK is for the memory of an RDMA device, and this job is given none"
    elif denying:
        why = f"IPC_LOCK is for the memory of an RDMA device, which {names(denying)} does not permit"
    else:
        return
    for path in use.asks.ipc_lock:
        yield breach(path, why, "remove IPC_LOCK")


RULE = Rule(
    id="rdma-ipc-lock",
    family="rdma",
    action=Action.DENY,
    reason="Locked memory starves the node, and only an RDMA device needs it.",
    citations=("organisation",),
    remedy="remove IPC_LOCK",
    check=check,
    refines="pod-hardening",
)
