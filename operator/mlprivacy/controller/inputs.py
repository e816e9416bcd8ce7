"""Status of the kinds that jobs refer to, and the default-deny floor of every governed namespace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from mlprivacy.kube.conditions import bounded, same_conditions, set_condition
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import OURS
from mlprivacy.policy.custom_trial import KINDS, sentence
from mlprivacy.policy.modes import selects
from mlprivacy.policy.packs import Shelf
from mlprivacy.policy.parameters import merge
from mlprivacy.policy.rules import all_rules, rules_by_id
from mlprivacy.policy.suggest import instead
from mlprivacy.policy.vocabulary import vocabulary_warnings

logger = logging.getLogger(__name__)
NAMES_SHOWN = 8
PACKS_BYTES = 1000
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
        for type_, (status, reason, message) in (await self._judge(parsed)).items():
            conditions = set_condition(
                conditions, type_, status, reason, message, observed_generation=generation, now=self._now()
            )
        status_now = {"observedGeneration": generation, "conditions": conditions, **self._summary(parsed)}
        same = all(before.get(key) == value for key, value in status_now.items() if key != "conditions")
        if same and same_conditions(before.get("conditions"), conditions):
            return None
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

    async def _judge(self, parsed: Parsed[Any]) -> dict[ConditionType, Tri]:
        if parsed.spec is None:
            text = " ".join(f"{e.path} {e.message}." for e in parsed.errors[:4])
            return {
                ConditionType.ACCEPTED: ("False", Reason.INVALID_SPEC, text),
                ConditionType.READY: ("False", Reason.INVALID_SPEC, text),
                ConditionType.STALLED: ("True", Reason.INVALID_SPEC, text),
            }
        spec = parsed.spec
        unknown = f" Unknown fields, which have no effect: {', '.join(u.path for u in parsed.unknown[:4])}."
        odd = [f" {e.path}: {e.message}." for e in vocabulary_warnings(spec)[:4]]
        note = "the spec can be read." + (unknown if parsed.unknown else "") + "".join(odd)
        if isinstance(spec, PrivacyPolicySpec):
            texts = [rule.expression for rule in spec.custom]
            wrong = await self._facts.expression_errors(texts)
            failing = await self._facts.expression_trial([t for t in texts if t not in wrong])
            reach = _reach(_selected(spec, self._facts.governed()))
            problems = list(policy_problems(spec, self._facts.packs(), wrong))
            return {
                ConditionType.ACCEPTED: ("True", Reason.ALLOWED, f"{note} {reach}"),
                **policy_conditions(spec, problems, failing),
            }
        waits = " ".join(self._problems(parsed))
        return {
            ConditionType.ACCEPTED: ("True", Reason.ALLOWED, note),
            ConditionType.READY: ("False", Reason.FACT_MISSING, waits)
            if waits
            else ("True", Reason.REFS_RESOLVED, "everything it refers to is there"),
            ConditionType.STALLED: (
                "False",
                Reason.PROGRESSING,
                "it is looked at again as soon as what it refers to is there" if waits else "nothing for people to do",
            ),
        }

    def _summary(self, parsed: Parsed[Any]) -> dict[str, Any]:
        """What a table shows of a policy."""
        spec = parsed.spec
        if not isinstance(spec, PrivacyPolicySpec):
            return {}
        return {
            "packs": bounded(", ".join(pack.name for pack in spec.packs) or "baseline", PACKS_BYTES),
            "namespaces": len(_selected(spec, self._facts.governed())),
        }

    def _problems(self, parsed: Parsed[Any]) -> Iterator[str]:
        spec = parsed.spec
        if isinstance(spec, DatasetSpec):
            for name in sorted({c.data_class for c in spec.columns}):
                if self._facts.parsed("DataClass", "", name) is None:
                    yield f"The DataClass {name} does not exist (yet), so jobs that ask for its columns hold."
            for scope in sorted({u.consent_scope for u in spec.uses if u.consent_scope}):
                if self._facts.parsed("ConsentScope", parsed.namespace or "", scope) is None:
                    yield f"The ConsentScope {scope} does not exist (yet), so jobs that rest on it hold."


def _selected(spec: PrivacyPolicySpec, governed: Mapping[str, Mapping[str, str]]) -> list[str]:
    return sorted(name for name, labels in governed.items() if selects(spec, labels))


def _reach(found: Sequence[str]) -> str:
    """How many governed namespaces a policy selects, and which."""
    if not found:
        return "It selects no governed namespace, so it has no effect."
    more = f" and {len(found) - NAMES_SHOWN} more" if len(found) > NAMES_SHOWN else ""
    return f"It selects {len(found)} governed namespace{'s'[: len(found) > 1]}: {', '.join(found[:NAMES_SHOWN])}{more}."


def policy_conditions(
    spec: PrivacyPolicySpec,
    problems: Sequence[tuple[Reason, str]],
    failing: Mapping[str, Mapping[str, str]],
) -> dict[ConditionType, Tri]:
    """Ready, Stalled and CustomRulesWork of a policy. What is wrong with one only people can mend.

    A custom rule that fails on every sample holds all jobs; one that fails on samples of one kind may be meant for the
    other, so the policy is ready, and says so.
    """
    told = [
        f"The custom rule {rule.id} does not work: {sentence(failing[rule.expression])}."
        for rule in spec.custom
        if rule.expression in failing
    ]
    found = [*problems]
    if any(len(kinds) == len(KINDS) for kinds in failing.values()):
        found.append((Reason.CUSTOM_RULE_FAILS, " ".join(told)))
    ready: Tri = ("True", Reason.REFS_RESOLVED, ". ".join(["everything it refers to is there", *told]))
    stalled: Tri = ("False", Reason.PROGRESSING, "nothing for people to do")
    if found:
        text = " ".join(text for _, text in found)
        ready, stalled = ("False", found[0][0], text), ("True", found[0][0], text)
    works: Tri = ("True", Reason.ALLOWED, "each custom rule gives an answer on sample jobs that have every field")
    if told:
        works = ("False", Reason.CUSTOM_RULE_FAILS, " ".join(told))
    return {ConditionType.READY: ready, ConditionType.STALLED: stalled, ConditionType.CUSTOM_RULES_WORK: works}


def policy_problems(
    spec: PrivacyPolicySpec, shelf: Shelf, expressions: Mapping[str, str]
) -> Iterator[tuple[Reason, str]]:
    """What is wrong with a policy and holds the jobs under it: a reason, and a sentence that says who mends it."""
    hold = "so jobs under this policy hold"
    for pack in spec.packs:
        if pack.name in shelf.bad and pack.name not in shelf.packs:
            why = shelf.bad[pack.name]
            yield Reason.INVALID_POLICY, f"The pack {pack.name} can not be used, {hold}: {why}. Mend its ConfigMap."
        elif pack.name not in shelf.packs:
            other = instead(pack.name, shelf.packs)
            yield Reason.PACK_NOT_FOUND, f"The pack {pack.name} is not installed, {hold}: {other}."
    for override in spec.rules:
        if override.id not in rules_by_id():
            other = instead(override.id, rules_by_id())
            yield Reason.INVALID_POLICY, f"There is no rule {override.id}, {hold}: {other}."
    _, bad = merge(all_rules(), [dict(spec.parameters)])
    for item in bad:
        yield Reason.INVALID_POLICY, f"The parameter {item.name} can not be read ({item.why}), {hold}. Mend it."
    for rule in spec.custom:
        if rule.expression in expressions:
            why = expressions[rule.expression]
            yield Reason.INVALID_POLICY, f"The custom rule {rule.id} can not be compiled ({why}), {hold}. Mend it."
