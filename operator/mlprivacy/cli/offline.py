"""Decides on the jobs in files with what else the files hold: the same evaluation as in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.cli.errors import EXIT_ALLOWED, EXIT_BAD_INPUT, EXIT_HELD, EXIT_REFUSED, CliError
from mlprivacy.cli.objects import JOB_KINDS, BadInput, Item, Objects
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.model import Decision, Verdict

MODES = ("enforce", "warn", "audit")
_EXIT = {Verdict.ALLOW: EXIT_ALLOWED, Verdict.DENY: EXIT_REFUSED, Verdict.HOLD: EXIT_HELD}
_WORST_FIRST = (EXIT_BAD_INPUT, EXIT_REFUSED, EXIT_HELD)


@dataclass(frozen=True)
class Settings:
    """What the files can not say. ``modes`` are labels of namespaces; ``default_mode`` that of namespaces not there."""

    now: datetime
    modes: Mapping[str, str] = field(default_factory=dict)
    default_mode: str | None = None


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

    @property
    def bad(self) -> tuple[BadInput, ...]:
        """What could not be read."""
        return tuple(self.objects.bad)

    @property
    def exit_code(self) -> int:
        """The worst of all: 2 bad input, 1 refused, 3 held, 0 allowed."""
        codes = {_EXIT[j.decision.verdict] for j in self.judged} | ({EXIT_BAD_INPUT} if self.bad else set())
        return next((code for code in _WORST_FIRST if code in codes), EXIT_ALLOWED)


class FileLookup(ObjectLookup):
    """Looks objects up in files, with the labels of namespaces as the settings change them."""

    def __init__(self, objects: Iterable[Mapping[str, Any]], settings: Settings) -> None:
        super().__init__(objects)
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


def judge(objects: Objects, settings: Settings) -> Judgement:
    """Decide on every job that could be read. A job with a mistake of its own is bad input and is not judged."""
    broken = {bad.what for bad in objects.bad if bad.what}
    lookup = FileLookup((item.raw for item in objects.items), settings)
    judged = [
        Judged(item, evaluate(item.raw, select_facts(item.raw, lookup, settings.now)))
        for item in objects.of(*JOB_KINDS)
        if item.what not in broken
    ]
    return Judgement(tuple(judged), objects)
