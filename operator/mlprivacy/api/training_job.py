"""TrainingJob: what is trained, on which data, for which purpose, with which privacy promise."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.accountability import GeneralPurposeField, HighRiskField, ImpactAssessmentField
from mlprivacy.api.base import (
    ApiModel,
    Assurance,
    CalendarDate,
    ColumnName,
    DnsLabel,
    DottedKey,
    Duration,
    KindInfo,
    MountPath,
    ObjectName,
    PrivacyUnit,
    Text,
)
from mlprivacy.api.constraints import (
    ATOMIC,
    UNIQUE,
    Integer,
    Number,
    Rule,
)
from mlprivacy.api.privacy_budget import BlockLabel
from mlprivacy.api.workload import COLUMNS, JOB_NAME_RULE, Suspend, Template, WorkloadStatus

NOISE_MULTIPLIER_MAX = 1000  # that a job may state; what is derived may be more


class Rows(ApiModel):
    """A row filter. For the unit User it selects rows, never blocks of the budget."""

    since: Annotated[
        Duration | None, Field(default=None, description="since keeps rows younger than a duration, such as 90d.")
    ]
    from_: Annotated[
        CalendarDate | None, Field(default=None, alias="from", description="from is the first day kept, YYYY-MM-DD.")
    ]
    to: Annotated[CalendarDate | None, Field(default=None, description="to is the last day kept, YYYY-MM-DD.")]

    object_rules: ClassVar = (
        Rule(
            "!(has(self.since) && (has(self.from) || has(self.to)))",
            "set since, or from and to, not both",
            lambda self: self.since is None or (self.from_ is None and self.to is None),
        ),
    )


class BlockSpan(ApiModel):
    """Blocks of the privacy budget, from one to another, both included."""

    from_: Annotated[
        BlockLabel | None,
        Field(default=None, alias="from", description="from is the first block, as status of the budget calls it."),
    ]
    to: Annotated[BlockLabel | None, Field(default=None, description="to is the last block; the newest if left out.")]

    object_rules: ClassVar = (
        Rule(
            "has(self.from) || has(self.to)",
            "set from, to or both; leave blocks out to use all",
            lambda self: self.from_ is not None or self.to is not None,
        ),
    )


class DatasetUse(ApiModel):
    """One dataset that the job asks for."""

    name: Annotated[ObjectName, Field(description="name of the Dataset.")]
    namespace: Annotated[
        DnsLabel | None,
        Field(
            default=None,
            description="namespace of the Dataset; the job's own when left out. Another namespace needs a "
            "DatasetGrant there.",
        ),
    ]
    columns: Annotated[
        tuple[ColumnName, ...],
        Field(
            min_length=1,
            max_length=256,
            description="columns asked for: only what the purpose needs.",
        ),
        UNIQUE,
    ]
    rows: Annotated[Rows | None, Field(default=None, description="rows filters the rows, by the data gate.")]
    blocks: Annotated[
        BlockSpan | None,
        Field(
            default=None,
            description="blocks of the privacy budget that the job uses and is charged for; all that are open when "
            "left out.",
        ),
    ]
    units_at_least: Annotated[
        Integer | None,
        Field(
            default=None,
            ge=1,
            le=100_000_000_000,
            description="unitsAtLeast is a public lower bound on protected units after filtering; the dataset's "
            "atLeast when left out. It can not be larger than that, and a smaller one does not loosen delta.",
        ),
    ]
    max_records_per_unit: Annotated[
        Integer,
        Field(
            default=1,
            ge=1,
            le=10_000,
            description="maxRecordsPerUnit bounds the rows of one person, by the data gate.",
        ),
    ]
    mount_path: Annotated[
        MountPath,
        Field(
            description="mountPath is where the job finds the data.",
        ),
    ]


class Input(ApiModel):
    """Something that is not personal data: weights, tokenizers, wheels. Egress is sealed, so it is brought in."""

    uri: Annotated[
        str,
        Field(
            min_length=8,
            max_length=512,
            pattern=r"^(oci|s3|gs|https)://[!-~]+@sha256:[0-9a-f]{64}$",
            description="uri with a digest, such as oci://models/base@sha256:...",
        ),
    ]
    mount_path: Annotated[MountPath, Field(description="mountPath is where the job finds it.")]


class Privacy(ApiModel):
    """The differential-privacy promise."""

    mechanism: Annotated[
        Literal["DPSGD", "Event", "Federated", "SecureComputation", "None"],
        Field(
            description="mechanism: DPSGD; Event (a serialised DpEvent); Federated; SecureComputation; or None for no "
            "promise."
        ),
    ]
    unit: Annotated[
        PrivacyUnit, Field(default="User", description="unit that is protected: Event (one record) or User (stronger).")
    ]
    epsilon: Annotated[
        Number | None,
        Field(
            default=None,
            gt=0,
            le=1000,
            description="epsilon that the author promises, a ceiling. It is held against the caps of the data classes, "
            "and against what noise, batch and epochs come to.",
        ),
    ]
    delta: Annotated[
        Number | None, Field(default=None, gt=0, lt=1, description="delta of the promise; at most 1/(100 N).")
    ]
    noise_multiplier: Annotated[
        Number | None,
        Field(
            default=None,
            gt=0,
            le=NOISE_MULTIPLIER_MAX,
            description="noiseMultiplier is the standard deviation of the noise over maxGradNorm; the smallest that "
            "keeps epsilon when left out.",
        ),
    ]
    batch_size: Annotated[
        Integer | None,
        Field(default=None, ge=1, le=100_000_000, description="batchSize is the expected size of a Poisson sample."),
    ]
    epochs: Annotated[
        Integer | None, Field(default=None, ge=1, le=1_000_000, description="epochs, each of N/batchSize steps.")
    ]
    max_grad_norm: Annotated[
        Number | None,
        Field(default=None, gt=0, le=1_000_000, description="maxGradNorm is the clipping bound of one unit."),
    ]
    event: Annotated[
        str | None,
        Field(
            default=None,
            min_length=1,
            max_length=4096,
            description="event is a serialised DpEvent, as JSON: what one record more or less changes.",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.mechanism != 'DPSGD' || (has(self.epsilon) && has(self.batchSize) && has(self.epochs) && "
            "has(self.maxGradNorm))",
            "mechanism DPSGD needs epsilon, batchSize, epochs and maxGradNorm",
            lambda self: (
                self.mechanism != "DPSGD"
                or None not in (self.epsilon, self.batch_size, self.epochs, self.max_grad_norm)
            ),
        ),
        Rule(
            "(self.mechanism == 'Event') == has(self.event)",
            "set event exactly when mechanism is Event",
            lambda self: (self.mechanism == "Event") == (self.event is not None),
            ".event",
        ),
        Rule(
            "self.mechanism != 'None' || (!has(self.epsilon) && !has(self.delta) && !has(self.noiseMultiplier))",
            "mechanism None makes no promise; leave out epsilon, delta and noiseMultiplier, or choose DPSGD",
            lambda self: (
                self.mechanism != "None"
                or (self.epsilon is None and self.delta is None and self.noise_multiplier is None)
            ),
        ),
    )


class Evaluation(ApiModel):
    """How the release gate asks the model for predictions."""

    command: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=512)], ...],
        Field(
            min_length=1,
            max_length=32,
            description="command run sealed by the release gate: features in, predictions out.",
        ),
        ATOMIC,
    ]


class Output(ApiModel):
    """What leaves the job, through the release gate only."""

    path: Annotated[
        MountPath,
        Field(default="/output", description="path where the trainer writes the model; a sealed volume."),
    ]
    model: Annotated[ObjectName | None, Field(default=None, description="model is the name of the ModelRelease.")]
    destination: Annotated[
        str | None,
        Field(
            default=None,
            min_length=6,
            max_length=512,
            pattern=r"^(pvc|s3|gs|oci)://[!-~]+$",
            description="destination that the release gate copies to. Needs the release gate: until it is there the "
            "job holds with reason NotEnforcedHere.",
        ),
    ]


class BiasTesting(ApiModel):
    """The job tests for bias, and special categories are used for that alone."""

    justification: Annotated[
        Text,
        Field(description="justification says why bias can not be found with other data, synthetic or anonymised."),
    ]


class TrainingJobSpec(ApiModel):
    """What is trained, on which data, for which purpose."""

    purpose: Annotated[
        DottedKey, Field(description="purpose is a Fideslang use, such as train_ai_system; it must be granted.")
    ]
    datasets: Annotated[
        tuple[DatasetUse, ...],
        Field(
            min_length=1,
            max_length=16,
            description="datasets that the job asks for.",
        ),
        ATOMIC,
    ]
    inputs: Annotated[
        tuple[Input, ...],
        Field(
            default=(),
            max_length=16,
            description="inputs that are no personal data: weights, tokenizers. Until they can be fetched the job "
            "holds with reason NotEnforcedHere.",
        ),
        ATOMIC,
    ]
    privacy: Annotated[Privacy | None, Field(default=None, description="privacy is the differential-privacy promise.")]
    trials: Annotated[
        Integer,
        Field(
            default=1,
            ge=1,
            le=1000,
            description="trials of a search that share one charge: the mean number of runs, which is drawn from a "
            "geometric distribution, and of which the best alone is kept.",
        ),
    ]
    evaluation: Annotated[
        Evaluation | None,
        Field(
            default=None,
            description="evaluation by the release gate; holds with NotEnforcedHere until the gate is there.",
        ),
    ]
    assurance: Annotated[
        Assurance,
        Field(default=Assurance.DECLARED, description="assurance that the requester wants at least."),
    ]
    output: Annotated[
        Output, Field(default_factory=Output, description="output is what leaves the job, through the release gate.")
    ]
    impact_assessment: ImpactAssessmentField
    bias_testing: Annotated[
        BiasTesting | None,
        Field(
            default=None,
            description="biasTesting says that special categories are used to find and correct bias. The rule "
            "bias-testing then keeps the job sealed, without a model or a destination, and deleted after its end.",
        ),
    ]
    high_risk: HighRiskField
    general_purpose: GeneralPurposeField
    suspend: Suspend
    active_deadline_seconds: Annotated[
        Integer | None,
        Field(
            default=None, ge=1, le=31_536_000, description="activeDeadlineSeconds ends an attempt that takes longer."
        ),
    ]
    ttl_seconds_after_finished: Annotated[
        Integer | None,
        Field(
            default=None,
            ge=0,
            le=31_536_000,
            description="ttlSecondsAfterFinished deletes the rendered objects that long after the end; the TrainingJob "
            "and its status stay. A policy may set a shorter one.",
        ),
    ]
    template: Template

    object_rules: ClassVar = (
        Rule(
            "self.datasets.all(d, self.datasets.filter(e, e.mountPath == d.mountPath).size() == 1)",
            "each of datasets[].mountPath must be different",
            lambda self: len({use.mount_path for use in self.datasets}) == len(self.datasets),
            ".datasets",
        ),
    )


KIND = KindInfo(
    kind="TrainingJob",
    plural="trainingjobs",
    short_names=("mltj",),
    namespaced=True,
    spec=TrainingJobSpec,
    status=WorkloadStatus,
    description="TrainingJob declares a training run; the operator decides, surrounds it with controls and runs it.",
    printer_columns=COLUMNS,
    selectable_fields=(".spec.purpose", ".spec.suspend"),
    name_rules=(JOB_NAME_RULE,),
)
