"""The blocks that a job would use: those that ``FROM..TO`` names, or all that are open. Pure.

What is charged is what the controller charges (`reach.reached`): the open blocks of the selection, retired ones left
out. A name that is no block is refused here, since whoever plans has mistyped it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from mlprivacy.budget.ledger.blocks import BlockError, Cut, Range, Ranges, check_ranges, count, keys
from mlprivacy.budget.ledger.reach import open_rows, reached
from mlprivacy.budget.ledger.state import State
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.policy.charge import Selection


@dataclass(frozen=True)
class Span:
    """The first and the last block of ``FROM..TO``, by their numbers."""

    first: int
    last: int


def span_of(cut: Cut, text: str) -> Span:
    """``FROM..TO``, or one block alone.

    Raises:
        BlockError: when a side is no block of the partition, or they are the wrong way round.
    """
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not first or (dots and not last):
        raise BlockError(f"it has no {'last' if first else 'first'} block; write FROM..TO, or one block alone")
    found = Span(cut.key_of(first), cut.key_of(last if dots else first))
    if found.first > found.last:
        raise BlockError(f"{cut.label(found.first)} comes after {cut.label(found.last)}; write {last}..{first}")
    return found


def of_ledger(state: State, budget: Budget, span: Span | None) -> Ranges:
    """The blocks that a job is charged on, by the ledger.

    Raises:
        BlockError: when none is open, or one that is named is none of this ledger.
    """
    if state.promise is None:
        raise BlockError(unpromised(budget))
    cut, opened = state.promise.cut, np.flatnonzero(state.table.opened)
    if not len(opened):
        raise BlockError(_none_open(budget))
    first, last = (state.table.base + int(opened[at]) for at in (0, -1))
    if not len(open_rows(state)):
        raise BlockError(_all_retired(budget, cut.label(first), cut.label(last)))
    if span is None:
        return reached(state, cut, (Selection(),))
    _check(span, cut, budget.domain, (first, last))
    return reached(state, cut, (Selection(cut.label(span.first), cut.label(span.last)),))


def left_out(ranges: Ranges, span: Span | None) -> int:
    """How many blocks of the span are retired, so that a job is not charged on them."""
    return 0 if span is None else span.last - span.first + 1 - count(ranges)


def of_status(budget: Budget, span: Span | None, now: datetime) -> tuple[str, ...]:
    """The names of the blocks of the span that may take jobs, as far as status and spec tell; none without a span.

    Raises:
        BlockError: as `of_ledger`.
    """
    cut, retired = budget.cut, set(budget.retired)
    opened = budget.count("open")
    ever = None if opened is None else opened + (budget.count("retired") or 0)
    if ever == 0:
        raise BlockError(_none_open(budget))
    last = cut.key_at(now) if cut.period is not None else (cut.buckets or 1) - 1
    first = 0 if ever is None else max(0, last - ever + 1)
    if opened == 0:
        raise BlockError(_all_retired(budget, cut.label(first), cut.label(last)))
    if span is None:
        return ()
    # A period that has just begun may not be opened yet; then the first is one earlier than it seems.
    _check(span, cut, budget.domain, (first, last), slack=0 if cut.period is None else 1)
    named = [cut.label(key) for key in keys(check_ranges((Range(span.first, span.last),)))]
    found = tuple(name for name in named if name not in retired)
    if not found:
        raise BlockError(
            f"every block from {named[0]} to {named[-1]} is retired and takes no job any more; the blocks of "
            f"{budget.domain} are {cut.label(first)} to {cut.label(last)}"
        )
    return found


def unpromised(budget: Budget) -> str:
    """Why nothing can be granted of a budget that is not in force yet, and where to look."""
    return (
        f"nothing is promised yet, so nothing can be granted; `mlprivacy budget status {budget.name}` says what it "
        "waits for"
    )


def _none_open(budget: Budget) -> str:
    return (
        f"no block is open yet, so nothing can be granted; `mlprivacy budget status {budget.name}` says what the "
        "controller waits for"
    )


def _all_retired(budget: Budget, first: str, last: str) -> str:
    new = (
        "there will be no other"
        if budget.cut.period is None
        else f"the next {str(budget.cut.period).lower()} opens a new one"
    )
    blocks = f"the only block, {first}," if first == last else f"every block ({first} to {last})"
    return f"{blocks} is retired and takes no job any more; {new}. Ask the privacy office"


def _check(span: Span, cut: Cut, domain: str, there: tuple[int, int], slack: int = 0) -> None:
    first, last = there
    blocks = f"there are {cut.label(first)} to {cut.label(last)}"
    for key in (span.first, span.last):
        if not first - slack <= key <= last:
            only = f"the only one is {cut.label(first)}" if first == last else blocks
            raise BlockError(f"{cut.label(key)} is no block of {domain}; {only}")
