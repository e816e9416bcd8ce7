"""Exceptions: which of a job's PolicyExceptions are in force now, and why the others are not. Pure.

The same answer in admission, reconcile, `mlprivacy explain` and `mlprivacy check`, and in the exception's own status.
An exception turns the refusals of one rule into warnings that carry its name, and its holds for a statement that people
owe, such as an assessment: the risk of going without is what is accepted. It reaches nothing else: no fact that is not
known, no reference that is not granted, no field that nothing enforces, no rule that keeps a pod sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from mlprivacy.api.base import FieldError, Parsed
from mlprivacy.api.names import (
    ANNOTATION_APPROVED_BY,
    ANNOTATION_REQUESTED_BY,
    ANNOTATION_REVOKED_AT,
    ANNOTATION_REVOKED_BY,
    SERVICE_ACCOUNT,
)
from mlprivacy.api.policy_exception import PolicyExceptionSpec
from mlprivacy.api.privacy_policy import ExceptionTerms, PrivacyPolicySpec
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.case import Case
from mlprivacy.policy.deletion import being_deleted
from mlprivacy.policy.durations import later, parse_duration, parse_time
from mlprivacy.policy.model import Action, Dependency, Finding, shown
from mlprivacy.policy.rule import Raised
from mlprivacy.policy.rules import rules_by_id
from mlprivacy.policy.suggest import instead

# What keeps a pod sealed and its sidecar in place, which guards refuse in any case; what no law allows; what the owner
# of the data or the people themselves said; and what refuses nothing.
NEVER: Final = frozenset(
    {
        "consent-withdrawal",
        "egress",
        "incident",
        "opt-out",
        "pod-hardening",
        "prohibited-use",
        "records-of-processing",
    }
)
CONSIDERED: Final = 64  # of one job, the approved ones first: asking a thousand times is no way to stall a decision
LONGEST_DAYS: Final = 366  # the schema of PrivacyPolicy allows no more
NEVER_PREFIX: Final = "rdma-"  # traffic that no NetworkPolicy sees


def exceptable(rule: str) -> bool:
    """True for a rule that exists and that an exception can be made of, where the policies allow it."""
    return rule in rules_by_id() and rule not in NEVER and not rule.startswith(NEVER_PREFIX)


def exception_errors(spec: PolicyExceptionSpec) -> tuple[FieldError, ...]:
    """What keeps an exception from ever having an effect: it is refused when it is made."""
    why = why_not_exceptable(spec.rule)
    return () if why is None else (FieldError("spec.rule", why),)


def why_not_exceptable(rule: str) -> str | None:
    """Why no exception can be made of ``rule``, and what to write instead; None when one can."""
    if exceptable(rule):
        return None
    if rule not in rules_by_id():
        return f"{rule} is no rule; {instead(rule, filter(exceptable, rules_by_id()))}"
    others = ", ".join(sorted(NEVER - {rule}))
    prefixed = rule.startswith(NEVER_PREFIX)
    return (
        f"the rule {rule} knows no exception; neither do {others} and the {'other ' if prefixed else ''}{NEVER_PREFIX} "
        "rules"
    )


def exception_warnings(
    exception: Parsed[PolicyExceptionSpec], now: datetime, terms: Terms | None = None
) -> tuple[FieldError, ...]:
    """What keeps it from having an effect now. ``terms`` are those of the policies in force, where they are known."""
    spec = exception.spec
    if spec is None:
        return ()
    found = []
    end, made = _moment(spec.expires_at), _moment(_metadata(exception).get("creationTimestamp")) or now
    longest = timedelta(days=LONGEST_DAYS) if terms is None else terms.longest
    if end is None or end <= now:
        found.append(FieldError("spec.expiresAt", f"{spec.expires_at} is over, so the exception lets nothing pass"))
    elif end - made > longest:
        most = f"{LONGEST_DAYS}d, which is the most that any policy can allow" if terms is None else terms.longest_text
        latest = later(made.replace(microsecond=0), longest)
        found.append(
            FieldError(
                "spec.expiresAt",
                f"{spec.expires_at} is too late, so the exception lets nothing pass. Write {_text(latest)} at the "
                f"latest: the policies in force let one last {most}",
            )
        )
    if terms is not None and not terms.allow(spec.rule):
        found.append(
            FieldError(
                "spec.rule", f"a policy in force allows no exception from {spec.rule}, so this one lets nothing pass"
            )
        )
    return tuple(found)


def approval_warnings(spec: PolicyExceptionSpec) -> tuple[FieldError, ...]:
    """What whoever approves it should know."""
    if spec.covers:
        return ()
    workload = spec.workload
    what = f"whatever {spec.rule} finds in {workload.kind} {workload.namespace}/{workload.name} passes until "
    return (FieldError("spec.covers", f"names no finding: {what}{spec.expires_at}, also after a change of the job"),)


@dataclass(frozen=True)
class Terms:
    """What the policies in force allow, folded: the shortest of their durations, the rules that all of them list.

    ``rules`` is None when no policy lists any: then every rule that is exceptable.
    """

    longest: timedelta
    longest_text: str
    rules: frozenset[str] | None = None

    def allow(self, rule: str) -> bool:
        """True when no policy in force keeps ``rule`` from being excepted."""
        return self.rules is None or rule in self.rules


def terms_of(groups: Iterable[Iterable[Parsed[PrivacyPolicySpec]]]) -> Terms:
    """The terms in force.

    Args:
        groups: of each governed namespace concerned, the policies that select it; with none the defaults hold there.
    """
    given: list[ExceptionTerms] = []
    for group in groups:
        specs = [p.spec for p in group if p.spec is not None]
        given += [spec.exceptions for spec in specs] or [ExceptionTerms()]
    given = given or [ExceptionTerms()]
    shortest = min(given, key=lambda terms: parse_duration(terms.max_duration))
    lists = [frozenset(terms.allow) for terms in given if terms.allow is not None]
    return Terms(
        longest=parse_duration(shortest.max_duration),
        longest_text=shortest.max_duration,
        rules=frozenset.intersection(*lists) if lists else None,
    )


@dataclass(frozen=True)
class Judged:
    """What one exception is worth at a moment. ``until`` is when that can change by time alone.

    ``covers`` are the paths and messages of the findings it accepts; empty: whatever its rule finds.
    """

    name: str
    rule: str
    reason: Reason
    sentence: str
    until: datetime | None = None
    covers: frozenset[tuple[str, str]] = frozenset()

    @property
    def in_force(self) -> bool:
        """True when it lets its rule's breaches pass."""
        return self.reason is Reason.APPROVED

    def accepts(self, finding: Finding) -> bool:
        """True when the exception is for this finding of its rule."""
        return not self.covers or shown(finding) in self.covers


def judge(exception: Parsed[PolicyExceptionSpec], now: datetime, terms: Terms) -> Judged:
    """What ``exception`` is worth at ``now`` under ``terms``. Never raises, whatever the object holds."""
    spec = exception.spec
    if spec is None:
        text = "; ".join(f"{e.path} {e.message}" for e in exception.errors[:3])
        return Judged(exception.name, "", Reason.INVALID_SPEC, f"it can not be read: {text}")
    reason, sentence, until = _worth(exception, spec, now, terms)
    covers = frozenset((one.path, one.message) for one in spec.covers)
    return Judged(exception.name, spec.rule, reason, sentence, until, covers)


def _worth(
    exception: Parsed[PolicyExceptionSpec], spec: PolicyExceptionSpec, now: datetime, terms: Terms
) -> tuple[Reason, str, datetime | None]:
    if being_deleted(exception):
        return Reason.BEING_DELETED, "it is being deleted, and only a finalizer still keeps it", None
    if spec.rule not in rules_by_id():
        return Reason.NOT_EXCEPTABLE, f"there is no rule {spec.rule}", None
    if not exceptable(spec.rule):
        return Reason.NOT_EXCEPTABLE, f"the rule {spec.rule} knows no exception", None
    if not terms.allow(spec.rule):
        return Reason.NOT_EXCEPTABLE, f"a policy in force allows no exception from {spec.rule}", None
    made, end = _moment(_metadata(exception).get("creationTimestamp")), _moment(spec.expires_at)
    if made is None:
        return Reason.INVALID_DATES, "it is not known when it was made, so nothing bounds its end", None
    if end is None:
        return Reason.INVALID_DATES, f"its end, {spec.expires_at}, is no moment of the calendar", None
    if end <= made:
        return Reason.INVALID_DATES, f"its end, {_text(end)}, is before it was made, {_text(made)}", None
    if end - made > terms.longest:
        return (
            Reason.INVALID_DATES,
            f"its end, {_text(end)}, is more than {terms.longest_text} after it was made, {_text(made)}, which is the "
            "most that the policies in force allow",
            None,
        )
    if now >= end:
        return Reason.EXPIRED, f"it ended at {_text(end)}", None
    return _agreed(exception, spec, (now, made, end))


def _agreed(
    exception: Parsed[PolicyExceptionSpec], spec: PolicyExceptionSpec, times: tuple[datetime, datetime, datetime]
) -> tuple[Reason, str, datetime | None]:
    """Whether two different people stand behind it. ``times``: now, when it was made, its end."""
    now, made, end = times
    annotations = _metadata(exception).get("annotations")
    stamps = annotations if isinstance(annotations, Mapping) else {}
    requester, approver = stamps.get(ANNOTATION_REQUESTED_BY), stamps.get(ANNOTATION_APPROVED_BY)
    if not isinstance(requester, str) or not requester:
        return (
            Reason.NOT_STAMPED,
            "it is not stamped with who asked for it, so nobody can approve it; make it anew",
            end,
        )
    if requester.startswith(SERVICE_ACCOUNT):
        return (
            Reason.NOT_STAMPED,
            "a ServiceAccount asked for it, and an account is no person; ask for it yourself",
            end,
        )
    if not spec.approved and (revoker := stamps.get(ANNOTATION_REVOKED_BY)):
        moment = stamps.get(ANNOTATION_REVOKED_AT)
        return Reason.REVOKED, f"it was revoked by {revoker}{f' at {moment}' if moment else ''}", end
    if not spec.approved:
        return Reason.WAITING_FOR_APPROVAL, "it waits for the approval of another person with the verb approve", end
    if not isinstance(approver, str) or not approver:
        return Reason.NOT_STAMPED, "it is not stamped with who approved it; revoke it and approve it again", end
    if approver == requester:
        return Reason.NOT_STAMPED, "who asked for it approved it; revoke it and let another person approve it", end
    if approver.startswith(SERVICE_ACCOUNT):
        return Reason.NOT_STAMPED, "a ServiceAccount approved it, and an account is no person; approve it yourself", end
    if spec.approval is None or spec.approval.uid != _metadata(exception).get("uid"):
        return (
            Reason.NOT_BOUND,
            "its approval does not name this exception, so it is not known what was approved; revoke it and approve it "
            f"with `mlprivacy approve {exception.name}`",
            end,
        )
    if now < made:
        return Reason.INVALID_DATES, f"it was made at {_text(made)}, which has not come yet", made
    what = "" if spec.covers else f", for whatever {spec.rule} finds in that job"
    return Reason.APPROVED, f"it is approved until {_text(end)}{what}", end


def _metadata(exception: Parsed[Any]) -> Mapping[str, Any]:
    metadata = exception.raw.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        return parse_time(text)
    except ValueError:
        return None


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Applied:
    """Of one job: by rule the exceptions that are in force, the longest first, and why others of that rule are not."""

    by_rule: Mapping[str, tuple[Judged, ...]] = field(default_factory=dict)
    idle: Mapping[str, tuple[Judged, ...]] = field(default_factory=dict)
    terms: Terms | None = None

    def findings(self, rule: str, found: Iterable[tuple[Raised, Finding]]) -> Iterator[Finding]:
        """What ``rule`` found, with what an exception in force accepts turned into warnings.

        A reference that no grant covers is access and no policy, so a boundary stays what it is, and so does a fact
        that is not known: nobody could say what is accepted.
        """
        in_force, idle = self.by_rule.get(rule, ()), self.idle.get(rule, ())
        others = [
            (one.name, "it was approved for other findings of this rule, see its spec.covers") for one in in_force
        ]
        others += [(one.name, one.sentence) for one in idle]
        why = "".join(f". The PolicyException {name} does not apply: {sentence}" for name, sentence in others[:2])
        for raised, finding in found:
            exception = next((one for one in in_force if one.accepts(finding)), None)
            if finding.enforced.rank < Action.HOLD.rank or finding.rule != rule:
                yield finding
            elif raised.boundary or (raised.hold and raised.reason is not Reason.STATEMENT_MISSING):
                yield finding if exception is None else _more(finding, _OUT_OF_REACH.format(exception.name))
            elif finding.action.rank < Action.HOLD.rank:  # the mode lets it pass; under Enforce the exception would
                yield finding if exception is None else replace(finding, under_enforce=Action.WARN)
            elif exception is not None:
                yield replace(finding, action=Action.WARN, under_enforce=None, exception=exception.name)
            else:
                allowed = exceptable(rule) and (self.terms is None or self.terms.allow(rule))
                yield replace(_more(finding, why), excusable=allowed)


_OUT_OF_REACH: Final = (
    ". The PolicyException {} does not reach this: neither a fact that is not known nor what a grant does not cover "
    "can be excepted"
)


def _more(finding: Finding, why: str) -> Finding:
    return replace(finding, remedy=finding.remedy.rstrip(".") + why) if why else finding


def of_case(case: Case, terms: Terms) -> Applied:
    """The exceptions of the case's job. What they are worth, and until when, is something that the decision rests on.

    One exception is enough for a finding and none is added to another: of several the one that lasts longest is named.
    """
    if not case.facts.exceptions:
        return Applied(terms=terms)
    by_rule: dict[str, list[Judged]] = {}
    idle: dict[str, tuple[Judged, ...]] = {}
    mine = [e for e in case.facts.exceptions if is_for(e, case.kind, case.namespace, case.name)]
    for exception in sorted(mine, key=_approved_first)[:CONSIDERED]:
        case.touched.add(Dependency("PolicyException", "", exception.name))
        judged = judge(exception, case.facts.now, terms)
        if judged.until is not None:
            case.expires(judged.until)
        if not judged.in_force:
            idle[judged.rule] = (*idle.get(judged.rule, ()), judged)
            continue
        by_rule.setdefault(judged.rule, []).append(judged)
    return Applied({rule: tuple(sorted(found, key=_longest_first)) for rule, found in by_rule.items()}, idle, terms)


def _longest_first(judged: Judged) -> float:
    return -judged.until.timestamp() if judged.until else 0.0


def _approved_first(exception: Parsed[PolicyExceptionSpec]) -> tuple[bool, str]:
    return exception.spec is None or not exception.spec.approved, exception.name


def is_for(exception: Parsed[PolicyExceptionSpec], kind: str, namespace: str, name: str) -> bool:
    """True when it names this very job. One that can not be read is for no job."""
    spec = exception.spec
    if spec is None or not name:
        return False
    return (spec.workload.kind, spec.workload.namespace, spec.workload.name) == (kind, namespace, name)
