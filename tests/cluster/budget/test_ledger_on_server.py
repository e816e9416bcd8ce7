"""The ledger on a real API server: one winner for each name, nothing is changed, and what is old goes to the export."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from ledger_world import FOUNDING, bind, commit, reserve

from mlprivacy.audit.ledgerexports import FOLDER, SUFFIX
from mlprivacy.budget.ledger.append import AlreadyExists
from mlprivacy.budget.ledger.entry import Head, entry_name, link, stamp
from mlprivacy.budget.ledger.errors import Refused
from mlprivacy.cli.ledgers import ledger as verify_ledger
from mlprivacy.kube.client import ApiError, Conflict, Invalid
from mlprivacy.kube.resources import LEDGERENTRIES

Office = Any


async def test_two_processes_that_write_at_once_make_one_chain(office: Office, domain: str) -> None:
    one, other = office.ledger(domain, "one"), office.ledger(domain, "other")
    await one.append(FOUNDING)

    async def work(ledger: Any, first: int) -> None:
        for number in range(first, first + 20):
            for step in (reserve(number, 0.001), bind(number), commit(number, pod_uid="pod-1")):
                await ledger.append([step])

    await asyncio.gather(work(one, 0), work(other, 100))
    fresh = office.ledger(domain, "fresh")
    for ledger in (one, other, fresh):
        await ledger.refresh()
    assert one.fold.head == other.fold.head == fresh.fold.head
    assert fresh.fold.head.sequence == 1 + 2 * 20 * 3
    assert len(fresh.fold.state.settled) == 40
    writers = {spec["writer"] for _, spec in await office.log.list(domain)}
    assert writers == {"one", "other"}


async def test_of_two_who_take_the_last_room_one_gets_it(office: Office, domain: str) -> None:
    one, other = office.ledger(domain, "one"), office.ledger(domain, "other")
    await one.append(FOUNDING)
    await other.refresh()
    outcomes = await asyncio.gather(
        one.append([reserve(1, 0.6)]), other.append([reserve(2, 0.6)]), return_exceptions=True
    )
    assert sorted(isinstance(outcome, Refused) for outcome in outcomes) == [False, True]


async def test_a_name_is_taken_once(office: Office, domain: str) -> None:
    first = link(Head.none(domain), FOUNDING, stamp(datetime.now(UTC)), "one")
    await office.log.create(first.name, first.spec)
    with pytest.raises(AlreadyExists):
        await office.log.create(first.name, first.spec)
    assert await office.log.get(first.name) == first.spec
    assert await office.log.get(entry_name(domain, 2)) is None
    assert domain in await office.log.domains()


async def test_an_entry_is_never_changed_even_by_an_administrator(office: Office, domain: str) -> None:
    await office.ledger(domain).append(FOUNDING)
    name = entry_name(domain, 1)
    for patch in ({"spec": {"writer": "another"}}, {"spec": {"hash": "0" * 64}}, {"spec": {"transitions": []}}):
        with pytest.raises(Invalid, match=r"never changed|transitions"):
            await office.client.merge_patch(LEDGERENTRIES, name, patch)


async def test_an_entry_must_bear_its_own_name(office: Office, domain: str) -> None:
    first = link(Head.none(domain), FOUNDING, stamp(datetime.now(UTC)), "one")
    with pytest.raises(ApiError, match=r"metadata\.name must be spec\.domain"):
        await office.log.create(entry_name(domain, 2), first.spec)


async def test_a_namesake_made_since_is_not_deleted(office: Office, domain: str) -> None:
    await office.ledger(domain).append(FOUNDING)
    with pytest.raises(Conflict):
        await office.log.delete(entry_name(domain, 1), "another-uid")
    (entry,) = await office.log.stored(domain)
    assert await office.log.delete(entry.name, entry.uid) is True


async def test_the_clock_is_the_servers(office: Office, domain: str) -> None:
    await office.ledger(domain).append(FOUNDING)
    (entry,) = await office.log.stored(domain)
    assert timedelta(0) <= office.log.now() - entry.created < timedelta(minutes=1)


async def test_old_entries_go_to_the_export_and_nothing_is_lost(office: Office, domain: str) -> None:
    """A checkpoint, an export, and two days later (by an injected clock) what is old is pruned."""
    later = datetime.now(UTC) + timedelta(days=2)
    async with office.controller(domain, every=20, now=lambda: later) as (keeping, desk):
        await desk.ledger.append(FOUNDING)
        assert await keeping.admit(desk) is None
        for number in range(10):
            for step in (reserve(number, 0.001), bind(number), commit(number, pod_uid="pod-1")):
                await desk.ledger.append([step])
            keeping.appended(desk)
        await keeping.keep(desk)
        await keeping.settled(domain)
        spent = desk.ledger.fold.state.table.committed.copy()
        head = desk.ledger.fold.head
    there = [entry.sequence for entry in await office.log.stored(domain)]
    assert there == [32]  # the checkpoint's one part stands for all before it
    assert head.sequence == 32
    async with office.controller(domain) as (keeping, desk):
        assert await keeping.admit(desk) is None
        assert (desk.ledger.fold.state.table.committed == spent).all()
        await desk.ledger.append([reserve(99, 0.001)])
        await keeping.keep(desk)
        head = desk.ledger.fold.head
    file = office.directory / FOLDER / f"{domain}{SUFFIX}"
    done = CliRunner().invoke(verify_ledger, [str(file), "--anchor", f"{domain}={head.sequence}:{head.hash}"])
    assert done.exit_code == 0, done.output
    assert "33 entries" in done.output
