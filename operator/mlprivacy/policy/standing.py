"""What one namespace and its data stand under: the regime, packs, rules and parameters, made once for them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from mlprivacy.api.base import Mode, Parsed
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.api.reasons import Reason
from mlprivacy.policy import custom, exceptions
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.model import Action, Dependency
from mlprivacy.policy.modes import Regime, ceiling_of, selections, selects, strictest
from mlprivacy.policy.packs import BASELINE, Pack, built_in_packs
from mlprivacy.policy.parameters import BadParameter, Sources, strictest_of
from mlprivacy.policy.rule import ParameterValue, Raised, Rule, missing
from mlprivacy.policy.rules import all_rules, rules_by_id

REMEMBERED: Final = 128  # combinations of namespaces under one set of policies
_KINDS: Final = ("TrainingJob", "InferenceJob")
_POLICIES: Final = Dependency("PrivacyPolicy", "", "*")  # those that select one of the namespaces, now or later


class Voice(NamedTuple):
    """What one rule says of a breach: the action, the policy that gives it, the packs that ask, whom they cite."""

    action: Action
    enforced: Action  # the action before any mode softens it
    policy: str | None
    packs: tuple[str, ...]  # the strictest first
    citations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What policies, packs and labels make of the jobs of one namespace that use the data of certain others.

    It holds what it was made from, so that it is found again only for these very policies and packs.
    """

    policies: tuple[Parsed[PrivacyPolicySpec], ...]
    available: Mapping[str, Pack]
    bad_packs: Mapping[str, str]
    labels: tuple[dict[str, str] | None, ...]
    regime: Regime | None
    mode: Mode | None
    problems: tuple[Raised, ...]  # those of the regime, then those of the packs
    packs: tuple[Pack, ...]  # those in force: what the policies name, then the baseline
    rules: Mapping[str, tuple[Rule, ...]]  # by the kind of job
    rests_on: frozenset[Dependency]  # the policies, and the packs of users that they name, there or not
    changes: Mapping[str, tuple[datetime, ...]]  # by the kind of job: when a rule's action changes by date alone
    parameters: Mapping[tuple[str, str], ParameterValue]
    bad: tuple[BadParameter, ...]
    terms: exceptions.Terms  # of PolicyExceptions
    custom: tuple[custom.Standing, ...] = ()
    moments: tuple[datetime, ...] = ()  # of all changes by date
    _voices: dict[tuple[str, int], Voice] = field(default_factory=dict, compare=False)

    def voice(self, rule: Rule, now: datetime) -> Voice:
        """Who asks for ``rule`` at ``now``, and what a breach of it does; kept until a date changes it."""
        key = (rule.id, bisect_right(self.moments, now))
        found = self._voices.get(key)
        if found is None:
            found = self._voices[key] = _voice(rule, self.packs, self.regime, now)
        return found


def _voice(rule: Rule, packs: Iterable[Pack], regime: Regime | None, now: datetime) -> Voice:
    asking = [(pack.name, line) for pack in packs if (line := pack.line(rule.id)) is not None]
    # The pack that asks for most comes first; of those that ask for the same, a law before the baseline.
    asking.sort(key=lambda a: (-a[1].action_at(now, rule.action).rank, a[0] == BASELINE, a[0]))
    # Without a regime the job holds as not governed: what its policies would say is not known, so rules only warn.
    action, policy = regime.action(rule, now) if regime else (min(rule.action, Action.WARN, key=lambda a: a.rank), None)
    return Voice(
        action=action,
        enforced=regime.enforced(rule, now) if regime else rule.action,
        policy=policy,
        packs=tuple(name for name, _ in asking),
        citations=tuple(dict.fromkeys(c for _, line in asking for c in line.citations)) or rule.citations,
    )


_known: dict[tuple[str, ...], Standing] = {}  # by the namespaces; the latest of each


def standing(namespace: str, data: Iterable[str], facts: Facts) -> Standing:
    """What jobs of ``namespace`` that use data of the namespaces ``data`` stand under. Pure.

    An answer is used again for the same policies and packs (the very objects, which are frozen and which the
    answer keeps alive) and equal labels; else it is worked out anew.
    """
    names = tuple(dict.fromkeys((namespace, *data)))
    found = _known.get(names)
    if (
        found is not None
        and found.policies is facts.policies
        and found.available is facts.packs
        and found.bad_packs is facts.bad_packs
        and all(facts.namespaces.get(name) == labels for name, labels in zip(names, found.labels, strict=True))
    ):
        return found
    made = _make(names, facts)
    if type(facts.policies) is tuple:  # what could change under the same identity is not remembered
        if len(_known) >= REMEMBERED:
            _known.pop(next(iter(_known)), None)
        _known[names] = made
    return made


def _make(names: tuple[str, ...], facts: Facts) -> Standing:
    labels = tuple(None if (here := facts.namespaces.get(name)) is None else dict(here) for name in names)
    regime, problems = _regime(names[0], names[1:], facts)
    packs, pack_problems = _packs(regime.policies if regime else (), facts)
    rules = _active_rules(packs, regime.policies if regime else ())
    parameters, bad = strictest_of(
        all_rules(), [_sources(group, facts) for group in (regime.per_namespace if regime else ())]
    )
    return Standing(
        policies=facts.policies,
        available=facts.packs,
        bad_packs=facts.bad_packs,
        labels=labels,
        regime=regime,
        mode=regime.mode if regime else None,
        problems=(*problems, *pack_problems),
        packs=tuple(packs),
        rules={kind: tuple(rule for rule in rules if kind in rule.applies_to) for kind in _KINDS},
        rests_on=_named(regime.policies) | {_POLICIES} if regime else frozenset(),
        changes={kind: _changes(packs, [rule.id for rule in rules if kind in rule.applies_to]) for kind in _KINDS},
        parameters=parameters,
        bad=bad,
        terms=exceptions.terms_of(regime.per_namespace if regime else ()),
        custom=custom.applying(regime.policies) if regime else (),
        moments=tuple(sorted({moment for pack in packs for _, moment in pack.changes()})),
    )


def _regime(namespace: str, data: Iterable[str], facts: Facts) -> tuple[Regime | None, list[Raised]]:
    """The ceiling (the stricter label of the job's and the data's namespaces) and the policies that apply."""
    own = ceiling_of(facts.namespaces.get(namespace))
    if own is None:
        return None, [
            missing(
                "metadata.namespace",
                f"the namespace {namespace} is not governed, so nothing would hold this job to its decision",
                f"ask the privacy office: kubectl label namespace {namespace} mlprivacy.dev/enforce=enforce",
                reason=Reason.NAMESPACE_NOT_GOVERNED,
            )
        ]
    everywhere = [facts.namespaces.get(n) for n in dict.fromkeys((namespace, *data))]
    ceiling = strictest(ceiling_of(labels) for labels in everywhere) or own
    problems: list[Raised] = []
    if strictest((own, ceiling)) != own:
        # The guards are bound by the job's namespace alone: there they would only warn about what the data's refuses.
        problems.append(
            missing(
                "metadata.namespace",
                f"the namespace {namespace} is governed more softly than the data's, so no guard would hold there",
                f"ask the privacy office to label it as strictly: kubectl label --overwrite namespace {namespace} "
                f"mlprivacy.dev/enforce={ceiling.lower()}",
                reason=Reason.NAMESPACE_TOO_SOFT,
            )
        )
    policies: list[Parsed[PrivacyPolicySpec]] = []
    for policy in sorted(facts.policies, key=lambda p: p.name):
        if policy.spec is None:
            problems.append(
                missing(
                    "metadata.namespace",
                    f"the policy {policy.name} can not be read by this version, so it is not known what it demands",
                    "ask the privacy office to mend the policy",
                    reason=Reason.INVALID_POLICY,
                )
            )
        elif any(selects(policy.spec, labels) for labels in everywhere if labels is not None):
            policies.append(policy)
    bare: list[Mode | None] = []
    groups: dict[tuple[str, ...], tuple[Parsed[PrivacyPolicySpec], ...]] = {}
    for labels in everywhere:
        here, softer = selections(policies, labels) if labels is not None else ((), ())
        label = ceiling_of(labels)
        if here or label is not None:
            groups[tuple(p.name for p in here)] = here
        groups |= {tuple(p.name for p in group): group for group in softer}
        if not here:
            bare.append(label)
    return Regime(ceiling, tuple(policies), strictest(bare), tuple(groups.values()), facts.packs), problems


def _packs(policies: Iterable[Parsed[PrivacyPolicySpec]], facts: Facts) -> tuple[list[Pack], list[Raised]]:
    packs: dict[str, Pack] = {}
    problems: list[Raised] = []
    for policy in policies:
        if policy.spec is None:
            continue
        for ref in policy.spec.packs:
            if ref.name == BASELINE:
                continue
            if ref.name in facts.packs:
                packs[ref.name] = facts.packs[ref.name]
            elif ref.name in facts.bad_packs:
                problems.append(
                    missing(
                        "metadata.namespace",
                        f"the policy {policy.name} names the pack {ref.name}, which can not be used: "
                        f"{facts.bad_packs[ref.name]}",
                        f"ask the privacy office to mend the ConfigMap {ref.name} of the pack",
                        reason=Reason.INVALID_POLICY,
                    )
                )
            else:
                problems.append(
                    missing(
                        "metadata.namespace",
                        f"the policy {policy.name} names the pack {ref.name}, which is not installed",
                        f"ask the privacy office to choose among {', '.join(sorted(facts.packs))}",
                        reason=Reason.PACK_NOT_FOUND,
                    )
                )
        unknown = [o.id for o in policy.spec.rules if o.id not in rules_by_id()]
        if unknown:
            problems.append(
                missing(
                    "metadata.namespace",
                    f"the policy {policy.name} overrides {', '.join(unknown)}, which is no rule",
                    "ask the privacy office to mend the policy; `mlprivacy explain --rules` lists the rules",
                    reason=Reason.INVALID_POLICY,
                )
            )
    if BASELINE in facts.packs:
        packs[BASELINE] = facts.packs[BASELINE]
    return list(packs.values()), problems


def _sources(policies: Iterable[Parsed[PrivacyPolicySpec]], facts: Facts) -> Sources:
    """What sets parameters in one namespace: the packs that its policies name, and the policies."""
    specs = [p.spec for p in policies if p.spec is not None]
    packs = {ref.name: facts.packs[ref.name] for spec in specs for ref in spec.packs if ref.name in facts.packs}
    return Sources(
        policies=tuple(spec.parameters for spec in specs),
        packs=tuple(
            {f"{line.id}.{k}": v for line in pack.rules for k, v in line.parameters.items()} for pack in packs.values()
        ),
    )


def _active_rules(packs: Iterable[Pack], policies: Iterable[Parsed[PrivacyPolicySpec]]) -> tuple[Rule, ...]:
    """The rules that the baseline, a pack in force or an override of a policy switches on."""
    asked = {line.id for pack in packs for line in pack.rules}
    asked |= {override.id for policy in policies if policy.spec is not None for override in policy.spec.rules}
    return tuple(rule for rule in all_rules() if rule.baseline or rule.id in asked)


def _named(policies: Iterable[Parsed[PrivacyPolicySpec]]) -> frozenset[Dependency]:
    """The packs of users that these policies name; built-in ones never change under a running process."""
    named = {ref.name for policy in policies if policy.spec is not None for ref in policy.spec.packs}
    return frozenset(Dependency("Pack", "", name) for name in named - built_in_packs().keys())


def _changes(packs: Iterable[Pack], rules: Iterable[str]) -> tuple[datetime, ...]:
    """When the action of one of these rules changes by date alone, earliest first."""
    wanted = frozenset(rules)
    return tuple(sorted({moment for pack in packs for rule, moment in pack.changes() if rule in wanted}))
