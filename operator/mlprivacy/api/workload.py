"""What TrainingJob and InferenceJob share: the template, the status, the name rule, the printer columns."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field

from mlprivacy.api.base import (
    ApiModel,
    Assurance,
    Conditions,
    PrinterColumn,
)
from mlprivacy.api.constraints import (
    ATOMIC,
    Boolean,
    Integer,
    Number,
    Rule,
)

Digest = Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]

JOB_NAME_RULE = Rule(
    "size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must be at most 40 characters of a-z, 0-9 and '-', because the names of the rendered objects and "
    "pods are made from it",
    lambda name: re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", name) is not None,
)

# Preserve-unknown and without declared properties: a declared metadata would prune annotations. What may be in it is
# the allow-list of policy/template.py, checked by the rule pod-hardening.
Template = Annotated[
    dict[str, Any],
    Field(
        description="template is a pod template. Only the fields of the allow-list in the reference are accepted; the "
        "operator adds the security context, the seal probe and the sidecar.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, "type": "object"},
    ),
]

Suspend = Annotated[
    Boolean,
    Field(
        default=False,
        description="suspend stops the workload: a training attempt ends and resuming starts a new one; serving is "
        "scaled to zero.",
    ),
]


class FindingStatus(ApiModel):
    """One finding of the decision."""

    rule: Annotated[str, Field(max_length=63, description="rule that found it.")]
    action: Annotated[
        Literal["Deny", "Hold", "Warn", "Evidence"], Field(description="action after mode: Deny, Hold, Warn, Evidence.")
    ]
    enforced: Annotated[
        Literal["Deny", "Hold", "Warn", "Evidence"] | None,
        Field(
            default=None,
            description="enforced is the action that it would have under Enforce; left out where that is the action.",
        ),
    ]
    reason: Annotated[str, Field(max_length=64, description="reason is a stable word for programs.")]
    path: Annotated[str, Field(max_length=256, description="path of the field concerned.")]
    message: Annotated[str, Field(max_length=1024, description="message says what is wrong.")]
    remedy: Annotated[str, Field(max_length=1024, description="remedy says what to change.")]
    citations: Annotated[
        tuple[Annotated[str, Field(max_length=128)], ...],
        Field(default=(), max_length=16, description="citations of the law or organisation rule behind it."),
        ATOMIC,
    ]
    pack: Annotated[
        str | None,
        Field(default=None, max_length=63, description="pack that asked for the rule, with the strictest action."),
    ]
    packs: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...],
        Field(default=(), max_length=16, description="packs that asked for the rule, where there are several."),
        ATOMIC,
    ]
    exception: Annotated[
        str | None,
        Field(default=None, max_length=63, description="exception that turned a refusal into this warning."),
    ]


class ChangedObject(ApiModel):
    """One object after whose change the decision was made anew."""

    kind: Annotated[str, Field(max_length=63, description="kind of the object; Time where a date came.")]
    namespace: Annotated[
        str | None, Field(default=None, max_length=63, description="namespace of the object, if it has one.")
    ]
    name: Annotated[str, Field(max_length=253, description="name of the object; of Time the moment.")]


class DecisionStatus(ApiModel):
    """The decision in force."""

    verdict: Annotated[Literal["Allow", "Hold", "Deny"], Field(description="verdict: Allow, Hold or Deny.")]
    mode: Annotated[
        Literal["Audit", "Warn", "Enforce"] | None,
        Field(default=None, description="mode in force: the strictest of the policies under the namespaces' ceiling."),
    ]
    digest: Annotated[Digest, Field(description="digest of the canonical decision; the rendered objects carry it.")]
    findings: Annotated[
        tuple[FindingStatus, ...],
        Field(
            default=(),
            max_length=16,
            description="findings, worst first; a longer list is cut here and whole in `mlprivacy explain`.",
        ),
        ATOMIC,
    ]
    changed_by: Annotated[
        tuple[ChangedObject, ...],
        Field(
            default=(),
            max_length=8,
            description="changedBy are the objects that changed before the decision became what it is. Empty where the "
            "job itself was made or changed, and where the operator does not know, as after its own restart.",
        ),
        ATOMIC,
    ]


class AssuranceStatus(ApiModel):
    """How far the privacy claim of this job can be believed."""

    achieved: Annotated[Assurance, Field(description="achieved by the controls really in force.")]
    required: Annotated[Assurance, Field(description="required by the data classes, the policy and the job.")]


class RenderedObject(ApiModel):
    """One object that the operator rendered for the job."""

    kind: Annotated[str, Field(max_length=63, description="kind of the object.")]
    name: Annotated[str, Field(max_length=253, description="name of the object.")]


class BudgetUse(ApiModel):
    """What the job takes of one subject domain's privacy budget."""

    subject_domain: Annotated[str, Field(max_length=63, description="subjectDomain whose budget it is.")]
    budget: Annotated[str, Field(max_length=253, description="budget is the name of the PrivacyBudget.")]
    state: Annotated[
        Literal["Waiting", "Reserved", "Committed", "Released", "Outside"],
        Field(
            description="state: Waiting; Reserved (held for the attempt); Committed (spent); Released (given back) or "
            "Outside (used without being counted)."
        ),
    ]
    attempt: Annotated[Integer, Field(ge=0, description="attempt that it is for.")]
    blocks: Annotated[Integer, Field(ge=0, description="blocks that are charged.")]
    epsilon: Annotated[
        Number | None,
        Field(default=None, ge=0, description="epsilon of the attempt, at delta; absent without a promise."),
    ]
    delta: Annotated[Number | None, Field(default=None, description="delta at which epsilon holds.")]
    share_percent: Annotated[
        Number | None,
        Field(default=None, ge=0, description="sharePercent of each block that it takes, at its cheapest order."),
    ]
    noise_multiplier: Annotated[
        Number | None, Field(default=None, description="noiseMultiplier that was accounted for, fixed at reservation.")
    ]
    sampling_rate: Annotated[
        Number | None, Field(default=None, description="samplingRate that was accounted for, fixed at reservation.")
    ]
    steps: Annotated[Integer | None, Field(default=None, ge=0, description="steps that were accounted for.")]
    entry: Annotated[
        str | None, Field(default=None, max_length=63, description="entry is the newest LedgerEntry about it.")
    ]


class WorkloadStatus(ApiModel):
    """Status of a TrainingJob or an InferenceJob."""

    observed_generation: Annotated[
        Integer | None,
        Field(default=None, ge=0, description="observedGeneration is the metadata.generation last processed."),
    ]
    conditions: Conditions
    decision: Annotated[DecisionStatus | None, Field(default=None, description="decision in force.")]
    assurance: Annotated[
        AssuranceStatus | None,
        Field(
            default=None,
            description="assurance achieved and required. Controls satisfied, never a statement about the law.",
        ),
    ]
    exceptions: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...],
        Field(
            default=(),
            max_length=16,
            description="exceptions are the PolicyExceptions without which the job would be refused.",
        ),
        ATOMIC,
    ]
    budgets: Annotated[
        tuple[BudgetUse, ...],
        Field(
            default=(),
            max_length=16,
            description="budgets are what it takes of privacy budgets, one of each subject domain.",
        ),
        ATOMIC,
    ]
    attempt: Annotated[
        Integer | None, Field(default=None, ge=0, description="attempt is the number of the newest attempt, from 1.")
    ]
    rendered: Annotated[
        tuple[RenderedObject, ...],
        Field(
            default=(),
            max_length=16,
            description="rendered are the objects made for this job, in the order they were made.",
        ),
        ATOMIC,
    ]
    receipt: Annotated[
        str | None, Field(default=None, max_length=128, description="receipt of the audit record of this decision.")
    ]
    started_at: Annotated[
        str | None, Field(default=None, max_length=35, description="startedAt is when the newest attempt was created.")
    ]
    finished_at: Annotated[
        str | None, Field(default=None, max_length=35, description="finishedAt is when the job ended.")
    ]


COLUMNS = (
    PrinterColumn("Accepted", ".status.conditions[?(@.type=='Accepted')].status"),
    PrinterColumn("Reason", ".status.conditions[?(@.type=='Accepted')].reason"),
    PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
    PrinterColumn("Assurance", ".status.assurance.achieved"),
    PrinterColumn("Purpose", ".spec.purpose", priority=1),
    PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
)
