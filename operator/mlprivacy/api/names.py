"""Every name the product puts on a Kubernetes object: group, labels, annotations, containers, ports.

Guard policies in the chart match on these; tests/unit/test_names.py holds the chart against this file.
"""

from typing import Final

GROUP: Final = "mlprivacy.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "mlprivacy"

# Namespace label: the ceiling of enforcement (audit < warn < enforce).
LABEL_ENFORCE: Final = f"{GROUP}/enforce"
# Namespace label: whose data is worked on there, one's own (controller, and where there is no label) or another's.
LABEL_ROLE: Final = f"{GROUP}/role"  # value: controller | processor

# On ConfigMaps of the operator's namespace: who has been trained in privacy, and until when that counts.
LABEL_TRAINING_ATTESTATIONS: Final = f"{GROUP}/training-attestations"  # value: "true"

# Guarded labels: only the operator may put them on anything, only named built-in controllers may pass them on.
LABEL_RENDERED: Final = f"{GROUP}/rendered"  # value: training | inference
LABEL_TRAINING_JOB: Final = f"{GROUP}/training-job"  # value: metadata.name of the TrainingJob
LABEL_INFERENCE_JOB: Final = f"{GROUP}/inference-job"
LABEL_JOB_UID: Final = f"{GROUP}/job-uid"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
LABEL_FLOOR: Final = f"{GROUP}/floor"  # on the namespace's default-deny policy, owned by nothing
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "mlprivacy"

# A ConfigMap of the operator's namespace that holds a pack of the user's, under PACK_KEY.
LABEL_PACK: Final = f"{GROUP}/pack"  # value: "true"
PACK_KEY: Final = "pack.yaml"

# Annotations.
ANNOTATION_REQUESTED_BY: Final = f"{GROUP}/requested-by"  # stamped at CREATE from userInfo, frozen by a guard
ANNOTATION_LAST_CHANGED_BY: Final = f"{GROUP}/last-changed-by"
ANNOTATION_APPROVED_BY: Final = f"{GROUP}/approved-by"  # of a PolicyException, stamped when `approved` becomes true
ANNOTATION_REVOKED_BY: Final = f"{GROUP}/revoked-by"  # of a PolicyException, stamped when `approved` becomes false
ANNOTATION_REVOKED_AT: Final = f"{GROUP}/revoked-at"  # the moment of that, RFC 3339
# Of a PrivacyBudget: all who changed what it promises since the promise in force.
ANNOTATION_PROMISED_BY: Final = f"{GROUP}/promised-by"
ANNOTATION_DECISION: Final = f"{GROUP}/decision-digest"  # sha256 of the canonical decision
ANNOTATION_DEFAULT: Final = f"{GROUP}/default-digest"  # on a DataClass that ships: sha256 of its spec as it shipped

SERVICE_ACCOUNT: Final = "system:serviceaccount:"  # what the user name of every ServiceAccount begins with
FINALIZER: Final = f"{GROUP}/teardown"
FIELD_MANAGER: Final = "mlprivacy-controller"

# Containers of a governed pod.
CONTAINER_SEAL: Final = "mlprivacy-seal"  # initContainers[0]: waits until a forbidden address is refused
CONTAINER_ACCOUNTANT: Final = "mlprivacy-accountant"  # native sidecar of training
CONTAINER_GATEWAY: Final = "mlprivacy-gateway"  # native sidecar of inference
RESERVED_PREFIX: Final = "mlprivacy-"  # no container, volume or port of a user's may begin with it

# Ports inside a governed pod (TCP).
PORT_SEAL: Final = 15020  # the seal probe answers the collector here
PORT_SIDECAR: Final = 15021  # health, heartbeat and log of the accountant or gateway, pulled by the collector

# Volumes of a governed pod.
VOLUME_RUN: Final = "mlprivacy-run"  # the accountant's unix socket
VOLUME_LOG: Final = "mlprivacy-log"  # the accountant's durable log, mounted by the sidecar alone
VOLUME_KEY: Final = "mlprivacy-key"  # the pod's own key, mounted by the seal probe and the sidecar alone
MOUNT_RUN: Final = "/var/run/mlprivacy"
MOUNT_LOG: Final = "/var/lib/mlprivacy"
MOUNT_KEY: Final = "/var/lib/mlprivacy-key"

# User ids inside a governed pod: the sidecar's own, so that SO_PEERCRED tells it from the trainer.
UID_SIDECAR: Final = 64998
UID_WORKLOAD: Final = 64999
GID_POD: Final = 64999

# On training pods that spend a privacy budget: opened by the controller alone, once the ledger names the pod.
GATE_BUDGET: Final = f"{GROUP}/budget"

SEALED_PREFIX: Final = "mlp-sealed-"  # claims and secrets that only rendered pods may name
OBJECT_PREFIX: Final = "mlp-"  # names of rendered objects

# The ConfigMap in the operator's namespace that says which addresses are ours and what pods are rendered with.
ADDRESSES: Final = "mlprivacy-addresses"

# The RBAC verb that is the privacy-officer role: lower a mode, remove a label, widen an exclusion.
WEAKEN_VERB: Final = "weaken"
WEAKEN_RESOURCE: Final = "governednamespaces"

# Environment of the data-plane containers, rendered by controls/sidecars.py and read by dataplane/settings.py.
ENV_ATTEMPT: Final = "MLPRIVACY_ATTEMPT_ID"  # the job's uid and the attempt's number
ENV_CANARY: Final = "MLPRIVACY_CANARY"  # IP:TCPPORT:UDPPORT, several with commas, an IPv6 in brackets
ENV_SEAL_KEY: Final = "MLPRIVACY_SEAL_KEY"  # the collector's Ed25519 public key, 32 bytes in base64
ENV_SEAL_DEADLINE: Final = "MLPRIVACY_SEAL_DEADLINE"  # seconds
ENV_PEER_UID: Final = "MLPRIVACY_PEER_UID"  # the user id the trainer must have
ENV_GATEWAY_PORT: Final = "MLPRIVACY_GATEWAY_PORT"  # where the gateway hears clients


def attempt_id(job_uid: str, attempt: int | str) -> str:
    """What a pod's seal probe and sidecar call their attempt, and what the collector expects of them."""
    return f"{job_uid}/{attempt}"
