"""Which blocks there are to be by now, and which of them a selection reaches. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mlprivacy.api.ledger_entry import MAX_RANGES
from mlprivacy.budget.ledger.blocks import BlockError, Cut, Range, Ranges, check_ranges
from mlprivacy.budget.ledger.state import State

_SHOWN: Final = 4  # ranges of blocks in a sentence
_BY_TIME: Final = "IngestionTime"  # only there a moment says in which block a record lies


class NeverReached(BlockError):
    """No block that is selected is open, and none will be."""


class Bounds(Protocol):
    """Bounds of a selection, both included; None is no bound on that side."""

    @property
    def first(self) -> str | None:
        """Label of the first block."""

    @property
    def last(self) -> str | None:
        """Label of the last block."""

    @property
    def since(self) -> datetime | None:
        """The first moment, for blocks by IngestionTime; of no meaning for others."""

    @property
    def until(self) -> datetime | None:
        """The last moment, likewise."""


def blocks_due(state: State, cut: Cut, since: datetime, now: datetime) -> Ranges | None:
    """The blocks that are to be opened now; None when all are open.

    What is older than the first block lies in the first one, for ever: once a block is open none before it is opened,
    or a budget that is made anew with an earlier beginning would give the people of the first block a fresh one.

    Args:
        state: the ledger.
        cut: the partition.
        since: a moment in the first block, where the ledger has none yet.
        now: the present.

    Raises:
        BlockError: when they would be too many, or ``since`` lies in the future or before 1970.
    """
    opened = np.flatnonzero(state.table.opened)
    if not len(opened):
        return cut.due(since, now)
    if cut.period is None:
        return None  # all buckets are opened at once
    last, newest = state.table.base + int(opened[-1]), cut.key_at(now)
    return check_ranges((Range(last + 1, newest),)) if newest > last else None


def _open_ones(state: State, keys: NDArray[np.intp]) -> str:
    """Which blocks are open, with the holes that retired ones leave."""
    if not keys.size:
        return "none is open"
    runs = _runs(keys)
    shown = [
        state.label(one.first) if one.count == 1 else f"{state.label(one.first)} to {state.label(one.last)}"
        for one in runs[:_SHOWN]
    ]
    more = f" and {len(runs) - _SHOWN} more ranges" if len(runs) > _SHOWN else ""
    return f"the open ones are {', '.join(shown)}{more}"


def open_rows(state: State) -> NDArray[np.intp]:
    """The rows of the blocks that are open and not retired."""
    return np.flatnonzero(state.table.opened & ~state.table.retired)


def reached(state: State, cut: Cut, selections: Iterable[Bounds]) -> Ranges:
    """The open blocks, retired ones left out, that any of the selections reaches.

    Raises:
        NeverReached: when none is reached, and none will be.
        BlockError: when a label is no block, none is reached yet, or they fall into too many ranges.
    """
    keys = state.table.base + open_rows(state)
    wanted = np.zeros(len(keys), np.bool_)
    asked = tuple(selections)
    for one in asked:
        first, last = _keys(cut, one)
        wanted |= (keys >= first) & (keys <= last)
    if not wanted.any():
        opened = state.table.base + np.flatnonzero(state.table.opened)
        newest = int(opened[-1]) if opened.size else -1
        all_there = cut.period is None and opened.size >= (cut.buckets or 1)  # of periods a new one will open
        if opened.size and (all_there or all(_keys(cut, one)[1] <= newest for one in asked)):
            which = "every block that it selects is retired, or was before the first, or is none"
            raise NeverReached(f"{which}; {_open_ones(state, keys)}")
        raise BlockError("no block that is open lies in what the job selects; see the blocks in the budget's status")
    return check_ranges(_runs(keys[wanted]))


def to_retire(state: State, spans: Iterable[Range], opening: Ranges = ()) -> tuple[Ranges, ...]:
    """The blocks of these spans that are to be retired now, in portions for one step each.

    They are those that are open, or are being opened by the step before. One that is not open yet is left out: it is
    retired when it opens, in the same entry, so that no job gets it in between.

    Args:
        state: the ledger.
        spans: what is to be retired, in any order; they may overlap, and reach beyond the blocks that there are.
        opening: what is opened just before.
    """
    fresh = [np.arange(one.first, one.last + 1) for one in opening]
    keys = np.concatenate([state.table.base + open_rows(state), *fresh])
    wanted = np.zeros(len(keys), np.bool_)
    for one in spans:
        wanted |= (keys >= one.first) & (keys <= one.last)
    runs = _runs(np.unique(keys[wanted]))
    return tuple(check_ranges(runs[start : start + MAX_RANGES]) for start in range(0, len(runs), MAX_RANGES))


def _runs(keys: NDArray[np.intp]) -> Ranges:
    """Ascending numbers as ranges."""
    if not len(keys):
        return ()
    cuts = (np.flatnonzero(np.diff(keys) != 1) + 1).tolist()
    bounds = zip([0, *cuts], [*cuts, len(keys)], strict=True)
    return tuple(Range(int(keys[start]), int(keys[stop - 1])) for start, stop in bounds)


def _keys(cut: Cut, bounds: Bounds) -> tuple[int, int]:
    first = cut.key_of(bounds.first) if bounds.first is not None else 0
    last = cut.key_of(bounds.last) if bounds.last is not None else np.iinfo(np.int64).max
    if cut.by == _BY_TIME:
        if bounds.since is not None:
            first = max(first, cut.key_at(bounds.since))
        if bounds.until is not None:
            last = min(last, cut.key_at(bounds.until))
    return first, int(last)
