"""Status of the kinds that jobs refer to, and the default-deny floor of every governed namespace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.controller.children import Children
from mlprivacy.controller.effects import ControlMissing, Effects
from mlprivacy.controller.status import Tri
from mlprivacy.controller.store import JobKey
from mlprivacy.controller.writes import Write
from mlprivacy.controls.network import floor
from mlprivacy.kube.conditions import same_conditions, set_condition
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import OURS
from mlprivacy.policy.packs import Shelf
from mlprivacy.policy.parameters import merge
from mlprivacy.policy.rules import all_rules, rules_by_id
from mlprivacy.policy.vocabulary import vocabulary_warnings

logger = logging.getLogger(__name__)
RESOURCES = {resource.kind: resource for resource in OURS}
INPUT_KINDS = ("DataClass", "Dataset", "DatasetGrant", "ConsentScope", "PrivacyPolicy")


class Inputs:
    """Reconciles what is no job."""

    def __init__(self, facts: FactStore, effects: Effects, children: Children, now: Callable[[], datetime]) -> None:
        self._facts = facts
        self._children = children
        self._effects = effects
        self._now = now

    async def reconcile(self, key: JobKey) -> float | None:
        """One input, or the floor of one namespace; the seconds until the next look, or None."""
        if key.kind == "Namespace":
            return await self._floor(key.name)
        raw = self._facts.informers[key.kind].get(key.namespace or None, key.name)
        kind = kind_named(key.kind)
        if raw is None or kind is None or "deletionTimestamp" in raw["metadata"]:
            return None
        generation = int(raw["metadata"].get("generation") or 0)
        before = raw.get("status") or {}
        conditions = before.get("conditions")
        parsed = parse_spec(kind, raw)
        for type_, (status, reason, message) in self._judge(parsed, await self._expressions(parsed)).items():
            conditions = set_condition(
                conditions, type_, status, reason, message, observed_generation=generation, now=self._now()
            )
        if same_conditions(before.get("conditions"), conditions) and before.get("observedGeneration") == generation:
            return None
        status_now = {"observedGeneration": generation, "conditions": conditions}
        try:
            call = self._effects.client.merge_patch_status(
                RESOURCES[key.kind], key.name, key.namespace or None, status_now
            )
            await self._effects.write(Write.STATUS, call)
        except NotFound:
            return None
        return None

    async def _floor(self, namespace: str) -> float | None:
        raw = self._facts.informers["Namespace"].get(None, namespace)
        labels = (raw or {}).get("metadata", {}).get("labels") or {}
        if raw is None or LABEL_ENFORCE not in labels or "deletionTimestamp" in raw["metadata"]:
            return None
        try:
            wanted = floor(namespace)
            await self._effects.control(wanted, known=self._children.shows(wanted))
        except (Forbidden, NotFound) as error:
            logger.info("the floor of namespace %s is not made: %s", namespace, error)
            return None  # the namespace is on its way out
        except ControlMissing as error:
            logger.warning("%s", error)
            return 2.0
        return None

    async def _expressions(self, parsed: Parsed[Any]) -> Mapping[str, str]:
        """Expressions of custom rules that can not be compiled, with the reason."""
        if not isinstance(parsed.spec, PrivacyPolicySpec):
            return {}
        return await self._facts.expression_errors([rule.expression for rule in parsed.spec.custom])

    def _judge(self, parsed: Parsed[Any], expressions: Mapping[str, str]) -> dict[ConditionType, Tri]:
        if parsed.spec is None:
            text = " ".join(f"{e.path} {e.message}." for e in parsed.errors[:4])
            return {
                ConditionType.ACCEPTED: ("False", Reason.INVALID_SPEC, text),
                ConditionType.READY: ("False", Reason.INVALID_SPEC, text),
                ConditionType.STALLED: ("True", Reason.INVALID_SPEC, text),
            }
        problems = list(self._problems(parsed, expressions))
        unknown = f" Unknown fields, which have no effect: {', '.join(u.path for u in parsed.unknown[:4])}."
        odd = [f" {e.path}: {e.message}." for e in vocabulary_warnings(parsed.spec)[:4]]
        note = "the spec can be read." + (unknown if parsed.unknown else "") + "".join(odd)
        text = " ".join(problems)
        return {
            ConditionType.ACCEPTED: ("True", Reason.ALLOWED, note),
            ConditionType.READY: ("False", Reason.FACT_MISSING, text)
            if problems
            else ("True", Reason.REFS_RESOLVED, "everything it refers to is there"),
            ConditionType.STALLED: ("False", Reason.PROGRESSING, "nothing for people to do"),
        }

    def _problems(self, parsed: Parsed[Any], expressions: Mapping[str, str]) -> Iterator[str]:
        spec = parsed.spec
        if isinstance(spec, DatasetSpec):
            for name in sorted({c.data_class for c in spec.columns}):
                if self._facts.parsed("DataClass", "", name) is None:
                    yield f"The DataClass {name} does not exist (yet), so jobs that ask for its columns hold."
            for scope in sorted({u.consent_scope for u in spec.uses if u.consent_scope}):
                if self._facts.parsed("ConsentScope", parsed.namespace or "", scope) is None:
                    yield f"The ConsentScope {scope} does not exist (yet), so jobs that rest on it hold."
        elif isinstance(spec, PrivacyPolicySpec):
            yield from policy_problems(spec, self._facts.packs(), expressions)


def policy_problems(spec: PrivacyPolicySpec, shelf: Shelf, expressions: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with a policy and holds the jobs under it, one sentence each."""
    for pack in spec.packs:
        if pack.name in shelf.bad and pack.name not in shelf.packs:
            yield f"The pack {pack.name} can not be used, so jobs under this policy hold: {shelf.bad[pack.name]}."
        elif pack.name not in shelf.packs:
            yield f"The pack {pack.name} is not installed, so jobs under this policy hold."
    for override in spec.rules:
        if override.id not in rules_by_id():
            yield f"There is no rule {override.id}, so jobs under this policy hold."
    _, bad = merge(all_rules(), [dict(spec.parameters)])
    for item in bad:
        yield f"The parameter {item.name} can not be read ({item.why}), so jobs under this policy hold."
    for rule in spec.custom:
        if rule.expression in expressions:
            why = expressions[rule.expression]
            yield f"The custom rule {rule.id} can not be compiled ({why}), so jobs under this policy hold."
