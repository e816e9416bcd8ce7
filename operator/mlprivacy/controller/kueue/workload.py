"""The Workload that stands for a TrainingJob in a queue of Kueue, and how one is read. Pure.

The shape is that of kueue.x-k8s.io, v1beta1 and v1beta2: apis/kueue/v1beta2/workload_types.go of kubernetes-sigs/kueue.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlprivacy.api import names
from mlprivacy.kube.conditions import get_condition, is_true
from mlprivacy.policy.model import canonical_digest

GROUP: Final = "kueue.x-k8s.io"
QUEUE_LABEL: Final = f"{GROUP}/queue-name"
PRIORITY_LABEL: Final = f"{GROUP}/priority-class"
JOB_UID_LABEL: Final = f"{GROUP}/job-uid"  # Kueue finds the Workload of a job by it
POD_SET: Final = "main"
ANNOTATION_POD_SETS: Final = f"{names.GROUP}/pod-sets-digest"

# Conditions of a Workload.
QUOTA_RESERVED: Final = "QuotaReserved"
ADMITTED: Final = "Admitted"
EVICTED: Final = "Evicted"
REQUEUED: Final = "Requeued"
FINISHED: Final = "Finished"
PODS_READY: Final = "PodsReady"
# Reasons of Evicted after which Kueue queues at once; after others it decides itself when.
REQUEUED_AT_ONCE: Final = frozenset({"Preempted", "NodeFailures"})

# What of a pod counts for quota and for the choice of a ResourceFlavor. The rest (commands, environment, volumes,
# guarded labels) is nobody's business in a queue, and a check of others' that makes PodTemplates would trip over it.
_POD_FIELDS: Final = (
    "affinity",
    "nodeSelector",
    "overhead",
    "priorityClassName",
    "resourceClaims",
    "resources",
    "restartPolicy",
    "runtimeClassName",
    "tolerations",
)
_CONTAINER_FIELDS: Final = ("name", "image", "resources", "restartPolicy")


@dataclass(frozen=True, slots=True)
class Priority:
    """A WorkloadPriorityClass."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job wants of its queue.

    Attributes:
        job: name of the TrainingJob.
        namespace: its namespace.
        uid: its uid.
        queue: name of the LocalQueue.
        attempt: number of the attempt that is to start.
        digest: of the decision, by which an edit of the job is seen.
        pod_sets: what the pods ask for, as ``pod_sets_of`` gives it.
        priority_class: name of the WorkloadPriorityClass, empty for none.
    """

    job: str
    namespace: str
    uid: str
    queue: str
    attempt: int
    digest: str
    pod_sets: tuple[Mapping[str, Any], ...]
    priority_class: str = ""

    @property
    def pod_sets_digest(self) -> str:
        """``sha256:`` over the pod sets and the priority class: all of the spec that is compared."""
        return canonical_digest([list(self.pod_sets), self.priority_class])

    @property
    def name(self) -> str:
        """Name of a Workload that is made for this attempt."""
        return f"{names.OBJECT_PREFIX}{self.job}-{self.attempt}"


def label_of(raw: Mapping[str, Any], label: str) -> str:
    """A label of a job; empty where it has none."""
    return str((raw["metadata"].get("labels") or {}).get(label) or "")


def pod_sets_of(template: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The one pod set of a job: one pod, with every container that is rendered beside the user's.

    Args:
        template: the rendered pod template, metadata and spec.
    """
    spec = template.get("spec") or {}
    kept: dict[str, Any] = {key: copy.deepcopy(spec[key]) for key in _POD_FIELDS if key in spec}
    for group in ("initContainers", "containers"):
        if spec.get(group):
            kept[group] = [{k: copy.deepcopy(c[k]) for k in _CONTAINER_FIELDS if k in c} for c in spec[group]]
    return ({"name": POD_SET, "count": 1, "template": {"spec": kept}},)


def build(wanted: Wanted, version: str, priority: Priority | None = None) -> dict[str, Any]:
    """The Workload to be created.

    Args:
        wanted: what is asked of the queue.
        version: of the API, v1beta1 or v1beta2; they differ in how a priority class is named.
        priority: the WorkloadPriorityClass as found, None for none.
    """
    spec: dict[str, Any] = {
        "queueName": wanted.queue,
        "active": True,
        "podSets": [copy.deepcopy(dict(p)) for p in wanted.pod_sets],
    }
    if priority is not None:
        spec["priority"] = priority.value
        if version == "v1beta1":
            spec["priorityClassSource"] = f"{GROUP}/workloadpriorityclass"
            spec["priorityClassName"] = priority.name
        else:
            spec["priorityClassRef"] = {"group": GROUP, "kind": "WorkloadPriorityClass", "name": priority.name}
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "Workload",
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.namespace,
            "labels": {
                names.LABEL_MANAGED_BY: names.MANAGED_BY,
                names.LABEL_TRAINING_JOB: wanted.job,
                names.LABEL_JOB_UID: wanted.uid,
                names.LABEL_ATTEMPT: str(wanted.attempt),
                JOB_UID_LABEL: wanted.uid,
            },
            "annotations": {
                names.ANNOTATION_DECISION: wanted.digest,
                ANNOTATION_POD_SETS: wanted.pod_sets_digest,
            },
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": "TrainingJob",
                    "name": wanted.job,
                    "uid": wanted.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


# -- reading -----------------------------------------------------------------------------------------------------------

_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp")
_LABELS: Final = (names.LABEL_MANAGED_BY, names.LABEL_ATTEMPT)
_ANNOTATIONS: Final = (names.ANNOTATION_DECISION, ANNOTATION_POD_SETS)


def as_kept(obj: dict[str, Any]) -> dict[str, Any]:
    """A Workload in few bytes: whose it is, where it stands, what its checks say. The pod sets are left out."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {
            **{key: metadata[key] for key in _METADATA if key in metadata},
            "labels": {key: labels[key] for key in _LABELS if key in labels},
            "annotations": {key: annotations[key] for key in _ANNOTATIONS if key in annotations},
            "ownerReferences": [o for o in metadata.get("ownerReferences") or [] if o.get("controller")],
        },
        "spec": {key: spec[key] for key in ("queueName", "active") if key in spec},
        "status": {
            "admission": {"clusterQueue": (status.get("admission") or {}).get("clusterQueue")}
            if status.get("admission")
            else None,
            "conditions": status.get("conditions") or [],
            "admissionChecks": [
                {k: c[k] for k in ("name", "state", "message", "lastTransitionTime", "requeueAfterSeconds") if k in c}
                for c in status.get("admissionChecks") or []
            ],
        },
    }


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one AdmissionCheck of a Workload: Pending, Ready, Retry or Rejected."""

    name: str
    state: str
    message: str


@dataclass(frozen=True, slots=True)
class Queued:
    """One Workload as seen."""

    name: str
    namespace: str
    uid: str
    version: str
    attempt: int
    digest: str
    pod_sets: str
    queue: str
    active: bool
    deleting: bool
    reserves: bool  # status.admission is set
    cluster_queue: str
    conditions: tuple[Mapping[str, Any], ...]
    checks: tuple[Check, ...]
    owner: tuple[str, str]  # name and uid of the TrainingJob that controls it; empty where none does

    def is_true(self, condition: str) -> bool:
        """Whether this condition is True."""
        return is_true(self.conditions, condition)

    def said(self, condition: str) -> tuple[str, str]:
        """Reason and message of a condition, empty where it has none."""
        found = get_condition(self.conditions, condition) or {}
        return str(found.get("reason") or ""), str(found.get("message") or "")

    @property
    def finished(self) -> bool:
        """Whether Kueue is done with it."""
        return self.is_true(FINISHED)

    @property
    def evicted(self) -> bool:
        """Whether Kueue took its quota back, or wants it back. It stays so until quota is reserved anew."""
        return self.is_true(EVICTED)

    @property
    def reserved(self) -> bool:
        """Whether it holds quota."""
        return self.is_true(QUOTA_RESERVED)

    @property
    def admitted(self) -> bool:
        """Whether its job may run."""
        return self.is_true(ADMITTED) and self.reserved and not self.evicted

    @property
    def number(self) -> int:
        """The attempt for which it was made, by its name, which can not be changed."""
        tail = self.name.rpartition("-")[2]
        return int(tail) if tail.isascii() and tail.isdigit() else 0


def read(obj: Mapping[str, Any]) -> Queued:
    """A Workload, whole or as it is kept."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    attempt = str(labels.get(names.LABEL_ATTEMPT) or "")
    admission = status.get("admission") or {}
    return Queued(
        name=metadata["name"],
        namespace=metadata.get("namespace", ""),
        uid=str(metadata.get("uid") or ""),
        version=str(metadata.get("resourceVersion") or ""),
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
        digest=str(annotations.get(names.ANNOTATION_DECISION) or ""),
        pod_sets=str(annotations.get(ANNOTATION_POD_SETS) or ""),
        queue=str(spec.get("queueName") or ""),
        active=spec.get("active") is not False,
        deleting="deletionTimestamp" in metadata,
        reserves=bool(status.get("admission")),
        cluster_queue=str(admission.get("clusterQueue") or ""),
        conditions=tuple(status.get("conditions") or ()),
        checks=tuple(
            Check(str(c.get("name") or ""), str(c.get("state") or ""), str(c.get("message") or ""))
            for c in status.get("admissionChecks") or ()
        ),
        owner=_owner(metadata.get("ownerReferences") or ()),
    )


def _owner(owners: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    for owner in owners:
        group = str(owner.get("apiVersion") or "").partition("/")[0]
        if owner.get("controller") and owner.get("kind") == "TrainingJob" and group == names.GROUP:
            return str(owner.get("name") or ""), str(owner.get("uid") or "")
    return "", ""
