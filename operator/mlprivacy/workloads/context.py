"""What rendering one job needs: the job, its decision, the attempt, and the settings of this installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlprivacy.api import names
from mlprivacy.api.inference_job import InferenceJobSpec
from mlprivacy.api.training_job import TrainingJobSpec
from mlprivacy.policy.model import Decision, Obligations


@dataclass(frozen=True)
class RenderSettings:
    """Settings of this installation.

    ``canary`` is ``IP:TCP:UDP`` of the canary that a sealed pod must not reach, comma-separated where it has several
    addresses; ``seal_key`` the collector's public
    key (base64 of 32 raw bytes, Ed25519) that confirmations are checked with.
    """

    operator_namespace: str
    dataplane_image: str
    canary: str
    seal_key: str
    seal_deadline_seconds: int = 60
    grace_seconds: int = 30  # of every governed pod; the guards accept 1 to 60


@dataclass(frozen=True)
class RenderContext:
    """One job, ready to be rendered."""

    kind: Literal["TrainingJob", "InferenceJob"]
    name: str
    namespace: str
    uid: str
    spec: TrainingJobSpec | InferenceJobSpec
    decision: Decision
    attempt: int
    settings: RenderSettings

    @property
    def rendered(self) -> Literal["training", "inference"]:
        """The value of the label ``mlprivacy.dev/rendered``."""
        return "training" if self.kind == "TrainingJob" else "inference"

    @property
    def obligations(self) -> Obligations:
        """What must be true of what is rendered."""
        return self.decision.obligations

    @property
    def gated(self) -> bool:
        """Whether its pod waits behind a scheduling gate until the ledger has bound it to its reservation."""
        return any(charge.outside is None and charge.loss is not None for charge in self.decision.charges)

    @property
    def object_name(self) -> str:
        """Name of the rendered objects, without the attempt."""
        return names.OBJECT_PREFIX + self.name

    @property
    def training(self) -> TrainingJobSpec:
        """The spec of a training job.

        Raises:
            TypeError: for an inference job.
        """
        if not isinstance(self.spec, TrainingJobSpec):
            raise TypeError("this is no training job")
        return self.spec

    @property
    def inference(self) -> InferenceJobSpec:
        """The spec of an inference job.

        Raises:
            TypeError: for a training job.
        """
        if not isinstance(self.spec, InferenceJobSpec):
            raise TypeError("this is no inference job")
        return self.spec

    def labels(self, *, attempt: bool = False) -> dict[str, str]:
        """Labels of every rendered object; the attempt only on what belongs to one."""
        owner = names.LABEL_TRAINING_JOB if self.kind == "TrainingJob" else names.LABEL_INFERENCE_JOB
        labels = {
            names.LABEL_MANAGED_BY: names.MANAGED_BY,
            names.LABEL_RENDERED: self.rendered,
            owner: self.name,
            names.LABEL_JOB_UID: self.uid,
        }
        if attempt:
            labels[names.LABEL_ATTEMPT] = str(self.attempt)
        return labels

    def pod_selector(self) -> dict[str, Any]:
        """Selects the pods of this job by guarded labels only."""
        return {"matchLabels": {names.LABEL_RENDERED: self.rendered, names.LABEL_JOB_UID: self.uid}}

    def metadata(self, name: str, *, attempt: bool = False) -> dict[str, Any]:
        """Metadata of a rendered object, owned by the job."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(attempt=attempt),
            "annotations": {names.ANNOTATION_DECISION: self.decision.digest},
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": self.kind,
                    "name": self.name,
                    "uid": self.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }


def container_list(pod_spec: Mapping[str, Any], group: str) -> list[dict[str, Any]]:
    """The containers of a group (``containers`` or ``initContainers``) of a pod spec, as one list."""
    items = pod_spec.get(group)
    return [c for c in items if isinstance(c, dict)] if isinstance(items, list) else []
