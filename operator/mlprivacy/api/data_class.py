"""DataClass: what a kind of data demands of every job that uses it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.base import (
    ApiModel,
    Assurance,
    BasicStatus,
    DottedKey,
    KindInfo,
    PrinterColumn,
    PrivacyUnit,
    Region,
    Sensitivity,
)
from mlprivacy.api.constraints import (
    UNIQUE,
    Boolean,
    Integer,
    Number,
    Rule,
)


class MinimumAssurance(ApiModel):
    """The weakest assurance that is good enough, for training and for inference."""

    training: Annotated[
        Assurance, Field(default=Assurance.DECLARED, description="training is the minimum for a TrainingJob.")
    ]
    inference: Annotated[
        Assurance, Field(default=Assurance.DECLARED, description="inference is the minimum for an InferenceJob.")
    ]


class DifferentialPrivacyDemand(ApiModel):
    """What a training job must promise before it may use this class."""

    required: Annotated[
        Boolean, Field(default=False, description="required refuses training jobs without a privacy mechanism.")
    ]
    max_epsilon_per_job: Annotated[
        Number | None,
        Field(default=None, gt=0, le=1000, description="maxEpsilonPerJob is the largest epsilon one job may declare."),
    ]
    max_delta: Annotated[
        Number | None,
        Field(
            default=None,
            gt=0,
            lt=1,
            description="maxDelta is the largest delta one job may declare. It can only tighten the default, which is "
            "1/(100 N) for N protected units.",
        ),
    ]
    unit: Annotated[
        PrivacyUnit,
        Field(default="User", description="unit is the weakest privacy unit accepted: Event or User (stronger)."),
    ]


class EncryptionDemand(ApiModel):
    """Where the class must be encrypted."""

    in_transit: Annotated[
        Literal["Required", "Optional"],
        Field(default="Required", description="inTransit demands TLS wherever the data crosses a network."),
    ]
    at_rest: Annotated[
        Literal["Required", "Optional"],
        Field(
            default="Optional",
            description="atRest demands encrypted storage classes, and memory or encrypted node disks for scratch.",
        ),
    ]


class NetworkDemand(ApiModel):
    """How far a job that uses the class may reach."""

    egress: Annotated[
        Literal["Open", "Allowlist", "Sealed"],
        Field(default="Sealed", description="egress: Open, Allowlist (only what a policy lists) or Sealed (nothing)."),
    ]
    rdma: Annotated[
        Literal["Allow", "ExclusiveOnly", "Deny"],
        Field(
            default="Deny",
            description="rdma: Allow, ExclusiveOnly (only devices in their own network namespace) or Deny.",
        ),
    ]


class RetentionDemand(ApiModel):
    """How long results may be kept."""

    max_days: Annotated[
        Integer, Field(ge=1, le=36500, description="maxDays is the longest a copy may be kept, in days.")
    ]


class DataClassSpec(ApiModel):
    """What a kind of data demands."""

    categories: Annotated[
        tuple[DottedKey, ...],
        Field(
            min_length=1,
            max_length=32,
            description="categories are Fideslang data-category keys, matched by dotted prefix.",
        ),
        UNIQUE,
    ]
    sensitivity: Annotated[
        Sensitivity,
        Field(description="sensitivity, weakest first: Public, Internal, Confidential, Restricted."),
    ]
    special_category: Annotated[
        Boolean,
        Field(
            default=False,
            description="specialCategory marks data whose use needs a further condition, such as health (GDPR 9).",
        ),
    ]
    minimum_assurance: Annotated[
        MinimumAssurance,
        Field(
            default_factory=MinimumAssurance,
            description="minimumAssurance is the weakest assurance good enough for this class.",
        ),
    ]
    differential_privacy: Annotated[
        DifferentialPrivacyDemand,
        Field(
            default_factory=DifferentialPrivacyDemand,
            description="differentialPrivacy is what a training job must promise.",
        ),
    ]
    identifiers: Annotated[
        Literal["Keep", "Pseudonymise", "Drop"],
        Field(
            default="Keep",
            description="identifiers says what happens to columns of this class: Keep, Pseudonymise (through the data "
            "gate) or Drop (no job may ask for them).",
        ),
    ]
    encryption: Annotated[
        EncryptionDemand,
        Field(default_factory=EncryptionDemand, description="encryption says where the class must be encrypted."),
    ]
    network: Annotated[
        NetworkDemand,
        Field(default_factory=NetworkDemand, description="network says how far a job that uses the class may reach."),
    ]
    regions: Annotated[
        tuple[Region, ...],
        Field(
            default=(),
            max_length=32,
            description="regions are the exact names of the regions where the class may be processed; empty is any.",
        ),
        UNIQUE,
    ]
    retention: Annotated[
        RetentionDemand | None, Field(default=None, description="retention says how long copies may be kept.")
    ]

    object_rules: ClassVar = (
        Rule(
            "!self.specialCategory || self.sensitivity in ['Confidential', 'Restricted']",
            "a special category is at least Confidential; set sensitivity to Confidential or Restricted",
            lambda self: not self.special_category or self.sensitivity in ("Confidential", "Restricted"),
            ".sensitivity",
        ),
    )


KIND = KindInfo(
    kind="DataClass",
    plural="dataclasses",
    short_names=("mldc",),
    namespaced=False,
    spec=DataClassSpec,
    status=BasicStatus,
    description="DataClass says what a kind of data demands of every job that uses it.",
    printer_columns=(
        PrinterColumn("Sensitivity", ".spec.sensitivity"),
        PrinterColumn("Special", ".spec.specialCategory", "boolean"),
        PrinterColumn("DP", ".spec.differentialPrivacy.required", "boolean"),
        PrinterColumn("Training", ".spec.minimumAssurance.training", description="minimum assurance for training"),
        PrinterColumn("Egress", ".spec.network.egress"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.sensitivity",),
)
