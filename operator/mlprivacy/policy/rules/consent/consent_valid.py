"""consent-valid: where the basis is consent, a scope covers purpose, processing and data classes, and is in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from mlprivacy.api.base import Parsed, Sensitivity
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.dataset import Use
from mlprivacy.api.reasons import Reason
from mlprivacy.policy.case import Case, ClassUse, UsedDataset
from mlprivacy.policy.durations import later, parse_duration, parse_time
from mlprivacy.policy.facts import Capability
from mlprivacy.policy.matching import covered_by_any
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, missing
from mlprivacy.policy.uses import carrying

SKEW = timedelta(minutes=5)  # how far the clock that dated a snapshot may be ahead of ours


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Every dataset has a use with another basis than consent, or one whose consent scope is in force."""
    bases = case.words("consent-valid", "consentBases")
    for dataset in case.datasets:
        uses = carrying(case, dataset)
        known = dataset.column_classes()
        classes = case.classes_of(known[c] for c in dataset.asked.columns if c in known)
        if not uses or any(not _rests_on_consent(use, bases) for use in uses):
            continue
        answers = [list(_use(case, dataset, use, classes)) for use in uses]
        if all(answers):  # none of the uses is free of problems: show one that only waits, else what lacks least
            yield from min(answers, key=lambda found: (not all(item.hold for item in found), len(found)))
    if case.kind == "InferenceJob":
        yield from _inference(case, bases)


def _rests_on_consent(use: Use, bases: tuple[str, ...]) -> bool:
    return use.consent_scope is not None or _is_consent(use.legal_basis, bases) or _is_consent(use.condition, bases)


def _is_consent(basis: str | None, bases: tuple[str, ...]) -> bool:
    """True for a key of consent and for its kinds: A6-1-a covers DPV's A6-1-a-explicit-consent, in any case."""
    if not basis:
        return "" in bases
    key = basis.lower()
    for consent in bases:
        kind = consent.lower()
        if key == kind or key.startswith(kind + "-"):
            return True
    return False


def _use(case: Case, dataset: UsedDataset, use: Use, classes: tuple[ClassUse, ...]) -> Iterator[Raised]:
    path = f"{dataset.path}.name"
    if use.consent_scope is None:
        yield breach(
            path,
            f"the dataset {dataset.ref} rests on consent ({use.legal_basis}), and its use names no consent scope",
            "ask its data owner to set consentScope in that entry of spec.uses",
            private=dataset.foreign,
        )
        return
    scope = case.scope(dataset.namespace, use.consent_scope)
    if scope is None:
        yield missing(
            path,
            f"the consent scope {dataset.namespace}/{use.consent_scope} of {dataset.ref} does not exist (yet)",
            f"ask the data owner of namespace {dataset.namespace} to create it",
            reason=Reason.CONSENT_SCOPE_NOT_FOUND,
            private=dataset.foreign,
        )
        return
    yield from _covers(case, scope, classes, path, private=dataset.foreign)


def _inference(case: Case, bases: tuple[str, ...]) -> Iterator[Raised]:
    spec = case.inference
    if spec.consent_scope is None:
        basis = next((b for b in (spec.legal_basis, spec.condition) if _is_consent(b, bases)), None)
        if basis is not None:
            yield breach(
                "spec.consentScope",
                f"the basis {basis} is consent, and no consent scope is named",
                "set spec.consentScope to the ConsentScope under which people agreed to inference",
            )
        return
    if case.consent_scope is not None:
        foreign = (spec.consent_scope.namespace or case.namespace) != case.namespace
        yield from _covers(case, case.consent_scope, case.classes, "spec.consentScope", private=foreign)


def _covers(
    case: Case, scope: Parsed[ConsentScopeSpec], classes: tuple[ClassUse, ...], path: str, *, private: bool
) -> Iterator[Raised]:
    spec = scope.spec
    if spec is None:
        yield missing(
            path,
            f"the consent scope {scope.ref} can not be read by this version",
            "look at its conditions, or upgrade the operator",
            reason=Reason.INVALID_REFERENCE,
            private=private,
        )
        return
    if spec.state == "Withdrawn":
        yield breach(
            path,
            f"the consent scope {scope.ref} was withdrawn",
            "ask for consent again under a new ConsentScope, or leave the data out",
            private=private,
        )
    if case.processing not in spec.processing:
        yield breach(
            path,
            f"people agreed to {' and '.join(spec.processing).lower()} under {scope.ref}, not to "
            f"{case.processing.lower()}",
            _other_scope(case, scope, f"whose processing lists {case.processing}"),
            private=private,
        )
    if not covered_by_any(spec.purposes, case.purpose):
        yield breach(
            "spec.purpose",
            f"people agreed under {scope.ref} to {', '.join(spec.purposes)}, not to {case.purpose}",
            f"set spec.purpose to one of these, or {_other_scope(case, scope, f'whose purposes cover {case.purpose}')}",
            private=private,
        )
    uncovered = [c for c in classes if c.spec.sensitivity is not Sensitivity.PUBLIC and c.name not in spec.data_classes]
    for item in uncovered:
        yield breach(
            item.path,
            f"people did not agree under {scope.ref} to the use of {item.name}",
            f"leave it out, or {_other_scope(case, scope, f'whose dataClasses list {item.name}')}",
            private=private,
        )
    yield from _fresh(case, scope, path, private=private)


def _other_scope(case: Case, scope: Parsed[ConsentScopeSpec], which: str) -> str:
    """Who can rest the job on another scope: an inference job names its own, of a dataset its owner does."""
    if case.kind == "InferenceJob":
        return f"set spec.consentScope to a ConsentScope {which}"
    return f"ask the data owner of {scope.namespace} to ask people and to set consentScope of the use to one {which}"


def _fresh(case: Case, scope: Parsed[ConsentScopeSpec], path: str, *, private: bool) -> Iterator[Raised]:
    """The age of the snapshot, once there is a data gate that takes one. Without a gate no data flows."""
    spec = scope.spec
    status = scope.raw.get("status")
    snapshot = status.get("snapshot") if isinstance(status, Mapping) else None
    taken = snapshot.get("takenAt") if isinstance(snapshot, Mapping) else None
    if spec is None or (taken is None and Capability.DATA_GATE not in case.facts.capabilities):
        return
    try:
        moment = parse_time(taken) if isinstance(taken, str) else None
    except ValueError:
        moment = None
    if moment is None or moment > case.facts.now + SKEW:
        yield missing(
            path,
            f"no consent snapshot of {scope.ref} was taken yet"
            if taken is None
            else f"status.snapshot.takenAt of the consent scope {scope.ref} is no moment in the past",
            "wait for the next snapshot; the conditions of the ConsentScope say when",
            private=private,
        )
        if moment is not None:
            case.expires(moment - SKEW)
        return
    limit = min(parse_duration(spec.max_snapshot_age), parse_duration(case.text("consent-valid", "maxSnapshotAge")))
    due = later(moment, limit)
    if due <= case.facts.now:
        yield missing(
            path,
            f"the consent snapshot of {scope.ref} was taken at {taken}, which is longer ago than "
            f"{int(limit.total_seconds())} s",
            "wait for the next snapshot, or look at the registry of the ConsentScope",
            private=private,
        )
    else:
        case.expires(due)


RULE = Rule(
    id="consent-valid",
    family="consent",
    action=Action.DENY,
    reason="Consent covers what people were asked: this purpose, this processing, these data, and not for ever.",
    citations=("GDPR 6(1)(a)", "GDPR 7(1)", "DPDP 6", "PIPL 14", "ISO/IEC TS 27560"),
    remedy="use data whose consent scope covers the job",
    check=check,
    parameters=(
        Parameter(
            "consentBases",
            "list",
            ("eu-gdpr:A6-1-a", "eu-gdpr:A9-2-a"),
            "DPV keys of the legal bases and conditions that are consent.",
            "union",
        ),
        Parameter("maxSnapshotAge", "duration", "36500d", "the oldest consent snapshot a job may rely on.", "smaller"),
    ),
)
