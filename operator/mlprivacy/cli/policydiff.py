"""Decides on the same jobs under two sets of policies and packs, and says where the decisions differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlprivacy.cli import objects, offline, style
from mlprivacy.cli.errors import EXIT_ALLOWED, EXIT_BAD_INPUT, EXIT_HELD, EXIT_REFUSED, CliError
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
    unread_of: Mapping[str, str] = field(default_factory=dict)  # matters only to decisions that rest on this kind
    complete: frozenset[str] = frozenset()  # kinds of which these are all objects
    audit_retention_days: int | None = None


@dataclass(frozen=True)
class Proposal:
    """What is changed without a file: labels of namespaces, by namespace, and policies that go away."""

    modes: Mapping[str, str] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Altered:
    """One finding that both sides have, with another action."""

    before: Finding
    after: Finding


@dataclass(frozen=True)
class Change:
    """One job under both sides."""

    what: str
    namespace: str
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
            yield f"  {sign} {word}  {style.printable(f'{finding.rule}  {finding.path}')}{style.asked_by(finding)}"
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
    incomplete: tuple[str, ...] = ()  # what was not seen, and may decide otherwise

    @property
    def exit_code(self) -> int:
        """2 bad input, 3 not everything could be seen, 1 a job is decided otherwise, 0 none is."""
        if self.bad:
            return EXIT_BAD_INPUT
        if self.incomplete:
            return EXIT_HELD
        return EXIT_REFUSED if any(c.decided_otherwise for c in self.changes) else EXIT_ALLOWED

    def as_json(self) -> dict[str, Any]:
        """For programs. Jobs about which there is nothing to tell are counted, not listed."""
        return {
            "exitCode": self.exit_code,
            "jobs": len(self.changes),
            "changes": [c.as_json() for c in self.changes if c.anything],
            "errors": [str(bad) for bad in self.bad],
            "incomplete": list(self.incomplete),
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        for bad in self.bad:
            yield from style.paragraph(f"BAD  {bad}", "", "     ")
        for text in self.incomplete:
            yield from style.paragraph(f"INCOMPLETE  {text}", "", "     ")
        for change in self.changes:
            if change.anything:
                yield from change.lines()
        count = sum(c.decided_otherwise for c in self.changes)
        others = sum(c.anything for c in self.changes) - count
        text = f"{len(self.changes)} job{'' if len(self.changes) == 1 else 's'}: {count} decided otherwise"
        text += f", {others} with other findings" if others else ""
        yield text + (", of what could be seen." if self.incomplete else ".")


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

    def __init__(
        self,
        found: Iterable[Raw],
        settings: offline.Settings,
        packs: Mapping[str, Pack],
        complete: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(found, settings, complete=complete)
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
    old: str | Live | None,
    new: str | None,
    files: Iterable[str],
    *,
    settings: offline.Settings,
    proposal: Proposal | None = None,
    default_namespace: str = "default",
) -> Comparison:
    """Decide on every job under ``old`` and under ``new``.

    Args:
        old: a file or folder with policies and packs, or what a cluster holds; None for what the files hold.
        new: a file or folder with policies and packs; None for the same as ``old``.
        files: jobs and what they refer to.
        settings: what files can not say.
        proposal: what the new side changes without a file.
        default_namespace: the namespace of objects that name none.

    Raises:
        CliError: when there is no job to decide on, or a policy to be deleted is not there.
    """
    bad: list[BadInput] = []
    proposal = proposal or Proposal()

    def side(paths: Iterable[str]) -> _Side:
        found = objects.read(paths, default_namespace=default_namespace, packs=True)
        bad.extend(found.bad)
        return _Side({_key(item.raw): item.raw for item in found.items}, found.packs)

    live = old if isinstance(old, Live) else None
    common = side(files)
    if live is not None:
        common = _Side({**{_key(raw): raw for raw in live.objects}, **common.objects}, common.packs)
    before = side([old]) if isinstance(old, str) else _policies(common)
    after = side([new]) if new is not None else before
    if new is not None and not isinstance(old, str):
        after = _added(before, after)
    after = _without(after, proposal.deleted, common)
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
    complete = live.complete if live is not None else frozenset()
    changed = replace(settings, modes={**settings.modes, **proposal.modes})
    with offline.custom_rules() as custom:
        looks = [
            _Lookup({**shared, **s.objects}.values(), setting, {**common.packs, **s.packs}, complete)
            for s, setting in ((before, settings), (after, changed))
        ]
        changes = [
            _change(key, *(evaluate(raw, offline.facts_of(raw, look, settings.now, custom=custom)) for look in looks))
            for key, raw in sorted(jobs.items())
        ]
    changes.sort(key=lambda c: not c.decided_otherwise)
    return Comparison(tuple(changes), incomplete=tuple(_incomplete(changes, live, looks)))


def _incomplete(changes: Iterable[Change], live: Live | None, looks: Iterable[_Lookup]) -> Iterator[str]:
    """What was not seen: objects that may not be read, and namespaces that no file holds."""
    if live is not None:
        kinds = {d.kind for c in changes for one in (c.before, c.after) for d in one.dependencies}
        texts = (*live.unread, *(text for kind, text in live.unread_of.items() if kind in kinds))
        yield from (f"{text}: a job may be decided otherwise than is shown." for text in texts)
    named = {c.namespace for c in changes}
    unknown = sorted(name for name in named if any(look.namespace_labels(name) is None for look in looks))
    if unknown:
        count = sum(c.namespace in unknown for c in changes)
        yield (
            f"the namespace{'' if len(unknown) == 1 else 's'} {', '.join(unknown)} of {count} "
            f"job{'' if count == 1 else 's'} {'is' if len(unknown) == 1 else 'are'} not among what was read, so "
            f"{'it is' if count == 1 else 'they are'} held on both sides as not governed, whatever the policies say. "
            "Add the Namespace to the files, or say --default-mode or --namespace-label."
        )


def _policies(common: _Side) -> _Side:
    return _Side({k: raw for k, raw in common.objects.items() if k[0] == "PrivacyPolicy"})


def _without(after: _Side, deleted: Iterable[str], common: _Side) -> _Side:
    """The side without these policies."""
    for name in deleted:
        if ("PrivacyPolicy", "", name) not in {**common.objects, **after.objects}:
            raise CliError(f"There is no PrivacyPolicy {name} to delete.")
    gone = {("PrivacyPolicy", "", name) for name in deleted}
    return replace(after, objects={k: raw for k, raw in after.objects.items() if k not in gone})


def _added(live: _Side, new: _Side) -> _Side:
    """What ``kubectl apply`` of the new files would leave: the live policies, changed and added to."""
    return _Side({**live.objects, **new.objects}, new.packs)


def _change(key: Key, before: Decision, after: Decision) -> Change:
    old, new = ({(f.rule, f.path, f.message): f for f in d.findings} for d in (before, after))
    kind, namespace, name = key
    return Change(
        what=f"{kind} {namespace}/{name}",
        namespace=namespace,
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
