"""rdma-detect: what a job asks for is known to be RDMA or known not to be, and its data classes permit it."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.base import Sensitivity
from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.asks import NETWORKS_PATH
from mlprivacy.policy.fabric.use import exclusive, names
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, missing


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Devices by resource, network, host path and claim; resources that are not known; networks of other namespaces."""
    use = case.fabric_use
    if use is None or case.rdma_removed is not None:
        return
    denying = tuple(c for c in case.classes if c.spec.network.rdma == "Deny")
    if use.known and denying:
        shown = ", ".join(use.resource_names) or (", ".join(n.asked.ref for n in use.device_networks))
        yield breach(
            use.path,
            f"{names(denying)} may not be used with an RDMA device{f' ({shown})' if shown else ''}, which passes by "
            "every NetworkPolicy",
            "leave the device, the network or the claim out; NCCL works over TCP with NCCL_IB_DISABLE=1",
        )
    if use.unreadable:
        yield breach(
            NETWORKS_PATH,
            "the annotation k8s.v1.cni.cncf.io/networks can not be read, so it is not known which networks it adds",
            "write NAME, or a JSON list of objects with name and interface alone",
        )
    for network in use.networks:
        if network.asked.namespace != case.namespace:
            yield breach(
                NETWORKS_PATH,
                f"the network {network.asked.ref} belongs to another namespace",
                f"ask the platform for a NetworkAttachmentDefinition in the namespace {case.namespace}",
            )
        elif network.raw is None and not exclusive(case):  # else it is rdma-vf-chain that waits for it
            yield missing(
                NETWORKS_PATH,
                f"the NetworkAttachmentDefinition {network.asked.ref} does not exist (yet), or is not known, so it is "
                "not known which device it takes",
                "create it, or correct the name",
            )
    for claim in use.unknown_claims:
        yield missing(
            claim.path,
            f"the {claim.kind} {claim.name} or its DeviceClass is not known (yet), so it may claim an RDMA device",
            "create it, or remove the claim",
        )
    yield from _unknown(case)


def _unknown(case: Case) -> Iterator[Raised]:
    """Resources that nobody says to be known, for Restricted classes: they could be RDMA devices by another name."""
    use = case.fabric_use
    restricted = tuple(c for c in case.classes if c.spec.sensitivity is Sensitivity.RESTRICTED)
    if use is None or not restricted:
        return
    admitted = case.words("pod-hardening", "extendedResources")
    for resource in use.asks.resources:
        if resource.name not in admitted and resource not in use.resources:
            yield breach(
                resource.path,
                f"{names(restricted)} is Restricted, and whether {resource.name[:80]} is an RDMA device is not known",
                "leave it out, or ask the privacy office to add it to pod-hardening.extendedResources",
            )


RULE = Rule(
    id="rdma-detect",
    family="rdma",
    action=Action.DENY,
    reason="NetworkPolicy does not see RDMA, so an RDMA device must be seen before it is given.",
    citations=("organisation",),
    remedy="leave the device out",
    check=check,
    yields_to="pod-hardening",
)
