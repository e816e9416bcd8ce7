"""Recomputes every balance of a ledger from exported entries, without a cluster, and names the first bad entry.

An export is lines of JSON, one object each as `kubectl get ledgerentries -o json` gives it, each domain's entries in
ascending order. What `kubectl` prints as one List is read as well, and sorted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from mlprivacy.budget.ledger.entry import Entry, Head, anchors_for, compare_with_anchor, entry_name, parse_entry
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import Fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import status_of, use_of, use_status
from mlprivacy.budget.ledger.transitions import AttemptKey, Commit, Release, Reserve
from mlprivacy.budget.ledger.units import Units

MAX_LINE: Final = 1 << 20  # bytes; the largest entry is a tenth of that


def export_line(entry: Entry) -> bytes:
    """An entry as one line of an export, without the newline."""
    return orjson.dumps(entry.manifest(), option=orjson.OPT_SORT_KEYS)


class Line(NamedTuple):
    """One object of an export: where it stands, its name and its spec."""

    file: str
    number: int
    name: str
    spec: Any


class ExportError(ValueError):
    """A line of an export is no entry. The message is a sentence."""


def read_lines(file: str, lines: Iterable[bytes]) -> Iterator[Line | Problem]:
    """The objects of an export, line by line; a line that is none is a Problem and reading goes on."""
    for number, text in enumerate(lines, 1):
        if text.isspace() or not text:
            continue
        try:
            if len(text) > MAX_LINE:
                yield Problem(
                    file, number, "", f"the line is {len(text):,} bytes long, at most {MAX_LINE:,} are allowed"
                )
                continue
            yield _object(file, number, orjson.loads(text))
        except (ExportError, orjson.JSONDecodeError) as error:
            yield Problem(file, number, "", f"the line is no entry of a ledger ({error})")


def read_list(file: str, text: bytes) -> Iterator[Line | Problem]:
    """The objects of one JSON document: a List as `kubectl -o json` prints it, by domain and sequence; or one entry."""
    try:
        document = orjson.loads(text)
        items = document.get("items") if isinstance(document, dict) else None
        found = [_object(file, 1, item) for item in (items if isinstance(items, list) else [document])]
    except (ExportError, orjson.JSONDecodeError) as error:
        yield Problem(file, 1, "", f"the file holds no entries of a ledger ({error})")
        return
    yield from sorted(found, key=_order)


def _order(line: Line) -> tuple[str, int]:
    domain, _, sequence = line.name.rpartition("-")
    return domain, int(sequence) if sequence.isdecimal() and len(sequence) < 20 else 0


def _object(file: str, number: int, raw: Any) -> Line:
    metadata = raw.get("metadata") if isinstance(raw, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or raw.get("kind") != "LedgerEntry":
        raise ExportError("an object without kind: LedgerEntry and metadata.name")
    return Line(file, number, name, raw.get("spec"))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: in which file and line, with which entry."""

    file: str
    line: int
    entry: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}, line {self.line}" if self.file else "anchor"
        return f"{where}: {f'{self.entry}: ' if self.entry else ''}{self.message}"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one attempt committed on each of its blocks; ``curve`` is zero where it released."""

    job: str
    curve: Units
    blocks: int
    sequence: int


@dataclass(frozen=True, slots=True)
class DomainReport:
    """One domain: how far its chain is good, and what that adds up to (None where no checkpoint says how it began)."""

    domain: str
    head: Head
    first: int
    state: State | None
    spent: Mapping[AttemptKey, Spent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What the export says."""

    entries: int
    domains: tuple[DomainReport, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.problems


class Verifier:
    """Takes the lines of an export one by one; memory grows with the blocks and with 32 bytes for each entry."""

    def __init__(self, *, jobs: bool = False) -> None:
        self._jobs = jobs
        self._folds: dict[str, Fold] = {}
        self._bad: set[str] = set()
        self._spent: dict[str, dict[AttemptKey, Spent]] = {}
        self._problems: list[Problem] = []
        self._entries = 0

    def take(self, line: Line | Problem) -> None:
        """Go on by one line. An entry that was taken before, byte for byte, is passed over: exports may overlap."""
        if isinstance(line, Problem):
            self._problems.append(line)
            return
        self._entries += 1
        # Nothing that follows a bad entry means anything, so that only the first one of each domain is named.
        prefix = line.name.rpartition("-")[0]
        if prefix in self._bad:
            return
        try:
            entry = parse_entry(line.name, line.spec)
            fold = self._folds.get(entry.subject_domain)
            if fold is None:
                fold = self._folds[entry.subject_domain] = Fold(entry.subject_domain)
            if fold.hash_of(entry.sequence) == entry.hash:
                return
            before = self._before(fold, entry) if self._jobs else None
            fold.take(entry)
            if before:
                self._spent.setdefault(entry.subject_domain, {}).update(before)
        except ChainError as error:
            self._bad.add(prefix)
            self._problems.append(Problem(line.file, line.number, error.entry, error.why))

    def _before(self, fold: Fold, entry: Entry) -> dict[AttemptKey, Spent]:
        """What the entry settles, from what was reserved before it."""
        found: dict[AttemptKey, Spent] = {}
        if fold.state is None:
            return found
        held = (
            {key: reservation.reserve for key, reservation in fold.state.reservations.items()}
            if len(entry.transitions) > 1
            else None
        )
        for one in entry.transitions:
            if isinstance(one, Reserve) and held is not None:
                held[one.key] = one
            if not isinstance(one, Commit | Release):
                continue
            reservation = fold.state.reservations.get(one.key)
            reserve = held.get(one.key) if held is not None else reservation.reserve if reservation else None
            if reserve is None:
                continue  # the fold says what is wrong with it
            curve = (0,) * len(reserve.curve)
            if isinstance(one, Commit):
                curve = reserve.curve if one.curve is None else one.curve
            blocks = sum(part.count for part in reserve.ranges)
            found[one.key] = Spent(str(reserve.job), curve, blocks, entry.sequence)
        return found

    def report(self, anchors: Iterable[Head] = ()) -> LedgerReport:
        """What was found, held against heads that were seen elsewhere."""
        problems = list(self._problems)
        known = tuple(anchors)
        for domain in sorted({anchor.subject_domain for anchor in known} - self._folds.keys()):
            problems.append(
                Problem("", 0, domain, "no entry of this domain is in the export, and an anchor says there were")
            )
        for domain, fold in sorted(self._folds.items()):
            hashes = fold.hashes()
            for anchor in anchors_for(domain, known):
                if entry_name(domain, 1).rpartition("-")[0] in self._bad and anchor.sequence > fold.head.sequence:
                    continue  # the first bad entry says it
                if (wrong := compare_with_anchor(hashes, fold.head, anchor)) is not None:
                    problems.append(Problem("", 0, entry_name(domain, anchor.sequence), wrong))
                    break
            if fold.state is None and entry_name(domain, 1).rpartition("-")[0] not in self._bad:
                message = (
                    "the export begins there and holds no whole checkpoint after it, so no balance can be computed; "
                    "add "
                    "what was exported before"
                )
                problems.append(Problem("", 0, entry_name(domain, fold.first), message))
        return LedgerReport(
            self._entries,
            tuple(
                DomainReport(domain, fold.head, fold.first, fold.state, self._spent.get(domain, {}))
                for domain, fold in sorted(self._folds.items())
            ),
            tuple(problems),
        )


def balances(state: State) -> list[dict[str, Any]]:
    """What is used of each open block, ascending."""
    rows = np.flatnonzero(state.table.opened)
    return [use_status(use) for use in use_of(state, rows)] if state.promise is not None and len(rows) else []


def report_json(report: LedgerReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "ok": report.ok,
        "entries": report.entries,
        "domains": [_domain_json(one) for one in report.domains],
        "problems": [
            {"file": one.file, "line": one.line, "entry": one.entry, "message": one.message} for one in report.problems
        ],
    }


def _domain_json(one: DomainReport) -> dict[str, Any]:
    found: dict[str, Any] = {
        "subjectDomain": one.domain,
        "first": one.first,
        "head": {"sequence": one.head.sequence, "hash": one.head.hash},
    }
    if one.state is not None:
        found |= {
            "status": status_of(one.state),
            "balances": balances(one.state),
            "reservations": [
                {"job": str(held.reserve.job), "uid": uid, "attempt": attempt, "pod": held.pod, "since": held.time}
                for (uid, attempt), held in sorted(one.state.reservations.items())
            ],
            "clockWentBackwards": one.state.backwards,
        }
    if one.spent:
        found["jobs"] = [
            {"job": spent.job, "uid": uid, "attempt": attempt, "curve": list(spent.curve), "blocks": spent.blocks}
            for (uid, attempt), spent in sorted(one.spent.items())
        ]
    return found
