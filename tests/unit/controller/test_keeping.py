"""The keeper of the ledgers: what is anchored, exported and pruned, what holds a domain, and that no kill does harm."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from ledger_keeper import Desk, Killed, Life, MemoryStore, MemoryWitness
from ledger_world import DOMAIN, FOUNDING, NOON, bind, chain, commit, copy_of, reserve

from mlprivacy.audit.client import CollectorUnavailable
from mlprivacy.budget.ledger.append import Ledger
from mlprivacy.budget.ledger.entry import Entry, Head, entry_name, link, parse_entry, stamp
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.transitions import Checkpoint
from mlprivacy.budget.ledger.verify import Verifier, read_lines
from mlprivacy.controller.budgets.housekeeping import checkpoint_due, wrong_in
from mlprivacy.controller.budgets.keeping import Keeping
from mlprivacy.kube.ledgerlog import StoredEntry

DAY = timedelta(days=1, seconds=1)


class Office:
    """A store, a witness, and one controller after the other."""

    def __init__(self) -> None:
        self.life = Life()
        self.store = MemoryStore(self.life)
        self.witness = MemoryWitness(self.life)

    @contextlib.asynccontextmanager
    async def controller(self, every: int = 6) -> AsyncIterator[tuple[Keeping, Desk]]:
        desk = Desk(Ledger(self.store, DOMAIN, "one", lambda: self.store.clock))
        keeping = Keeping(self.store, self.witness, lambda: [desk], checkpoint_every=every, pause=0.001)
        try:
            yield keeping, desk
        finally:
            with contextlib.suppress(Killed):
                await keeping.stop()

    async def write(self, desk: Desk, jobs: Sequence[int]) -> None:
        """Each job reserves, is bound and commits, in entries of their own."""
        for number in jobs:
            for step in (reserve(number, 0.001), bind(number), commit(number, pod_uid="pod-1")):
                async with desk.lock:
                    await desk.ledger.append([step])

    async def found(self) -> None:
        async with self.controller() as (_, desk):
            await desk.ledger.append(FOUNDING)

    @property
    def export(self) -> bytes:
        return self.witness.exports[DOMAIN][0]


@pytest.fixture
async def office() -> Office:
    made = Office()
    await made.found()
    return made


def verified(export: bytes, anchor: Head | None = None) -> Any:
    """The report of `mlprivacy verify ledger` on an export."""
    verifier = Verifier()
    for line in read_lines("export", export.splitlines()):
        verifier.take(line)
    return verifier.report([anchor] if anchor is not None else [])


# Anchors.


async def test_every_append_is_anchored_and_heads_in_between_are_left_out(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        assert await keeping.admit(desk) is None
        for number in range(1, 20):
            await desk.ledger.append([reserve(number, 0.001)])
            keeping.appended(desk)
        assert keeping.behind(DOMAIN) == 20
        await keeping.settled(DOMAIN)
        assert office.witness.anchors[DOMAIN] == desk.ledger.fold.head
        assert office.witness.most_at_once == 1
        assert len(office.witness.requests) < 5
        assert keeping.behind(DOMAIN) == 0


async def test_a_head_is_anchored_once_the_collector_is_back(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        office.witness.away = True
        await desk.ledger.append([reserve(1)])
        keeping.appended(desk)
        await asyncio.sleep(0.02)
        assert keeping.behind(DOMAIN) > 0
        assert keeping.not_ready(DOMAIN) is None  # what was compared before stays decided
        office.witness.away = False
        await keeping.settled(DOMAIN)
        assert office.witness.anchors[DOMAIN] == desk.ledger.fold.head


async def test_an_answer_that_was_lost_is_asked_for_again(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        office.witness.unheard = 1
        await desk.ledger.append([reserve(1)])
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
        assert keeping.behind(DOMAIN) == 0
        assert keeping.broken(DOMAIN) is None


async def test_a_later_head_of_another_controller_is_no_contradiction(office: Office) -> None:
    async with office.controller() as (one, mine), office.controller() as (other, theirs):
        await one.admit(mine)
        await other.admit(theirs)
        await mine.ledger.append([reserve(1)])
        await theirs.ledger.append([reserve(2)])
        other.appended(theirs)
        await other.settled(DOMAIN)
        one.appended(mine)
        await one.settled(DOMAIN)
        assert one.broken(DOMAIN) is None
        assert one.behind(DOMAIN) == 0
        assert office.witness.anchors[DOMAIN].sequence == 3


async def test_another_entry_under_the_anchored_name_holds_the_domain(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await desk.ledger.append([reserve(1)])
        office.witness.anchors[DOMAIN] = Head(DOMAIN, 2, "0" * 64)
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
        assert entry_name(DOMAIN, 2) in (keeping.broken(DOMAIN) or "")
        assert keeping.not_ready(DOMAIN) == keeping.broken(DOMAIN)


# The start.


async def test_nothing_is_decided_before_the_collector_was_asked(office: Office) -> None:
    office.witness.away = True
    async with office.controller() as (keeping, desk):
        with pytest.raises(CollectorUnavailable):
            await keeping.admit(desk)
        assert "has not been compared" in (keeping.not_ready(DOMAIN) or "")
        await keeping.keep(desk)
        office.witness.away = False
        assert await keeping.admit(desk) is None
        assert keeping.not_ready(DOMAIN) is None


@pytest.mark.parametrize("left", [0, 1, 3], ids=["the definition was deleted", "an older database", "a day old"])
async def test_a_database_from_before_the_anchor_holds_the_domain(office: Office, left: int) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
    office.store.specs = dict(list(office.store.specs.items())[:left])
    async with office.controller() as (keeping, desk):
        assert await keeping.domains() == {DOMAIN}
        wrong = await keeping.admit(desk)
        assert wrong is not None
        assert f"{entry_name(DOMAIN, 7)} was there once" in wrong
        assert f"ends with entry {left}" in wrong
        await keeping.keep(desk)
        assert DOMAIN not in office.witness.exports
        assert office.witness.anchors[DOMAIN].sequence == 7


async def test_a_ledger_that_was_written_anew_holds_the_domain(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1])
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
    office.store.specs = {entry.name: dict(entry.spec) for entry in chain(*(reserve(n, 0.01) for n in range(9)))}
    async with office.controller() as (keeping, desk):
        assert "written anew" in (await keeping.admit(desk) or "")


async def test_an_export_that_goes_further_than_the_ledger_holds_the_domain(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1])
        await keeping.keep(desk)
    office.witness.anchors.clear()  # its chain was lost, its exports were not
    del office.store.specs[entry_name(DOMAIN, 4)]
    async with office.controller() as (keeping, desk):
        assert f"{entry_name(DOMAIN, 4)} was there once" in (await keeping.admit(desk) or "")


# Checkpoints, exports, pruning.


async def test_a_checkpoint_an_export_and_a_day_later_the_old_entries_are_gone(office: Office) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        await keeping.keep(desk)
        assert desk.ledger.fold.checkpoint is not None
        through = desk.ledger.fold.checkpoint.through
        assert through == 7
        assert office.store.deleted == []  # younger than a day
        before = desk.ledger.fold.state
        office.store.clock += DAY
        await office.write(desk, [3])
        await keeping.keep(desk)
        assert office.store.sequences() == [8, 9, 10, 11]
        assert desk.ledger.fold.first == 8
        assert before is not None
    async with office.controller() as (keeping, desk):  # and whoever comes next knows the same from less
        assert await keeping.admit(desk) is None
        assert desk.ledger.fold.state is not None
        assert desk.ledger.fold.head.sequence == 11
    report = verified(office.export, office.witness.anchors[DOMAIN])
    assert report.ok, report.problems
    assert report.domains[0].first == 1
    assert report.domains[0].head.sequence == 11
    assert (report.domains[0].state.table.committed == desk.ledger.fold.state.table.committed).all()


async def test_nothing_is_pruned_while_the_collector_is_away(office: Office) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        await keeping.keep(desk)
        office.store.clock += DAY
        office.witness.away = True
        with pytest.raises(CollectorUnavailable):
            await keeping.keep(desk)
        assert office.store.deleted == []


async def test_nothing_is_pruned_by_a_clock_of_this_process(office: Office) -> None:
    """The keeper's own clock does not matter where the API server's is known."""
    async with office.controller(every=6) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        await keeping.keep(desk)
        assert office.store.now() == NOON  # years before or after what this machine says
        assert office.store.sequences()[0] == 1


@pytest.mark.parametrize("days", [0, 1], ids=["while it is exported", "while it is pruned"])
async def test_a_kill_at_any_point_is_harmless(days: int) -> None:
    for looks in range(200):
        office = Office()
        await office.found()
        async with office.controller(every=6) as (keeping, desk):
            await keeping.admit(desk)
            await office.write(desk, [1, 2])
            await keeping.settled(DOMAIN)
            if days:
                await keeping.keep(desk)
                office.store.clock += DAY
            office.life.left = looks
            with contextlib.suppress(Killed):
                await keeping.keep(desk)
                await keeping.settled(DOMAIN)
                office.life.left -= 1  # it came to its end
        alive, office.life.left = bool(office.life.left), None
        async with office.controller(every=6) as (keeping, desk):
            assert await keeping.admit(desk) is None, looks
            await keeping.keep(desk)
            office.store.clock += DAY
            await keeping.keep(desk)
            await keeping.settled(DOMAIN)
            assert keeping.broken(DOMAIN) is None, looks
            assert desk.ledger.fold.checkpoint is not None
            assert office.store.sequences()[0] == desk.ledger.fold.checkpoint.first
            report = verified(office.export, office.witness.anchors[DOMAIN])
            assert report.ok, (looks, report.problems)
            assert report.domains[0].head == desk.ledger.fold.head
        if alive:
            assert looks >= 8  # so many were killed
            return
    pytest.fail("no kill came too late")


async def test_an_export_that_was_cut_off_goes_on_where_it_ended(office: Office) -> None:
    async with office.controller(every=100) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1])
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
        office.witness.unheard = 1
        with pytest.raises(CollectorUnavailable):
            await keeping.keep(desk)
        await office.write(desk, [2])
        await keeping.keep(desk)
    assert verified(office.export).entries == 7


@pytest.mark.parametrize("fault", ["lost", "done-unheard"])
async def test_a_part_of_a_checkpoint_that_was_not_answered_is_there_once(office: Office, fault: Any) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        office.store.fault = fault
        await keeping.keep(desk)
        assert desk.ledger.fold.checkpoint is not None
        assert office.store.sequences() == list(range(1, 9))


async def test_a_checkpoint_that_another_writer_cut_in_two_is_made_anew(office: Office) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        interrupted = _Interrupted(office.store, desk)
        desk.ledger._log = interrupted  # the other writer comes before the part does
        await keeping.keep(desk)
        assert desk.ledger.fold.checkpoint is None
        desk.ledger._log = office.store
        await keeping.keep(desk)
        assert desk.ledger.fold.checkpoint is not None
        assert fold(DOMAIN, office.store.entries()).checkpoint == desk.ledger.fold.checkpoint


class _Interrupted:
    """Another controller appends just before each create."""

    def __init__(self, store: MemoryStore, desk: Desk) -> None:
        self._store = store
        self._other = Ledger(store, DOMAIN, "other", lambda: store.clock)
        self._number = 100

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def create(self, name: str, spec: Any) -> None:
        self._number += 1
        await self._other.append([reserve(self._number, 0.001)])
        await self._store.create(name, spec)


async def test_an_entry_that_was_recreated_while_it_is_pruned_holds_the_domain(office: Office) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1, 2])
        await keeping.keep(desk)
        office.store.clock += DAY
        office.store.recreated.add(entry_name(DOMAIN, 3))
        await keeping.keep(desk)
        assert f"{entry_name(DOMAIN, 3)}: it was pruned and created anew" in (keeping.broken(DOMAIN) or "")
        assert office.store.sequences()[0] == 3


# What is wrong behind the head, which following it does not show.


async def kept(office: Office, keeping: Keeping, desk: Desk) -> None:
    await keeping.admit(desk)
    await office.write(desk, [1, 2])
    await keeping.keep(desk)
    assert keeping.broken(DOMAIN) is None


def pod_changed(spec: dict[str, Any]) -> dict[str, Any]:
    spec["transitions"][0]["bind"]["podUID"] = "pod-9"
    return spec


@pytest.mark.parametrize(
    ("harm", "entry"),
    [
        pytest.param(lambda specs: pod_changed(specs[entry_name(DOMAIN, 3)]), 3, id="changed"),
        pytest.param(lambda specs: specs.pop(entry_name(DOMAIN, 3)), 3, id="deleted"),
        pytest.param(lambda specs: specs.pop(entry_name(DOMAIN, 1)), 1, id="the first one deleted"),
        pytest.param(lambda specs: specs.clear(), 7, id="all deleted"),
    ],
)
async def test_harm_behind_the_head_is_found_in_the_next_round(
    office: Office, harm: Callable[[dict[str, Any]], object], entry: int
) -> None:
    async with office.controller(every=100) as (keeping, desk):
        await kept(office, keeping, desk)
        harm(office.store.specs)
        exported = office.export
        await keeping.keep(desk)
        assert (keeping.broken(DOMAIN) or "").startswith(f"{entry_name(DOMAIN, entry)}: ")
        assert office.export == exported


async def test_a_pruned_name_that_was_created_anew_is_found_in_the_next_round(office: Office) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await kept(office, keeping, desk)
        old = copy_of(office.store.specs[entry_name(DOMAIN, 5)])
        office.store.clock += DAY
        await keeping.keep(desk)
        assert 5 not in office.store.sequences()
        office.store.specs[entry_name(DOMAIN, 5)] = old
        await keeping.keep(desk)
        assert f"{entry_name(DOMAIN, 5)}: it was created anew under a name that was pruned" in (
            keeping.broken(DOMAIN) or ""
        )
    async with office.controller(every=6) as (keeping, desk):
        assert "after entry 5 comes 8" in (await keeping.admit(desk) or "")


def as_stored(entries: Sequence[Entry]) -> list[StoredEntry]:
    store = MemoryStore(Life())
    store.specs = {entry.name: dict(entry.spec) for entry in entries}
    return list(asyncio.run(store.stored(DOMAIN)))


def test_an_entry_that_was_written_anew_with_a_hash_of_its_own_is_wrong() -> None:
    entries = chain(reserve(1), reserve(2))
    there = as_stored(entries)
    other = link(entries[1].head, [reserve(3)], stamp(NOON), "x")
    there[2] = as_stored([*entries[:2], other])[2]
    found = wrong_in(there, {entry.sequence: entry.hash for entry in entries}, entries[-1].head, None)
    assert found is not None
    assert found.entry == entries[2].name


def test_entries_after_the_head_that_is_known_are_not_judged() -> None:
    entries = chain(reserve(1), reserve(2))
    assert wrong_in(as_stored(entries), {1: entries[0].hash}, entries[0].head, None) is None
    assert wrong_in([], {}, Head.none(DOMAIN), None) is None


def test_a_checkpoint_is_due_by_the_entries_since_the_last_whole_one() -> None:
    entries = chain(reserve(1), reserve(2))
    known = fold(DOMAIN, entries)
    assert checkpoint_due(known, 3)
    assert not checkpoint_due(known, 4)
    assert not checkpoint_due(fold(DOMAIN, []), 0)
    assert not checkpoint_due(fold(DOMAIN, entries[1:]), 1)  # its beginning is missing: nobody knows the state


async def test_what_is_pruned_is_counted_from_the_fold_that_remains(office: Office) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await kept(office, keeping, desk)
        office.store.clock += DAY
        await keeping.keep(desk)
        assert not checkpoint_due(desk.ledger.fold, 6)
        await office.write(desk, [3, 4])
        await keeping.keep(desk)
        parts = [e for e in office.store.entries() if isinstance(e.transitions[0], Checkpoint)]
        assert [entry.sequence for entry in parts] == [8, 15]
        assert parse_entry(parts[-1].name, copy_of(parts[-1].spec)).head == desk.ledger.fold.head


async def test_the_rounds_go_on_when_one_fails(office: Office) -> None:
    async with office.controller(every=3) as (keeping, desk):
        await keeping.admit(desk)
        office.witness.away = True
        rounds = asyncio.create_task(keeping.run())
        await asyncio.sleep(0.01)
        office.witness.away = False
        await office.write(desk, [1, 2])
        keeping.appended(desk)  # a checkpoint is due, which does not wait for ten minutes
        async with asyncio.timeout(5):
            while DOMAIN not in office.witness.exports:  # noqa: ASYNC110 - it has no event of its own
                await asyncio.sleep(0.01)
        rounds.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await rounds
        assert desk.ledger.fold.checkpoint is not None
