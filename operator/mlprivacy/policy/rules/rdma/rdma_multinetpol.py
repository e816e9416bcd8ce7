"""rdma-multinetpol: each further network has a MultiNetworkPolicy for its kernel path, which is no control of RDMA."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.names import (
    LABEL_INFERENCE_JOB,
    LABEL_MANAGED_BY,
    LABEL_RENDERED,
    LABEL_TRAINING_JOB,
    MANAGED_BY,
)
from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.asks import NETWORKS_PATH, networks_of
from mlprivacy.policy.fabric.objects import Raw, annotation, name_of, namespace_of, selects, spec
from mlprivacy.policy.fabric.use import Network, touch
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, missing

POLICY_FOR = "k8s.v1.cni.cncf.io/policy-for"


def check(case: Case) -> Iterator[Raised | Obligation]:
    """A policy that selects the job's pods closes both directions, and none opens a way out or in."""
    use = case.fabric_use
    if use is None or not use.networks or case.rdma_removed is not None:
        return
    touch(case, "MultiNetworkPolicy")
    policies = case.facts.fabric.network_policies
    if policies is None:
        yield missing(
            NETWORKS_PATH,
            "the MultiNetworkPolicies are not known (yet), so it is not known whether the further networks are closed",
            "wait until they are read; offline, add them",
        )
        return
    for network in use.networks:
        yield from _network(case, network, policies)


def _network(case: Case, network: Network, policies: tuple[Raw, ...]) -> Iterator[Raised]:
    pod = _pod_labels(case)
    closed: set[str] = set()
    for policy in policies:
        covered = networks_of(annotation(policy, POLICY_FOR), namespace_of(policy)) or ()
        if network.asked not in covered:
            continue
        body = spec(policy)
        if selects(body.get("podSelector"), pod):
            closed |= _directions(body)
        opened = [d for d in ("ingress", "egress") if body.get(d)]
        if opened and selects(body.get("podSelector"), pod, unknown=True):
            yield breach(
                NETWORKS_PATH,
                f"the MultiNetworkPolicy {name_of(policy)} opens {' and '.join(opened)} of {network.asked.ref} for the "
                "pods of this job",
                "have its podSelector leave out pods with the label mlprivacy.dev/rendered",
            )
    if not {"Ingress", "Egress"} <= closed:
        yield breach(
            NETWORKS_PATH,
            f"no MultiNetworkPolicy closes the network {network.asked.ref} in both directions for this job's pods, and "
            "NetworkPolicy does not see it",
            f"ask the platform for a MultiNetworkPolicy for {network.asked.ref} with policyTypes Ingress and Egress "
            "and no rules; of RDMA it sees nothing, which the other rdma rules are for",
        )


def _directions(body: Raw) -> set[str]:
    """What a policy closes: its policyTypes, else Ingress, and Egress where it has such rules (as NetworkPolicy)."""
    types = body.get("policyTypes")
    if isinstance(types, list) and types:
        return {str(t) for t in types}
    return {"Ingress", "Egress"} if body.get("egress") else {"Ingress"}


def _pod_labels(case: Case) -> dict[str, str]:
    """The labels that the job's pods will carry and that everybody can know."""
    training = case.kind == "TrainingJob"
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_RENDERED: "training" if training else "inference",
        LABEL_TRAINING_JOB if training else LABEL_INFERENCE_JOB: case.name,
    }


RULE = Rule(
    id="rdma-multinetpol",
    family="rdma",
    action=Action.DENY,
    reason="NetworkPolicy covers the first network of a pod and no other.",
    citations=("organisation",),
    remedy="leave the network out",
    check=check,
    yields_to="pod-hardening",
)
