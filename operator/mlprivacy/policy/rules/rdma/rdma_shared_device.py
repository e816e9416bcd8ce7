"""rdma-shared-device: from Confidential up no device that several pods share, unless the node is one tenant's."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.base import Sensitivity
from mlprivacy.api.names import GROUP
from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.objects import labels, namespace_of, shared_resources
from mlprivacy.policy.fabric.use import names, rdma_of, touch
from mlprivacy.policy.model import Action, Dependency, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, missing

LABEL_TENANT = f"{GROUP}/tenant"
PREFIX = "rdma/"  # the default prefix of k8s-rdma-shared-dev-plugin


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Resources of the shared device plugin (``rdmaHcaMax``), by its ConfigMap and by its prefix."""
    use = rdma_of(case)
    careful = tuple(c for c in case.classes if c.spec.sensitivity in (Sensitivity.CONFIDENTIAL, Sensitivity.RESTRICTED))
    if use is None or not use.resources or not careful:
        return
    configs = case.facts.fabric.shared_configs
    touch(case, "ConfigMap")
    places = case.words("rdma-shared-device", "configNamespaces")
    known: set[str] = set()
    readable = configs is not None
    for config in configs or ():
        if namespace_of(config) in places:
            offered = shared_resources(config)
            readable = readable and offered is not None
            known |= offered or set()
    shared = [r for r in use.resources if r.name in known or r.name.startswith(PREFIX)]
    unsaid = [r for r in use.resources if r not in shared]
    if shared and not _single_tenant(case):
        yield breach(
            shared[0].path,
            f"{names(careful)} is {careful[0].spec.sensitivity.value}, and {shared[0].name} is a device that several "
            "pods share",
            f"use an SR-IOV device of the job's own, or nodes with the label {LABEL_TENANT} of your tenant",
        )
    elif unsaid and not readable:
        yield missing(
            unsaid[0].path,
            f"the settings of the shared device plugin are not known (yet), so {unsaid[0].name} may be shared",
            "wait until they are read; offline, add the ConfigMap rdma-devices",
        )


def _single_tenant(case: Case) -> bool:
    """True when every node that may run the job carries the tenant of the job's namespace."""
    case.touched.add(Dependency("Namespace", "", case.namespace))
    tenant = (case.facts.namespaces.get(case.namespace) or {}).get(LABEL_TENANT)
    nodes = case.fabric_nodes
    return bool(tenant) and bool(nodes) and all(labels(n).get(LABEL_TENANT) == tenant for n in nodes or ())


RULE = Rule(
    id="rdma-shared-device",
    family="rdma",
    action=Action.DENY,
    reason="Pods that share an RDMA device can reach one another's memory through it.",
    citations=("organisation",),
    remedy="use an SR-IOV device of the job's own",
    check=check,
    yields_to="pod-hardening",
    parameters=(
        Parameter(
            "configNamespaces",
            "list",
            ("kube-system", "nvidia-network-operator"),
            "namespaces whose ConfigMap rdma-devices is that of the shared device plugin.",
            "union",
        ),
    ),
)
