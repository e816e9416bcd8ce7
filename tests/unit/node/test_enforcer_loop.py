"""The enforcer's loop with tables that only remember: when it loads, what it says, how it goes off, on, and away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from node.enforcer.compiler import PolicyError
from node.enforcer.loop import Enforcer, ReadyFile
from node.enforcer.model import Allow, Isolation, Ports, Ruleset
from node.enforcer.nft import NftError
from node.enforcer.render import TABLE, lay_out, replace


def isolating(*addresses: str, port: int = 80) -> Ruleset:
    """Rules that let the world reach one port of these addresses."""
    isolation = Isolation("team/web", (Allow(None, Ports(tcp=((port, port),))),))
    return Ruleset(ingress={ip_address(address): isolation for address in addresses})


def whole(address: str) -> str:
    """The text that loads nothing but these rules."""
    return replace(lay_out(isolating(address)))


@dataclass
class Remembering:
    """Tables that remember what they were told, and refuse as long as they are asked to."""

    texts: list[str] = field(default_factory=list)
    there: bool = False
    refuse: Callable[[str], bool] = lambda _text: False

    async def load(self, text: str) -> None:
        if self.refuse(text):
            raise NftError("nft did not take the ruleset: for a test")
        self.texts.append(text)
        self.there = True

    async def remove(self) -> None:
        self.there = False

    async def present(self) -> bool:
        return self.there


@dataclass
class Bench:
    """An enforcer, its tables, and what it is to want."""

    tables: Remembering
    ready: Path
    wanted: Ruleset | Exception = field(default_factory=lambda: isolating("10.0.0.1"))
    asked: int = 0

    def __post_init__(self) -> None:
        self.enforcer = Enforcer(self.tables, ReadyFile(self.ready), self._want, interval=0.05, debounce=0.005)

    def _want(self) -> Ruleset:
        self.asked += 1
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return self.wanted

    def state(self) -> str | None:
        return self.ready.read_text(encoding="utf-8") if self.ready.exists() else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.enforcer.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Remembering(), tmp_path / "ready")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it; the tables of a test tell nobody."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_ready_means_that_the_first_ruleset_is_loaded(bench: Bench) -> None:
    assert bench.state() is None
    await bench.enforcer.step()
    assert bench.tables.texts == [whole("10.0.0.1")]
    assert bench.state() == "enforcing\n"


async def test_what_did_not_change_is_not_loaded_again(bench: Bench) -> None:
    await bench.enforcer.step()
    await bench.enforcer.step()
    assert len(bench.tables.texts) == 1


async def test_a_change_is_made_in_the_table_that_is_there(bench: Bench) -> None:
    await bench.enforcer.step()
    bench.wanted = isolating("10.0.0.1", "10.0.0.2", port=81)
    await bench.enforcer.step()
    assert f"delete table inet {TABLE}" in bench.tables.texts[0]
    assert f"delete table inet {TABLE}" not in bench.tables.texts[1]


async def test_a_burst_of_changes_is_one_load(bench: Bench) -> None:
    async with bench.running():
        await until(lambda: bench.state() is not None)
        asked = bench.asked
        bench.wanted = isolating("10.0.0.1", "10.0.0.2")
        for _ in range(100):
            bench.enforcer.changed()
        await until(lambda: len(bench.tables.texts) == 2)
        assert bench.asked == asked + 1


async def test_a_table_that_somebody_deleted_is_there_again_soon(bench: Bench) -> None:
    async with bench.running():
        await until(lambda: bench.tables.there)
        bench.tables.there = False
        await until(lambda: bench.tables.there)
    assert bench.tables.texts[0] == bench.tables.texts[1]


async def test_a_table_that_somebody_changed_is_replaced_as_a_whole(bench: Bench) -> None:
    await bench.enforcer.step()
    # As when a chain that is to be emptied is gone.
    bench.tables.refuse = lambda text: f"delete table inet {TABLE}" not in text
    bench.wanted = isolating("10.0.0.2")
    await bench.enforcer.step()
    assert bench.tables.texts[-1] == whole("10.0.0.2")


async def test_off_is_no_table_and_on_is_the_rules_of_now(bench: Bench) -> None:
    async with bench.running():
        await until(lambda: bench.state() == "enforcing\n")
        bench.enforcer.switch(False)
        await until(lambda: bench.state() == "off\n")
        assert not bench.tables.there
        bench.wanted = isolating("10.0.0.9")
        bench.enforcer.changed()
        await asyncio.sleep(0.1)
        assert not bench.tables.there, "changes do not switch it on"
        bench.enforcer.switch(True)
        await until(lambda: bench.state() == "enforcing\n")
        assert bench.tables.texts[-1] == whole("10.0.0.9")


@pytest.mark.parametrize("failure", [PolicyError("a policy makes no sense"), NftError("nft is away")])
async def test_a_failure_is_told_and_leaves_the_last_rules(
    bench: Bench, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.running():
        await until(lambda: bench.tables.there)
        before = list(bench.tables.texts)
        bench.wanted = failure
        bench.enforcer.changed()
        await until(lambda: str(failure) in caplog.text)
        assert bench.tables.there
        assert bench.tables.texts == before
        bench.wanted = isolating("10.0.0.3")
        await until(lambda: len(bench.tables.texts) > len(before))


async def test_the_end_leaves_neither_table_nor_ready_file(bench: Bench) -> None:
    await bench.enforcer.step()
    await bench.enforcer.close()
    assert not bench.tables.there
    assert bench.state() is None
