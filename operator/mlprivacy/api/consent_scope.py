"""ConsentScope: what people agreed to, under which notice. Training and inference are different scopes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.base import (
    ApiModel,
    BasicStatus,
    DateTime,
    DottedKey,
    Duration,
    HttpsUrl,
    KindInfo,
    LocalRef,
    ObjectName,
    PrinterColumn,
    Processing,
)
from mlprivacy.api.constraints import (
    UNIQUE,
    Rule,
)

Version = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]


class SqlRegistry(ApiModel):
    """A table of consents in a SQL database."""

    secret_ref: Annotated[LocalRef, Field(description="secretRef names the Secret with the DSN.")]


class ServiceRegistry(ApiModel):
    """A consent service over HTTPS."""

    url: Annotated[HttpsUrl, Field(description="url of the service, https only.")]


class ParquetRegistry(ApiModel):
    """An export of consents as Parquet files."""

    uri: Annotated[
        str,
        Field(
            min_length=6,
            max_length=512,
            pattern=r"^(s3|gs|abfs|https)://[!-~]+$",
            description="uri of the files: s3://, gs://, abfs:// or https://.",
        ),
    ]
    secret_ref: Annotated[
        LocalRef | None, Field(default=None, description="secretRef names the Secret with the credentials.")
    ]


class EmbeddedRegistry(ApiModel):
    """The registry that comes with mlprivacy."""


class Registry(ApiModel):
    """Where consents are kept: exactly one of the members."""

    sql: Annotated[SqlRegistry | None, Field(default=None, description="sql keeps consents in a SQL database.")]
    service: Annotated[ServiceRegistry | None, Field(default=None, description="service asks a service over HTTPS.")]
    parquet: Annotated[ParquetRegistry | None, Field(default=None, description="parquet reads an export of consents.")]
    embedded: Annotated[
        EmbeddedRegistry | None, Field(default=None, description="embedded uses mlprivacy's own registry.")
    ]

    object_rules: ClassVar = (
        Rule(
            "[has(self.sql), has(self.service), has(self.parquet), has(self.embedded)].filter(x, x).size() == 1",
            "set exactly one of sql, service, parquet, embedded",
            lambda self: [self.sql, self.service, self.parquet, self.embedded].count(None) == 3,
        ),
    )


class OnWithdrawal(ApiModel):
    """What a person's withdrawal does. A withdrawn scope as a whole always suspends."""

    training: Annotated[
        Literal["DropRows", "NextSnapshot", "Suspend"],
        Field(
            default="DropRows",
            description="training: DropRows (filter again), NextSnapshot (from the next run on) or Suspend.",
        ),
    ]
    inference: Annotated[
        Literal["Refuse"], Field(default="Refuse", description="inference: Refuse requests about that person.")
    ]
    max_lag: Annotated[
        Duration, Field(default="24h", description="maxLag is the longest a withdrawal may take to act, such as 24h.")
    ]


class ConsentScopeSpec(ApiModel):
    """What people agreed to."""

    purposes: Annotated[
        tuple[DottedKey, ...],
        Field(
            min_length=1,
            max_length=64,
            description="purposes people agreed to, each with everything below it.",
        ),
        UNIQUE,
    ]
    processing: Annotated[
        tuple[Processing, ...],
        Field(
            min_length=1,
            max_length=2,
            description="processing people agreed to: Training, Inference. Consent to one is not consent to the other.",
        ),
        UNIQUE,
    ]
    data_classes: Annotated[
        tuple[ObjectName, ...],
        Field(
            min_length=1,
            max_length=64,
            description="dataClasses are the names of the DataClasses the consent covers.",
        ),
        UNIQUE,
    ]
    version: Annotated[Version, Field(description="version of the notice people see today.")]
    notice_url: Annotated[HttpsUrl, Field(alias="noticeURL", description="noticeURL is where the notice can be read.")]
    registry: Annotated[Registry, Field(description="registry says where consents are kept.")]
    max_snapshot_age: Annotated[
        Duration,
        Field(default="24h", description="maxSnapshotAge is the oldest consent snapshot a job may rely on."),
    ]
    accepted_versions: Annotated[
        tuple[Version, ...],
        Field(
            min_length=1,
            max_length=32,
            description="acceptedVersions of the notice; people who agreed to another one are not in.",
        ),
        UNIQUE,
    ]
    on_withdrawal: Annotated[
        OnWithdrawal,
        Field(default_factory=OnWithdrawal, description="onWithdrawal says what a person's withdrawal does."),
    ]
    state: Annotated[
        Literal["Active", "Withdrawn"],
        Field(
            default="Active",
            description="state: Active, or Withdrawn, which suspends every job that relies on the scope and is final.",
        ),
        Rule(
            "oldSelf != 'Withdrawn' || self == 'Withdrawn'",
            "a withdrawn scope stays withdrawn; ask for consent again under a new ConsentScope",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.version in self.acceptedVersions",
            "version must be one of acceptedVersions",
            lambda self: self.version in self.accepted_versions,
            ".acceptedVersions",
        ),
    )


class Snapshot(ApiModel):
    """The newest consent snapshot that was taken."""

    taken_at: Annotated[DateTime, Field(description="takenAt is when the snapshot was taken.")]
    digest: Annotated[
        str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$", description="digest of it.")
    ]


class ConsentScopeStatus(BasicStatus):
    """Status with the newest snapshot."""

    snapshot: Annotated[
        Snapshot | None, Field(default=None, description="snapshot is the newest consent snapshot, once one exists.")
    ]


KIND = KindInfo(
    kind="ConsentScope",
    plural="consentscopes",
    short_names=("mlcs",),
    namespaced=True,
    spec=ConsentScopeSpec,
    status=ConsentScopeStatus,
    description="ConsentScope says what people agreed to, under which notice, and where their consents are kept.",
    printer_columns=(
        PrinterColumn("Version", ".spec.version"),
        PrinterColumn("Processing", ".spec.processing"),
        PrinterColumn("State", ".spec.state"),
        PrinterColumn("Snapshot", ".status.snapshot.takenAt", "date"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.state",),
)
