"""Which Kubernetes resources the product talks to, and how their URL paths are built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from mlprivacy.api.names import GROUP, VERSION


def _segment(value: str, what: str) -> str:
    """One path segment: a name from an object can never climb out of its place in the URL."""
    if value in {"", ".", ".."}:
        raise ValueError(f"{what} {value!r} can not be a Kubernetes name; give a non-empty DNS name")
    return quote(value, safe="")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API: what discovery would say about it."""

    group: str
    """API group; empty for the core group."""
    version: str
    plural: str
    namespaced: bool
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` that objects of this resource carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path below the server's address, percent-encoded.

        Without `namespace` a namespaced resource gives the path across all namespaces, which only list and watch know.
        Raises ValueError for a combination that no API server serves.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            if not self.namespaced:
                raise ValueError(f"{self.plural} are cluster scoped; do not give a namespace ({namespace!r})")
            parts += ["namespaces", _segment(namespace, "namespace")]
        elif self.namespaced and name is not None:
            raise ValueError(f"{self.plural} are namespaced; give the namespace of {name!r}")
        parts.append(self.plural)
        if name is not None:
            parts.append(_segment(name, "name"))
        if subresource is not None:
            if name is None:
                raise ValueError(f"subresource {subresource!r} of {self.plural} needs a name")
            parts.append(_segment(subresource, "subresource"))
        return "/" + "/".join(parts)

    def __str__(self) -> str:
        """The full name that kubectl takes: `trainingjobs.mlprivacy.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _ours(plural: str, kind: str, *, namespaced: bool) -> Resource:
    return Resource(GROUP, VERSION, plural, namespaced, kind)


DATACLASSES: Final = _ours("dataclasses", "DataClass", namespaced=False)
PRIVACYPOLICIES: Final = _ours("privacypolicies", "PrivacyPolicy", namespaced=False)
POLICYEXCEPTIONS: Final = _ours("policyexceptions", "PolicyException", namespaced=False)
PRIVACYBUDGETS: Final = _ours("privacybudgets", "PrivacyBudget", namespaced=False)
LEDGERENTRIES: Final = _ours("ledgerentries", "LedgerEntry", namespaced=False)
DATASETS: Final = _ours("datasets", "Dataset", namespaced=True)
DATASETGRANTS: Final = _ours("datasetgrants", "DatasetGrant", namespaced=True)
CONSENTSCOPES: Final = _ours("consentscopes", "ConsentScope", namespaced=True)
TRAININGJOBS: Final = _ours("trainingjobs", "TrainingJob", namespaced=True)
INFERENCEJOBS: Final = _ours("inferencejobs", "InferenceJob", namespaced=True)

OURS: Final = (
    DATACLASSES,
    PRIVACYPOLICIES,
    POLICYEXCEPTIONS,
    PRIVACYBUDGETS,
    LEDGERENTRIES,
    DATASETS,
    DATASETGRANTS,
    CONSENTSCOPES,
    TRAININGJOBS,
    INFERENCEJOBS,
)

NAMESPACES: Final = Resource("", "v1", "namespaces", False, "Namespace")
NODES: Final = Resource("", "v1", "nodes", False, "Node")
PODS: Final = Resource("", "v1", "pods", True, "Pod")
SERVICEACCOUNTS: Final = Resource("", "v1", "serviceaccounts", True, "ServiceAccount")
SERVICES: Final = Resource("", "v1", "services", True, "Service")
CONFIGMAPS: Final = Resource("", "v1", "configmaps", True, "ConfigMap")
SECRETS: Final = Resource("", "v1", "secrets", True, "Secret")
PERSISTENTVOLUMECLAIMS: Final = Resource("", "v1", "persistentvolumeclaims", True, "PersistentVolumeClaim")
ENDPOINTSLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", True, "EndpointSlice")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", True, "Event")
JOBS: Final = Resource("batch", "v1", "jobs", True, "Job")
CRONJOBS: Final = Resource("batch", "v1", "cronjobs", True, "CronJob")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", True, "Deployment")
REPLICASETS: Final = Resource("apps", "v1", "replicasets", True, "ReplicaSet")
STATEFULSETS: Final = Resource("apps", "v1", "statefulsets", True, "StatefulSet")
DAEMONSETS: Final = Resource("apps", "v1", "daemonsets", True, "DaemonSet")
PODTEMPLATES: Final = Resource("", "v1", "podtemplates", True, "PodTemplate")
REPLICATIONCONTROLLERS: Final = Resource("", "v1", "replicationcontrollers", True, "ReplicationController")
NETWORKPOLICIES: Final = Resource("networking.k8s.io", "v1", "networkpolicies", True, "NetworkPolicy")
POD_DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", True, "PodDisruptionBudget")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", True, "Lease")
VALIDATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", False, "ValidatingWebhookConfiguration"
)
MUTATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", False, "MutatingWebhookConfiguration"
)
ADMISSION_POLICIES: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", False, "ValidatingAdmissionPolicy"
)
ADMISSION_POLICY_BINDINGS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", False, "ValidatingAdmissionPolicyBinding"
)
CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", False, "CustomResourceDefinition")
CLUSTERROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", False, "ClusterRole")
CLUSTERROLEBINDINGS: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", False, "ClusterRoleBinding"
)
SELF_SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", False, "SelfSubjectAccessReview"
)
SUBJECT_ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", False, "SubjectAccessReview"
)
TOKEN_REVIEWS: Final = Resource("authentication.k8s.io", "v1", "tokenreviews", False, "TokenReview")

BUILT_IN: Final = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICEACCOUNTS,
    SERVICES,
    CONFIGMAPS,
    SECRETS,
    PERSISTENTVOLUMECLAIMS,
    ENDPOINTSLICES,
    EVENTS,
    JOBS,
    CRONJOBS,
    DEPLOYMENTS,
    REPLICASETS,
    STATEFULSETS,
    NETWORKPOLICIES,
    POD_DISRUPTION_BUDGETS,
    LEASES,
    VALIDATING_WEBHOOKS,
    MUTATING_WEBHOOKS,
    ADMISSION_POLICIES,
    ADMISSION_POLICY_BINDINGS,
    CRDS,
)

# Of other projects, read where a job asks for RDMA or for further networks. The cluster may have none of them.
NETWORKATTACHMENTS: Final = Resource(
    "k8s.cni.cncf.io", "v1", "network-attachment-definitions", True, "NetworkAttachmentDefinition"
)
MULTINETWORKPOLICIES: Final = Resource(
    "k8s.cni.cncf.io", "v1beta1", "multi-networkpolicies", True, "MultiNetworkPolicy"
)
SRIOVNETWORKS: Final = Resource("sriovnetwork.openshift.io", "v1", "sriovnetworks", True, "SriovNetwork")
SRIOVNETWORKPOOLCONFIGS: Final = Resource(
    "sriovnetwork.openshift.io", "v1", "sriovnetworkpoolconfigs", True, "SriovNetworkPoolConfig"
)
SRIOVNETWORKNODESTATES: Final = Resource(
    "sriovnetwork.openshift.io", "v1", "sriovnetworknodestates", True, "SriovNetworkNodeState"
)
RESOURCECLAIMS: Final = Resource("resource.k8s.io", "v1", "resourceclaims", True, "ResourceClaim")
RESOURCECLAIMTEMPLATES: Final = Resource(
    "resource.k8s.io", "v1", "resourceclaimtemplates", True, "ResourceClaimTemplate"
)
DEVICECLASSES: Final = Resource("resource.k8s.io", "v1", "deviceclasses", False, "DeviceClass")

# Of another project, written where the cluster has it.
REPORTS: Final = Resource("openreports.io", "v1alpha1", "reports", True, "Report")

# Of Kueue, whose Workloads stand for jobs in its queues. Its versions differ little, and a cluster may have either.
KUEUE_VERSIONS: Final = ("v1beta2", "v1beta1")
_KUEUE: Final[Mapping[str, tuple[str, bool]]] = {
    "Workload": ("workloads", True),
    "AdmissionCheck": ("admissionchecks", False),
    "WorkloadPriorityClass": ("workloadpriorityclasses", False),
}


def kueue_resource(kind: str, version: str) -> Resource:
    """A kind of Kueue's in the version that the cluster serves."""
    plural, namespaced = _KUEUE[kind]
    return Resource("kueue.x-k8s.io", version, plural, namespaced, kind)


_BY_KIND: Final[Mapping[tuple[str, str], Resource]] = {(r.api_version, r.kind): r for r in (*OURS, *BUILT_IN)}


def resource_of(obj: Mapping[str, Any]) -> Resource:
    """The resource an object belongs to, by its apiVersion and kind. Raises KeyError with a sentence if unknown."""
    key = (str(obj.get("apiVersion", "")), str(obj.get("kind", "")))
    try:
        return _BY_KIND[key]
    except KeyError:
        raise KeyError(
            f"kind {key[1]!r} of {key[0]!r} is not one this product writes; add it to kube/resources.py"
        ) from None
