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
from mlprivacy.budget.ledger.checkpoint import state_text
from mlprivacy.budget.ledger.entry import Entry, Head, entry_name, link, parse_entry, stamp
from mlprivacy.budget.ledger.errors import EndsEarly
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import Checkpoint
from mlprivacy.budget.ledger.verify import Verifier, read_lines
from mlprivacy.controller.budgets.desks import Closed, Desks
from mlprivacy.controller.budgets.housekeeping import checkpoint_due, wrong_in
from mlprivacy.controller.budgets.keeping import Keeping
from mlprivacy.controller.budgets.recovery import Restored
from mlprivacy.kube.errors import Unreachable
from mlprivacy.kube.ledgerlog import StoredEntry

DAY = timedelta(days=1, seconds=1)


class Office:
    """A store, a witness, and one controller after the other."""

    def __init__(self) -> None:
        self.life = Life()
        self.store = MemoryStore(self.life)
        self.witness = MemoryWitness(self.life)
        self.restored: list[Restored] = []

    @contextlib.asynccontextmanager
    async def controller(self, every: int = 6) -> AsyncIterator[tuple[Keeping, Desk]]:
        desk = Desk(Ledger(self.store, DOMAIN, "one", lambda: self.store.clock))
        keeping = Keeping(
            self.store,
            self.witness,
            lambda: [desk],
            checkpoint_every=every,
            pause=0.001,
            restored=self.restored.append,
        )
        try:
            yield keeping, desk
        finally:
            with contextlib.suppress(Killed):
                await keeping.stop()

    async def anchored(self, jobs: Sequence[int] = (1, 2), every: int = 100) -> State:
        """A controller writes these jobs, has every entry anchored and exported, and ends; the state that it left."""
        async with self.controller(every) as (keeping, desk):
            assert await keeping.admit(desk) is None
            await self.write(desk, jobs)
            keeping.appended(desk)
            await keeping.settled(DOMAIN)
            assert desk.ledger.fold.state is not None
            return desk.ledger.fold.state

    def lose(self, left: int) -> dict[str, Any]:
        """The database is one that has the first so many entries; the one before."""
        before = self.store.specs
        self.store.specs = dict(list(before.items())[:left])
        return before

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


async def test_a_ledger_that_was_written_anew_holds_the_domain(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await office.write(desk, [1])
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
    office.store.specs = {entry.name: dict(entry.spec) for entry in chain(*(reserve(n, 0.01) for n in range(9)))}
    async with office.controller() as (keeping, desk):
        assert "written anew" in (await keeping.admit(desk) or "")


# A database that was restored.


@pytest.mark.parametrize(
    "left", [0, 1, 3, 6], ids=["the definition was deleted", "an older database", "a day old", "one"]
)
async def test_what_the_database_lost_is_back_before_anything_is_decided(office: Office, left: int) -> None:
    before = await office.anchored()
    there = office.lose(left)
    async with office.controller() as (keeping, desk):
        assert await keeping.domains() == {DOMAIN}
        assert await keeping.admit(desk) is None
        assert office.store.specs == there
        assert desk.ledger.fold.state is not None
        assert state_text(desk.ledger.fold.state) == state_text(before)
        assert office.restored == [Restored(DOMAIN, left + 1, before.head)]
        await office.write(desk, [3])  # and it goes on
        await keeping.keep(desk)
    assert verified(office.export, office.witness.anchors[DOMAIN]).ok


async def test_what_was_exported_after_the_newest_anchor_is_back_too(office: Office) -> None:
    """A process that was killed after the export and before the anchor."""
    await office.anchored()
    office.witness.anchors[DOMAIN] = Head(DOMAIN, 5, office.store.entries()[4].hash)
    for left in (3, 6):
        there = office.lose(left)
        async with office.controller() as (keeping, desk):
            assert await keeping.admit(desk) is None
            assert office.store.specs == there


async def test_without_an_anchor_the_export_says_where_the_ledger_ended(office: Office) -> None:
    await office.anchored()
    office.witness.anchors.clear()  # its chain was lost, its exports were not
    there = office.lose(3)
    async with office.controller() as (keeping, desk):
        assert await keeping.admit(desk) is None
        assert office.store.specs == there


async def test_what_the_collector_has_not_holds_the_domain_and_writes_nothing(office: Office) -> None:
    await office.anchored()
    office.witness.exports[DOMAIN] = office.witness.first_lines(DOMAIN, 5)
    office.lose(3)
    async with office.controller() as (keeping, desk):
        wrong = await keeping.admit(desk)
        assert wrong is not None
        assert wrong.startswith(
            f"{entry_name(DOMAIN, 7)} was there once and is not any more: the ledger ends with entry 3"
        )
        assert f"{entry_name(DOMAIN, 6)}: it is not in the collector's export" in wrong
        assert keeping.not_ready(DOMAIN) == wrong
        await keeping.keep(desk)
        assert office.store.sequences() == [1, 2, 3]
        assert office.restored == []


async def test_an_export_that_does_not_lead_to_the_anchor_writes_nothing(office: Office) -> None:
    await office.anchored()
    office.witness.anchors[DOMAIN] = Head(DOMAIN, 7, "0" * 64)
    office.lose(3)
    async with office.controller() as (keeping, desk):
        assert f"{entry_name(DOMAIN, 7)}: the collector exported another entry" in (await keeping.admit(desk) or "")
        assert office.store.sequences() == [1, 2, 3]


async def test_a_collector_that_goes_away_half_way_is_asked_again(office: Office) -> None:
    await office.anchored()
    there = office.lose(2)
    async with office.controller() as (keeping, desk):
        office.witness.cut_after = 4
        with pytest.raises(CollectorUnavailable):
            await keeping.admit(desk)
        assert keeping.not_ready(DOMAIN) is not None
        assert keeping.broken(DOMAIN) is None
        office.witness.cut_after = None
        assert await keeping.admit(desk) is None
        assert office.store.specs == there


@pytest.mark.parametrize("fault", ["lost", "late", "done-unheard"])
async def test_an_entry_that_was_not_answered_for_is_back_once(office: Office, fault: Any) -> None:
    await office.anchored()
    there = office.lose(2)
    async with office.controller() as (keeping, desk):
        office.store.fault = fault
        assert await keeping.admit(desk) is None
        if fault == "late":
            office.store.deliver()
        assert office.store.specs == there
        await keeping.keep(desk)
        assert keeping.broken(DOMAIN) is None


async def test_two_controllers_bring_it_back_at_once(office: Office) -> None:
    await office.anchored()
    there = office.lose(2)
    async with office.controller() as (one, mine), office.controller() as (other, theirs):
        assert await asyncio.gather(one.admit(mine), other.admit(theirs)) == [None, None]
        assert office.store.specs == there


async def test_an_api_server_that_goes_away_half_way_leaves_nothing_to_be_granted(office: Office) -> None:
    """A process that knew the ledger only in part must not write on from there meanwhile."""
    await office.anchored([])
    async with office.controller() as (keeping, desk):
        assert await keeping.admit(desk) is None
        async with office.controller() as (_, other):
            await office.write(other, [1, 2])
            await keeping._seen(other.ledger.fold.head)
        office.lose(1)
        real, calls = office.store.create, 0

        async def sometimes(name: str, spec: Any) -> None:
            nonlocal calls
            calls += 1
            if calls > 3:
                raise Unreachable("the API server is away")
            await real(name, spec)

        office.store.create = sometimes  # type: ignore[method-assign]
        with pytest.raises(Unreachable):
            await keeping.admit(desk)
        office.store.create = real  # type: ignore[method-assign]
        assert office.store.sequences() == [1, 2, 3, 4]
        assert office.restored == [Restored(DOMAIN, 2, office.store.entries()[-1].head)]
        assert keeping.not_ready(DOMAIN) is not None
        with pytest.raises(EndsEarly, match=entry_name(DOMAIN, 2)):
            await desk.ledger.append([reserve(9)])
        assert await keeping.admit(desk) is None
        assert office.store.sequences() == list(range(1, 8))


async def test_a_running_controller_finds_it_in_its_next_round(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await kept(office, keeping, desk)
        there = office.lose(3)
        await keeping.keep(desk)
        assert office.store.specs == there
        assert keeping.not_ready(DOMAIN) is None
        await office.write(desk, [3])


async def test_a_desk_that_finds_it_waits_until_it_is_back(office: Office) -> None:
    await office.anchored()
    async with office.controller() as (keeping, _):
        desks = Desks(office.store, "one", lambda: office.store.clock, lambda _: None, lambda _: None, keeping)
        desk = await desks.open(DOMAIN)
        there = office.lose(3)
        office.store.clock += timedelta(minutes=2)
        office.witness.away = True
        for _ in range(2):
            with pytest.raises(Closed) as closed:
                await desks.open(DOMAIN)
            assert not closed.value.broken
        with pytest.raises(EndsEarly):
            await desk.write([reserve(9)])
        office.witness.away = False
        assert await desks.open(DOMAIN) is desk
        assert office.store.specs == there


async def test_entries_that_this_process_knew_and_nobody_exported_hold_the_domain(office: Office) -> None:
    async with office.controller(every=100) as (keeping, desk):
        await kept(office, keeping, desk)
        office.witness.away = True
        await office.write(desk, [3])
        office.lose(3)
        office.witness.away = False
        await keeping.keep(desk)
        wrong = keeping.broken(DOMAIN) or ""
        assert wrong.startswith(f"{entry_name(DOMAIN, 10)}: it was there and is not any more")
        assert f"{entry_name(DOMAIN, 8)}: it is not in the collector's export" in wrong
        assert office.store.sequences() == [1, 2, 3]


@pytest.mark.parametrize("left", ["nothing", "what was pruned", "a backup of before"])
async def test_a_ledger_that_was_pruned_comes_back_with_its_checkpoint(office: Office, left: str) -> None:
    async with office.controller(every=6) as (keeping, desk):
        await kept(office, keeping, desk)
        backup = dict(office.store.specs)
        office.store.clock += DAY
        await office.write(desk, [3])
        await keeping.keep(desk)
        assert office.store.sequences() == [8, 9, 10, 11]
        before = desk.ledger.fold.state
        assert before is not None
    match left:
        case "nothing":
            office.store.specs = {}
        case "what was pruned":
            office.lose(2)
        case _:
            office.store.specs = {name: backup[name] for name in list(backup)[:4]}
    async with office.controller(every=6) as (keeping, desk):
        assert await keeping.admit(desk) is None
        assert office.store.sequences() == list(range(1 if left == "a backup of before" else 8, 12))
        assert desk.ledger.fold.state is not None
        assert state_text(desk.ledger.fold.state) == state_text(before)
        office.store.clock += DAY
        await keeping.keep(desk)
        assert keeping.broken(DOMAIN) is None
        assert office.store.sequences() == [8, 9, 10, 11]


@pytest.mark.parametrize("left", ["from its first entry", "from its checkpoint"])
async def test_a_kill_while_it_is_brought_back_is_harmless(left: str) -> None:
    for looks in range(300):
        office = Office()
        await office.found()
        async with office.controller(every=6) as (keeping, desk):
            await kept(office, keeping, desk)
            if left == "from its checkpoint":
                office.store.clock += DAY
                await keeping.keep(desk)
            await office.write(desk, [3])
            keeping.appended(desk)
            await keeping.settled(DOMAIN)
            before = desk.ledger.fold.state
        assert before is not None
        there = office.lose(0 if left == "from its checkpoint" else 2)
        office.life.left = looks
        with contextlib.suppress(Killed):
            async with office.controller(every=100) as (keeping, desk):
                assert await keeping.admit(desk) is None
                await keeping.settled(DOMAIN)
                office.life.left -= 1  # it came to its end
        alive, office.life.left = bool(office.life.left), None
        async with office.controller(every=100) as (keeping, desk):
            assert await keeping.admit(desk) is None, looks
            assert office.store.specs == there, looks
            assert desk.ledger.fold.state is not None
            assert state_text(desk.ledger.fold.state) == state_text(before)
        if alive:
            assert looks >= 20  # so many were killed
            return
    pytest.fail("no kill came too late")


async def test_an_anchor_does_not_wait_for_an_export_that_fails(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await keeping.settled(DOMAIN)
        await office.write(desk, [1])
        office.witness.full = True
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
        assert office.witness.anchors[DOMAIN] == desk.ledger.fold.head
        assert verified(office.export).entries == 1
        office.witness.full = False
        await keeping.keep(desk)
        assert verified(office.export, office.witness.anchors[DOMAIN]).ok


async def test_an_entry_that_is_another_one_when_it_is_exported_holds_the_domain(office: Office) -> None:
    async with office.controller() as (keeping, desk):
        await keeping.admit(desk)
        await keeping.settled(DOMAIN)
        await desk.ledger.append([reserve(1)])
        other = link(office.store.entries()[0].head, [reserve(2)], stamp(NOON), "x")
        office.store.specs[other.name] = dict(other.spec)
        keeping.appended(desk)
        await keeping.settled(DOMAIN)
        assert (keeping.broken(DOMAIN) or "").startswith(f"{other.name}: it is not the entry that was there before")
        assert verified(office.export).entries == 1


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
        await keeping.settled(DOMAIN)
        await office.write(desk, [1])
        office.witness.unheard = 1
        with contextlib.suppress(CollectorUnavailable):  # the round's own, or that of the anchor beside it
            await keeping.keep(desk)
        await keeping.settled(DOMAIN)
        assert office.witness.unheard == 0
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
