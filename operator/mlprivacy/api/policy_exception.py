"""PolicyException: one rule does not refuse one job for a while, because two people said so."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.base import (
    ApiModel,
    BasicStatus,
    DateTime,
    DnsLabel,
    JobName,
    KindInfo,
    PrinterColumn,
    Text,
)
from mlprivacy.api.constraints import ATOMIC, IMMUTABLE, Boolean, Integer, Rule
from mlprivacy.api.privacy_policy import RuleId

_SAME_COVERS = "has(self.covers) == has(oldSelf.covers) && (!has(self.covers) || self.covers == oldSelf.covers)"


class ExceptedWorkload(ApiModel):
    """The one job it is for."""

    kind: Annotated[
        Literal["TrainingJob", "InferenceJob"], Field(description="kind of the job: TrainingJob or InferenceJob.")
    ]
    namespace: Annotated[DnsLabel, Field(description="namespace of the job; exact, no wildcard.")]
    name: Annotated[JobName, Field(description="name of the job; exact, no wildcard.")]


class CoveredFinding(ApiModel):
    """One finding of the rule, in the words of `mlprivacy check`, of a refusal or of the job's status."""

    path: Annotated[str, Field(min_length=1, max_length=256, description="path of the finding: the field it is about.")]
    message: Annotated[Text, Field(description="message of the finding, exactly; another breach reads differently.")]


class Approval(ApiModel):
    """What was looked at when the exception was approved: this object, in this form."""

    uid: Annotated[str, Field(min_length=1, max_length=64, description="uid is the metadata.uid that was looked at.")]
    generation: Annotated[Integer, Field(ge=1, description="generation is the metadata.generation that was looked at.")]


class PolicyExceptionSpec(ApiModel):
    """Which rule, for which job, why, and until when."""

    rule: Annotated[
        RuleId,
        Field(description="rule that does not refuse the job meanwhile: one id, as `mlprivacy explain --rules` lists."),
        IMMUTABLE,
    ]
    workload: Annotated[ExceptedWorkload, Field(description="workload is the one job it is for."), IMMUTABLE]
    reason: Annotated[Text, Field(description="reason is why the risk is accepted, in a sentence for the next reader.")]
    ticket: Annotated[
        str,
        Field(min_length=1, max_length=256, description="ticket is where the matter is discussed: a number or a URL."),
    ]
    expires_at: Annotated[
        DateTime,
        Field(
            description="expiresAt ends the exception at a moment, RFC 3339; a job that needs it is then suspended. At "
            "most spec.exceptions.maxDuration of each policy in force after the exception was made."
        ),
    ]
    covers: Annotated[
        tuple[CoveredFinding, ...],
        Field(
            default=(),
            max_length=16,
            description="covers are the findings of the rule that it accepts; `mlprivacy check JOB --exception RULE` "
            "writes them. Any other finding refuses the job. None listed: whatever the rule finds in that job.",
        ),
        ATOMIC,
    ]
    approved: Annotated[
        Boolean,
        Field(
            default=False,
            description="approved is set to true by a person with the verb approve on policyexceptions.mlprivacy.dev "
            "and is not the one who asked, together with approval; set to false it revokes. `mlprivacy approve NAME` "
            "does it. Leave it out of what is asked for.",
        ),
    ]
    approval: Annotated[
        Approval | None,
        Field(
            default=None,
            description="approval names what the approver looked at, and is set together with approved. What was "
            "changed or made anew since then is not approved.",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            f"!oldSelf.approved || (self.reason == oldSelf.reason && self.ticket == oldSelf.ticket && {_SAME_COVERS})",
            "what was approved does not change; revoke it, or ask for another exception",
        ),
        Rule(
            "!oldSelf.approved || self.expiresAt <= oldSelf.expiresAt",
            "an approved exception can only end earlier; ask for another exception",
            None,
            ".expiresAt",
        ),
        Rule(
            "!self.approved || oldSelf.approved || (self.reason == oldSelf.reason "
            f"&& self.ticket == oldSelf.ticket && self.expiresAt == oldSelf.expiresAt && {_SAME_COVERS})",
            "approving changes nothing else, so that what was asked for is what is approved",
            None,
            ".approved",
        ),
    )


class ExceptionUse(ApiModel):
    """One attempt of the job that the exception let run."""

    job_uid: Annotated[
        str, Field(alias="jobUID", max_length=64, description="jobUID is the metadata.uid of the job that ran.")
    ]
    attempt: Annotated[Integer, Field(ge=0, description="attempt of the job.")]
    time: Annotated[DateTime, Field(description="time at which it was recorded.")]


class PolicyExceptionStatus(BasicStatus):
    """What the exception is worth now, and what it was used for."""

    uses: Annotated[
        Integer | None,
        Field(default=None, ge=0, description="uses counts the attempts it let run; each has an audit record."),
    ]
    last_used: Annotated[ExceptionUse | None, Field(default=None, description="lastUsed is the newest of them.")]


KIND = KindInfo(
    kind="PolicyException",
    plural="policyexceptions",
    short_names=("mlpe",),
    namespaced=False,
    spec=PolicyExceptionSpec,
    status=PolicyExceptionStatus,
    description="PolicyException lets one job run that one rule would refuse, until a moment, when two people agree.",
    printer_columns=(
        PrinterColumn("Rule", ".spec.rule"),
        PrinterColumn("Namespace", ".spec.workload.namespace"),
        PrinterColumn("Workload", ".spec.workload.name"),
        PrinterColumn("State", ".status.conditions[?(@.type=='Ready')].reason"),
        PrinterColumn("Expires", ".spec.expiresAt"),
        PrinterColumn("Uses", ".status.uses", "integer"),
    ),
    selectable_fields=(".spec.rule", ".spec.workload.namespace", ".spec.workload.name"),
)
