"""The words of a decision: verdict, finding, obligation, decision. Plain frozen data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from mlprivacy.api.base import Assurance, Mode
from mlprivacy.api.reasons import Reason
from mlprivacy.api.text import printable
from mlprivacy.policy.charge import Charge

PATH_MAX = 256  # characters, as the schema of status.decision.findings has them
TEXT_MAX = 1024


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Verdict(StrEnum):
    """What the decision says. A known breach is Deny; a missing fact is Hold."""

    ALLOW = "Allow"
    HOLD = "Hold"
    DENY = "Deny"


class Action(StrEnum):
    """What a finding does, weakest first."""

    EVIDENCE = "Evidence"
    WARN = "Warn"
    HOLD = "Hold"
    DENY = "Deny"

    @property
    def rank(self) -> int:
        """Position in the order, 0 for the weakest."""
        return _RANK[self]


_RANK = {action: position for position, action in enumerate(Action)}
WOULD = {
    Action.DENY: "Under Enforce the job would be refused.",
    Action.HOLD: "Under Enforce the job would be held.",
    Action.WARN: "Under Enforce it would be a warning.",
}


@dataclass(frozen=True)
class Finding:
    """One thing a rule found, with everything a person needs to mend it.

    ``private`` is True when the message quotes an object of another namespace: then it is shown only to callers who
    are known to be allowed to see it (the API server's authenticated review, the job's own status).
    """

    rule: str
    action: Action
    reason: Reason
    path: str
    message: str
    remedy: str
    citations: tuple[str, ...] = ()
    pack: str | None = None  # of the packs that ask for the rule, the one that asks for the strictest action
    policy: str | None = None
    private: bool = False
    packs: tuple[str, ...] = ()  # all packs that ask for the rule, the strictest first
    exception: str | None = None  # the PolicyException that turned a refusal into this
    under_enforce: Action | None = None  # what it would do if every label and policy were at Enforce; None: the same
    # An exception from the rule can be asked for, and none is in force.
    excusable: bool = field(default=False, compare=False)

    @property
    def enforced(self) -> Action:
        """What it would do if every label and policy were at Enforce."""
        return self.under_enforce or self.action

    @property
    def softened(self) -> bool:
        """True when only a mode keeps it from doing more than it does."""
        return self.enforced.rank > self.action.rank

    @property
    def would(self) -> str:
        """What it would do under Enforce, as a sentence; empty where it does that already."""
        return WOULD[self.enforced] if self.softened else ""

    def __post_init__(self) -> None:
        """Clean the texts, which may quote what people wrote: they are shown in statuses, Events and on terminals."""
        for name in ("path", "message", "remedy"):
            text: str = getattr(self, name)
            if not text.isprintable():
                object.__setattr__(self, name, printable(text))

    def sentence(self) -> str:
        """One line for a terminal or a refusal."""
        law = f" [{', '.join(self.citations)}]" if self.citations else ""
        accepted = f" Accepted for a while by the PolicyException {self.exception}." if self.exception else ""
        end = "" if self.message.endswith("?") and not law else "."
        found = f"{self.rule}: {self.path}: {self.message.rstrip('.')}{law}{end}{accepted}"
        would = f" {self.would}" if self.softened else ""
        return f"{found}{would} To fix it: {self.remedy.rstrip('.')}."

    def as_dict(self) -> dict[str, Any]:
        """For status, JSON and audit; texts are cut to what a status can hold."""
        out: dict[str, Any] = {
            "rule": self.rule,
            "action": self.action.value,
            **({"enforced": self.enforced.value} if self.softened else {}),
            "reason": self.reason.value,
            "path": _cut(self.path, PATH_MAX),
            "message": _cut(self.message, TEXT_MAX),
            "remedy": _cut(self.remedy, TEXT_MAX),
        }
        if self.citations:
            out["citations"] = list(self.citations)
        if self.pack:
            out["pack"] = self.pack
        if len(self.packs) > 1:
            out["packs"] = list(self.packs)
        if self.exception:
            out["exception"] = self.exception
        return out


def shown(finding: Finding) -> tuple[str, str]:
    """Path and message as people see them in a status, in JSON and in an audit record."""
    return _cut(finding.path, PATH_MAX), _cut(finding.message, TEXT_MAX)


class Demand(StrEnum):
    """Kinds of obligations that a rule puts on the rendering."""

    EGRESS = "egress"  # value: Sealed | Allowlist
    SCRATCH = "scratch"  # value: Memory
    TTL = "ttlSeconds"  # value: seconds at most
    REGIONS = "regions"  # value: comma-separated exact names
    RDMA = "rdma"  # value: comma-separated names of the RDMA resources to take away, with every further network


@dataclass(frozen=True)
class Obligation:
    """One thing that must be true of what is rendered."""

    demand: Demand
    value: str | int


@dataclass(frozen=True)
class Obligations:
    """All obligations of a decision, folded: the strictest of each demand."""

    egress: Literal["Sealed", "Allowlist"] = "Sealed"
    egress_allow: tuple[str, ...] = ()
    scratch_in_memory: bool = False
    ttl_seconds: int | None = None
    regions: tuple[str, ...] | None = None
    rdma_removed: tuple[str, ...] | None = None  # None: the job keeps what it asks for

    def as_dict(self) -> dict[str, Any]:
        """For the digest, JSON and audit."""
        out: dict[str, Any] = {
            "egress": self.egress,
            "egressAllow": list(self.egress_allow),
            "scratchInMemory": self.scratch_in_memory,
            "ttlSeconds": self.ttl_seconds,
            "regions": None if self.regions is None else list(self.regions),
        }
        if self.rdma_removed is not None:  # only then, so that the digest of every other job is what it was
            out["rdmaRemoved"] = list(self.rdma_removed)
        return out


class Dependency(NamedTuple):
    """One object the decision rests on; ``name`` is ``*`` for all of a kind in a namespace.

    Of DatasetGrants it is what they would grant, as ``Dataset/visits``: any grant of it decides, there or not. Of
    TrainingAttestations it is the key of a person.

    A tuple, because each decision makes and hashes a score of them.
    """

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Decision:
    """What was decided, why, and what it rests on."""

    verdict: Verdict
    mode: Mode | None
    findings: tuple[Finding, ...]
    obligations: Obligations
    achieved: Assurance
    required: Assurance
    subject: tuple[str, str, str, str]  # kind, namespace, name, uid
    spec_digest: str
    dependencies: frozenset[Dependency] = field(default=frozenset(), compare=False)
    valid_until: datetime | None = field(default=None, compare=False)
    charges: tuple[Charge, ...] = field(default=(), compare=False)  # of privacy budgets; fixed at reservation

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Findings that keep the job from running: Deny first, then Hold."""
        return tuple(f for f in self.findings if f.action in (Action.DENY, Action.HOLD))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that a person sees and that do not stop the job."""
        return tuple(f for f in self.findings if f.action is Action.WARN)

    @property
    def exceptions(self) -> tuple[str, ...]:
        """Names of the PolicyExceptions without which it would be a refusal."""
        return tuple(sorted({f.exception for f in self.findings if f.exception}))

    def as_dict(self) -> dict[str, Any]:
        """The canonical decision, without time, so that the same facts give the same digest."""
        determining = self._determining()
        return {
            "subject": determining["subject"],
            "spec": determining["spec"],
            "verdict": determining["verdict"],
            "mode": self.mode,
            "findings": [f.as_dict() for f in self.findings],
            "obligations": determining["obligations"],
            "assurance": {"achieved": self.achieved.value, "required": self.required.value},
        }

    def _determining(self) -> dict[str, Any]:
        kind, namespace, name, uid = self.subject
        return {
            "subject": {"kind": kind, "namespace": namespace, "name": name, "uid": uid},
            "spec": self.spec_digest,
            "verdict": self.verdict.value,
            "obligations": self.obligations.as_dict(),
        }

    @property
    def digest(self) -> str:
        """``sha256:`` over what determines the rendered objects: subject, spec, verdict, obligations.

        Findings and modes are left out, so that a new warning or another wording does not restart what runs.
        """
        return canonical_digest(self._determining())

    @property
    def record_digest(self) -> str:
        """``sha256:`` over the whole canonical decision, findings included: what the audit log holds."""
        return canonical_digest(self.as_dict())


def canonical_digest(value: Any) -> str:
    """``sha256:`` over sorted, compact JSON. NaN and infinity are refused.

    Raises:
        ValueError: for a number JSON has no form for.
    """
    text = _CANONICAL.encode(value)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
