"""Fields that ask for something nothing enforces yet: such a job holds with NotEnforcedHere, never runs without it."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.inference_job import InferenceJobSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.api.training_job import TrainingJobSpec
from mlprivacy.policy.facts import Capability
from mlprivacy.policy.rule import Raised, missing

_ACCOUNTED_LATER = {
    "Federated": "the federated aggregator",
    "SecureComputation": "secure computation",
}


def _hold(path: str, what: str, remedy: str) -> Raised:
    return missing(path, f"{what} is not enforced here yet", remedy, reason=Reason.NOT_ENFORCED_HERE)


def unenforced_training(spec: TrainingJobSpec, capabilities: frozenset[Capability]) -> Iterator[Raised]:
    """Holds for the fields of a TrainingJob that wait for a part which is not in force."""
    if Capability.DATA_GATE not in capabilities:
        if spec.inputs:
            yield _hold("spec.inputs", "fetching inputs", "bake them into the image and leave inputs out")
        for index, dataset in enumerate(spec.datasets):
            if dataset.rows is not None:
                yield _hold(f"spec.datasets[{index}].rows", "filtering rows", "leave rows out")
    if Capability.RELEASE_GATE not in capabilities:
        if spec.evaluation is not None:
            yield _hold("spec.evaluation", "evaluation by the release gate", "leave evaluation out")
        if spec.output.destination is not None:
            yield _hold(
                "spec.output.destination", "copying outputs through the release gate", "leave output.destination out"
            )
    if spec.privacy is not None and spec.privacy.mechanism in _ACCOUNTED_LATER:
        yield _hold(
            "spec.privacy.mechanism", _ACCOUNTED_LATER[spec.privacy.mechanism], "use mechanism DPSGD with an epsilon"
        )


def unenforced_inference(spec: InferenceJobSpec, capabilities: frozenset[Capability]) -> Iterator[Raised]:
    """Holds for the fields of an InferenceJob that wait for a part which is not in force."""
    if spec.mode == "Batch" and Capability.DATA_GATE not in capabilities:
        yield _hold("spec.mode", "batch inference through the data gate", "use mode Service")
    if spec.model.release is not None:
        yield _hold(
            "spec.model.release",
            "serving a model release",
            "use model.image with the digest of an image that holds the model",
        )
