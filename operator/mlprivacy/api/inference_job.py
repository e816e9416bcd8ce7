"""InferenceJob: which model serves whom, for which purpose, behind the gateway."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.accountability import (
    Children,
    GeneralPurposeField,
    HighRiskField,
    ImpactAssessmentField,
    ProcessorContract,
)
from mlprivacy.api.base import (
    ApiModel,
    Assurance,
    DottedKey,
    HttpsUrl,
    KindInfo,
    LegalReference,
    NamespacedRef,
    ObjectName,
    PrinterColumn,
)
from mlprivacy.api.constraints import (
    UNIQUE,
    Boolean,
    Integer,
    Rule,
)
from mlprivacy.api.names import PORT_SEAL, PORT_SIDECAR
from mlprivacy.api.workload import COLUMNS, JOB_NAME_RULE, Suspend, Template, WorkloadStatus

Entity = Annotated[str, Field(min_length=2, max_length=64, pattern=r"^[A-Z][A-Z0-9_]*$")]


class Model(ApiModel):
    """The model: exactly one of the members."""

    release: Annotated[
        ObjectName | None,
        Field(
            default=None,
            description="release names a ModelRelease in this namespace; holds with NotEnforcedHere until releases "
            "are there.",
        ),
    ]
    image: Annotated[
        str | None,
        Field(
            default=None,
            min_length=10,
            max_length=512,
            pattern=r"^[a-z0-9.:/_-]+@sha256:[0-9a-f]{64}$",
            description="image by digest of a model made elsewhere; its privacy loss is unknown.",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            "has(self.release) != has(self.image)",
            "set exactly one of release and image",
            lambda self: (self.release is None) != (self.image is None),
        ),
    )


class Clients(ApiModel):
    """Who may ask, and how often. Enforced by the gateway; abuse control, not a privacy bound."""

    authentication: Annotated[
        Literal["JWT", "MTLS"], Field(default="JWT", description="authentication of clients: JWT or MTLS.")
    ]
    queries_per_day: Annotated[
        Integer, Field(default=1000, ge=1, le=1_000_000_000, description="queriesPerDay of one client.")
    ]


class Outputs(ApiModel):
    """How much of an answer leaves."""

    top_k: Annotated[Integer, Field(default=1, ge=1, le=100, description="topK answers at most.")]
    decimals: Annotated[Integer, Field(default=2, ge=0, le=6, description="decimals of scores.")]


class Redact(ApiModel):
    """Which kinds of personal data are removed."""

    request: Annotated[
        tuple[Entity, ...],
        Field(
            default=(),
            max_length=64,
            description="request lists entities removed from requests, such as EMAIL_ADDRESS.",
        ),
        UNIQUE,
    ]
    response: Annotated[
        tuple[Entity, ...],
        Field(
            default=(),
            max_length=64,
            description="response lists entities removed from responses, such as PERSON.",
        ),
        UNIQUE,
    ]


class Oversight(ApiModel):
    """Where people can turn."""

    human_review_url: Annotated[
        HttpsUrl | None,
        Field(default=None, alias="humanReviewURL", description="humanReviewURL is where a person asks for a review."),
    ]
    opt_out_url: Annotated[
        HttpsUrl | None,
        Field(default=None, alias="optOutURL", description="optOutURL is where a person opts out."),
    ]


class InferenceJobSpec(ApiModel):
    """Which model serves whom."""

    mode: Annotated[
        Literal["Service", "Batch"],
        Field(
            default="Service",
            description="mode: Service, or Batch, which holds with NotEnforcedHere until the data gate is there.",
        ),
    ]
    model: Annotated[Model, Field(description="model that serves.")]
    purpose: Annotated[DottedKey, Field(description="purpose is a Fideslang use; the consent scope must cover it.")]
    data_classes: Annotated[
        tuple[ObjectName, ...],
        Field(
            min_length=1,
            max_length=32,
            description="dataClasses of what clients send.",
        ),
        UNIQUE,
    ]
    consent_scope: Annotated[
        NamespacedRef | None,
        Field(
            default=None,
            description="consentScope under which people agreed to inference. Another namespace needs a DatasetGrant.",
        ),
    ]
    legal_basis: Annotated[
        LegalReference | None,
        Field(
            default=None,
            description="legalBasis is the DPV key of the legal basis where it is not consent, such as eu-gdpr:A6-1-b.",
        ),
    ]
    condition: Annotated[
        LegalReference | None,
        Field(
            default=None,
            description="condition is the further condition that special categories need, such as eu-gdpr:A9-2-h.",
        ),
    ]
    children: Annotated[
        Children | None,
        Field(
            default=None,
            description="children says that children are among those whom the model serves or judges; an empty one "
            "says so, too.",
        ),
    ]
    processor_contract: Annotated[
        ProcessorContract | None,
        Field(
            default=None,
            description="processorContract under which this namespace serves the model, where the namespace is "
            "labelled mlprivacy.dev/role: processor and no consent scope of another namespace is used.",
        ),
    ]
    clients: Annotated[Clients, Field(default_factory=Clients, description="clients: who may ask, and how often.")]
    outputs: Annotated[Outputs, Field(default_factory=Outputs, description="outputs: how much of an answer leaves.")]
    redact: Annotated[Redact, Field(default_factory=Redact, description="redact: personal data that is removed.")]
    oversight: Annotated[Oversight | None, Field(default=None, description="oversight: where people can turn.")]
    legal_effect: Annotated[
        Boolean,
        Field(
            default=False,
            description="legalEffect says that answers decide about people with legal or similar effect. The rule "
            "human-oversight then asks for oversight.humanReviewURL and oversight.optOutURL.",
        ),
    ]
    impact_assessment: ImpactAssessmentField
    high_risk: HighRiskField
    general_purpose: GeneralPurposeField
    assurance: Annotated[
        Assurance,
        Field(default=Assurance.DECLARED, description="assurance that the requester wants at least."),
    ]
    port: Annotated[
        Integer,
        Field(
            default=8080,
            ge=1,
            le=65535,
            description="port of the Service and of the gateway. The model server listens on loopback.",
        ),
        Rule(
            f"self >= 1024 && self != {PORT_SEAL} && self != {PORT_SIDECAR}",
            f"port must be 1024 or above, since the gateway is not root, and not {PORT_SEAL} or {PORT_SIDECAR}, which "
            "are the operator's",
            lambda port: port >= 1024 and port not in (PORT_SEAL, PORT_SIDECAR),
        ),
    ]
    replicas: Annotated[Integer, Field(default=1, ge=0, le=100, description="replicas of the model server.")]
    suspend: Suspend
    template: Template


KIND = KindInfo(
    kind="InferenceJob",
    plural="inferencejobs",
    short_names=("mlij",),
    namespaced=True,
    spec=InferenceJobSpec,
    status=WorkloadStatus,
    description="InferenceJob declares a served model; the operator decides and puts the gateway before it.",
    printer_columns=(
        *COLUMNS[:3],
        PrinterColumn("Serving", ".status.conditions[?(@.type=='ServingReady')].status"),
        *(column for column in COLUMNS[3:] if column.name != "Purpose"),
    ),
    selectable_fields=(".spec.purpose", ".spec.suspend"),
    name_rules=(JOB_NAME_RULE,),
)
