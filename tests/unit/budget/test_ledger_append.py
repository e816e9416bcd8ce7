"""Appending: one winner per name, retries without doubles, and no going on after the log went back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ledger_world import DOMAIN, FOUNDING, NOON, Fault, MemoryLog, bind, commit, ledger, release, reserve, run

from mlprivacy.budget.ledger.append import Contended
from mlprivacy.budget.ledger.checks import Terms
from mlprivacy.budget.ledger.errors import ChainError, Code, Refused


def founded() -> MemoryLog:
    log = MemoryLog()
    run(ledger(log).append(FOUNDING))
    return log


def test_the_loser_of_a_race_looks_again_and_comes_next() -> None:
    log = founded()
    one, two = ledger(log, "one"), ledger(log, "two")
    run(one.refresh())
    run(two.refresh())
    run(one.append([reserve(1)]))
    run(two.append([reserve(2)]))
    assert [entry.writer for entry in log.entries()] == ["one", "one", "two"]


def test_the_loser_of_a_race_for_the_last_budget_is_refused() -> None:
    log = founded()
    one, two = ledger(log, "one"), ledger(log, "two")
    run(one.refresh())
    run(two.refresh())
    run(one.append([reserve(1, 0.7)]))
    with pytest.raises(Refused) as caught:
        run(two.append([reserve(2, 0.7)]))
    assert caught.value.code is Code.EXHAUSTED


def test_nothing_is_refused_for_what_was_true_before() -> None:
    log = founded()
    one, two = ledger(log, "one"), ledger(log, "two")
    run(one.append([reserve(1, 0.9)]))
    run(two.refresh())
    run(one.append([release(1)]))
    assert not run(two.append([reserve(2, 0.9)])).already


@pytest.mark.parametrize("fault", ["lost", "done-unheard", "late"])
def test_a_lost_answer_loses_nothing_and_doubles_nothing(fault: Fault) -> None:
    log = founded()
    one = ledger(log)
    log.fault = fault
    run(one.append([reserve(1)]))
    while log.late:
        log.deliver()
    run(one.append([bind(1)]))
    assert [[step.TYPE for step in entry.transitions] for entry in log.entries()[1:]] == [["Reserve"], ["Bind"]]


def test_a_retry_after_a_crash_finds_its_step() -> None:
    log = founded()
    run(ledger(log, "before").append([reserve(1)]))
    assert run(ledger(log, "after").append([reserve(1)])).already
    assert len(log.specs) == 2


def test_steps_of_one_entry_are_all_taken_or_none_and_each_once() -> None:
    log = founded()
    one = ledger(log)
    with pytest.raises(Refused):
        run(one.append([reserve(1, 0.6), reserve(2, 0.6)]))
    assert len(log.specs) == 1
    run(one.append([reserve(1, 0.6), reserve(1, 0.6), bind(1), commit(1)]))
    assert [step.TYPE for step in log.entries()[-1].transitions] == ["Reserve", "Bind", "Commit"]


def test_terms_bind_the_writer_and_not_the_reader() -> None:
    log = founded()
    run(ledger(log).append([reserve(1)], Terms(quotas={"research": 0.5})))
    with pytest.raises(Refused):
        run(ledger(log).append([reserve(2)], Terms(quotas={"others": 0.5})))
    run(ledger(log).refresh())


def test_a_log_that_went_back_holds_everything() -> None:
    """A restored database: the newest entries are gone. A writer that knew them does not go on."""
    log = founded()
    one = ledger(log, clock=lambda: now)
    now = NOON
    run(one.append([reserve(1)]))
    newest = log.entries()[-1].name
    del log.specs[newest]
    now += timedelta(minutes=2)
    with pytest.raises(ChainError, match="was there and is not any more") as caught:
        run(one.append([reserve(2)]))
    assert caught.value.entry == newest
    assert len(log.specs) == 1


def test_a_head_that_was_created_anew_holds_everything() -> None:
    log = founded()
    now = NOON
    one = ledger(log, clock=lambda: now)
    run(one.append([reserve(1)]))
    del log.specs[(newest := log.entries()[-1].name)]
    run(ledger(log, "other").append([reserve(2)]))
    now += timedelta(minutes=2)
    with pytest.raises(ChainError) as caught:
        run(one.append([reserve(3)]))
    assert caught.value.entry == newest


def test_a_writer_that_was_away_reads_the_head_before_it_writes() -> None:
    log = founded()
    now = NOON
    one = ledger(log, clock=lambda: now)
    run(one.append([reserve(1)]))
    before = log.requests
    run(one.append([bind(1)]))
    assert log.requests - before == 2, "a create, and the turn after it"
    now -= timedelta(hours=1)  # also when only the clock went back
    before = log.requests
    run(one.append([commit(1)]))
    assert log.requests - before > 2


def test_a_writer_that_always_loses_gives_up_and_says_so() -> None:
    class Busy(MemoryLog):
        """Somebody else is always first."""

        async def create(self, name: str, spec: object) -> None:
            run(other.append([reserve(len(self.specs) + 10, 1e-6)]))
            await super().create(name, spec)  # type: ignore[arg-type]

    log = founded()
    other = ledger(log, "other")
    busy = Busy()
    busy.specs = log.specs
    with pytest.raises(Contended, match=DOMAIN):
        run(ledger(busy).append([reserve(1)]))
