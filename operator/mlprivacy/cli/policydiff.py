"""Decides on the same jobs under two sets of policies and packs, and says where the decisions differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlprivacy.cli import objects, offline, style
from mlprivacy.cli.errors import EXIT_ALLOWED, EXIT_BAD_INPUT, EXIT_REFUSED, CliError
from mlprivacy.cli.objects import JOB_KINDS, BadInput
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Decision, Finding
from mlprivacy.policy.packs import Pack, Shelf

Raw = Mapping[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace (empty where there is none) and name."""


@dataclass(frozen=True)
class Live:
    """What a cluster holds, as far as it could be read; ``unread`` says what could not, one sentence each."""

    objects: tuple[Raw, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Altered:
    """One finding that both sides have, with another action."""

    before: Finding
    after: Finding


@dataclass(frozen=True)
class Change:
    """One job under both sides."""

    what: str
    before: Decision
    after: Decision
    gained: tuple[Finding, ...]
    lost: tuple[Finding, ...]
    altered: tuple[Altered, ...]

    @property
    def decided_otherwise(self) -> bool:
        """True when the verdict or the controls are others."""
        return self.before.digest != self.after.digest

    @property
    def anything(self) -> bool:
        """True when there is anything to tell."""
        return self.decided_otherwise or bool(self.gained or self.lost or self.altered)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "object": self.what,
            "decidedOtherwise": self.decided_otherwise,
            "before": _side(self.before),
            "after": _side(self.after),
            "gained": [f.as_dict() for f in self.gained],
            "lost": [f.as_dict() for f in self.lost],
            "altered": [{**a.after.as_dict(), "before": a.before.action.value} for a in self.altered],
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        old, new = style.verdict_word(self.before), style.verdict_word(self.after)
        became = f"{old} -> {new}" if old != new else f"{old} as before"
        yield f"{style.heading(self.after)}  {self.what}  {became}{self._more()}"
        for sign, finding, word in (
            *(("+", f, f.action.value) for f in self.gained),
            *(("~", a.after, f"{a.before.action.value} -> {a.after.action.value}") for a in self.altered),
            *(("-", f, f.action.value) for f in self.lost),
        ):
            asked = f"  (pack {finding.pack})" if finding.pack else ""
            yield f"  {sign} {word}  {style.printable(f'{finding.rule}  {finding.path}{asked}')}"
            if sign != "-":
                yield from style.paragraph(finding.message, "      ")

    def _more(self) -> str:
        parts = []
        if self.before.mode != self.after.mode:
            parts.append(f"mode {self.before.mode} -> {self.after.mode}")
        if self.before.obligations != self.after.obligations:
            parts.append("other controls")
        return f"  ({', '.join(parts)})" if parts else ""


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison found."""

    changes: tuple[Change, ...]
    bad: tuple[BadInput, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """2 bad input, 1 a job is decided otherwise, 0 none is."""
        if self.bad:
            return EXIT_BAD_INPUT
        return EXIT_REFUSED if any(c.decided_otherwise for c in self.changes) else EXIT_ALLOWED

    def as_json(self) -> dict[str, Any]:
        """For programs. Jobs about which there is nothing to tell are counted, not listed."""
        return {
            "exitCode": self.exit_code,
            "jobs": len(self.changes),
            "changes": [c.as_json() for c in self.changes if c.anything],
            "errors": [str(bad) for bad in self.bad],
            "notes": list(self.notes),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        for bad in self.bad:
            yield from style.paragraph(f"BAD  {bad}", "", "     ")
        for change in self.changes:
            if change.anything:
                yield from change.lines()
        for note in self.notes:
            yield from style.paragraph(f"Note: {note}", "", "      ")
        count = sum(c.decided_otherwise for c in self.changes)
        others = sum(c.anything for c in self.changes) - count
        text = f"{len(self.changes)} job{'' if len(self.changes) == 1 else 's'}: {count} decided otherwise"
        yield text + (f", {others} with other findings" if others else "") + "."


@dataclass(frozen=True)
class _Side:
    """What one side adds to the files that both have in common."""

    objects: Mapping[Key, Raw]
    packs: Mapping[str, Pack] = field(default_factory=dict)

    @property
    def has_policy(self) -> bool:
        return any(kind == "PrivacyPolicy" for kind, _, _ in self.objects)


class _Lookup(offline.FileLookup):
    """Looks objects up in files, with packs that lie in files of their own."""

    def __init__(self, found: Iterable[Raw], settings: offline.Settings, packs: Mapping[str, Pack]) -> None:
        super().__init__(found, settings)
        self._packs = packs
        self._both: Shelf | None = None

    def packs(self) -> Shelf:
        """The packs of ConfigMaps and those of files, of which the latter count."""
        if self._both is None:
            shelf = super().packs()
            bad = {name: why for name, why in shelf.bad.items() if name not in self._packs}
            self._both = Shelf({**shelf.packs, **self._packs}, bad)
        return self._both


def compare(
    old: str | Live,
    new: str,
    files: Iterable[str],
    *,
    settings: offline.Settings,
    default_namespace: str = "default",
) -> Comparison:
    """Decide on every job under ``old`` and under ``new``.

    Args:
        old: a file or folder with policies and packs, or what a cluster holds.
        new: a file or folder with policies and packs.
        files: jobs and what they refer to.
        settings: what files can not say.
        default_namespace: the namespace of objects that name none.

    Raises:
        CliError: when there is no job to decide on.
    """
    bad: list[BadInput] = []

    def side(paths: Iterable[str]) -> _Side:
        found = objects.read(paths, default_namespace=default_namespace, packs=True)
        bad.extend(found.bad)
        return _Side({_key(item.raw): item.raw for item in found.items}, found.packs)

    common = side(files)
    if isinstance(old, Live):
        common = _Side({**{_key(raw): raw for raw in old.objects}, **common.objects}, common.packs)
    before = _Side({}) if isinstance(old, Live) else side([old])
    after = side([new])
    if isinstance(old, Live):
        before = _Side({k: raw for k, raw in common.objects.items() if k[0] == "PrivacyPolicy"})
        after = _added(before, after)
    shared = {
        key: raw
        for key, raw in common.objects.items()
        if key[0] != "PrivacyPolicy" or not (before.has_policy or after.has_policy)
    }
    jobs = {
        k: raw for s in (before.objects, common.objects, after.objects) for k, raw in s.items() if k[0] in JOB_KINDS
    }
    if bad:
        return Comparison((), tuple(bad))
    if not jobs:
        raise CliError("There is no job to decide on; name files with jobs by -f, or take those of --cluster.")
    notes = old.unread if isinstance(old, Live) else ()
    with offline.custom_rules() as custom:
        looks = [
            _Lookup({**shared, **s.objects}.values(), settings, {**common.packs, **s.packs}) for s in (before, after)
        ]
        changes = [
            _change(key, *(evaluate(raw, offline.facts_of(raw, look, settings.now, custom=custom)) for look in looks))
            for key, raw in sorted(jobs.items())
        ]
    changes.sort(key=lambda c: not c.decided_otherwise)
    return Comparison(tuple(changes), notes=tuple(f"{text}." for text in notes))


def _added(live: _Side, new: _Side) -> _Side:
    """What ``kubectl apply`` of the new files would leave: the live policies, changed and added to."""
    return _Side({**live.objects, **new.objects}, new.packs)


def _change(key: Key, before: Decision, after: Decision) -> Change:
    old, new = ({(f.rule, f.path, f.message): f for f in d.findings} for d in (before, after))
    kind, namespace, name = key
    return Change(
        what=f"{kind} {namespace}/{name}",
        before=before,
        after=after,
        gained=tuple(f for k, f in new.items() if k not in old),
        lost=tuple(f for k, f in old.items() if k not in new),
        altered=tuple(Altered(old[k], f) for k, f in new.items() if k in old and old[k].action is not f.action),
    )


def _key(raw: Raw) -> Key:
    metadata = raw.get("metadata") or {}
    return str(raw.get("kind")), str(metadata.get("namespace") or ""), str(metadata.get("name"))


def _side(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": decision.verdict.value,
        "mode": decision.mode,
        "digest": decision.digest,
        "validUntil": decision.valid_until.isoformat() if decision.valid_until else None,
    }
