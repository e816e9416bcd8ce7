"""A PrivacyBudget as the commands need it, read from an object of the cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from mlprivacy.budget.ledger.blocks import Cut

_PERCENT = 100.0


@dataclass(frozen=True)
class Numbers:
    """A promise in numbers: as it is in force, or as spec asks for it. ``revision`` 0 is one that is only asked for."""

    epsilon: float
    delta: float
    notice: str | None = None
    revision: int = 0

    def larger_than(self, other: Numbers) -> bool:
        """Whether it promises less protection than the other in either number, so that it takes two people."""
        return self.epsilon > other.epsilon or self.delta > other.delta

    def __str__(self) -> str:
        notice = f", notice {self.notice}" if self.notice else ""
        return f"epsilon {self.epsilon:g}, delta {self.delta:g}{notice}"


@dataclass(frozen=True)
class BlockUse:
    """What is used of one block, in percent."""

    name: str
    used: float
    reserved: float
    epsilon: float | None = None
    weakest: str | None = None
    tainted: bool = False
    retired: bool = False

    @property
    def full(self) -> bool:
        """Whether no order has room left."""
        return self.used >= _PERCENT


@dataclass(frozen=True)
class Condition:
    """One condition of an object."""

    type: str
    status: str
    reason: str
    message: str
    since: str


@dataclass(frozen=True)
class Budget:
    """One PrivacyBudget. ``asked`` is what spec says, ``promise`` what the ledger holds blocks to, if anything yet."""

    name: str
    uid: str
    domain: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    annotations: Mapping[str, str]
    asked: Numbers
    promise: Numbers | None
    fullest: tuple[BlockUse, ...]
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    made: datetime | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """The budget of an object as the API server gives it."""
        metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
        promise = status.get("promise")
        return cls(
            name=str(metadata["name"]),
            uid=str(metadata.get("uid", "")),
            domain=str(spec.get("subjectDomain", "")),
            spec=spec,
            status=status,
            annotations=metadata.get("annotations") or {},
            asked=_numbers(spec),
            promise=_numbers(promise) if promise else None,
            fullest=tuple(_use(one) for one in status.get("fullest") or ()),
            conditions=conditions_of(status),
            made=_moment(metadata.get("creationTimestamp")),
        )

    @property
    def cut(self) -> Cut:
        """The partition."""
        blocks = self.spec.get("blocks") or {}
        by = str(blocks.get("by", "Subject"))
        return Cut(by, blocks.get("period"), (blocks.get("buckets") or 1) if by == "Subject" else None)

    @property
    def retired(self) -> tuple[str, ...]:
        """The blocks that spec retires."""
        return tuple(self.spec.get("retired") or ())

    @property
    def quotas(self) -> dict[str, float]:
        """The share of each block that jobs of a namespace may take; none: every namespace may take all."""
        return {str(one["namespace"]): float(one["share"]) for one in self.spec.get("quotas") or ()}

    @property
    def waits_for_approval(self) -> bool:
        """Whether spec asks for more than is promised."""
        return self.promise is not None and self.asked.larger_than(self.promise)

    @property
    def approved(self) -> bool:
        """Whether the approval in spec is of what spec asks for."""
        given = self.spec.get("approval") or {}
        return bool(given) and _numbers(given) == self.asked

    @property
    def guarantee(self) -> bool | None:
        """Whether the promise was kept for every block; None where the controller does not say."""
        found = self.conditions.get("GuaranteeHolds")
        return None if found is None or found.status == "Unknown" else found.status == "True"

    @property
    def open_blocks(self) -> tuple[BlockUse, ...]:
        """Of the fullest blocks those that still take jobs, fullest first."""
        return tuple(use for use in self.fullest if not use.retired)

    @property
    def head(self) -> int:
        """The sequence of the ledger's entry from which the status was computed; 0 for none."""
        text = str(self.status.get("head") or "").rpartition("-")[2]
        return int(text) if text.isdecimal() else 0

    @property
    def worst_epsilon(self) -> float | None:
        """What the person with the fullest block has lost; None when nothing bounds it, or nothing is said."""
        found = (self.status.get("worstCasePerPerson") or {}).get("epsilon")
        return None if found is None else float(found)

    def count(self, which: str) -> int | None:
        """How many blocks are open, exhausted, retired or tainted; None while it is not said."""
        found = (self.status.get("blocks") or {}).get(which)
        return None if found is None else int(found)


def conditions_of(status: Mapping[str, Any]) -> dict[str, Condition]:
    """The conditions of a status, by type."""
    return {
        str(one["type"]): Condition(
            str(one["type"]),
            str(one.get("status", "")),
            str(one.get("reason", "")),
            str(one.get("message", "")),
            str(one.get("lastTransitionTime", "")),
        )
        for one in status.get("conditions") or ()
        if isinstance(one, Mapping) and one.get("type")
    }


def named(budgets: Iterable[Budget], name: str) -> list[Budget]:
    """The budget of this name; else those of this subject domain."""
    known = list(budgets)
    return [one for one in known if one.name == name] or [one for one in known if one.domain == name]


def _numbers(raw: Mapping[str, Any]) -> Numbers:
    notice = raw.get("noticeVersion")
    return Numbers(
        float(raw.get("epsilon") or 0),
        float(raw.get("delta") or 0),
        None if notice is None else str(notice),
        int(raw.get("revision") or 0),
    )


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _use(raw: Mapping[str, Any]) -> BlockUse:
    epsilon = raw.get("epsilon")
    return BlockUse(
        name=str(raw.get("block", "")),
        used=float(raw.get("usedPercent") or 0),
        reserved=float(raw.get("reservedPercent") or 0),
        epsilon=None if epsilon is None else float(epsilon),
        weakest=raw.get("weakestAssurance"),
        tainted=bool(raw.get("tainted")),
        retired=bool(raw.get("retired")),
    )


Standing = Literal["WAITS", "REFUSED", "OUTSIDE", "RESERVED", "SPENT", "GIVEN BACK", "NOT HELD"]


@dataclass(frozen=True)
class Use:
    """What one job takes of one budget, as its status says. ``standing`` is that for people, who read no ``state``."""

    domain: str
    budget: str
    state: str
    standing: Standing
    attempt: int
    blocks: int
    share: float | None = None  # of a whole block, at its cheapest order
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    sampling_rate: float | None = None
    steps: int | None = None
    entry: str | None = None


@dataclass(frozen=True)
class JobUse:
    """A job, and what it takes of budgets."""

    kind: str
    namespace: str
    name: str
    uid: str
    spec: Mapping[str, Any]
    uses: tuple[Use, ...]
    conditions: Mapping[str, Condition]
    ended: bool = False

    @classmethod
    def of(cls, raw: Mapping[str, Any], kind: str = "TrainingJob") -> Self:
        """The job of an object as the API server gives it."""
        metadata, status = raw["metadata"], raw.get("status") or {}
        return cls(
            kind=str(raw.get("kind") or kind),
            namespace=str(metadata.get("namespace", "")),
            name=str(metadata["name"]),
            uid=str(metadata.get("uid", "")),
            spec=raw.get("spec") or {},
            uses=uses_of(status),
            conditions=conditions_of(status),
            ended=bool(status.get("finishedAt")),
        )

    @property
    def ref(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def waits(self) -> Condition | None:
        """The condition BudgetReserved of a job that waits, or will never be granted; None for any other.

        It is not True of a job that ended, that may not run or was stopped, or that runs outside accounting either.
        """
        found, accepted, stopped = (self.conditions.get(kind) for kind in ("BudgetReserved", "Accepted", "Suspended"))
        if found is None or found.status == "True" or self.ended or found.reason == "OutsideAccounting":
            return None
        if (accepted is not None and accepted.status != "True") or (stopped is not None and stopped.status == "True"):
            return None
        idle = self.uses and all(use.standing not in ("WAITS", "REFUSED") for use in self.uses)
        return None if idle else found

    def of_budget(self, budget: Budget) -> Use | None:
        """What it takes of this budget."""
        return next((use for use in self.uses if use.domain == budget.domain), None)


def uses_of(status: Mapping[str, Any]) -> tuple[Use, ...]:
    """``status.budgets`` of a job."""
    found: Sequence[Mapping[str, Any]] = status.get("budgets") or ()
    conditions, ended = conditions_of(status), bool(status.get("finishedAt"))
    return tuple(
        Use(
            domain=str(one.get("subjectDomain", "")),
            budget=str(one.get("budget", "")),
            state=str(one.get("state", "")),
            standing=_standing(one, conditions, ended=ended),
            attempt=int(one.get("attempt") or 0),
            blocks=int(one.get("blocks") or 0),
            share=None if one.get("sharePercent") is None else float(one["sharePercent"]) / _PERCENT,
            epsilon=one.get("epsilon"),
            delta=one.get("delta"),
            noise_multiplier=one.get("noiseMultiplier"),
            sampling_rate=one.get("samplingRate"),
            steps=one.get("steps"),
            entry=one.get("entry"),
        )
        for one in found
    )


def _standing(line: Mapping[str, Any], conditions: Mapping[str, Condition], *, ended: bool) -> Standing:
    """How a job stands with one budget. A line without an entry of the ledger never held anything."""
    match line.get("state"):
        case "Outside":
            return "OUTSIDE"
        case "Reserved":
            return "RESERVED"
        case "Committed":
            return "SPENT"
        case "Released":
            return "GIVEN BACK" if line.get("entry") else "NOT HELD"
    if ended:
        return "NOT HELD"
    reserved, stalled = conditions.get("BudgetReserved"), conditions.get("Stalled")
    if reserved is None or stalled is None or reserved.status == "True" or stalled.status != "True":
        return "WAITS"
    return "REFUSED" if stalled.reason == reserved.reason else "WAITS"
