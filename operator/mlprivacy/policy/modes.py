"""Which policies apply to a job, and what a breach does there: the strictest policy under the label's ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlprivacy.api.base import Mode, Parsed
from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.model import Action
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

    @property
    def mode(self) -> Mode:
        """The strictest mode in force."""
        modes = [softer(p.spec.mode, self.ceiling) for p in self.policies if p.spec is not None]
        return strictest([*modes, self.baseline]) or self.ceiling

    def action(self, rule: Rule) -> tuple[Action, str | None]:
        """What a breach of ``rule`` does here, and the policy that says so. The strictest policy wins."""
        best: tuple[Action, str | None] | None = None
        if self.baseline is not None:
            best = (self._softened(rule.action, self.baseline), None)
        for policy in self.policies:
            if policy.spec is None:
                continue
            override = next((o.action for o in policy.spec.rules if o.id == rule.id), None)
            base = Action(override) if override else rule.action
            action = self._softened(base, softer(policy.spec.mode, self.ceiling))
            if best is None or action.rank > best[0].rank:
                best = (action, policy.name)
        return best or (self._softened(rule.action, self.ceiling), None)

    @staticmethod
    def _softened(action: Action, mode: Mode) -> Action:
        if mode == "Enforce":
            return action
        limit = Action.WARN if mode == "Warn" else Action.EVIDENCE
        return action if action.rank <= limit.rank else limit
