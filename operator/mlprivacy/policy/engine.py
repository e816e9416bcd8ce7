"""evaluate(job, facts) -> Decision. Pure: the same job and facts give the same decision, in every process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from mlprivacy.api.base import Assurance, FieldError, KindInfo, Mode, Parsed, parse_spec
from mlprivacy.api.inference_job import KIND as INFERENCE_JOB
from mlprivacy.api.inference_job import InferenceJobSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.api.training_job import KIND as TRAINING_JOB
from mlprivacy.api.training_job import TrainingJobSpec
from mlprivacy.policy import assurance, custom, exceptions
from mlprivacy.policy.case import Case
from mlprivacy.policy.charge import Outside
from mlprivacy.policy.charging import accounts_of
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.grounds import Grounds, grounds
from mlprivacy.policy.loss import LossKey
from mlprivacy.policy.model import (
    Action,
    Decision,
    Demand,
    Dependency,
    Finding,
    Obligation,
    Obligations,
    Verdict,
    canonical_digest,
)
from mlprivacy.policy.packs import BASELINE
from mlprivacy.policy.people import requester_of
from mlprivacy.policy.resolve import Resolver, granting_namespaces
from mlprivacy.policy.rule import Raised, Rule, missing
from mlprivacy.policy.rules import rules_by_id
from mlprivacy.policy.rules.network.egress import readable
from mlprivacy.policy.size import TOO_LARGE, too_large
from mlprivacy.policy.standing import Standing, Voice, standing
from mlprivacy.policy.unenforced import unenforced_inference, unenforced_training

JobSpec = TrainingJobSpec | InferenceJobSpec


def parse_job(raw: Mapping[str, Any]) -> tuple[Literal["TrainingJob", "InferenceJob"], Parsed[Any]]:
    """Read a raw job.

    Raises:
        ValueError: when ``raw`` is neither a TrainingJob nor an InferenceJob.
    """
    kind = raw.get("kind")
    if kind == "TrainingJob":
        return "TrainingJob", _bounded(TRAINING_JOB, raw)
    if kind == "InferenceJob":
        return "InferenceJob", _bounded(INFERENCE_JOB, raw)
    raise ValueError(f"kind {kind!r} is no job; evaluate takes a TrainingJob or an InferenceJob")


def _bounded(info: KindInfo[Any], raw: Mapping[str, Any]) -> Parsed[Any]:
    """The job as read; one whose spec is too large is not read at all."""
    if not too_large(raw.get("spec")):
        return parse_spec(info, raw)
    unread = parse_spec(info, {**raw, "spec": None})
    return replace(unread, raw=raw, errors=(FieldError("spec", TOO_LARGE),))


def evaluate(raw: Mapping[str, Any], facts: Facts) -> Decision:
    """Decide on one job.

    Args:
        raw: the job as the API server sent it.
        facts: what is known, time included.

    Returns:
        the decision; never raises on the content of ``raw`` beyond its kind.

    Raises:
        ValueError: when ``raw`` is neither a TrainingJob nor an InferenceJob.
    """
    return evaluate_parsed(*parse_job(raw), facts)


def evaluate_parsed(kind: Literal["TrainingJob", "InferenceJob"], job: Parsed[Any], facts: Facts) -> Decision:
    """As :func:`evaluate`, for a job that :func:`parse_job` has read already."""
    raw = job.raw
    namespace = job.namespace or "default"
    subject = (kind, namespace, job.name, job.uid)
    if too_large(raw.get("spec")):
        return _invalid(subject, "", [("spec", TOO_LARGE)])
    # suspend is no part of what is decided: stopping and resuming must not change the digest of the controls.
    body = {k: v for k, v in raw["spec"].items() if k != "suspend"} if isinstance(raw.get("spec"), Mapping) else None
    try:
        spec_digest = canonical_digest(body)
    except (ValueError, TypeError):
        return _invalid(subject, "", [("spec", "holds a number that JSON has no form for, such as NaN")])
    except RecursionError:
        return _invalid(subject, "", [("spec", "is nested too deeply to be read")])
    if job.spec is None:
        return _invalid(subject, spec_digest, [(e.path, e.message) for e in job.errors])
    spec: JobSpec = job.spec

    case, resolver, under = _resolved(kind, job, spec, facts)

    holds = [*under.problems, *resolver.problems]
    holds += [
        missing(
            "spec",
            f"a policy sets {b.name}, which can not be read: {b.why}",
            "ask the privacy office to mend the policy",
            reason=Reason.INVALID_POLICY,
        )
        for b in under.bad
    ]
    holds += (
        unenforced_training(spec, facts.capabilities)
        if isinstance(spec, TrainingJobSpec)
        else unenforced_inference(spec, facts.capabilities)
    )
    findings = [_finding_of_hold(h) for h in holds]
    obligations: list[Obligation] = []
    excepted = exceptions.of_case(case, under.terms)
    outside: dict[str, Outside] = {}
    for rule in under.rules[kind]:
        raised: list[Raised] = []
        for item in rule.check(case):
            if isinstance(item, Obligation):
                obligations.append(item)
            else:
                raised.append(item)
        if raised:  # usually there is nothing, which needs no look at packs and policies
            found = _found(rule, raised, under.voice(rule, facts.now), under.mode)
            answered = list(excepted.findings(rule.id, zip(raised, found, strict=True)))
            findings += answered
            outside |= _let_pass(zip(raised, answered, strict=True))
    if under.regime is not None:
        findings += custom.findings(case, under.custom, under.regime)

    ordered = tuple(sorted(_without_doubles(findings), key=lambda f: (-f.action.rank, f.rule, f.path, f.message)))
    verdict = _verdict(ordered)
    return Decision(
        verdict=verdict,
        mode=under.mode,
        findings=ordered,
        obligations=_fold(obligations, case),
        achieved=assurance.achieved(case.processing, facts.capabilities),
        required=required_assurance(case),
        subject=subject,
        spec_digest=spec_digest,
        dependencies=frozenset(case.touched),
        valid_until=min(case.deadlines, default=None),
        charges=case.accounts.charges(facts.losses, outside),
    )


def losses_asked(raw: Mapping[str, Any], facts: Facts) -> tuple[LossKey, ...]:
    """The losses that have to be counted before this job can be decided on; none for most.

    Adapters have them counted (`policy.loss.count`) and put the outcomes into ``facts.losses``. Never raises on the
    content of ``raw``.
    """
    if raw.get("kind") != "TrainingJob":
        return ()
    kind, job = parse_job(raw)
    spec = job.spec
    if not isinstance(spec, TrainingJobSpec) or spec.privacy is None:
        return ()
    namespace = job.namespace or "default"
    datasets = Resolver(kind, namespace, facts).datasets(spec)
    return accounts_of(spec, datasets, namespace, facts).keys()


def custom_asked(raw: Mapping[str, Any], facts: Facts) -> custom.Asked | None:
    """The custom rules that apply to this job and the document they are evaluated over; None when there are none.

    Adapters have them evaluated and put the outcomes into ``facts.custom``. Never raises on the content of ``raw``.
    """
    if raw.get("kind") not in ("TrainingJob", "InferenceJob"):
        return None
    if not any(policy.spec is not None and policy.spec.custom for policy in facts.policies):
        return None  # before anything of the job is read
    kind, job = parse_job(raw)
    if job.spec is None:
        return None
    case, _, under = _resolved(kind, job, job.spec, facts)
    if not under.custom:
        return None
    rules = tuple(custom.Expression(item.key, item.rule.expression) for item in under.custom)
    return custom.Asked(rules, custom.document(case, raw))


def grounds_of(raw: Mapping[str, Any], facts: Facts) -> Grounds:
    """The packs and the parameters in force for this job, for people; nothing for a job that can not be read.

    Raises:
        ValueError: when ``raw`` is neither a TrainingJob nor an InferenceJob.
    """
    kind, job = parse_job(raw)
    if job.spec is None:
        return Grounds()
    namespace = job.namespace or "default"
    return grounds(standing(namespace, _data_namespaces(kind, job.spec, namespace, facts), facts), facts, kind)


def rules_in_force(raw: Mapping[str, Any], facts: Facts) -> tuple[Rule, ...]:
    """The rules that judge this job: the baseline, and those that a pack asks for. None for a spec that is unreadable.

    Raises:
        ValueError: when ``raw`` is neither a TrainingJob nor an InferenceJob.
    """
    kind, job = parse_job(raw)
    return () if job.spec is None else _resolved(kind, job, job.spec, facts)[2].rules[kind]


def _resolved(
    kind: Literal["TrainingJob", "InferenceJob"], job: Parsed[Any], spec: JobSpec, facts: Facts
) -> tuple[Case, Resolver, Standing]:
    """The job with what it refers to, and what it stands under."""
    namespace = job.namespace or "default"
    resolver = Resolver(kind, namespace, facts)
    datasets = resolver.datasets(spec) if isinstance(spec, TrainingJobSpec) else ()
    classes = (
        resolver.classes_of_datasets(datasets) if isinstance(spec, TrainingJobSpec) else resolver.classes_named(spec)
    )
    under = standing(namespace, _data_namespaces(kind, spec, namespace, facts), facts)
    case = Case(
        kind=kind,
        name=job.name,
        namespace=namespace,
        spec=spec,
        facts=facts,
        datasets=datasets,
        classes=classes,
        requester=requester_of(job.raw),
        parameters=under.parameters,
        touched=resolver.touched,
    )
    if isinstance(spec, InferenceJobSpec):
        resolver.consent_of_inference(case, spec)
        case = replace(case, consent_scope=_own_scope(case, spec, resolver))
    for text in resolver.expiries:
        case.expires(parse_time(text))
    case.touched.update(under.rests_on)
    for moment in under.changes[kind]:
        case.expires(moment)
    return case, resolver, under


def required_assurance(case: Case) -> Assurance:
    """The strongest of what the classes and the requester demand."""
    training = case.processing == "Training"
    return assurance.strongest(
        [
            case.spec.assurance,
            *(
                c.spec.minimum_assurance.training if training else c.spec.minimum_assurance.inference
                for c in case.classes
            ),
        ]
    )


def _data_namespaces(kind: str, spec: JobSpec, namespace: str, facts: Facts) -> tuple[str, ...]:
    """Where the data of the job lies that it may refer to."""
    if isinstance(spec, TrainingJobSpec):
        named = [(d.namespace or namespace, "Dataset", d.name) for d in spec.datasets]
    else:
        scope = spec.consent_scope
        named = [(scope.namespace or namespace, "ConsentScope", scope.name)] if scope else []
    return granting_namespaces(named, facts, by_namespace=namespace, by_kind=kind)


def _own_scope(case: Case, spec: InferenceJobSpec, resolver: Resolver) -> Any:
    if spec.consent_scope is None or any(p.path == "spec.consentScope" for p in resolver.problems):
        return None
    return case.scope(spec.consent_scope.namespace or case.namespace, spec.consent_scope.name)


def _finding_of_hold(raised: Raised) -> Finding:
    return Finding(
        rule="references" if raised.reason is not Reason.NOT_ENFORCED_HERE else "not-enforced-here",
        action=Action.HOLD,
        reason=raised.reason,
        path=raised.path,
        message=raised.message,
        remedy=raised.remedy or "",
        private=raised.private,
    )


def _let_pass(answered: Iterable[tuple[Raised, Finding]]) -> Iterator[tuple[str, Outside]]:
    """The subject domains whose data is used although something stands against that, and what let it pass."""
    for item, said in answered:
        if item.domain and said.action.rank < Action.HOLD.rank:
            yield item.domain, "Exception" if said.exception else "Audit"


def _found(rule: Rule, raised: Iterable[Raised], voice: Voice, mode: Mode | None) -> Iterator[Finding]:
    """What one rule raised, as findings under the regime's mode."""
    action, enforced, policy, names, citations = voice
    for item in raised:
        yield Finding(
            rule=rule.id,
            action=_effective(item, action, mode),
            under_enforce=_effective(item, enforced, "Enforce"),
            reason=item.reason,
            path=item.path,
            message=item.message,
            remedy=item.remedy or rule.remedy,
            citations=citations,
            pack=names[0] if names else BASELINE,
            packs=names,
            policy=policy,
            private=item.private,
        )


def _effective(item: Raised, action: Action, mode: Mode | None) -> Action:
    """What one thing does where a breach of its rule does ``action``."""
    effective = Action.DENY if item.firm and mode in ("Warn", "Enforce") else action
    if item.hold and effective is Action.DENY:
        effective = Action.HOLD
    if item.boundary and effective.rank < Action.HOLD.rank:
        effective = Action.HOLD
    if item.note and effective.rank > Action.WARN.rank:
        effective = Action.WARN
    # What is recorded says nothing against the job, whatever a policy makes of the rule.
    return Action.EVIDENCE if item.reason is Reason.RECORDED else effective


def _without_doubles(findings: Sequence[Finding]) -> Iterator[Finding]:
    """The findings without those of which another rule says enough at the same path, at least as strictly.

    So no finding is left out that is stricter than the one that stands for it, whatever softened either of them.
    """
    known = rules_by_id()
    refined = {f.rule: known[f.rule].refines for f in findings if f.rule in known and known[f.rule].refines}
    yielding = {f.rule: known[f.rule].yields_to for f in findings if f.rule in known and known[f.rule].yields_to}
    if not refined and not yielding:
        yield from findings
        return
    strictest: dict[tuple[str | None, str], tuple[int, int]] = {}
    fine: dict[tuple[str | None, str], tuple[int, int]] = {}
    for item in findings:
        here = (item.rule, item.path)
        strictest[here] = max(strictest.get(here, _NOTHING), _strictness(item))
        if item.rule in refined:
            there = (refined[item.rule], item.path)
            fine[there] = max(fine.get(there, _NOTHING), _strictness(item))
    for item in findings:
        weaker = strictest.get((refined.get(item.rule), item.path), _NOTHING) > _strictness(item)
        later = strictest.get((yielding.get(item.rule), item.path), _NOTHING) >= _strictness(item)
        said = fine.get((item.rule, item.path), _NOTHING) >= _strictness(item)
        if not weaker and not later and not said:
            yield item


_NOTHING = (-1, -1)


def _strictness(finding: Finding) -> tuple[int, int]:
    """What it does, then what it would do under Enforce: a mode must not change which of two findings is shown."""
    return finding.action.rank, finding.enforced.rank


def _verdict(findings: Iterable[Finding]) -> Verdict:
    actions = {f.action for f in findings}
    if Action.DENY in actions:
        return Verdict.DENY
    return Verdict.HOLD if Action.HOLD in actions else Verdict.ALLOW


def _fold(obligations: Iterable[Obligation], case: Case) -> Obligations:
    """The strictest of each demand. Without any demand egress is sealed: the default is closed."""
    egress: Literal["Sealed", "Allowlist"] | None = None
    memory = False
    ttl: int | None = None
    regions: set[str] | None = None
    rdma: set[str] | None = None
    for item in obligations:
        match item.demand:
            case Demand.EGRESS:
                egress = "Sealed" if "Sealed" in (item.value, egress) else "Allowlist"
            case Demand.SCRATCH:
                memory = True
            case Demand.TTL:
                ttl = min(int(item.value), ttl) if ttl is not None else int(item.value)
            case Demand.REGIONS:
                names = {n for n in str(item.value).split(",") if n}
                regions = names if regions is None else regions & names
            case Demand.RDMA:
                rdma = (rdma or set()) | {n for n in str(item.value).split(",") if n}
    allow = tuple(e for e in case.words("egress", "allow") if readable(e)) if egress == "Allowlist" else ()
    return Obligations(
        egress=egress or "Sealed",
        egress_allow=allow,
        scratch_in_memory=memory,
        ttl_seconds=ttl,
        regions=None if regions is None else tuple(sorted(regions)),
        rdma_removed=None if rdma is None else tuple(sorted(rdma)),
    )


def _invalid(subject: tuple[str, str, str, str], spec_digest: str, errors: Iterable[tuple[str, str]]) -> Decision:
    """A spec that can not be read is refused in every mode: there is nothing that could run."""
    return Decision(
        verdict=Verdict.DENY,
        mode=None,
        findings=tuple(
            Finding(
                rule="schema",
                action=Action.DENY,
                reason=Reason.INVALID_SPEC,
                path=path,
                message=message,
                remedy=f"mend the field; `kubectl explain {subject[0].lower()}s.{path.split('[', maxsplit=1)[0]}` says "
                "what it takes",
            )
            for path, message in errors
        ),
        obligations=Obligations(),
        achieved=Assurance.DECLARED,
        required=Assurance.DECLARED,
        subject=subject,
        spec_digest=spec_digest,
        dependencies=frozenset({Dependency("Namespace", "", subject[1])}),
    )
