"""DatasetGrant: lets objects of another namespace refer to data or consent of this one (ReferenceGrant's shape)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.accountability import ProcessorContract
from mlprivacy.api.base import (
    ApiModel,
    BasicStatus,
    ColumnName,
    DateTime,
    DnsLabel,
    DottedKey,
    KindInfo,
    ObjectName,
    PrinterColumn,
    Processing,
)
from mlprivacy.api.constraints import (
    ATOMIC,
    UNIQUE,
    Integer,
    Rule,
)


class GrantFrom(ApiModel):
    """Who may refer."""

    namespace: Annotated[DnsLabel, Field(description="namespace of the jobs that may refer; exact, no wildcard.")]
    kind: Annotated[
        Literal["TrainingJob", "InferenceJob"],
        Field(description="kind of the objects that may refer: TrainingJob or InferenceJob."),
    ]


class GrantTo(ApiModel):
    """What they may refer to."""

    kind: Annotated[
        Literal["Dataset", "ConsentScope"], Field(description="kind of what is granted: Dataset or ConsentScope.")
    ]
    name: Annotated[ObjectName, Field(description="name of the Dataset or ConsentScope in this namespace.")]
    columns: Annotated[
        tuple[ColumnName, ...],
        Field(
            default=(),
            max_length=256,
            description="columns that may be asked for, for a Dataset; none listed grants none.",
        ),
        UNIQUE,
    ]
    purposes: Annotated[
        tuple[DottedKey, ...],
        Field(
            default=(),
            max_length=64,
            description="purposes granted, each with everything below it; for a Dataset none listed grants none.",
        ),
        UNIQUE,
    ]
    processing: Annotated[
        tuple[Processing, ...],
        Field(
            default=(),
            max_length=2,
            description="processing granted: Training, Inference or both; for a Dataset none listed grants none.",
        ),
        UNIQUE,
    ]

    object_rules: ClassVar = (
        Rule(
            "self.kind != 'Dataset' || (has(self.columns) && size(self.columns) > 0)",
            "a grant of a Dataset lists its columns; none listed grants none",
            lambda self: self.kind != "Dataset" or bool(self.columns),
            ".columns",
        ),
        Rule(
            "self.kind != 'Dataset' || (has(self.purposes) && size(self.purposes) > 0)",
            "a grant of a Dataset lists its purposes; none listed grants none",
            lambda self: self.kind != "Dataset" or bool(self.purposes),
            ".purposes",
        ),
        Rule(
            "self.kind != 'Dataset' || (has(self.processing) && size(self.processing) > 0)",
            "a grant of a Dataset lists Training, Inference or both",
            lambda self: self.kind != "Dataset" or bool(self.processing),
            ".processing",
        ),
        Rule(
            "self.kind != 'ConsentScope' || !has(self.columns) || size(self.columns) == 0",
            "a ConsentScope has no columns; leave columns out",
            lambda self: self.kind != "ConsentScope" or not self.columns,
            ".columns",
        ),
    )


class DatasetGrantSpec(ApiModel):
    """Who may refer to what, and until when."""

    from_: Annotated[
        tuple[GrantFrom, ...],
        Field(
            alias="from",
            min_length=1,
            max_length=16,
            description="from lists who may refer.",
        ),
        ATOMIC,
    ]
    to: Annotated[
        tuple[GrantTo, ...],
        Field(
            min_length=1,
            max_length=16,
            description="to lists what they may refer to, in this namespace.",
        ),
        ATOMIC,
    ]
    expires_at: Annotated[
        DateTime | None,
        Field(default=None, description="expiresAt ends the grant at a moment, RFC 3339; jobs are then suspended."),
    ]
    max_uses: Annotated[
        Integer | None,
        Field(
            default=None,
            ge=1,
            le=1_000_000,
            description="maxUses bounds how many attempts may start under this grant. Counting needs the ledger; until "
            "it is there a job that relies on such a grant holds with reason NotEnforcedHere.",
        ),
    ]
    processor_contract: Annotated[
        ProcessorContract | None,
        Field(
            default=None,
            description="processorContract under which the namespaces in from work on what is granted; needed where "
            "they are labelled mlprivacy.dev/role: processor.",
        ),
    ]


KIND = KindInfo(
    kind="DatasetGrant",
    plural="datasetgrants",
    short_names=("mldg",),
    namespaced=True,
    spec=DatasetGrantSpec,
    status=BasicStatus,
    description="DatasetGrant lets jobs of another namespace refer to datasets and consent scopes of this one.",
    printer_columns=(
        PrinterColumn("From", ".spec.from"),
        PrinterColumn("To", ".spec.to[*].name", description="the first object granted"),
        PrinterColumn("Expires", ".spec.expiresAt"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
    ),
)
