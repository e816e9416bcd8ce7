"""/validate/kinds: jobs are decided on; our other kinds must be readable, and what they name is looked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, Literal, Protocol, TypeVar

from mlprivacy.admission import wording
from mlprivacy.admission.budgets import data_errors, warnings_of
from mlprivacy.admission.review import Answer, Review
from mlprivacy.api.base import FieldError, Parsed, parse_spec
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.dataset_grant import DatasetGrantSpec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import GROUP
from mlprivacy.api.policy_exception import PolicyExceptionSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.api.reasons import NEEDS_PEOPLE
from mlprivacy.budget.ledger.admissible import Held
from mlprivacy.kube.settling import exception_of
from mlprivacy.policy.custom_trial import sentence
from mlprivacy.policy.engine import evaluate_parsed, parse_job
from mlprivacy.policy.exceptions import Terms, approval_warnings, exception_errors, exception_warnings
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.model import Action, Decision, Dependency, Finding, Verdict
from mlprivacy.policy.modes import selects
from mlprivacy.policy.packs import Shelf
from mlprivacy.policy.policy_check import policy_errors, policy_warnings
from mlprivacy.policy.size import TOO_LARGE, too_large
from mlprivacy.policy.standing import standing
from mlprivacy.policy.vocabulary import vocabulary_warnings

_T = TypeVar("_T")

JOB_KINDS: Final = frozenset({"TrainingJob", "InferenceJob"})
TRIAL_SECONDS: Final = 2.0  # for custom rules on sample jobs; the API server waits for five in all
Key = tuple[str, str, str]
"""(kind, namespace, name); the namespace is empty for cluster-scoped kinds."""
REVIEW_SECONDS: Final = 4.0  # for everything that one review waits for; webhooks time out after five


class FactSource(Protocol):
    """Where facts come from."""

    async def gather(self, raw: Mapping[str, Any], now: datetime, *, deadline: float | None = None) -> Facts:
        """The facts that the decision on this raw job rests on; nothing is waited for after `deadline` (loop time)."""

    async def settle(self, rests_on: Collection[Dependency]) -> bool:
        """Wait, shortly, while these are changing; True when they changed lately: then it pays to look again."""

    def packs(self) -> Shelf:
        """The packs there are."""

    async def expression_errors(self, texts: Sequence[str]) -> Mapping[str, str]:
        """Of these expressions of custom rules those that can not be compiled, with why and where."""

    async def expression_trial(self, texts: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Of these expressions those that give no answer on a sample job that has every field, by its kind."""

    def governed(self) -> Mapping[str, Mapping[str, str]]:
        """The governed namespaces with their labels."""

    def held(self) -> Held:
        """What a new PrivacyBudget or Dataset has to go together with."""

    async def known(self, keys: Collection[Key], *, asker: str = "") -> Collection[Key]:
        """Those of the objects that exist; `asker` is the namespace whose reads it takes to know."""


async def judge_kind(
    review: Review, facts: FactSource, now: datetime, *, trusted: bool, fresh: Callable[[], str | None]
) -> Answer:
    """The answer on one of our kinds.

    An UPDATE that leaves the spec alone is allowed at once: nothing is decided anew, and an object that is being
    deleted can always lose its finalizers. ``fresh`` gives None while facts are complete and fresh, else a sentence
    that says why nothing can be decided; then what would need a decision is refused.
    """
    if review.group != GROUP or (info := kind_named(review.kind)) is None or review.object.get("kind") != review.kind:
        return refuse("this kind is not decided on here; mend the webhook's rules", 400, "BadRequest")
    if review.namespace and review.object["metadata"].get("namespace", review.namespace) != review.namespace:
        return refuse("metadata.namespace is not the namespace of the request", 400, "BadRequest")
    if review.old is not None and review.object.get("spec") == review.old.get("spec"):
        return Answer(allowed=True, verdict="Unchanged")
    if (stale := fresh()) is not None:
        return refuse(f"{stale}; try again shortly", 503, "ServiceUnavailable", verdict="NotReady")
    if review.kind in JOB_KINDS:
        return await _job(review, facts, now, trusted=trusted)
    parsed = parse_spec(info, review.object)
    if wrong := parsed.errors or await _errors(review, parsed, facts, trusted=trusted):
        return refuse(wording.lines(wording.field_lines(wrong)), 422, "Invalid")
    found = [*_unknown_fields(parsed), *wording.field_lines(await _warnings(review, parsed, facts, now, trusted))]
    found += await _unresolved(parsed, facts)
    return Answer(allowed=True, warnings=wording.bounded(found), verdict="Allow")


async def _errors(review: Review, parsed: Parsed[Any], facts: FactSource, *, trusted: bool) -> Sequence[FieldError]:
    """What refuses an object that can be read."""
    if isinstance(parsed.spec, PrivacyPolicySpec):
        return await _policy_errors(parsed.spec, facts)
    if isinstance(parsed.spec, PolicyExceptionSpec):
        return exception_errors(parsed.spec)
    return data_errors(review, parsed, facts.held, trusted=trusted)


async def _warnings(
    review: Review, parsed: Parsed[Any], facts: FactSource, now: datetime, trusted: bool
) -> list[FieldError]:
    """What lets the object be and is worth a word."""
    spec = parsed.spec
    found: list[FieldError] = []
    if isinstance(spec, PolicyExceptionSpec):
        found += exception_warnings(parsed, now, await _terms(spec, facts, now))
        if _approves(review):
            found += approval_warnings(spec)
    elif isinstance(spec, PrivacyPolicySpec):
        found += policy_warnings(spec, facts.packs())
        found += await _policy_trial(spec, facts)
    elif isinstance(spec, PrivacyBudgetSpec):
        found += warnings_of(review, spec, facts.held(), trusted=trusted)
    return [*found, *vocabulary_warnings(spec)]


def _approves(review: Review) -> bool:
    before, after = (one.get("spec") if one is not None else None for one in (review.old, review.object))
    was = isinstance(before, Mapping) and before.get("approved") is True
    return not was and isinstance(after, Mapping) and after.get("approved") is True


async def _policy_errors(spec: PrivacyPolicySpec, facts: FactSource) -> tuple[FieldError, ...]:
    texts = [rule.expression for rule in spec.custom]
    return policy_errors(spec, await facts.expression_errors(texts) if texts else None)


async def _policy_trial(spec: PrivacyPolicySpec, facts: FactSource) -> list[FieldError]:
    """What the policy would do here: custom rules that give no answer, and whether it selects anything."""
    failing: Mapping[str, Mapping[str, str]] = {}
    found = []
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            failing = await facts.expression_trial([rule.expression for rule in spec.custom]) if spec.custom else {}
    except TimeoutError:
        late = "gave no answers on sample jobs in time; the condition CustomRulesWork of the policy will say more"
        found.append(FieldError("spec.custom", late))
    found += [
        FieldError(f"spec.custom[{index}].expression", sentence(failing[rule.expression]))
        for index, rule in enumerate(spec.custom)
        if rule.expression in failing
    ]
    if not any(selects(spec, labels) for labels in facts.governed().values()):
        found.append(FieldError("spec.namespaceSelector", "selects no governed namespace (yet), so it has no effect"))
    return found


async def _terms(spec: PolicyExceptionSpec, source: FactSource, now: datetime) -> Terms:
    """What the policies allow that hold in the workload's namespace; those of its data may allow less."""
    job = {"kind": spec.workload.kind, "metadata": {"namespace": spec.workload.namespace, "name": spec.workload.name}}
    return standing(spec.workload.namespace, (), await source.gather(job, now)).terms


def refuse(message: str, code: int = 403, reason: str = "Forbidden", *, verdict: str = "Deny") -> Answer:
    """A refusal with a sentence."""
    return Answer(allowed=False, message=message, code=code, reason=reason, verdict=verdict)


def deadline_of_review() -> float:
    """Until when one review may wait, in loop time."""
    return asyncio.get_running_loop().time() + REVIEW_SECONDS


async def in_time(deadline: float, waiting: Awaitable[_T], otherwise: _T) -> _T:
    """What is waited for, or something else once the deadline (loop time) has come."""
    try:
        async with asyncio.timeout_at(deadline):
            return await waiting
    except TimeoutError:
        return otherwise


async def _job(review: Review, source: FactSource, now: datetime, *, trusted: bool) -> Answer:
    stops = review.old is not None and _stops(review.object, review.old)
    if too_large(review.object.get("spec")) and not stops:
        return refuse(f"{review.kind} {review.name} is refused.\nschema: spec: {TOO_LARGE}", 422, "Invalid")
    deadline = deadline_of_review()
    kind, parsed = parse_job(review.object)
    decision = await _decide(kind, parsed, source, now, deadline, trusted=trusted)
    rests_on = {*decision.dependencies, exception_of(kind, review.namespace or "", review.name)}
    if bool(decision.blocking) and await in_time(deadline, source.settle(rests_on), otherwise=False):
        # One `kubectl apply` of a folder sends a job right behind its policy and its data: what stands in its way may
        # be gone, or there, by the time that these have arrived.
        decision = await _decide(kind, parsed, source, now, deadline, trusted=trusted)
    digest = decision.digest
    answer = Answer(
        allowed=True,
        annotations={
            "verdict": decision.verdict.value,
            "digest": digest,
            "mode": decision.mode or "None",
            "rules": ",".join(sorted({f.rule for f in decision.findings}))[:512],
        },
        verdict=decision.verdict.value,
        rules=tuple((f.rule, f.action.value) for f in decision.findings),
        digest=digest,
    )
    denials = [f for f in decision.findings if f.action is Action.DENY]
    if denials and review.old is not None:
        if stops:
            denials = []
        else:
            # A change is judged, not the state before it: what was refused already may stay while something is mended.
            before = await _decide(*parse_job(review.old), source, now, deadline, trusted=trusted)
            refused = {(f.rule, f.message) for f in before.findings if f.action is Action.DENY}
            denials = [f for f in denials if (f.rule, f.message) not in refused]
    if denials:
        invalid = all(f.rule == "schema" for f in denials)
        return replace(
            answer,
            allowed=False,
            message="\n".join(_refusal(review, decision, denials, trusted=trusted)),
            code=422 if invalid else 403,
            reason="Invalid" if invalid else "Forbidden",
        )
    said = [f for f in decision.findings if f.action is not Action.EVIDENCE]
    warnings = _job_warnings(review, decision, parsed, said, trusted=trusted)
    return replace(answer, warnings=warnings) if warnings else answer


async def _decide(
    kind: Literal["TrainingJob", "InferenceJob"],
    job: Parsed[Any],
    source: FactSource,
    now: datetime,
    deadline: float,
    *,
    trusted: bool,
) -> Decision:
    facts = await source.gather(job.raw, now, deadline=deadline)
    # Suggestions name objects; they are only for somebody whom the API server has authenticated.
    return evaluate_parsed(kind, job, facts if trusted else replace(facts, visible_datasets=()))


def _refusal(review: Review, decision: Decision, denials: list[Finding], *, trusted: bool) -> Iterator[str]:
    """What refuses the job, what would hold it afterwards, and whether an exception can be asked for."""
    yield f"{review.kind} {review.name} is refused."
    yield wording.refusal(denials, trusted=trusted)
    if held := wording.held_afterwards([f for f in decision.findings if f.action is Action.HOLD]):
        yield held
    if asked := list(dict.fromkeys(f.rule for f in denials if f.excusable)):
        yield f"A PolicyException can be asked for from {', '.join(asked[: wording.MAX_LINES])}."


def _stops(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """True when the change does nothing but suspend."""
    one, two = new.get("spec"), old.get("spec")
    if not isinstance(one, Mapping) or not isinstance(two, Mapping) or one.get("suspend") is not True:
        return False
    return {**one, "suspend": None} == {**two, "suspend": None}


def _job_warnings(
    review: Review, decision: Decision, parsed: Parsed[Any], findings: list[Finding], *, trusted: bool
) -> tuple[str, ...]:
    texts = [wording.finding_line(f, trusted=trusted) for f in findings]
    if decision.verdict is Verdict.HOLD:
        by_itself = "it is looked at again as soon as what it waits for changes"
        if any(f.reason in NEEDS_PEOPLE for f in decision.blocking):
            by_itself = "nothing runs until people act; below is who and how"
        texts.insert(0, f"{review.kind} {review.name} is accepted and held: {by_itself}")
    elif decision.verdict is Verdict.DENY:
        texts.insert(0, f"{review.kind} {review.name} is refused as it stands: nothing runs until this is mended")
    return wording.bounded([*texts, *_unknown_fields(parsed)], more=wording.MORE_OF_JOB)


def _unknown_fields(parsed: Parsed[Any]) -> list[str]:
    return [f"{error.path}: is not a field that this version knows; it is ignored" for error in parsed.unknown]


async def _unresolved(parsed: Parsed[Any], facts: FactSource) -> list[str]:
    """What the object names in its own namespace, or in the cluster, and is not there (yet)."""
    spec, own = parsed.spec, parsed.namespace or ""
    named: dict[Key, str] = {}
    if isinstance(spec, DatasetSpec):
        for index, column in enumerate(spec.columns):
            named.setdefault(("DataClass", "", column.data_class), f"spec.columns[{index}].dataClass")
        for index, use in enumerate(spec.uses):
            if use.consent_scope:
                named.setdefault(("ConsentScope", own, use.consent_scope), f"spec.uses[{index}].consentScope")
    elif isinstance(spec, ConsentScopeSpec):
        for index, name in enumerate(spec.data_classes):
            named.setdefault(("DataClass", "", name), f"spec.dataClasses[{index}]")
    elif isinstance(spec, DatasetGrantSpec):
        # A grant has no field for a namespace: it can grant only what lies in its own.
        for index, to in enumerate(spec.to):
            named.setdefault((to.kind, own, to.name), f"spec.to[{index}].name")
    if not named:
        return []
    there = set(await facts.known(list(named), asker=own))
    return [
        f"{path}: the {kind} {name} does not exist (yet); what rests on it holds until it does"
        for (kind, namespace, name), path in named.items()
        if (kind, namespace, name) not in there
    ]
