"""Decides on the jobs in files with what else the files hold: the same evaluation as in the cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mlprivacy.api.names import ANNOTATION_REQUESTED_BY, LABEL_ENFORCE
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.cel.pool import CelPool
from mlprivacy.cli.errors import EXIT_ALLOWED, EXIT_BAD_INPUT, EXIT_HELD, EXIT_REFUSED, CliError
from mlprivacy.cli.installation import CHART_RETENTION_DAYS
from mlprivacy.cli.objects import JOB_KINDS, BadInput, Item, Objects
from mlprivacy.cli.together import Examined, examine
from mlprivacy.policy.custom import CustomRules
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.engine import custom_asked, evaluate, losses_asked
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.loss import remembered
from mlprivacy.policy.model import Decision, Verdict
from mlprivacy.policy.modes import selects
from mlprivacy.policy.packs import Pack, Shelf
from mlprivacy.policy.people import requester_of
from mlprivacy.policy.policy_check import policy_errors, policy_warnings

MODES = ("enforce", "warn", "audit")
_EXIT = {Verdict.ALLOW: EXIT_ALLOWED, Verdict.DENY: EXIT_REFUSED, Verdict.HOLD: EXIT_HELD}
_WORST_FIRST = (EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_HELD)


@dataclass(frozen=True)
class Settings:
    """What the files can not say. ``modes`` are labels of namespaces; ``default_mode`` that of namespaces not there."""

    now: datetime
    modes: Mapping[str, str] = field(default_factory=dict)
    default_mode: str | None = None
    audit_retention_days: int | None = CHART_RETENTION_DAYS  # what the installation promises; None: not known
    requester: str | None = None  # who applies jobs that carry no stamp
    operator_namespace: str = "mlprivacy-system"  # where registers of people's training count


@dataclass(frozen=True)
class Judged:
    """One job and what was decided."""

    item: Item
    decision: Decision


@dataclass(frozen=True)
class Judgement:
    """Everything a check found."""

    judged: tuple[Judged, ...]
    objects: Objects
    policy_problems: tuple[BadInput, ...] = ()  # packs that a policy names and that are not there: its jobs hold
    idle: tuple[str, ...] = ()  # policies that select none of the namespaces among the files
    packs: Mapping[str, Pack] = field(default_factory=dict)
    examined: tuple[Examined, ...] = ()  # PrivacyBudgets and Datasets, and how they go together

    @property
    def bad(self) -> tuple[BadInput, ...]:
        """What could not be read."""
        return tuple(self.objects.bad)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know to trust it."""
        names = sorted({name for judged in self.judged for name in judged.decision.exceptions})
        idle = (f"{what} selects none of the namespaces among the files." for what in self.idle)
        return (*((trust_note(names),) if names else ()), *(f"{odd}." for odd in self.objects.odd), *idle)

    @property
    def exit_code(self) -> int:
        """The worst of all: 2 bad input, 1 refused, 3 held, 0 allowed."""
        codes = {_EXIT[j.decision.verdict] for j in self.judged} | {_EXIT[one.verdict] for one in self.examined}
        codes |= ({EXIT_BAD_INPUT} if self.bad else set()) | ({EXIT_HELD} if self.policy_problems else set())
        return next((code for code in _WORST_FIRST if code in codes), EXIT_ALLOWED)


def trust_note(names: Iterable[str]) -> str:
    """What a reader must know when exceptions from files counted."""
    return (
        f"the exceptions {', '.join(names)} are taken at the files' word: who asked, who approved and when they were "
        "made is what their metadata says. Only the cluster knows whether it is true."
    )


class FileLookup(ObjectLookup):
    """Looks objects up in files, with the labels of namespaces as the settings change them."""

    def __init__(
        self, objects: Iterable[Mapping[str, Any]], settings: Settings, *, complete: Collection[str] = ()
    ) -> None:
        super().__init__(
            objects,
            complete=complete,
            operator_namespace=settings.operator_namespace,
            audit_retention_days=settings.audit_retention_days,
        )
        self._settings = settings

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace: those of the file, with the mode of ``--namespace-label`` or ``--default-mode``."""
        known = super().namespace_labels(name)
        mode = self._settings.modes.get(name, self._settings.default_mode if known is None else None)
        if mode is None:
            return known
        return {**(known or {"kubernetes.io/metadata.name": name}), LABEL_ENFORCE: mode}


def parse_now(text: str | None) -> datetime:
    """The moment to judge at: RFC 3339, or a day (its first moment, UTC); the present when there is none.

    Raises:
        CliError: when it is neither.
    """
    if not text:
        return datetime.now(UTC)
    try:
        return parse_time(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        raise CliError(f"--now {text!r} is no moment; write 2027-01-31 or 2027-01-31T12:00:00Z.") from None


def parse_modes(pairs: Iterable[str]) -> dict[str, str]:
    """``clinic=enforce`` -> the mode by namespace.

    Raises:
        CliError: when one is not of that form.
    """
    modes = {}
    for pair in pairs:
        name, _, mode = pair.partition("=")
        if not name or mode not in MODES:
            raise CliError(f"--namespace-label {pair!r} is not of the form NAMESPACE={'|'.join(MODES)}.")
        modes[name] = mode
    return modes


Adjust = Callable[[Facts], Facts]


def custom_rules() -> CelPool:
    """The evaluator of custom rules; a context manager. Its worker starts when a policy has a custom rule.

    Nobody waits behind a command as the API server does behind admission, so a loaded machine has time.
    """
    logging.getLogger("mlprivacy.cel").addHandler(logging.NullHandler())  # the findings say it
    return CelPool(expression_seconds=5, total_seconds=30)


def facts_of(
    raw: Mapping[str, Any],
    lookup: FileLookup,
    now: datetime,
    *,
    custom: CustomRules | None = None,
    adjust: Adjust | None = None,
) -> Facts:
    """The facts of the decision on one job. Without ``custom`` its custom rules have no answer, which holds it."""
    facts = select_facts(raw, lookup, now)
    if adjust is not None:
        facts = adjust(facts)
    facts = with_losses(raw, facts)
    if custom is not None and (asked := custom_asked(raw, facts)) is not None:
        facts = replace(facts, custom=custom.evaluate(asked.rules, asked.document))
    return facts


def with_losses(raw: Mapping[str, Any], facts: Facts) -> Facts:
    """These facts with the losses that the decision on this job needs, however long they take to count."""
    keys = losses_asked(raw, facts)
    return replace(facts, losses={key: remembered(key) for key in keys}) if keys else facts


def stamped(raw: Mapping[str, Any], requester: str | None) -> Mapping[str, Any]:
    """The job as admission would stamp it when ``requester`` applies it; one that has a stamp as it is."""
    if requester is None or requester_of(raw) is not None:
        return raw
    metadata = raw["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ANNOTATION_REQUESTED_BY: requester}
    return {**raw, "metadata": {**metadata, "annotations": annotations}}


def _policy_problems(objects: Objects, custom: CustomRules | None) -> Iterator[BadInput]:
    """What admission refuses of the policies in the files: rules, parameters and expressions that can not be."""
    for item, spec in _policies(objects):
        texts = [rule.expression for rule in spec.custom]
        for error in policy_errors(spec, custom.errors(texts) if custom is not None and texts else None):
            yield BadInput(item.place_of(error.path), error.message, item.what, error.path)


def judge(objects: Objects, settings: Settings, custom: CustomRules | None = None) -> Judgement:
    """Decide on every job that could be read. A job with a mistake of its own is bad input and is not judged."""
    broken = {bad.what for bad in objects.bad if bad.what}
    objects.bad += _policy_problems(objects, custom)
    lookup = FileLookup((item.raw for item in objects.items), settings)
    shelf = lookup.packs()
    judged = [
        Judged(item, evaluate(raw, facts_of(raw, lookup, settings.now, custom=custom)))
        for item in objects.of(*JOB_KINDS)
        if item.what not in broken
        for raw in (stamped(item.raw, settings.requester),)
    ]
    return Judgement(
        tuple(judged),
        objects,
        tuple(_packs_not_there(objects, shelf)),
        tuple(_idle(objects, lookup)),
        shelf.packs,
        tuple(one for one in examine(objects) if one.item.what not in broken),
    )


def _packs_not_there(objects: Objects, shelf: Shelf) -> Iterator[BadInput]:
    for item, spec in _policies(objects):
        for warning in policy_warnings(spec, shelf):
            yield BadInput(item.place_of(warning.path), warning.message, item.what, warning.path)


def _idle(objects: Objects, lookup: FileLookup) -> Iterator[str]:
    """The policies that select nothing, where the files hold namespaces at all."""
    namespaces = [lookup.namespace_labels(item.name) or {} for item in objects.of("Namespace")]
    for item, spec in _policies(objects) if namespaces else ():
        if not any(selects(spec, labels) for labels in namespaces):
            yield item.what


def _policies(objects: Objects) -> Iterator[tuple[Item, PrivacyPolicySpec]]:
    for item in objects.of("PrivacyPolicy"):
        spec = item.parsed.spec if item.parsed is not None else None
        if isinstance(spec, PrivacyPolicySpec):
            yield item, spec
