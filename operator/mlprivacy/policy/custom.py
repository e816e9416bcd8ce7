"""Custom rules of policies: what is asked of the evaluator of expressions, and what its answers mean. Pure.

The expressions are CEL and run elsewhere (mlprivacy.cel), in a process that can be killed. The core only says which
expressions apply to a job and over which document, and takes the answers as facts: True is fine, False is a breach,
and anything else is no answer, which holds the job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from mlprivacy.api.base import Parsed
from mlprivacy.api.privacy_policy import CustomRule, PrivacyPolicySpec
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.durations import later
from mlprivacy.policy.model import Action, Finding
from mlprivacy.policy.modes import Regime

if TYPE_CHECKING:
    from mlprivacy.policy.case import Case

PREFIX: Final = "custom/"  # of the rule's id in a finding: a custom rule never passes for a built-in one
VARIABLES: Final = ("job", "datasets", "classes", "namespaceObject", "now")
LOOK_AGAIN: Final = timedelta(minutes=1)  # where the answer can change by time alone, or none was given
_NOW: Final = re.compile(r"\bnow\b")
_NAMES: Final = ("name", "generateName", "namespace", "labels", "annotations")
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class Key(NamedTuple):
    """A custom rule: the policy's name and the rule's id in it."""

    policy: str
    rule: str


class Expression(NamedTuple):
    """An expression to evaluate, and whose it is."""

    key: Key
    text: str


@dataclass(frozen=True)
class NoAnswer:
    """Why there is no answer. ``invalid`` is an expression that can not be compiled: the policy must be mended."""

    why: str
    kind: Literal["invalid", "failed"] = "failed"


Outcome = bool | NoAnswer


class CustomRules(Protocol):
    """Evaluates expressions over a document. Never raises on their content; what it can not answer is a NoAnswer."""

    def evaluate(self, rules: Sequence[Expression], document: Mapping[str, Any]) -> Mapping[Key, Outcome]:
        """The outcome of each expression, in bounded time."""

    def errors(self, texts: Sequence[str]) -> Mapping[str, str]:
        """Of these expressions those that can not be compiled, with why and where; in bounded time."""


@dataclass(frozen=True)
class Asked:
    """What has to be evaluated before a job can be decided on."""

    rules: tuple[Expression, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """A custom rule that applies to a job, and the policy that has it."""

    policy: Parsed[PrivacyPolicySpec]
    rule: CustomRule

    @property
    def key(self) -> Key:
        """Under which its outcome is among the facts."""
        return Key(self.policy.name, self.rule.id)


def finding_id(rule: str) -> str:
    """The rule of a finding of the custom rule ``rule``."""
    return f"{PREFIX}{rule}"


def applying(policies: Iterable[Parsed[PrivacyPolicySpec]]) -> tuple[Standing, ...]:
    """The custom rules of these policies."""
    return tuple(Standing(p, rule) for p in policies if p.spec is not None for rule in p.spec.custom)


def document(case: Case, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What an expression sees, as JSON. Defaults are filled in, so that it is the same from a file and a cluster.

    ``job`` has apiVersion, kind, metadata (name, namespace, labels, annotations) and spec, without suspend: stopping a
    job must not change what is decided. ``datasets`` and ``classes`` hold what resolved. ``namespaceObject`` is called
    as in ValidatingAdmissionPolicies; ``namespace`` is a reserved word of CEL.
    """
    metadata = raw.get("metadata")
    meta = metadata if isinstance(metadata, Mapping) else {}
    kept: dict[str, Any] = {"labels": {}, "annotations": {}} | {k: meta[k] for k in _NAMES if meta.get(k) is not None}
    kept["namespace"] = case.namespace
    if isinstance(kept["annotations"], Mapping):
        kept["annotations"] = {k: v for k, v in kept["annotations"].items() if k != LAST_APPLIED}
    spec = _dump(case.spec)
    spec.pop("suspend", None)
    return {
        "job": {"apiVersion": raw.get("apiVersion"), "kind": case.kind, "metadata": kept, "spec": spec},
        "datasets": [
            {"name": d.asked.name, "namespace": d.namespace, "asked": _dump(d.asked), "spec": _dump(d.spec)}
            for d in case.datasets
        ],
        "classes": [{"name": n, "spec": _dump(spec)} for n, spec in {c.name: c.spec for c in case.classes}.items()],
        "namespaceObject": {
            "metadata": {"name": case.namespace, "labels": dict(case.facts.namespaces.get(case.namespace) or {})}
        },
        "now": case.facts.now.isoformat(),
    }


def _dump(model: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def reads_the_clock(expression: str) -> bool:
    """True when the expression may use ``now``; a word in a string counts too, which costs one look more."""
    return _NOW.search(expression) is not None


def findings(case: Case, custom: Sequence[Standing], regime: Regime) -> Iterator[Finding]:
    """What the outcomes among the facts mean for this job."""
    for item in custom:
        outcome = case.facts.custom.get(item.key, NoAnswer("it has not been evaluated yet"))
        if reads_the_clock(item.rule.expression) or not isinstance(outcome, bool):
            case.expires(later(case.facts.now, LOOK_AGAIN))
        if outcome is not True:
            yield _finding(item, outcome, regime)


def _finding(item: Standing, outcome: Outcome, regime: Regime) -> Finding:
    enforced = Action(item.rule.action)
    action = regime.action_of(item.policy, enforced)
    reason, message, remedy = Reason.BREACH, item.rule.message, item.rule.remedy
    if isinstance(outcome, NoAnswer):
        reason, remedy = Reason.FACT_MISSING, "ask the privacy office to look at the rule; it is tried again by itself"
        message = f"the custom rule {item.rule.id} of the policy {item.policy.name} gave no answer: {outcome.why}"
        if outcome.kind == "invalid":
            action = enforced = Action.HOLD
            reason, remedy = Reason.INVALID_POLICY, "ask the privacy office to mend the policy"
        else:
            action, enforced = (Action.HOLD if a is Action.DENY else a for a in (action, enforced))
    return Finding(
        rule=finding_id(item.rule.id),
        action=action,
        under_enforce=enforced,
        reason=reason,
        path="spec",
        message=message,
        remedy=remedy or "change the job so that it meets the rule, or ask the privacy office",
        policy=item.policy.name,
    )
