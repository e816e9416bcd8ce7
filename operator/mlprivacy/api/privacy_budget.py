"""PrivacyBudget: how much privacy loss the people of one subject domain are promised at most, and who may spend it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mlprivacy.api.base import (
    ApiModel,
    Assurance,
    CalendarDate,
    DnsLabel,
    Duration,
    Identity,
    KindInfo,
    PrinterColumn,
    PrivacyUnit,
)
from mlprivacy.api.consent_scope import Version
from mlprivacy.api.constraints import ATOMIC, IMMUTABLE, UNIQUE, Integer, Number, Rule, keyed_by
from mlprivacy.api.privacy_budget_status import PrivacyBudgetStatus

SubjectDomain = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Epsilon = Annotated[Number, Field(gt=0, le=1000)]
Delta = Annotated[Number, Field(gt=0, lt=1)]
_LABEL = r"[0-9A-Za-z][0-9A-Za-z -]*"
BlockLabel = Annotated[str, Field(min_length=1, max_length=32, pattern=rf"^{_LABEL}$")]
BlockSpan = Annotated[str, Field(min_length=1, max_length=66, pattern=rf"^{_LABEL}(\.\.{_LABEL})?$")]
ImageDigest = Annotated[str, Field(min_length=71, max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Neighbours = Literal["AddOrRemoveOne"]
Partition = Literal["Subject", "SubjectCohort", "IngestionTime"]
Period = Literal["Day", "Week", "Month", "Year"]

MAX_BLOCKS = 16_384  # of one domain: its use is kept as a table of blocks by orders


class Blocks(ApiModel):
    """How the data is cut into blocks. Each unit's data lies in exactly one block, for ever."""

    by: Annotated[
        Partition,
        Field(
            description="by: Subject (one block, or buckets by a hash of the person), SubjectCohort (the period in "
            "which "
            "a person was first seen) or IngestionTime (the period in which a record came in; for the unit Event only)."
        ),
    ]
    period: Annotated[
        Period | None,
        Field(
            default=None,
            description="period of one block, of the public calendar in UTC: Day, Week (from Monday), Month or Year. "
            "For "
            "SubjectCohort and IngestionTime.",
        ),
    ]
    buckets: Annotated[
        Integer | None,
        Field(
            default=None,
            ge=1,
            le=MAX_BLOCKS,
            description="buckets is the number of blocks for Subject, by a hash of the person; 1 when left out.",
        ),
    ]

    since: Annotated[
        CalendarDate | None,
        Field(
            default=None,
            description="since is a day of the first block, YYYY-MM-DD, which also holds all that is older; the day on "
            "which the budget is first seen when left out. For SubjectCohort and IngestionTime.",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.by != 'Subject' || !has(self.since)",
            "blocks by Subject have no time; leave since out",
            lambda self: self.by != "Subject" or self.since is None,
            ".since",
        ),
        Rule(
            "(self.by == 'Subject') != has(self.period)",
            "set period for SubjectCohort and IngestionTime, and leave it out for Subject",
            lambda self: (self.by == "Subject") != (self.period is not None),
            ".period",
        ),
        Rule(
            "self.by == 'Subject' || !has(self.buckets)",
            "buckets are for blocks by Subject; leave them out",
            lambda self: self.by == "Subject" or self.buckets is None,
            ".buckets",
        ),
    )


class Unlocking(ApiModel):
    """How a block's budget becomes available bit by bit, so that a few large jobs do not take all of it at once."""

    arrivals: Annotated[
        Integer | None,
        Field(
            default=None,
            ge=1,
            le=1_000_000,
            description="arrivals N: each job that asks for a block unlocks one N-th of it.",
        ),
    ]
    lifetime: Annotated[
        Duration | None,
        Field(default=None, description="lifetime over which a block is unlocked evenly, from when it opens; as 90d."),
    ]

    object_rules: ClassVar = (
        Rule(
            "has(self.arrivals) != has(self.lifetime)",
            "set arrivals or lifetime, and not both",
            lambda self: (self.arrivals is not None) != (self.lifetime is not None),
        ),
    )


class Preference(ApiModel):
    """How jobs of one namespace stand among the waiting ones. The owner of the budget says so, not the jobs."""

    namespace: Annotated[DnsLabel, Field(description="namespace of the jobs; exact.")]
    priority: Annotated[
        Integer, Field(default=0, ge=-1000, le=1000, description="priority: jobs of a higher one are tried first.")
    ]
    weight: Annotated[
        Number,
        Field(
            default=1.0,
            gt=0,
            le=1000,
            description="weight of a job, for DPF and DPack: one of weight 2 is worth two of weight 1.",
        ),
    ]


class Scheduling(ApiModel):
    """Which waiting job gets budget next."""

    policy: Annotated[
        Literal["FCFS", "DPF", "DPack"],
        Field(
            default="FCFS",
            description="policy: FCFS (first come, first served), DPF (smallest dominant share first) or DPack (as "
            "many "
            "jobs as fit).",
        ),
    ]
    unlocking: Annotated[
        Unlocking | None,
        Field(
            default=None,
            description="unlocking of blocks bit by bit, for DPF and DPack; left out, all of a block is there at once.",
        ),
    ]
    share: Annotated[
        Literal["AnyOrder", "CheapestOrder"] | None,
        Field(
            default=None,
            description="share that DPF sorts by: CheapestOrder (what the job takes of a block at the order where it "
            "takes "
            "least; used when left out) or AnyOrder (the largest over all orders, as published).",
        ),
    ]
    timeout: Annotated[
        Duration | None,
        Field(default=None, description="timeout after which a job that waits is refused; left out, it waits on."),
    ]

    preferences: Annotated[
        tuple[Preference, ...],
        Field(default=(), max_length=64, description="preferences among namespaces; none: all are equal."),
        keyed_by("namespace"),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.policy != 'FCFS' || !has(self.unlocking)",
            "FCFS unlocks everything at once; leave unlocking out, or choose DPF or DPack",
            lambda self: self.policy != "FCFS" or self.unlocking is None,
            ".unlocking",
        ),
        Rule(
            "self.policy == 'DPF' || !has(self.share)",
            "share is what DPF sorts by; leave it out, or choose DPF",
            lambda self: self.policy == "DPF" or self.share is None,
            ".share",
        ),
    )


class Quota(ApiModel):
    """What jobs of one namespace may take of each block. A cap, not a reservation: shares may add up to more than 1."""

    namespace: Annotated[DnsLabel, Field(description="namespace of the jobs; exact.")]
    share: Annotated[
        Number,
        Field(gt=0, le=1, description="share of each block that jobs of the namespace may take, above 0, at most 1."),
    ]


class Approval(ApiModel):
    """The promise that a second person agrees to, written out so that nothing else is approved by it."""

    epsilon: Annotated[Epsilon, Field(description="epsilon that is approved; the same as spec.epsilon.")]
    delta: Annotated[Delta, Field(description="delta that is approved; the same as spec.delta.")]
    notice_version: Annotated[
        Version | None,
        Field(default=None, description="noticeVersion that is approved; the same as spec.noticeVersion."),
    ]


# The three of them are the promise. Each field is compared where it may be absent.
_SAME_PROMISE = (
    "self.epsilon == oldSelf.epsilon && self.delta == oldSelf.delta && has(self.noticeVersion) == "
    "has(oldSelf.noticeVersion)"
    " && (!has(self.noticeVersion) || self.noticeVersion == oldSelf.noticeVersion)"
)
_SAME_APPROVAL = (
    "has(self.approval) == has(oldSelf.approval) && (!has(self.approval) || self.approval == oldSelf.approval)"
)


class PrivacyBudgetSpec(ApiModel):
    """What is promised to whom, and how it may be spent."""

    subject_domain: Annotated[
        SubjectDomain,
        Field(
            description="subjectDomain names the people whom the promise is made to, such as clinic-patients. The "
            "ledger "
            "is keyed on it, so a budget that is deleted and made anew finds what was spent. Immutable."
        ),
        IMMUTABLE,
    ]
    identities: Annotated[
        tuple[Identity, ...],
        Field(
            min_length=1,
            max_length=64,
            description="identities of every dataset about these people (spec.identity of the Dataset). Some can be "
            "added and none removed.",
        ),
        UNIQUE,
        Rule(
            "oldSelf.all(identity, identity in self)",
            "an identity is never removed, or what was spent on it would be forgotten; add to the list only",
        ),
    ]
    epsilon: Annotated[
        Epsilon,
        Field(
            description="epsilon that each block keeps at most. A larger one is a new promise: it needs a new "
            "noticeVersion and the approval of a second person, and the old one holds until then."
        ),
    ]
    delta: Annotated[
        Delta,
        Field(
            description="delta that each block keeps at most, for N people at most 1/(100 N). A larger one needs "
            "what a "
            "larger epsilon needs."
        ),
    ]
    notice_version: Annotated[
        Version | None,
        Field(default=None, description="noticeVersion of the notice in which people read this promise."),
    ]
    approval: Annotated[
        Approval | None,
        Field(
            default=None,
            description="approval of a promise that was made larger, by a person with the verb approve on "
            "privacybudgets.mlprivacy.dev who is not the one who asked. Leave it out of what a GitOps tool applies.",
        ),
    ]
    unit: Annotated[
        PrivacyUnit,
        Field(description="unit that is protected: User (all data of a person) or Event (one record). Immutable."),
        IMMUTABLE,
    ]
    neighbours: Annotated[
        Neighbours,
        Field(
            default="AddOrRemoveOne",
            description="neighbours: AddOrRemoveOne, the only relation that is accounted. Curves of others do not "
            "add up.",
        ),
        IMMUTABLE,
    ]
    orders: Annotated[
        tuple[Annotated[Number, Field(gt=1, le=1_000_000)], ...] | None,
        Field(
            default=None,
            min_length=1,
            max_length=64,
            description="orders are the Rényi orders at which the ledger counts, ascending; the operator's 28 when "
            "left "
            "out, as they are when the budget is first seen. Immutable.",
        ),
        # No set: of a set with whole and other numbers, unchanged, the API server (1.36) finds that it has changed.
        ATOMIC,
        Rule(
            "self.isSorted() && self.all(order, self.exists_one(other, other == order))",
            "orders ascend, and each is there once",
            lambda orders: orders is None or list(orders) == sorted(set(orders)),
        ),
    ]
    blocks: Annotated[Blocks, Field(description="blocks say how the data is cut. Immutable."), IMMUTABLE]
    minimum_assurance: Annotated[
        Assurance,
        Field(
            default=Assurance.DECLARED,
            description="minimumAssurance with which a job may spend: Declared, Instrumented, Gated, ByConstruction or "
            "Attested. Up to Gated a job's loss is recorded, from ByConstruction on it is enforced.",
        ),
    ]
    reviewed_images: Annotated[
        tuple[ImageDigest, ...],
        Field(
            default=(),
            max_length=64,
            description="reviewedImages are the digests (sha256:...) of trainer images that somebody reviewed. When "
            "there "
            "are any, only jobs with one of them may spend.",
        ),
        UNIQUE,
    ]
    scheduling: Annotated[
        Scheduling,
        Field(default_factory=Scheduling, description="scheduling says which waiting job gets budget next."),
    ]
    quotas: Annotated[
        tuple[Quota, ...],
        Field(
            default=(),
            max_length=64,
            description="quotas cap what jobs of a namespace may take of each block. When there are any, jobs of a "
            "namespace without one get nothing.",
        ),
        keyed_by("namespace"),
    ]

    retired: Annotated[
        tuple[BlockSpan, ...],
        Field(
            default=(),
            max_length=256,
            description="retired are blocks, as status calls them (2026-W10, bucket 7), or ranges of them "
            "(2025-W01..2025-W26, both included), that take no job any more. Those that are not open yet are retired "
            "when they open. Some can be added and none removed.",
        ),
        UNIQUE,
        Rule(
            "oldSelf.all(block, block in self)",
            "a block that is retired stays so; add to the list only",
        ),
    ]

    object_rules: ClassVar = (
        Rule(
            "self.unit != 'User' || self.blocks.by in ['Subject', 'SubjectCohort']",
            "for the unit User all data of a person must lie in one block: set blocks.by to Subject or "
            "SubjectCohort. Days "
            "are for the unit Event; for User they are a row filter of the job",
            lambda self: self.unit != "User" or self.blocks.by in ("Subject", "SubjectCohort"),
            ".blocks.by",
        ),
        Rule(
            "has(self.orders) == has(oldSelf.orders) && (!has(self.orders) || self.orders == oldSelf.orders)",
            "orders cannot be changed after creation: curves at other orders do not add up",
            None,
            ".orders",
        ),
        Rule(
            "(self.epsilon <= oldSelf.epsilon && self.delta <= oldSelf.delta) || (has(self.noticeVersion) && "
            "(!has(oldSelf.noticeVersion) || self.noticeVersion != oldSelf.noticeVersion))",
            "a larger epsilon or delta is a new promise; give the version of the notice in which people read it",
            None,
            ".noticeVersion",
        ),
        Rule(
            f"({_SAME_APPROVAL}) || ({_SAME_PROMISE})",
            "approving changes nothing else, so that what was asked for is what is approved",
            None,
            ".approval",
        ),
        Rule(
            f"({_SAME_APPROVAL}) || !has(self.approval) || (self.approval.epsilon == self.epsilon && "
            "self.approval.delta == self.delta && has(self.approval.noticeVersion) == has(self.noticeVersion) && "
            "(!has(self.approval.noticeVersion) || self.approval.noticeVersion == self.noticeVersion))",
            "what is approved must be what is asked for: epsilon, delta and noticeVersion of the spec",
            None,
            ".approval",
        ),
    )


KIND = KindInfo(
    kind="PrivacyBudget",
    plural="privacybudgets",
    short_names=("mlpb",),
    namespaced=False,
    spec=PrivacyBudgetSpec,
    status=PrivacyBudgetStatus,
    description="PrivacyBudget is the most that the people of one subject domain are promised to lose, and what is "
    "left.",
    printer_columns=(
        PrinterColumn("Domain", ".spec.subjectDomain"),
        PrinterColumn("Epsilon", ".status.promise.epsilon", "number", "the promise in force"),
        PrinterColumn("Used%", ".status.usedPercent", "number", "of the fullest block that is not retired"),
        PrinterColumn("Weakest", ".status.weakestAssurance"),
        PrinterColumn("Guarantee", ".status.conditions[?(@.type=='GuaranteeHolds')].status"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.subjectDomain", ".spec.unit"),
)
