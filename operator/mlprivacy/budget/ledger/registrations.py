"""Which datasets the ledgers hold, and how their data is cut, read off single entries: no chain, no fold.

A ledger has as many entries as jobs had steps, while a decision needs to know only which identities and sources belong
to which domain. So an entry is reduced to that before it is kept: what it registers, and of a part of a checkpoint
the lines that say what was registered before it. Nothing is checked here; the fold refuses an entry that is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from mlprivacy.budget.ledger.blocks import Cut
from mlprivacy.budget.ledger.transitions import Checkpoint, Promise, Register

# Lines of a checkpoint have their keys sorted: these, and no others, begin so.
_IDENTITY = '{"identity":'
_STATE = '{"backwards":'


class Registration(NamedTuple):
    """An identity that belongs to a domain for ever, and its normalised source where one is known."""

    domain: str
    identity: str
    source: str | None = None


class Form(NamedTuple):
    """What a domain counts, which never changes: the unit, and how its data is cut into blocks."""

    unit: str
    cut: Cut


def reduced(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A raw LedgerEntry without all that is not about datasets; its name alone where nothing else is.

    Takes any JSON object that has a name; never raises on its content.
    """
    kept: dict[str, Any] = {"kind": "LedgerEntry", "metadata": {"name": entry["metadata"]["name"]}}
    spec = _mapping(entry.get("spec"))
    registers: dict[tuple[str, str | None], None] = {}
    promise: Mapping[str, Any] = {}
    transitions = spec.get("transitions")
    for transition in map(_mapping, transitions if isinstance(transitions, list) else ()):
        match transition.get("type"):
            case Register.TYPE:
                registers.update(_pairs([_mapping(transition.get("register"))]))
            case Checkpoint.TYPE:
                lines = list(_lines(_mapping(transition.get("checkpoint")).get("state")))
                registers.update(_pairs(line for line in lines if line.get("is") in ("identity", "source")))
                promise = next((_mapping(line["promise"]) for line in lines if line.get("promise")), promise)
            case Promise.TYPE:
                promise = _mapping(transition.get("promise"))
    about: dict[str, Any] = {}
    if registers:
        about["registers"] = [[one for one in pair if one is not None] for pair in registers]
    if promise:
        about["promise"] = {key: promise.get(key) for key in ("unit", "blocks")}
    if about:
        kept["spec"] = {"subjectDomain": spec.get("subjectDomain"), **about}
    return kept


def registrations_of(entry: Mapping[str, Any]) -> Iterator[Registration]:
    """What a reduced entry registers."""
    spec = _mapping(entry.get("spec"))
    for pair in spec.get("registers") or ():
        yield Registration(str(spec.get("subjectDomain")), pair[0], pair[1] if len(pair) > 1 else None)


def form_of(entry: Mapping[str, Any]) -> tuple[str, Form] | None:
    """The domain of a reduced entry and what it counts, where the entry says so."""
    spec = _mapping(entry.get("spec"))
    promise = _mapping(spec.get("promise"))
    if not promise:
        return None
    blocks = _mapping(promise.get("blocks"))
    cut = Cut(str(blocks.get("by")), blocks.get("period"), blocks.get("buckets"))
    return str(spec.get("subjectDomain")), Form(str(promise.get("unit")), cut)


def plain(registrations: Iterable[Registration]) -> tuple[Registration, ...]:
    """Each once and in order; an identity stands without a source only when none of its is known."""
    with_source = {(one.domain, one.identity) for one in registrations if one.source is not None}
    kept = {one for one in registrations if one.source is not None or (one.domain, one.identity) not in with_source}
    return tuple(sorted(kept, key=lambda one: (one.domain, one.identity, one.source or "")))


class Book:
    """What all entries together say, kept up to date entry by entry.

    An entry that is pruned takes its registrations along, and the checkpoint that stands for it holds them too.
    """

    def __init__(self) -> None:
        self._count: Counter[Registration] = Counter()
        self._forms: Counter[tuple[str, Form]] = Counter()
        self.registrations: tuple[Registration, ...] = ()
        """The same object until they change."""

    @property
    def forms(self) -> dict[str, Form]:
        """What each domain counts, where an entry that is there says it."""
        return {domain: form for domain, form in self._forms}  # noqa: C416 - its keys are the pairs

    def take(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
        """An entry came (``old`` is None), changed or went (``new`` is None), reduced; True when registrations did."""
        touched = False
        for entry, sign in ((new, 1), (old, -1)):
            if entry is None:
                continue
            for one in registrations_of(entry):
                touched = True
                _add(self._count, one, sign)
            if (form := form_of(entry)) is not None:
                _add(self._forms, form, sign)
        found = plain(tuple(self._count)) if touched else self.registrations
        if found == self.registrations:
            return False
        self.registrations = found
        return True


def _add(counter: Counter[Any], key: Any, sign: int) -> None:
    counter[key] += sign
    if counter[key] <= 0:
        del counter[key]


def _pairs(bodies: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str | None], None]:
    pairs = ((body.get("identity"), body.get("source")) for body in bodies)
    return {
        (identity, source if isinstance(source, str) else None): None
        for identity, source in pairs
        if isinstance(identity, str)
    }


def _lines(state: Any) -> Iterator[Mapping[str, Any]]:
    for line in state.split("\n") if isinstance(state, str) else ():
        if line.startswith((_IDENTITY, _STATE)):
            try:
                yield _mapping(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
