"""Which policies apply to a job, and what a breach does there: the strictest policy under the label's ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mlprivacy.api.base import Mode, Parsed
from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.model import Action
from mlprivacy.policy.packs import BASELINE, Pack
from mlprivacy.policy.rule import Rule

_ORDER: tuple[Mode, ...] = ("Audit", "Warn", "Enforce")
_LABEL: Mapping[str, Mode] = {"audit": "Audit", "warn": "Warn", "enforce": "Enforce"}
LEVELS: tuple[str, ...] = tuple(_LABEL)  # of the namespace label, softest first


def ceiling_of(labels: Mapping[str, str] | None) -> Mode | None:
    """The mode of a namespace's label; None when it is not governed. A junk value is governed as strictly as can be."""
    if labels is None or LABEL_ENFORCE not in labels:
        return None
    return _LABEL.get(labels[LABEL_ENFORCE], "Enforce")


def strictest(modes: Iterable[Mode | None]) -> Mode | None:
    """The strictest of several modes, None when there is none."""
    known = [m for m in modes if m is not None]
    return max(known, key=_ORDER.index) if known else None


def softer(one: Mode, two: Mode) -> Mode:
    """The softer of two modes."""
    return min(one, two, key=_ORDER.index)


def selects(policy: PrivacyPolicySpec, labels: Mapping[str, str]) -> bool:
    """True when the policy holds in a namespace with these labels: it names the label's level, or a softer one.

    Raising the level of a namespace is free, so it must never take the namespace out of a policy.
    """
    return any(_matches(policy, step) for step in _steps(labels))


def selections(
    policies: Sequence[Parsed[PrivacyPolicySpec]], labels: Mapping[str, str]
) -> tuple[tuple[Parsed[PrivacyPolicySpec], ...], tuple[tuple[Parsed[PrivacyPolicySpec], ...], ...]]:
    """The policies that select these very labels, and those that would at each softer level that a selector names.

    The latter are added to the former and stand in for nothing: what holds at a level by itself, the defaults where no
    policy selects it, holds there as well.
    """
    own, *below = [tuple(p for p in policies if p.spec is not None and _matches(p.spec, s)) for s in _steps(labels)]
    return own, tuple(group for group in below if any(_names_a_level(p) for p in group))


def _steps(labels: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The labels, then as they would be at each softer level. A junk value is stricter than each level."""
    yield labels
    written = labels.get(LABEL_ENFORCE)
    if written is not None:
        for level in LEVELS[: LEVELS.index(written) if written in LEVELS else None]:
            yield {**labels, LABEL_ENFORCE: level}


def _matches(policy: PrivacyPolicySpec, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in policy.namespace_selector.match_labels.items())


def _names_a_level(policy: Parsed[PrivacyPolicySpec]) -> bool:
    return policy.spec is not None and LABEL_ENFORCE in policy.spec.namespace_selector.match_labels


@dataclass(frozen=True)
class Regime:
    """Everything that governs one job: the ceiling, the policies that apply, and the baseline where none does.

    ``baseline`` is the strictest label among the namespaces of the job and its data that no policy selects: there the
    rules apply as they are, so a policy for the job's namespace never softens what governs the data of another one. For
    the same reason ``per_namespace`` keeps the policies of each namespace apart: a parameter that one leaves unset has
    its default there, and the stricter value of the namespaces is in force.
    """

    ceiling: Mode
    policies: Sequence[Parsed[PrivacyPolicySpec]]
    baseline: Mode | None = None
    per_namespace: tuple[tuple[Parsed[PrivacyPolicySpec], ...], ...] = ()
    packs: Mapping[str, Pack] = field(default_factory=dict)  # those that the policies can name

    @property
    def mode(self) -> Mode:
        """The strictest mode in force."""
        modes = [softer(p.spec.mode, self.ceiling) for p in self.policies if p.spec is not None]
        return strictest([*modes, self.baseline]) or self.ceiling

    def action(self, rule: Rule, now: datetime) -> tuple[Action, str | None]:
        """What a breach of ``rule`` does here, and the policy that says so. The strictest policy wins.

        A policy's override counts first, then the strictest action among the packs that the policy names and that ask
        for the rule at ``now``; a rule of the baseline is asked for everywhere with its own action, so that no pack
        softens it. A policy that does not ask for a rule says nothing about it.
        """
        best: tuple[Action, str | None] | None = None
        for base, mode, policy in self._said(rule, now):
            action = self._softened(base, mode)
            if best is None or action.rank > best[0].rank:
                best = (action, policy)
        return best or (self._softened(rule.action, self.ceiling), None)

    def enforced(self, rule: Rule, now: datetime) -> Action:
        """What a breach of ``rule`` would do if every label and policy were at Enforce."""
        return max((base for base, _, _ in self._said(rule, now)), key=lambda a: a.rank, default=rule.action)

    def _said(self, rule: Rule, now: datetime) -> Iterator[tuple[Action, Mode, str | None]]:
        """What each policy, and the baseline, makes of a breach: the action, the mode that softens it, the policy."""
        if self.baseline is not None and (asked := self._asked(rule, (), now)) is not None:
            yield asked, self.baseline, None
        for policy in self.policies:
            if policy.spec is None:
                continue
            override = next((o.action for o in policy.spec.rules if o.id == rule.id), None)
            base = Action(override) if override else self._asked(rule, [ref.name for ref in policy.spec.packs], now)
            if base is not None:
                yield base, softer(policy.spec.mode, self.ceiling), policy.name

    def _asked(self, rule: Rule, names: Iterable[str], now: datetime) -> Action | None:
        """The strictest action among the baseline and these packs, None when none of them asks for the rule."""
        found = [rule.action] if rule.baseline else []
        for name in (BASELINE, *names):
            pack = self.packs.get(name)
            line = pack.line(rule.id) if pack is not None else None
            if line is not None:
                found.append(line.action_at(now, rule.action))
        return max(found, key=lambda action: action.rank, default=None)

    def action_of(self, policy: Parsed[PrivacyPolicySpec], action: Action) -> Action:
        """What a breach does here that this one policy gives this action: its custom rules are nobody else's."""
        return self._softened(action, softer(policy.spec.mode, self.ceiling) if policy.spec else self.ceiling)

    @staticmethod
    def _softened(action: Action, mode: Mode) -> Action:
        if mode == "Enforce":
            return action
        limit = Action.WARN if mode == "Warn" else Action.EVIDENCE
        return action if action.rank <= limit.rank else limit
