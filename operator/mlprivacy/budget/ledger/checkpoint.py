"""A state as text in parts, and back; and which entries can be pruned once a checkpoint stands for them.

The text is lines of JSON, always the same for the same state: whoever has the state checks each part against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from mlprivacy.api.ledger_entry import MAX_STATE
from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.entry import Head, moment_of
from mlprivacy.budget.ledger.state import REMEMBER, Reservation, Settled, State, TaintMark
from mlprivacy.budget.ledger.table import NEVER
from mlprivacy.budget.ledger.transitions import (
    Checkpoint,
    Job,
    Promise,
    Reserve,
    TransitionError,
    canonical,
)

PART: Final = 48_000  # characters of one part, below MAX_STATE

Line = dict[str, Any]


class CheckpointError(ValueError):
    """The text is no state. The message is a sentence."""


def state_text(state: State) -> str:
    """The whole state as text."""
    return "\n".join(_lines(state))


def parts_of(state: State, size: int = PART) -> list[Checkpoint]:
    """The parts that say the state up to its head. Each follows the one before as an entry of its own.

    Raises:
        ValueError: when the ledger is empty, so that there is nothing to say.
    """
    if state.head.sequence == 0:
        raise ValueError("an empty ledger has no checkpoint")
    texts: list[str] = []
    lines: list[str] = []
    length = 0
    for line in _lines(state):
        if lines and length + len(line) + 1 > size:
            texts.append("\n".join(lines))
            lines, length = [], 0
        lines.append(line)
        length += len(line) + 1
    texts.append("\n".join(lines))
    if any(len(text) > MAX_STATE for text in texts):
        raise ValueError(f"a line of the state is longer than {MAX_STATE} characters")
    return [Checkpoint(state.head.sequence, part, len(texts), text) for part, text in enumerate(texts, 1)]


def _lines(state: State) -> Iterator[str]:
    for line in _records(state):
        yield canonical(line).decode()


def _records(state: State) -> Iterator[Line]:
    yield {
        "is": "state",
        "subjectDomain": state.subject_domain,
        "sequence": state.head.sequence,
        "hash": state.head.hash,
        "latest": state.latest,
        "backwards": state.backwards,
        "firstBackwards": state.first_backwards,
        "promise": state.promise.body() if state.promise is not None else None,
    }
    table = state.table
    rows = np.flatnonzero(table.opened)
    marks = np.stack([table.retired[rows], table.tainted[rows], table.weakest[rows]], axis=1).astype(np.int64)
    for first, last, row in _runs(rows, np.concatenate([table.committed[rows], marks], axis=1)):
        yield {
            "is": "blocks",
            "blocks": [table.base + first, table.base + last],
            "committed": row[:-3],
            "retired": bool(row[-3]),
            "tainted": bool(row[-2]),
            "weakest": row[-1],
        }
    for namespace in sorted(table.usage):
        usage = table.usage[namespace].sums()
        used = np.flatnonzero(usage.any(axis=1))
        for first, last, row in _runs(used, usage[used]):
            blocks = [table.base + first, table.base + last]
            yield {"is": "usage", "namespace": namespace, "blocks": blocks, "used": row}
    for _, held in sorted(state.reservations.items()):
        yield {
            "is": "reservation",
            "reserve": held.reserve.body(),
            "sequence": held.sequence,
            "time": held.time,
            "pod": held.pod,
        }
    for (uid, attempt), settled in state.settled.items():
        yield {
            "is": "settled",
            "key": [uid, attempt],
            "sequence": settled.sequence,
            "time": settled.time,
            "digests": [settled.reserve, settled.settle],
        }
    for identity, sources in sorted(state.identities.items()):
        yield {"is": "identity", "identity": identity}
        for source in sources:
            yield {"is": "source", "identity": identity, "source": source}
    for ident, mark in state.taints.items():
        yield {
            "is": "taint",
            "id": ident,
            "job": mark.job.body(),
            "reason": mark.reason,
            "blocks": mark.blocks,
            "sequence": mark.sequence,
            "time": mark.time,
        }


def _runs(rows: NDArray[Any], values: NDArray[np.int64]) -> Iterator[tuple[int, int, list[int]]]:
    """Rows that follow each other and are equal, as (first, last, value)."""
    if not len(rows):
        return
    new = np.flatnonzero((np.diff(rows) != 1) | (values[1:] != values[:-1]).any(axis=1)) + 1
    starts = [0, *new.tolist()]
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield int(rows[start]), int(rows[stop - 1]), values[start].tolist()


def load(text: str) -> State:
    """The state that :func:`state_text` wrote.

    Raises:
        CheckpointError: when it is no state.
    """
    try:
        lines = [orjson.loads(line) for line in text.split("\n")]
        state = _begin(lines[0])
        _load_blocks(state, [line for line in lines if line["is"] == "blocks"])
        for line in lines[1:]:
            _LOADERS[line["is"]](state, line)
    except (KeyError, IndexError, TypeError, ValueError, TransitionError) as error:
        raise CheckpointError(f"the checkpoint can not be read ({type(error).__name__}: {error})") from error
    if state_text(state) != text:
        raise CheckpointError("the checkpoint is not in the form in which a state is written")
    return state


def _begin(line: Line) -> State:
    if line["is"] != "state":
        raise CheckpointError("the checkpoint does not begin with its state")
    state = State(line["subjectDomain"])
    state.head = Head(line["subjectDomain"], int(line["sequence"]), line["hash"])
    state.latest, state.backwards = line["latest"], int(line["backwards"])
    state.first_backwards = line["firstBackwards"]
    if line["promise"] is not None:
        state.promised(Promise.parse(line["promise"]))
    return state


def _load_blocks(state: State, lines: Sequence[Line]) -> None:
    table = state.table
    if lines:
        table.grow((Range(lines[0]["blocks"][0], lines[-1]["blocks"][1]),))
    for line in lines:
        first, last = line["blocks"]
        for part in table.slices((Range(first, last),)):
            table.opened[part] = True
            table.load_committed(part, np.array(line["committed"], np.int64))
            table.retired[part] = line["retired"]
            table.tainted[part] = line["tainted"]
            table.weakest[part] = min(int(line["weakest"]), NEVER)


def _load_usage(state: State, line: Line) -> None:
    first, last = line["blocks"]
    for part in state.table.slices((Range(first, last),)):
        state.table.usage_of(line["namespace"]).put(part, np.array(line["used"], np.int64))


def _load_reservation(state: State, line: Line) -> None:
    reserve = Reserve.parse(line["reserve"])
    state.table.load_reserved(reserve.ranges, reserve.curve)
    state.hold(reserve.key, Reservation(reserve, int(line["sequence"]), line["time"], line["pod"]))


def _load_settled(state: State, line: Line) -> None:
    uid, attempt = line["key"]
    state.remember((uid, attempt), Settled(int(line["sequence"]), line["time"], *line["digests"]))


def _load_identity(state: State, line: Line) -> None:
    state.identities[line["identity"]] = ()


def _load_source(state: State, line: Line) -> None:
    state.identities[line["identity"]] += (line["source"],)


def _load_taint(state: State, line: Line) -> None:
    mark = TaintMark(Job.parse(line["job"]), line["reason"], int(line["blocks"]), int(line["sequence"]), line["time"])
    state.taints[line["id"]] = mark


_LOADERS: Final = {
    "blocks": lambda state, line: None,  # loaded before, all at once
    "usage": _load_usage,
    "reservation": _load_reservation,
    "settled": _load_settled,
    "identity": _load_identity,
    "source": _load_source,
    "taint": _load_taint,
}


@dataclass(frozen=True, slots=True)
class Complete:
    """A whole checkpoint of the chain: the state up to ``through``, in the entries ``first`` to ``last``."""

    through: int
    first: int
    last: int


class Stored(Protocol):
    """What pruning needs to know of an entry."""

    @property
    def name(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def hash(self) -> str: ...
    @property
    def time(self) -> str: ...


def prunable(
    entries: Iterable[tuple[Stored, datetime]], checkpoint: Complete | None, exported: Head | None, now: datetime
) -> list[str]:
    """Names of the entries that may be deleted, oldest first; delete them in this order, so that no gap arises.

    An entry is deleted when a complete checkpoint stands for it, it is in the export, and it and the checkpoint are
    older than REMEMBER, by the writer's clock and by the API server's.

    Args:
        entries: what is in the cluster, ascending and whole, each with its creationTimestamp.
        checkpoint: the newest complete one, of the fold of these entries.
        exported: the head of what is durably exported; None for nothing.
        now: the present, by the API server's clock where that is known.
    """
    there = list(entries)
    if checkpoint is None or exported is None:
        return []
    hashes = {entry.sequence: entry.hash for entry, _ in there}
    if hashes.get(exported.sequence) != exported.hash:
        return []  # the export is of another chain, or ends before what is there
    ages = {entry.sequence: _youngest(entry, created) for entry, created in there}
    if ages.get(checkpoint.last, now) + REMEMBER > now:
        return []
    names: list[str] = []
    for entry, _ in there:
        gone = entry.sequence <= min(checkpoint.through, exported.sequence)
        if not gone or ages[entry.sequence] + REMEMBER > now:
            break
        names.append(entry.name)
    return names


def _youngest(entry: Stored, created: datetime) -> datetime:
    return max(moment_of(entry.time), created)
