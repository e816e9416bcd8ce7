"""What laws want to be shown: assessments, contracts, determinations. References only: the documents stay elsewhere."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.base import ApiModel, DateTime, HttpsUrl
from mlprivacy.api.constraints import Rule


class Children(ApiModel):
    """Says that the data is about children."""

    verifiable_consent: Annotated[
        HttpsUrl | None,
        Field(
            default=None,
            description="verifiableConsent is where the record of the verifiable consent of parents or guardians is "
            "kept.",
        ),
    ]


class Deidentification(ApiModel):
    """How health data was de-identified."""

    method: Annotated[
        Literal["SafeHarbor", "ExpertDetermination"],
        Field(
            description="method: SafeHarbor says that none of the 18 identifiers is in the data, those included that "
            "no class of a column can show; ExpertDetermination that an expert found the risk very small."
        ),
    ]
    reference: Annotated[
        HttpsUrl | None,
        Field(default=None, description="reference to the record of the determination; needed for that method."),
    ]
    expires_at: Annotated[
        DateTime | None,
        Field(default=None, description="expiresAt is the moment from which it is not to be relied on any more."),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.method != 'ExpertDetermination' || has(self.reference)",
            "an expert determination is kept somewhere; set reference to its https address",
            lambda self: self.method != "ExpertDetermination" or self.reference is not None,
            ".reference",
        ),
    )


class ProcessorContract(ApiModel):
    """The contract under which a processor works for the controller of the data."""

    reference: Annotated[HttpsUrl, Field(description="reference is the address where the contract is kept.")]
    expires_at: Annotated[
        DateTime | None,
        Field(default=None, description="expiresAt is the moment the contract ends; left out, it has no end."),
    ]


class ImpactAssessment(ApiModel):
    """The assessment of the risks of this very processing."""

    reference: Annotated[HttpsUrl, Field(description="reference is the address where the assessment is kept.")]
    digest: Annotated[
        str,
        Field(
            min_length=71,
            max_length=71,
            pattern=r"^sha256:[0-9a-f]{64}$",
            description="digest over the purpose, the data classes and the model that were assessed; the finding of "
            "the rule impact-assessment says which one is expected.",
        ),
    ]
    expires_at: Annotated[
        DateTime, Field(description="expiresAt is the moment at which the assessment is to be made again.")
    ]


class HighRisk(ApiModel):
    """Says that the system is a high-risk one. What is not there yet is left out."""

    rights_assessment: Annotated[
        HttpsUrl | None,
        Field(default=None, description="rightsAssessment is the address of the assessment of fundamental rights."),
    ]
    oversight_contact: Annotated[
        str | None,
        Field(
            default=None,
            min_length=3,
            max_length=256,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="oversightContact is the person or team that oversees the system, such as a mail address.",
        ),
    ]
    instructions: Annotated[
        HttpsUrl | None,
        Field(default=None, description="instructions is the address of the instructions for use."),
    ]


class GeneralPurpose(ApiModel):
    """Says that the model is a general-purpose one."""

    training_summary: Annotated[
        HttpsUrl | None,
        Field(
            default=None,
            description="trainingSummary is the address of the public summary of the content used for training.",
        ),
    ]


HighRiskField = Annotated[
    HighRisk | None,
    Field(
        default=None,
        description="highRisk flags a high-risk AI system; an empty one flags it, too. The rule high-risk-ai asks for "
        "its members.",
    ),
]
ImpactAssessmentField = Annotated[
    ImpactAssessment | None,
    Field(
        default=None,
        description="impactAssessment is needed for special categories, for sensitive classes and for high-risk "
        "systems, by the rule impact-assessment.",
    ),
]
GeneralPurposeField = Annotated[
    GeneralPurpose | None,
    Field(
        default=None,
        description="generalPurpose flags a general-purpose model; the rule training-summary asks for its summary.",
    ),
]
