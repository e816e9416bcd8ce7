"""Bringing a ledger back from an export: what is written, what refuses the export, and that nothing is written then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from ledger_world import DOMAIN, NOON, MemoryLog, chain, commit, copy_of, promise, reserve, stored

from mlprivacy.budget.ledger.append import OutcomeUnknown
from mlprivacy.budget.ledger.checkpoint import parts_of
from mlprivacy.budget.ledger.entry import Entry, Head, entry_name, link, stamp
from mlprivacy.budget.ledger.errors import ChainError
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.controller.budgets.recovery import Recovery, Restored
from mlprivacy.controller.budgets.restoration import restored_event, restored_note

ENTRIES = chain(reserve(1), commit(1), reserve(2), reserve(3), commit(3))


def with_checkpoint() -> list[Entry]:
    """Seven entries, a checkpoint in several parts, one entry more."""
    state = fold(DOMAIN, ENTRIES).state
    assert state is not None
    found = list(ENTRIES)
    parts = parts_of(state, 400)
    assert len(parts) > 2
    for step in (*parts, reserve(4)):
        found.append(link(found[-1].head, [step], stamp(NOON.replace(hour=13)), "test"))
    return found


class Export:
    """What the collector answers each time it is asked; the last answer again and again."""

    def __init__(self, *answers: Sequence[bytes]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        lines = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        for line in (*lines, b""):
            yield line


def lines(entries: Sequence[Entry]) -> list[bytes]:
    return [export_line(entry) for entry in entries]


async def recovered(log: MemoryLog, export: Callable[[], Any], *seen: Head) -> Restored | None:
    recovery = Recovery(log, export, seen or [ENTRIES[-1].head])
    await recovery.run()
    return recovery.restored


async def refused(log: MemoryLog, export: Callable[[], Any], *seen: Head) -> str:
    """Why nothing is written."""
    before = copy_of(log.specs)
    with pytest.raises(ChainError) as error:
        await recovered(log, export, *seen)
    assert log.specs == before
    return str(error.value)


@pytest.mark.parametrize("left", range(len(ENTRIES) + 1))
async def test_what_is_missing_is_written_and_nothing_else(left: int) -> None:
    log = stored(ENTRIES[:left])
    done = await recovered(log, Export(lines(ENTRIES)))
    assert log.entries() == ENTRIES
    if left == len(ENTRIES):
        assert done is None
    else:
        assert done == Restored(DOMAIN, left + 1, ENTRIES[-1].head)
        assert done.count == len(ENTRIES) - left


async def test_entries_past_the_newest_one_that_was_seen_are_left_out() -> None:
    log = stored(ENTRIES[:2])
    await recovered(log, Export(lines(ENTRIES)), ENTRIES[3].head, ENTRIES[2].head)
    assert log.entries() == ENTRIES[:4]


async def test_a_ledger_that_is_gone_comes_back_from_its_newest_checkpoint() -> None:
    entries = with_checkpoint()
    log = MemoryLog()
    done = await recovered(log, Export(lines(entries)), entries[-1].head)
    assert log.entries() == entries[len(ENTRIES) :]
    assert done == Restored(DOMAIN, len(ENTRIES) + 1, entries[-1].head)
    assert fold(DOMAIN, log.entries()).state is not None


async def test_one_that_was_begun_from_its_checkpoint_goes_on_there() -> None:
    entries = with_checkpoint()
    log = stored(entries[len(ENTRIES) : len(ENTRIES) + 1])
    await recovered(log, Export(lines(entries)), entries[-1].head)
    assert log.entries() == entries[len(ENTRIES) :]


async def test_an_export_that_begins_with_a_checkpoint_is_enough() -> None:
    entries = with_checkpoint()
    log = MemoryLog()
    await recovered(log, Export(lines(entries[len(ENTRIES) :])), entries[-1].head)
    assert log.entries() == entries[len(ENTRIES) :]


async def test_an_export_that_begins_in_the_middle_is_refused() -> None:
    wrong = await refused(MemoryLog(), Export(lines(ENTRIES[2:])))
    assert wrong.startswith(f"{entry_name(DOMAIN, 2)}: the collector's export begins after it")
    wrong = await refused(stored(ENTRIES[:1]), Export(lines(ENTRIES[2:])))
    assert wrong.startswith(f"{entry_name(DOMAIN, 2)}: in the collector's export, it is missing")


@pytest.mark.parametrize("left", [0, 2])
async def test_an_export_that_ends_too_early_is_refused_and_names_what_is_missing(left: int) -> None:
    wrong = await refused(stored(ENTRIES[:left]), Export(lines(ENTRIES[:4])))
    assert wrong.startswith(f"{entry_name(DOMAIN, 5)}: it is not in the collector's export")


async def test_an_entry_in_between_that_is_missing_is_named() -> None:
    wrong = await refused(stored(ENTRIES[:1]), Export(lines([*ENTRIES[:3], *ENTRIES[4:]])))
    assert wrong.startswith(f"{entry_name(DOMAIN, 4)}: in the collector's export, it is missing")


async def test_another_ledger_that_ends_where_this_one_did_is_refused() -> None:
    other = chain(reserve(1), commit(1), reserve(2), reserve(3), reserve(9))
    wrong = await refused(stored(ENTRIES[:2]), Export(lines(other)))
    assert wrong.startswith(f"{ENTRIES[-1].name}: the collector exported another entry than was seen there")
    apart = chain(reserve(7), commit(7), reserve(2), reserve(3), commit(3))
    wrong = await refused(stored(ENTRIES[:2]), Export(lines(apart)))
    assert wrong.startswith(f"{ENTRIES[1].name}: the collector exported another entry under this name")


async def test_a_step_that_was_never_allowed_is_refused() -> None:
    """Whoever could write the export and the anchor still can not reset the promise."""
    forged = link(ENTRIES[-1].head, [promise(epsilon=50)], stamp(NOON.replace(hour=13)), "x")
    wrong = await refused(stored(ENTRIES), Export(lines([*ENTRIES, forged])), forged.head)
    assert wrong.startswith(f"{forged.name}: in the collector's export, Promise is not allowed there")


@pytest.mark.parametrize("line", [b"no JSON", b"[]", b'{"kind": "LedgerEntry"}', b"1" * (1 << 21)], ids=range(4))
async def test_a_line_that_is_no_entry_is_refused(line: bytes) -> None:
    wrong = await refused(stored(ENTRIES[:2]), Export([*lines(ENTRIES[:3]), line, *lines(ENTRIES[3:])]))
    assert wrong == f"{entry_name(DOMAIN, 4)}: line 4 of the collector's export is no entry"


async def test_an_entry_that_was_changed_in_the_export_is_named() -> None:
    changed = lines(ENTRIES)
    changed[3] = changed[3].replace(b'"job-2"', b'"job-8"')
    wrong = await refused(stored(ENTRIES[:2]), Export(changed))
    assert wrong.startswith(f"{entry_name(DOMAIN, 4)}: its content is not what its hash says")


@pytest.mark.parametrize("second", ["other", "shorter", "empty"])
async def test_an_export_that_changes_after_it_was_read_is_written_no_further(second: str) -> None:
    other = chain(reserve(1), commit(1), reserve(2), reserve(8), commit(8))
    answer = {"other": lines(other), "shorter": lines(ENTRIES[:4]), "empty": []}[second]
    log = stored(ENTRIES[:2])
    with pytest.raises(ChainError, match="is not the one of a moment before"):
        await recovered(log, Export(lines(ENTRIES), answer))
    assert log.entries() == (ENTRIES[:2] if second == "empty" else ENTRIES[:4])


async def test_a_name_that_another_entry_took_meanwhile_is_refused() -> None:
    class Taken(MemoryLog):
        async def create(self, name: str, spec: Any) -> None:
            other = link(ENTRIES[1].head, [reserve(9)], stamp(NOON), "x")
            self.specs.setdefault(other.name, dict(other.spec))
            await super().create(name, spec)

    log = Taken()
    log.specs = stored(ENTRIES[:2]).specs
    with pytest.raises(ChainError, match=f"{entry_name(DOMAIN, 3)}: another entry has taken its name"):
        await recovered(log, Export(lines(ENTRIES)))


async def test_an_api_server_that_never_answers_is_not_asked_for_ever() -> None:
    class Silent(MemoryLog):
        async def create(self, name: str, spec: Any) -> None:
            self.requests += 1
            raise OutcomeUnknown

    log = Silent()
    with pytest.raises(OutcomeUnknown, match=ENTRIES[0].name):
        await recovered(log, Export(lines(ENTRIES)))
    assert log.requests < 10


def test_it_is_told_what_came_back() -> None:
    done = Restored(DOMAIN, 3, ENTRIES[-1].head)
    event = restored_event(done)
    assert event.kind == "ledger-restored"
    assert event.subject.name == ENTRIES[-1].name
    assert event.data == {"subjectDomain": DOMAIN, "first": 3, "last": 6, "hash": ENTRIES[-1].hash}
    assert "entries 3 to 6" in restored_note(done)
    assert "entry 6 of it" in restored_note(Restored(DOMAIN, 6, ENTRIES[-1].head))
