"""Dataset: what data exists, about whom, of which classes, and for which lawful uses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.accountability import Children, Deidentification, ProcessorContract
from mlprivacy.api.base import (
    ApiModel,
    BasicStatus,
    CalendarDate,
    ColumnName,
    DateTime,
    DottedKey,
    Identity,
    Jurisdiction,
    KindInfo,
    LegalReference,
    LocalRef,
    ObjectName,
    PrinterColumn,
    Processing,
    Region,
)
from mlprivacy.api.constraints import (
    ATOMIC,
    IMMUTABLE,
    UNIQUE,
    Boolean,
    Integer,
    Rule,
    keyed_by,
)
from mlprivacy.api.names import SEALED_PREFIX


class Source(ApiModel):
    """Where the bytes are. No job ever mounts a source; only the data gate reads it."""

    uri: Annotated[
        str,
        Field(
            min_length=6,
            max_length=512,
            pattern=r"^(s3|gs|abfs|https|pvc)://[!-~]+$",
            description="uri of the data: s3://, gs://, abfs://, https:// or pvc://mlp-sealed-NAME/path.",
        ),
        Rule(
            f"!self.startsWith('pvc://') || self.startsWith('pvc://{SEALED_PREFIX}')",
            f"a claim that holds a dataset is sealed: its name must begin with {SEALED_PREFIX}",
            lambda uri: not uri.startswith("pvc://") or uri.startswith(f"pvc://{SEALED_PREFIX}"),
        ),
        Rule(
            "!self.contains('/../') && !self.endsWith('/..')",
            "a uri must not climb with '..'",
            lambda uri: "/../" not in uri and not uri.endswith("/.."),
        ),
    ]
    format: Annotated[
        Literal["Parquet", "CSV", "JSONLines", "Arrow"],
        Field(description="format of the files: Parquet, CSV, JSONLines or Arrow."),
    ]
    secret_ref: Annotated[
        LocalRef | None,
        Field(
            default=None,
            description="secretRef names the Secret with the credentials; its name begins with mlp-sealed-.",
        ),
        Rule(
            f"self.name.startsWith('{SEALED_PREFIX}')",
            f"credentials of a dataset are sealed: the Secret's name must begin with {SEALED_PREFIX}",
            lambda reference: reference is None or reference.name.startswith(SEALED_PREFIX),
            ".name",
        ),
    ]


class Subjects(ApiModel):
    """About whom the data is."""

    column: Annotated[ColumnName, Field(description="column that identifies the person.")]
    kind: Annotated[DottedKey, Field(description="kind of person, a Fideslang data-subject key such as patient.")]
    at_least: Annotated[
        Integer,
        Field(
            ge=1,
            le=100_000_000_000,
            description="atLeast is a public lower bound on the number of persons, used for delta and sampling rates.",
        ),
    ]
    children: Annotated[
        Children | None,
        Field(
            default=None,
            description="children says that children are among them; an empty one says so, too. The rule minors then "
            "asks for verifiableConsent and refuses profiling.",
        ),
    ]


class Column(ApiModel):
    """One column and its class."""

    name: Annotated[ColumnName, Field(description="name of the column, exactly as in the files.")]
    data_class: Annotated[ObjectName, Field(description="dataClass is the name of the DataClass of this column.")]


class Objections(ApiModel):
    """What is done about people who object to a use that rests on no consent."""

    handling: Annotated[
        Literal["Excluded", "DataGate"],
        Field(
            description="handling: Excluded (rows of people who objected are not in the source) or DataGate (a gate "
            "leaves them out; jobs hold with NotEnforcedHere until there is one)."
        ),
    ]
    reviewed_on: Annotated[
        CalendarDate, Field(description="reviewedOn is the last day on which objections were looked at, YYYY-MM-DD.")
    ]


class Use(ApiModel):
    """One lawful use. What no use covers is refused."""

    purpose: Annotated[
        DottedKey, Field(description="purpose is a Fideslang use; it grants itself and everything below it.")
    ]
    processing: Annotated[Processing, Field(description="processing: Training or Inference.")]
    legal_basis: Annotated[
        LegalReference, Field(description="legalBasis is the DPV key of the legal basis, such as eu-gdpr:A6-1-a.")
    ]
    condition: Annotated[
        LegalReference | None,
        Field(
            default=None,
            description="condition is the further condition that special categories need, such as eu-gdpr:A9-2-a.",
        ),
    ]
    consent_scope: Annotated[
        ObjectName | None,
        Field(
            default=None,
            description="consentScope names the ConsentScope in this namespace; needed when the basis is consent.",
        ),
    ]
    objections: Annotated[
        Objections | None,
        Field(
            default=None,
            description="objections says what is done about people who object, where the basis is a public task or a "
            "legitimate interest.",
        ),
    ]


class DatasetRetention(ApiModel):
    """Until when the data may be kept."""

    until: Annotated[CalendarDate, Field(description="until is the last day, as YYYY-MM-DD; nothing runs after it.")]


class Incident(ApiModel):
    """A breach of these data. While it is open no new use begins."""

    opened_at: Annotated[
        DateTime, Field(description="openedAt is when the breach became known; the 72 h run from then.")
    ]
    reference: Annotated[
        str, Field(min_length=1, max_length=256, description="reference of the incident, such as a ticket.")
    ]
    closed_at: Annotated[
        DateTime | None, Field(default=None, description="closedAt is when the incident was closed, once it is.")
    ]

    object_rules: ClassVar = (
        Rule(
            "!has(self.closedAt) || self.closedAt >= self.openedAt",
            "closedAt must not be before openedAt",
            lambda self: (
                self.closed_at is None
                or datetime.fromisoformat(self.closed_at) >= datetime.fromisoformat(self.opened_at)
            ),
            ".closedAt",
        ),
    )


class OptOut(ApiModel):
    """One right that people used, and how their rows are known or kept out."""

    right: Annotated[
        Literal["DoNotSell", "DoNotShare", "DoNotTrain"],
        Field(description="right that people used: DoNotSell, DoNotShare or DoNotTrain."),
    ]
    column: Annotated[
        ColumnName | None,
        Field(
            default=None,
            description="column that marks their rows. Rows are filtered by the data gate; until there is one, jobs "
            "hold with NotEnforcedHere.",
        ),
    ]
    excluded: Annotated[
        Boolean, Field(default=False, description="excluded says that their rows are not in the source at all.")
    ]

    object_rules: ClassVar = (
        Rule(
            "has(self.column) != self.excluded",
            "set column, or excluded: true, and not both",
            lambda self: (self.column is not None) != self.excluded,
        ),
    )


class DatasetSpec(ApiModel):
    """What data exists and what may be done with it."""

    identity: Annotated[
        Identity,
        Field(description="identity is the URN that budgets and the ledger are keyed on, not the object; immutable."),
        IMMUTABLE,
    ]
    source: Annotated[
        Source,
        Field(description="source says where the bytes are; immutable."),
        IMMUTABLE,
    ]
    subjects: Annotated[Subjects, Field(description="subjects says about whom the data is.")]
    columns: Annotated[
        tuple[Column, ...],
        Field(
            min_length=1,
            max_length=256,
            description="columns and their classes; a column that is not listed does not exist for any job.",
        ),
        keyed_by("name"),
    ]
    uses: Annotated[
        tuple[Use, ...],
        Field(
            default=(),
            max_length=64,
            description="uses are the lawful uses; anything else is refused.",
        ),
        ATOMIC,
    ]
    jurisdictions: Annotated[
        tuple[Jurisdiction, ...],
        Field(
            default=(),
            max_length=16,
            description="jurisdictions whose law applies, such as eu-gdpr.",
        ),
        UNIQUE,
    ]
    incident: Annotated[
        Incident | None,
        Field(
            default=None, description="incident is a breach of these data; while it is open, jobs that use them hold."
        ),
    ]
    opt_outs: Annotated[
        tuple[OptOut, ...],
        Field(default=(), max_length=3, description="optOuts are rights that people used, each once."),
        keyed_by("right"),
    ]
    region: Annotated[Region | None, Field(default=None, description="region where the data is kept.")]
    retention: Annotated[
        DatasetRetention | None, Field(default=None, description="retention says until when the data may be used.")
    ]
    deidentification: Annotated[
        Deidentification | None,
        Field(
            default=None,
            description="deidentification says how health data was de-identified, for the rule of that name.",
        ),
    ]
    processor_contract: Annotated[
        ProcessorContract | None,
        Field(
            default=None,
            description="processorContract under which this namespace works on the data, where the namespace is "
            "labelled mlprivacy.dev/role: processor. Jobs of other namespaces need one in their DatasetGrant.",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.columns.exists(c, c.name == self.subjects.column)",
            "subjects.column must be one of columns[].name",
            lambda self: any(column.name == self.subjects.column for column in self.columns),
            ".subjects.column",
        ),
        Rule(
            "!has(self.optOuts) || self.optOuts.all(o, !has(o.column) || self.columns.exists(c, c.name == o.column))",
            "each of optOuts[].column must be one of columns[].name",
            lambda self: all(
                o.column is None or any(column.name == o.column for column in self.columns) for o in self.opt_outs
            ),
            ".optOuts",
        ),
    )

    @cached_property
    def classes_by_column(self) -> Mapping[str, str]:
        """Class of each column; made once for each version of a dataset, since every job that uses it asks."""
        return {column.name: column.data_class for column in self.columns}


KIND = KindInfo(
    kind="Dataset",
    plural="datasets",
    short_names=("mlds",),
    namespaced=True,
    spec=DatasetSpec,
    status=BasicStatus,
    description="Dataset says what data exists, about whom, of which classes, and for which lawful uses.",
    printer_columns=(
        PrinterColumn("Identity", ".spec.identity"),
        PrinterColumn("Subjects", ".spec.subjects.kind"),
        PrinterColumn("AtLeast", ".spec.subjects.atLeast", "integer"),
        PrinterColumn("Region", ".spec.region"),
        PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.identity", ".spec.region"),
)
