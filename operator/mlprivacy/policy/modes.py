"""Which policies apply to a job, and what a breach does there: the strictest policy under the label's ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """True when the policy's selector matches these namespace labels."""
    return all(labels.get(key) == value for key, value in policy.namespace_selector.match_labels.items())


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
        if self.baseline is not None and (asked := self._asked(rule, (), now)) is not None:
            best = (self._softened(asked, self.baseline), None)
        for policy in self.policies:
            if policy.spec is None:
                continue
            override = next((o.action for o in policy.spec.rules if o.id == rule.id), None)
            base = Action(override) if override else self._asked(rule, [ref.name for ref in policy.spec.packs], now)
            if base is None:
                continue
            action = self._softened(base, softer(policy.spec.mode, self.ceiling))
            if best is None or action.rank > best[0].rank:
                best = (action, policy.name)
        return best or (self._softened(rule.action, self.ceiling), None)

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
