"""The blocks that a budget opens and retires: labels and ranges, of blocks that are there and of those to come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit import ledger_world as world
from tests.unit.controller.budgets.office import budget

from mlprivacy.budget.ledger.append import Ledger
from mlprivacy.budget.ledger.blocks import BlockError, Cut, Range, Ranges
from mlprivacy.budget.ledger.reach import NeverReached, reached
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import status_of
from mlprivacy.budget.ledger.transitions import Open, Retire
from mlprivacy.controller.budgets.blocks import block_steps
from mlprivacy.policy.charge import Selection

run = world.run
WEEKS = {"by": "SubjectCohort", "period": "Week"}
DAYS = {"by": "SubjectCohort", "period": "Day"}
MADE, NOW = datetime(2025, 1, 8, tzinfo=UTC), datetime(2026, 3, 14, tzinfo=UTC)  # 2025-W02 and 2026-W11


class Book:
    """A ledger that takes what the budget asks of it, step by step, as the ledger checks it."""

    def __init__(self, **cut: Any) -> None:
        self.cut = Cut(cut["by"], cut.get("period"), cut.get("buckets"))
        self.fields = {"blocks": cut}
        self.ledger: Ledger = world.ledger(world.MemoryLog())
        run(self.ledger.append([world.promise(cut=self.cut)]))

    @property
    def state(self) -> State:
        assert self.ledger.fold.state is not None
        return self.ledger.fold.state

    def look(self, *retired: str, now: datetime = NOW) -> tuple[list[Any], str | None]:
        """What a budget that retires these asks for now; it is written."""
        steps, wrong = block_steps(self.state, budget(retired=list(retired), **self.fields), MADE, now)
        if steps:
            run(self.ledger.append(steps))
        return steps, wrong

    def weeks(self, first: str, last: str) -> Ranges:
        return (Range(self.cut.key_of(first), self.cut.key_of(last)),)

    def counts(self) -> tuple[int, int]:
        """How many blocks are open, and retired."""
        blocks = status_of(self.state)["blocks"]
        return blocks["open"], blocks["retired"]


def test_a_range_is_retired_by_one_step_once() -> None:
    book = Book(**WEEKS)
    book.look()
    steps, wrong = book.look("2025-W03..2025-W26")
    assert steps == [Retire(book.weeks("2025-W03", "2025-W26"), "Owner")]
    assert (book.counts(), wrong) == ((38, 24), None)
    assert book.look("2025-W03..2025-W26") == ([], None)


def test_entries_may_overlap_and_reach_over_both_ends_of_what_is_there() -> None:
    book = Book(**WEEKS)
    book.look("2024-W01..2025-W03", "2025-W03", "2025-W02..2025-W10", "2026-W10..2031-W01")
    assert book.counts() == (51, 11)
    assert status_of(book.state)["firstBlock"] == "2025-W02"
    assert status_of(book.state)["lastBlock"] == "2026-W11"


def test_a_block_of_the_future_is_retired_in_the_entry_that_opens_it() -> None:
    """Or else a job that waits would have it in between."""
    book = Book(**WEEKS)
    book.look("2026-W12..2026-W13")
    assert book.counts() == (62, 0)
    steps, _ = book.look("2026-W12..2026-W13", now=NOW + timedelta(weeks=1))
    assert steps == [Open(book.weeks("2026-W12", "2026-W12")), Retire(book.weeks("2026-W12", "2026-W12"), "Owner")]
    assert book.counts() == (62, 1)
    book.look("2026-W12..2026-W13", now=NOW + timedelta(weeks=3))
    assert book.counts() == (63, 2)


def test_what_is_no_block_is_told_and_holds_up_nothing_else() -> None:
    book = Book(**WEEKS)
    steps, wrong = book.look("bucket 3", "2025-W03..2025-W04")
    assert [type(step) for step in steps] == [Open, Retire]
    assert wrong == "spec.retired[0]: 'bucket 3' is no block; they are called 1970-W01, 1970-W02 and so on"
    assert book.counts() == (60, 2)


def test_every_second_of_four_hundred_blocks_is_retired_in_steps_that_the_ledger_takes() -> None:
    book = Book(**DAYS)
    days = [str(MADE.date() + timedelta(days=2 * number)) for number in range(200)]
    steps, _ = book.look(*days)
    assert [type(step) for step in steps] == [Open, Retire, Retire, Retire, Retire]
    assert book.counts() == (431 - 200, 200)


def test_all_buckets_of_a_large_budget_are_one_entry() -> None:
    book = Book(by="Subject", buckets=16_384)
    book.look("bucket 0..bucket 16383")
    assert book.counts() == (0, 16_384)


def test_a_beginning_in_the_future_is_told_in_days_and_not_in_numbers_of_blocks() -> None:
    ledger = Book(**WEEKS)
    steps, wrong = block_steps(ledger.state, budget(blocks=WEEKS | {"since": "2027-02-01"}), NOW, NOW)
    assert steps == []
    assert wrong is not None
    assert wrong.startswith("spec.blocks.since is 2027-02-01, which is in the future")
    this_week = budget(blocks=WEEKS | {"since": "2026-03-15"})
    assert block_steps(ledger.state, this_week, NOW, NOW)[1] is None


def test_who_selects_what_is_retired_for_good_is_told_what_is_open_and_that_it_will_never_be_reached() -> None:
    weeks = Book(**WEEKS)
    weeks.look("2025-W03..2025-W05", "2025-W08")
    with pytest.raises(NeverReached, match="the open ones are 2025-W02, 2025-W06 to 2025-W07, 2025-W09 to 2026-W11"):
        reached(weeks.state, weeks.cut, [Selection("2025-W03", "2025-W05")])
    with pytest.raises(BlockError, match="no block that is open"):
        reached(weeks.state, weeks.cut, [Selection("2027-W01")])  # which will come

    one = Book(by="Subject")
    one.look("bucket 0")
    with pytest.raises(NeverReached, match="none is open"):
        reached(one.state, one.cut, [Selection()])
