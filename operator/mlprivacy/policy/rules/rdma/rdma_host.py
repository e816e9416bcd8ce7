"""rdma-host: a job with an RDMA device has none of the host's namespaces, capabilities or devices."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.use import rdma_of
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """hostNetwork, hostIPC, hostPID, privileged, NET_ADMIN, NET_RAW, SYS_RAWIO and device files of the host."""
    use = rdma_of(case)
    if use is None:
        return
    for access in use.asks.host:
        yield breach(
            access.path,
            f"with {access.what} a job with an RDMA device reaches the devices and queues of everybody on the node",
            f"remove {access.what}; the device plugin gives the pod its own device",
        )


RULE = Rule(
    id="rdma-host",
    family="rdma",
    action=Action.DENY,
    reason="On the host all RDMA devices are one, whoever they were given to.",
    citations=("organisation",),
    remedy="remove the field from the template",
    check=check,
    refines="pod-hardening",
)
