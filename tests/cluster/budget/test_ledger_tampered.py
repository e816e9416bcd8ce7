"""What nobody can do unseen: change, delete or re-create entries past the API server, restore an old database, delete
the definition. Each is found, and named, by the next controller or by the next round of the one that runs; what is
missing at the end of a ledger, and the collector has, is written again."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ledger_world import FOUNDING, bind, commit, reserve

from controlplane import ControlPlane
from mlprivacy.api.names import API_VERSION, GROUP
from mlprivacy.budget.ledger.checkpoint import state_text
from mlprivacy.budget.ledger.entry import entry_name, parse_entry
from mlprivacy.budget.ledger.verify import export_line
from mlprivacy.cli.main import cli
from mlprivacy.kube.client import NotFound
from mlprivacy.kube.resources import LEDGERENTRIES

Office = Any


async def write(keeping: Any, desk: Any, numbers: range) -> None:
    """Jobs that reserve, bind and commit, each entry anchored before this returns."""
    for number in numbers:
        for step in (reserve(number, 0.001), bind(number), commit(number, pod_uid="pod-1")):
            await desk.ledger.append([step])
    keeping.appended(desk)
    await keeping.settled(desk.ledger.fold.subject_domain)


async def begun(office: Office, domain: str) -> None:
    """A ledger of seven entries, anchored and exported."""
    await office.ledger(domain).append(FOUNDING)
    async with office.controller(domain) as (keeping, desk):
        assert await keeping.admit(desk) is None
        await write(keeping, desk, range(2))
        await keeping.keep(desk)


async def next_controller(office: Office, domain: str) -> str:
    """What the next controller says is wrong."""
    async with office.controller(domain) as (keeping, desk):
        wrong = await keeping.admit(desk)
        assert keeping.not_ready(domain) == wrong
        return wrong or ""


@pytest.mark.parametrize("change", ["podUID", "time", "hash"])
async def test_an_entry_that_was_changed_in_the_database_is_named(
    own_office: Office, database: Any, domain: str, change: str
) -> None:
    await begun(own_office, domain)
    name = entry_name(domain, 3)
    async with own_office.controller(domain) as (keeping, desk):
        assert await keeping.admit(desk) is None
        stored = database.entry(name)
        changed = copy.deepcopy(stored)
        match change:
            case "podUID":
                changed["spec"]["transitions"][0]["bind"]["podUID"] = "another"
            case "time":
                changed["spec"]["time"] = "2020-01-01T00:00:00.000000Z"
            case "hash":
                changed["spec"]["hash"] = "0" * 64
        database.put(name, changed)
        await keeping.keep(desk)  # the one that runs
        assert (keeping.broken(domain) or "").startswith(f"{name}: its content is not what its hash says")
    assert (await next_controller(own_office, domain)).startswith(f"{name}: its content is not what its hash says")


async def test_an_entry_that_was_deleted_in_the_database_is_named(
    own_office: Office, database: Any, domain: str
) -> None:
    await begun(own_office, domain)
    name = entry_name(domain, 4)
    database.delete(name)
    assert (await next_controller(own_office, domain)).startswith(f"{name}: it is missing")


async def test_a_pruned_name_that_is_created_by_hand_is_named(
    own_office: Office, private_cluster: ControlPlane, domain: str
) -> None:
    await own_office.ledger(domain).append(FOUNDING)
    later = datetime.now(UTC) + timedelta(days=2)
    async with own_office.controller(domain, every=6, now=lambda: later) as (keeping, desk):
        assert await keeping.admit(desk) is None
        await write(keeping, desk, range(2))
        name = entry_name(domain, 5)
        old = await own_office.client.get(LEDGERENTRIES, name)
        await keeping.keep(desk)
        assert await own_office.log.get(name) is None
        await write(keeping, desk, range(2, 3))
        private_cluster.kubectl(
            "create",
            "-f",
            "-",
            input={
                "apiVersion": API_VERSION,
                "kind": "LedgerEntry",
                "metadata": {"name": name},
                "spec": old["spec"],
            },
        )
        await keeping.keep(desk)
        assert (keeping.broken(domain) or "").startswith(f"{name}: it was created anew")
    assert "after entry 5 comes 8" in await next_controller(own_office, domain)


async def entries_of(office: Office, domain: str) -> dict[str, str]:
    """Name and hash of every entry that is there."""
    return {entry.name: entry.hash for entry in await office.log.stored(domain)}


async def spent(office: Office, domain: str) -> str:
    """The whole state, as a checkpoint says it."""
    ledger = office.ledger(domain)
    await ledger.refresh()
    assert ledger.fold.state is not None
    return state_text(ledger.fold.state)


async def verify(office: Office, domain: str, file: Path) -> None:
    """`mlprivacy verify ledger` on what is in the cluster, against the collector's anchor."""
    lines = [export_line(parse_entry(e.name, e.spec)) + b"\n" for e in await office.log.stored(domain)]
    await asyncio.to_thread(file.write_bytes, b"".join(lines))
    anchor = (await office.ledgers.known(domain)).anchor
    assert anchor is not None
    done = CliRunner().invoke(
        cli, ["verify", "ledger", str(file), "--anchor", f"{domain}={anchor.sequence}:{anchor.hash}"]
    )
    assert done.exit_code == 0, done.output


async def test_what_a_restored_database_lost_is_back_before_anything_is_decided(
    own_office: Office, database: Any, domain: str, tmp_path: Path
) -> None:
    await begun(own_office, domain)
    database.copy()
    async with own_office.controller(domain) as (keeping, desk):
        assert await keeping.admit(desk) is None
        await write(keeping, desk, range(10, 12))
        there, before = await entries_of(own_office, domain), await spent(own_office, domain)
        assert len(there) == 13
        database.restore()
        assert len(await entries_of(own_office, domain)) == 7
        await keeping.keep(desk)  # the one that runs
        assert keeping.not_ready(domain) is None
    assert await entries_of(own_office, domain) == there
    database.restore()
    assert await next_controller(own_office, domain) == ""
    assert await entries_of(own_office, domain) == there
    assert await spent(own_office, domain) == before
    await verify(own_office, domain, tmp_path / "ledger.jsonl")
    async with own_office.controller(domain) as (keeping, desk):  # and it goes on
        assert await keeping.admit(desk) is None
        await write(keeping, desk, range(20, 21))
        await keeping.keep(desk)
        assert keeping.broken(domain) is None


async def test_entries_that_nobody_exported_hold_the_domain(own_office: Office, database: Any, domain: str) -> None:
    """The collector knows that they were there, and has them not."""
    await begun(own_office, domain)
    database.copy()
    ledger = own_office.ledger(domain)
    for number in range(10, 12):
        await ledger.append([reserve(number, 0.001)])
    await own_office.ledgers.anchor(ledger.fold.head)
    database.restore()
    name = entry_name(domain, 9)
    wrong = await next_controller(own_office, domain)
    assert wrong.startswith(f"{name} was there once and is not any more: the ledger ends with entry 7")
    assert f"{entry_name(domain, 8)}: it is not in the collector's export" in wrong
    assert len(await entries_of(own_office, domain)) == 7
    # Nor does writing on from there help: the next entry's name was anchored with another hash.
    other = own_office.ledger(domain, "who knows of no anchor")
    for number in range(20, 23):
        await other.append([reserve(number, 0.001)])
    assert (await next_controller(own_office, domain)).startswith(f"{name} is not the entry that was seen before")


async def test_a_definition_that_was_deleted_takes_no_budget_back(
    own_office: Office, private_cluster: ControlPlane, install: Callable[[], None], domain: str, tmp_path: Path
) -> None:
    """Deleting the definition deletes every entry past any policy; whoever may weaken the guards can do it."""
    await begun(own_office, domain)
    there, before = await entries_of(own_office, domain), await spent(own_office, domain)
    private_cluster.kubectl("delete", f"crd/ledgerentries.{GROUP}", "--wait")
    async with own_office.controller(domain) as (keeping, desk):
        with pytest.raises(NotFound):  # not an empty ledger
            await keeping.admit(desk)
        assert keeping.not_ready(domain) is not None
        install()
        assert domain in await keeping.domains()  # though no entry says so
        assert await keeping.admit(desk) is None
    assert await entries_of(own_office, domain) == there
    assert await spent(own_office, domain) == before
    await verify(own_office, domain, tmp_path / "ledger.jsonl")
