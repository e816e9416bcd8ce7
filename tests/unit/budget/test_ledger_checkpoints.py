"""A checkpoint is the state in other words; what it stands for can be pruned, and nothing young or unexported is."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import DOMAIN, NOON, bind, chain, commit, job, ledger, release, reserve, run, stored

from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.checkpoint import CheckpointError, load, parts_of, prunable, state_text
from mlprivacy.budget.ledger.entry import Entry, Head, link, moment_of, stamp
from mlprivacy.budget.ledger.errors import ChainError, Code, Refused
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Checkpoint, Register, Retire, Taint, Transition

LIVED = [
    Register("urn:clinic:visits", "s3://clinic/visits/*.parquet"),
    reserve(1, 0.2, blocks=(0, 3)),
    bind(1),
    commit(1),
    reserve(2, 0.1),
    reserve(3, 0.3, blocks=(2, 5), namespace="statistics"),
    bind(3, "pod-3"),
    reserve(4),
    release(4),
    Taint(job(9), (Range(1, 1),), "Ungoverned"),
    Retire((Range(7, 7),), "Erasure"),
]


def checkpointed(entries: list[Entry], size: int, then: list[Transition] | None = None) -> list[Entry]:
    """The chain, a checkpoint of it in parts of this size, and what comes then."""
    found = list(entries)
    for step in (*parts_of(fold_state(entries), size), *(then or [])):
        later = moment_of(found[-1].time) + timedelta(seconds=1)
        found.append(link(found[-1].head, [step], stamp(later), "test"))
    return found


@given(st.integers(0, len(LIVED)))
def test_a_state_comes_back_from_its_text(steps: int) -> None:
    state = fold(DOMAIN, chain(*LIVED[:steps])).state
    assert state is not None
    assert state_text(load(state_text(state))) == state_text(state)


@pytest.mark.parametrize("size", [200, 1200, 48_000])
def test_a_chain_goes_on_from_its_checkpoint_as_from_its_beginning(size: int) -> None:
    entries = chain(*LIVED)
    whole = checkpointed(entries, size, [bind(2), commit(2), reserve(5, 0.2, blocks=(4, 5))])
    for start in (len(entries) - 3, len(entries)):  # something older may still be there
        late = fold(DOMAIN, whole[start:])
        assert late.state is not None
        full = fold(DOMAIN, whole)
        assert full.state is not None
        assert state_text(late.state) == state_text(full.state)
        assert late.checkpoint == full.checkpoint


def test_a_checkpoint_that_is_not_the_state_is_named() -> None:
    entries = chain(*LIVED)
    lie = state_text(load(state_text(fold_state(entries)))).replace('"tainted":true', '"tainted":false')
    forged = link(entries[-1].head, [Checkpoint(len(entries), 1, 1, lie)], stamp(NOON), "test")
    with pytest.raises(ChainError, match="is not the state") as caught:
        fold(DOMAIN, [*entries, forged])
    assert caught.value.entry == forged.name


def fold_state(entries: list[Entry]) -> State:
    state = fold(DOMAIN, entries).state
    assert state is not None
    return state


def test_a_broken_series_of_parts_is_no_checkpoint() -> None:
    """Another entry came between the parts, so the writer gave up; who begins there knows no state."""
    entries = chain(*LIVED)
    first, second, *_ = parts_of(fold_state(entries), 300)
    one = link(entries[-1].head, [first], stamp(NOON), "test")
    between = link(one.head, [reserve(6, blocks=(0, 1))], stamp(NOON), "other")
    found = fold(DOMAIN, [*entries, one, between])
    assert found.checkpoint is None
    with pytest.raises(Refused) as caught:
        found.check(second)
    assert caught.value.code is Code.MISPLACED
    late = fold(DOMAIN, [one, between])
    assert late.state is None


def test_a_chain_without_beginning_or_checkpoint_can_not_be_written_to() -> None:
    log = stored(chain(*LIVED)[5:])
    with pytest.raises(ChainError, match="no checkpoint stands for the entries before"):
        run(ledger(log).append([reserve(8, blocks=(0, 1))]))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"is":"state"}', '{"is":"blocks"}', "nonsense"])
def test_a_text_that_is_no_state(text: str) -> None:
    with pytest.raises(CheckpointError):
        load(text)


# --- pruning ---------------------------------------------------------------------------------------------------------

OLD = checkpointed(chain(*LIVED), 48_000, [reserve(5, 0.05, blocks=(0, 1))])


def prune(now: datetime, exported: Head | None, entries: list[Entry] = OLD, made: datetime = NOON) -> list[str]:
    return prunable([(entry, made) for entry in entries], fold(DOMAIN, entries).checkpoint, exported, now)


def test_what_a_checkpoint_stands_for_is_pruned_a_day_later_oldest_first() -> None:
    names = prune(NOON + timedelta(days=2), OLD[-1].head)
    assert names == [entry.name for entry in OLD[:-2]]
    assert fold(DOMAIN, OLD[-2:]).state is not None


def test_nothing_younger_than_a_day_is_pruned_by_either_clock() -> None:
    assert prune(NOON + timedelta(hours=23), OLD[-1].head) == []
    assert prune(NOON + timedelta(days=2), OLD[-1].head, made=NOON + timedelta(days=1, hours=12)) == []


def test_nothing_is_pruned_before_it_was_exported() -> None:
    later = NOON + timedelta(days=2)
    assert prune(later, None) == []
    assert prune(later, OLD[4].head) == [entry.name for entry in OLD[:5]]
    assert prune(later, Head(DOMAIN, 5, "0" * 64)) == []


def test_nothing_is_pruned_without_a_whole_checkpoint() -> None:
    entries = chain(*LIVED)
    assert prune(NOON + timedelta(days=9), entries[-1].head, entries) == []


def test_a_pruned_ledger_goes_on_and_a_writer_that_slept_reads_it_anew() -> None:
    log = stored(OLD)
    now = NOON + timedelta(days=2)
    awake, sleeper = ledger(log, "awake", lambda: now), ledger(log, "sleeper", lambda: now)
    run(sleeper.refresh())
    run(awake.append([release(5)]))
    for name in prune(now, OLD[-1].head):
        del log.specs[name]
    now += timedelta(minutes=5)
    run(sleeper.append([reserve(6, 0.05, blocks=(0, 1))]))
    run(ledger(log, "third", lambda: now).append([reserve(7, 0.05, blocks=(0, 1))]))
    assert [entry.sequence for entry in log.entries()][-2:] == [len(OLD) + 2, len(OLD) + 3]
