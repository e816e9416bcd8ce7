"""LedgerEntry: one link of a subject domain's ledger. Created by the operator alone, never changed.

Losses are whole numbers of a billionth of ε, rounded up when they are reserved: sums are exact in any order, and the
bytes that are hashed are the same before and after the API server stored them.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from mlprivacy.api.base import (
    ApiModel,
    Assurance,
    BasicStatus,
    DnsLabel,
    Identity,
    JobName,
    KindInfo,
    PrinterColumn,
    PrivacyUnit,
)
from mlprivacy.api.constraints import ATOMIC, Boolean, Integer, Rule, integral
from mlprivacy.api.privacy_budget import ImageDigest, Neighbours, Partition, Period, SubjectDomain

MAX_TRANSITIONS = 16  # of one entry
MAX_RANGES = 64  # of blocks, in one transition
MAX_STATE = 65_536  # characters of one part of a checkpoint
MAX_SEQUENCE = 999_999_999_999_999  # of 15 digits, so that a name has at most 48 characters
MAX_KEY = 10_000_000  # of a block: days since 1970 reach the year 29,000

Sha256 = Annotated[str, Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
DomainHash = Annotated[str, Field(min_length=32, max_length=32, pattern=r"^[0-9a-f]{32}$")]
Uid = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
# As text, since a number loses its form on its way through the API server and the text is what is hashed.
Decimal = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,3})?$")]
Stamp = Annotated[
    str,
    Field(
        min_length=27,
        max_length=27,
        pattern=r"^[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z$",
    ),
]
Nanos = Annotated[Integer, Field(ge=0, le=10_000_000_000_000), BeforeValidator(integral)]
Person = Annotated[str, Field(min_length=1, max_length=256)]


class BlockRange(ApiModel):
    """Blocks from first to last, both included."""

    first: Annotated[Integer, Field(ge=0, le=MAX_KEY, description="first block, by its number.")]
    last: Annotated[Integer, Field(ge=0, le=MAX_KEY, description="last block, by its number; at least first.")]


Ranges = Annotated[
    tuple[BlockRange, ...],
    Field(min_length=1, max_length=MAX_RANGES, description="ranges of blocks, ascending, none touching another."),
    ATOMIC,
]
Loss = Annotated[
    tuple[Nanos, ...],
    Field(
        min_length=1,
        max_length=64,
        description="curve is the loss at each order, in billionths of epsilon, rounded up; the largest value stands "
        "for "
        "no bound.",
    ),
    ATOMIC,
]


class SpendingJob(ApiModel):
    """The job that spends."""

    namespace: Annotated[DnsLabel, Field(description="namespace of the job.")]
    name: Annotated[JobName, Field(description="name of the job.")]
    uid: Annotated[Uid, Field(description="uid of the job.")]


Attempt = Annotated[Integer, Field(ge=1, le=1_000_000, description="attempt of the job, from 1.")]
JobUid = Annotated[Uid, Field(alias="jobUID", description="jobUID is the uid of the job.")]


class CutBy(ApiModel):
    """The partition of the budget, as it was when the ledger began."""

    by: Annotated[Partition, Field(description="by: as blocks.by of the PrivacyBudget.")]
    period: Annotated[Period | None, Field(default=None, description="period: as blocks.period of the PrivacyBudget.")]
    buckets: Annotated[
        Integer | None, Field(default=None, ge=1, description="buckets: as blocks.buckets of the PrivacyBudget.")
    ]


class PromiseMade(ApiModel):
    """The domain is promised something. The first promise begins a ledger; a larger one needs two people."""

    revision: Annotated[Integer, Field(ge=1, description="revision of the promise, from 1.")]
    orders: Annotated[
        tuple[Decimal, ...], Field(min_length=1, max_length=64, description="orders that are counted."), ATOMIC
    ]
    epsilon: Annotated[Decimal, Field(description="epsilon that is promised.")]
    delta: Annotated[Decimal, Field(description="delta that is promised.")]
    unit: Annotated[PrivacyUnit, Field(description="unit that is protected.")]
    neighbours: Annotated[Neighbours, Field(description="neighbours: the relation.")]
    blocks: Annotated[CutBy, Field(description="blocks: the partition.")]
    capacity: Annotated[
        tuple[Nanos, ...],
        Field(
            min_length=1,
            max_length=64,
            description="capacity of a block at each order, in billionths of epsilon, rounded down; 0 where the "
            "order is "
            "of no use.",
        ),
        ATOMIC,
    ]
    notice_version: Annotated[
        str | None, Field(default=None, min_length=1, max_length=64, description="noticeVersion people read it in.")
    ]
    asked_by: Annotated[Person | None, Field(default=None, description="askedBy: who asked for it.")]
    approved_by: Annotated[Person | None, Field(default=None, description="approvedBy: who approved it.")]


class Register(ApiModel):
    """A dataset belongs to the domain, for ever."""

    identity: Annotated[Identity, Field(description="identity of the dataset.")]
    source: Annotated[
        str | None,
        Field(default=None, min_length=1, max_length=1024, description="source of the dataset, normalised."),
    ]


class OpenBlocks(ApiModel):
    """Blocks come into being, as the calendar says."""

    ranges: Ranges


class Reserve(ApiModel):
    """An attempt of a job may spend this on each of the blocks: on all of them, or there is no such entry."""

    job: Annotated[SpendingJob, Field(description="job that will spend.")]
    attempt: Attempt
    ranges: Ranges
    curve: Loss
    assurance: Annotated[Assurance, Field(description="assurance with which it spends.")]
    image: Annotated[ImageDigest | None, Field(default=None, description="image of the trainer, by its digest.")]


class Bind(ApiModel):
    """One pod, and no other, may spend what the attempt reserved."""

    job_uid: JobUid
    attempt: Attempt
    pod_uid: Annotated[Uid, Field(alias="podUID", description="podUID is the uid of the pod.")]


class Commit(ApiModel):
    """What was reserved is spent: all of it, or less where a smaller number gives nothing away."""

    job_uid: JobUid
    attempt: Attempt
    pod_uid: Annotated[Uid | None, Field(default=None, alias="podUID", description="podUID that spent it, if one did.")]
    stop: Annotated[
        Literal["Unknown", "Adaptive", "Planned", "NoisyOutputs", "Operator"],
        Field(
            description="stop says why the attempt ended: Planned, NoisyOutputs (decided from noisy outputs alone) and "
            "Operator (for a reason that is independent of the data) may commit less than was reserved; Adaptive and "
            "Unknown commit all."
        ),
    ]
    curve: Annotated[
        tuple[Nanos, ...] | None,
        Field(
            default=None, min_length=1, max_length=64, description="curve spent; all that was reserved when left out."
        ),
        ATOMIC,
    ]
    ended: Annotated[
        Boolean,
        Field(default=False, description="ended: the pod was seen to have ended. Without that, all is committed."),
    ]


class Release(ApiModel):
    """Nothing was spent: no pod was ever bound to the reservation."""

    job_uid: JobUid
    attempt: Attempt
    reason: Annotated[
        Literal["NeverStarted", "Withdrawn", "Refused"],
        Field(description="reason: NeverStarted, Withdrawn (the job was deleted or suspended) or Refused."),
    ]


class Taint(ApiModel):
    """Data of these blocks was used outside accounting. They say so for good."""

    job: Annotated[SpendingJob, Field(description="job that used the data.")]
    ranges: Ranges
    reason: Annotated[
        Literal["Audit", "Warn", "Exception", "Ungoverned", "NoMechanism"],
        Field(
            description="reason: Audit or Warn (mode in which the job ran), Exception, Ungoverned (it was there before "
            "the budget) or NoMechanism (it makes no promise)."
        ),
    ]


class Retire(ApiModel):
    """Blocks take no reservation any more."""

    ranges: Ranges
    reason: Annotated[
        Literal["Retention", "Erasure", "Exhausted", "Owner"],
        Field(description="reason: Retention, Erasure, Exhausted or Owner (the data owner says so)."),
    ]


class Checkpoint(ApiModel):
    """One part of the state up to an entry. The parts follow that entry one by one, with nothing between them."""

    through: Annotated[
        Integer, Field(ge=1, description="through is the sequence of the entry up to which it is the state.")
    ]
    part: Annotated[Integer, Field(ge=1, description="part of the checkpoint, from 1.")]
    parts: Annotated[Integer, Field(ge=1, le=100_000, description="parts of the checkpoint.")]
    state: Annotated[str, Field(max_length=MAX_STATE, description="state, as lines of JSON.")]


TransitionType = Literal[
    "Promise", "Register", "Open", "Reserve", "Bind", "Commit", "Release", "Taint", "Retire", "Checkpoint"
]
MEMBERS: dict[str, str] = {
    "Promise": "promise",
    "Register": "register",
    "Open": "open",
    "Reserve": "reserve",
    "Bind": "bind",
    "Commit": "commit",
    "Release": "release",
    "Taint": "taint",
    "Retire": "retire",
    "Checkpoint": "checkpoint",
}


def _exactly(kind: str, member: str) -> Rule:
    """The member is set exactly when the type is its own."""
    name = "register_" if member == "register" else member

    def holds(self: Transition) -> bool:
        return (self.type == kind) == (getattr(self, name) is not None)

    return Rule(
        f"(self.type == '{kind}') == has(self.{member})",
        f"set {member} exactly when type is {kind}",
        holds,
        f".{member}",
    )


class Transition(ApiModel):
    """One step. The member that type names is set, and no other."""

    type: Annotated[TransitionType, Field(description="type of the step; the member of this name holds it.")]
    promise: Annotated[PromiseMade | None, Field(default=None, description="promise that is made.")]
    register_: Annotated[Register | None, Field(default=None, alias="register", description="register a dataset.")]
    open: Annotated[OpenBlocks | None, Field(default=None, description="open blocks.")]
    reserve: Annotated[Reserve | None, Field(default=None, description="reserve budget for an attempt of a job.")]
    bind: Annotated[Bind | None, Field(default=None, description="bind a pod to what was reserved.")]
    commit: Annotated[Commit | None, Field(default=None, description="commit what was reserved.")]
    release: Annotated[Release | None, Field(default=None, description="release what was reserved.")]
    taint: Annotated[Taint | None, Field(default=None, description="taint blocks.")]
    retire: Annotated[Retire | None, Field(default=None, description="retire blocks.")]
    checkpoint: Annotated[Checkpoint | None, Field(default=None, description="checkpoint: a part of the state.")]

    object_rules: ClassVar = tuple(_exactly(kind, member) for kind, member in MEMBERS.items())


class LedgerEntrySpec(ApiModel):
    """The link and what it says."""

    version: Annotated[Integer, Field(ge=1, le=1, description="version of the form of the entry: 1.")]
    subject_domain: Annotated[SubjectDomain, Field(description="subjectDomain whose ledger this is.")]
    domain: Annotated[
        DomainHash,
        Field(description="domain is the beginning of the SHA-256 of subjectDomain; the name begins with it."),
    ]
    sequence: Annotated[
        Integer, Field(ge=1, le=MAX_SEQUENCE, description="sequence of the entry, from 1; the name ends with it.")
    ]
    previous: Annotated[Sha256, Field(description="previous is the hash of the entry before.")]
    time: Annotated[Stamp, Field(description="time at which it was written, by the writer's clock, in UTC.")]
    writer: Annotated[str, Field(min_length=1, max_length=128, description="writer is the pod that wrote it.")]
    transitions: Annotated[
        tuple[Transition, ...],
        Field(min_length=1, max_length=MAX_TRANSITIONS, description="transitions, in the order in which they hold."),
        ATOMIC,
    ]
    hash: Annotated[Sha256, Field(description="hash is the SHA-256 of the rest of the spec in its canonical form.")]

    object_rules: ClassVar = (Rule("self == oldSelf", "an entry of the ledger is never changed"),)


class LedgerEntryStatus(BasicStatus):
    """Nothing is written here; an entry only is."""


# The names are the sequence: creating the next one under its name is the compare-and-swap. Compared by its parts, since
# the cost of putting the two together is estimated beyond what the API server allows.
_NAME = r"^[0-9a-f]{32}-[1-9][0-9]{0,14}$"
NAME_RULE = Rule(
    f"self.metadata.name.matches('{_NAME}') && self.metadata.name.split('-')[0] == self.spec.domain && "
    "int(self.metadata.name.split('-')[1]) == self.spec.sequence",
    "metadata.name must be spec.domain, '-' and spec.sequence",
    lambda name: re.fullmatch(r"[0-9a-f]{32}-[1-9][0-9]{0,14}", name) is not None,
)

KIND = KindInfo(
    kind="LedgerEntry",
    plural="ledgerentries",
    short_names=("mlle",),
    namespaced=False,
    spec=LedgerEntrySpec,
    status=LedgerEntryStatus,
    description="LedgerEntry is one link of the append-only ledger of a subject domain's privacy budget.",
    printer_columns=(
        PrinterColumn("Domain", ".spec.subjectDomain"),
        PrinterColumn("Sequence", ".spec.sequence", "integer"),
        PrinterColumn("Transition", ".spec.transitions[0].type", "string", "the first of them"),
        PrinterColumn("Time", ".spec.time", "date"),
        PrinterColumn("Writer", ".spec.writer"),
    ),
    selectable_fields=(".spec.domain", ".spec.subjectDomain"),
    name_rules=(NAME_RULE,),
)
