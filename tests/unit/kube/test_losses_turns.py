"""Whoever asks for many losses that take long holds up nobody else: not the workers, not other namespaces."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.unit.kube.test_losses import FACTS, JOB, Slow, key

from mlprivacy.kube.counting import Child, NoAnswer
from mlprivacy.kube.losses import WAITING_EACH, LossCounter, asker_of, with_losses
from mlprivacy.policy.loss import LossKey, LossOutcome, NotCounted, Sampled, Serialised, count, lane_of

ME = asker_of(JOB)


def long_key(number: int) -> LossKey:
    """A loss that takes long; each number another."""
    return LossKey(Sampled(1000 + number, 10, 1, 5.0, 100.0, 1000), 1000, 1, 1e-6)


@pytest.mark.parametrize(
    ("rows", "trials", "lane"),
    [(1, 1, "quick"), (1, 1000, "usual"), (32, 1, "usual"), (2, 2, "long"), (33, 1, "long")],
)
def test_numbers_that_take_seconds_wait_apart_from_those_that_take_a_moment(rows: int, trials: int, lane: str) -> None:
    """Four loops of dry-runs with 32 rows and 1000 trials once held the usual jobs of other namespaces."""
    assert lane_of(LossKey(Sampled(200_000, 512, 5, None, 9.0, rows), rows, trials, 5e-8)) == lane


@pytest.fixture
def slow() -> Iterator[Slow]:
    arithmetic = Slow()
    yield arithmetic
    arithmetic.go.set()


async def until(what: Callable[[], Any], seconds: float = 10) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def later() -> float:
    return asyncio.get_running_loop().time() + 10


def past() -> float:
    return asyncio.get_running_loop().time() - 1


async def test_an_innocent_job_is_looked_at_at_once_while_a_hundred_slow_ones_wait(slow: Slow) -> None:
    counter = LossCounter(long=slow)
    asked = [
        counter.count((long_key(number),), later(), "flood", ("TrainingJob", "flood", str(number)))
        for number in range(100)
    ]
    began = time.monotonic()
    assert await asyncio.gather(*asked) == [{}] * 100  # a worker waits for none of them
    facts = await with_losses(JOB, FACTS, counter, asker=ME)
    assert time.monotonic() - began < 0.5
    if not facts.losses:  # a moment was too short on a busy machine
        await until(lambda: len(counter.known(tuple(FACTS.losses))) == len(FACTS.losses))
    assert slow.asked == [long_key(0)]
    counter.close()


async def test_namespaces_take_turns(slow: Slow) -> None:
    counter = LossCounter(long=slow)
    for number in range(20):
        await counter.count((long_key(number),), past(), "flood")
    await counter.count((long_key(100),), past(), "other")
    slow.go.set()
    assert set(await counter.count((long_key(100),), later(), "other")) == {long_key(100)}
    await until(lambda: len(slow.asked) == 1 + WAITING_EACH["long"])
    assert slow.asked[:2] == [long_key(0), long_key(100)]  # what ran already, then the other's
    await asyncio.sleep(0.1)
    assert len(slow.asked) == 1 + WAITING_EACH["long"]  # a namespace has a few places, and the rest is asked for anew


async def test_who_waited_is_told_and_who_had_no_place_is_told_when_one_is_free(slow: Slow) -> None:
    counter = LossCounter(long=slow)
    told: list[str] = []
    found: dict[LossKey, LossOutcome] = {}
    looks: set[asyncio.Task[None]] = set()

    async def look(number: int) -> None:
        asker = ("TrainingJob", "research", str(number))
        counter.asked(asker, frozenset({long_key(number)}) - counter.known((long_key(number),)).keys())
        found.update(await counter.count((long_key(number),), past(), "research", asker))

    def tell(asker: tuple[str, str, str]) -> None:
        told.append(asker[2])
        looks.add(asyncio.create_task(look(int(asker[2]))))

    counter.on_counted(tell)
    for number in range(10):
        await look(number)
    assert told == []
    slow.go.set()
    await until(lambda: len(found) == 10)
    assert slow.asked.count(long_key(9)) == 1
    assert set(told) == {str(number) for number in range(10)}


async def test_a_job_that_waits_at_this_moment_is_not_told_as_well(monkeypatch) -> None:
    counter = LossCounter()
    told: list[tuple[str, str, str]] = []
    counter.on_counted(told.append)
    monkeypatch.setattr("mlprivacy.kube.losses.MOMENT", 10)
    assert len((await with_losses(JOB, FACTS, counter, asker=ME)).losses) == 2
    assert told == []


async def test_nothing_is_counted_for_a_job_that_is_gone_or_changed(slow: Slow) -> None:
    counter = LossCounter(long=slow)
    for number in range(3):
        asker = ("TrainingJob", "research", str(number))
        counter.asked(asker, frozenset({long_key(number)}))
        await counter.count((long_key(number),), past(), "research", asker)
    await until(lambda: slow.asked)
    counter.asked(("TrainingJob", "research", "1"), frozenset())
    counter.asked(("TrainingJob", "research", "2"), frozenset({key(1)}))
    counter.asked(("TrainingJob", "research", "0"), frozenset())  # it is being counted, and is finished
    await counter.count((long_key(3),), past(), "research")
    slow.go.set()
    await until(lambda: long_key(3) in counter.known((long_key(3),)))
    assert slow.asked == [long_key(0), long_key(3)]


async def test_what_another_waits_for_is_not_dropped(slow: Slow) -> None:
    counter = LossCounter(long=slow)
    await counter.count((long_key(0),), past(), "other")
    for name in ("one", "two"):
        counter.asked(("TrainingJob", "research", name), frozenset({long_key(1)}))
        await counter.count((long_key(1),), past(), "research", ("TrainingJob", "research", name))
    counter.asked(("TrainingJob", "research", "one"), frozenset())
    slow.go.set()
    await until(lambda: counter.known((long_key(1),)))


async def test_what_fails_is_not_tried_without_a_pause() -> None:
    tries: list[LossKey] = []

    def broken(asked: LossKey) -> LossOutcome:
        tries.append(asked)
        raise NoAnswer("it broke")

    counter = LossCounter(long=broken)
    told: list[tuple[str, str, str]] = []
    counter.on_counted(told.append)
    counter.asked(ME, frozenset({long_key(1)}))
    await counter.count((long_key(1),), past(), "research", ME)
    await until(lambda: tries)
    await asyncio.sleep(0.1)
    assert told == []
    assert counter.known((long_key(1),)) == {}


async def test_nothing_is_begun_after_the_end(slow: Slow) -> None:
    slow.go.set()
    counter = LossCounter(long=slow)
    counter.close()
    assert await counter.count((long_key(1), key(1)), later()) == {}
    assert slow.asked == []


@pytest.mark.parametrize("asked", [long_key(1), LossKey(Serialised("{}"), 1, 1, 1e-6)])
def test_a_process_counts_the_same(asked: LossKey) -> None:
    assert lane_of(asked) == "long"
    assert Child().count(asked) == count(asked)


def test_what_takes_too_long_is_stopped_and_says_what_to_do() -> None:
    forever = LossKey(Sampled(100_000, 100, 1, None, 100.0, 3000), 3000, 1, 1e-6, (2.0, 4.0, 8.0, 16.0, 32.0, 64.0))
    outcome = Child(cpu_seconds=1).count(forever)
    assert isinstance(outcome, NotCounted)
    assert "use fewer rows of each person" in str(outcome.remedy)


def test_a_process_that_is_late_by_the_clock_says_nothing_about_the_loss() -> None:
    with pytest.raises(NoAnswer, match="tried again"):
        Child(wall_seconds=0.01).count(long_key(1))


async def test_the_end_stops_what_is_being_counted() -> None:
    forever = LossKey(Sampled(100_000, 100, 1, None, 100.0, 3000), 3000, 1, 1e-6, (2.0, 4.0, 8.0, 16.0, 32.0, 64.0))
    child = Child()
    began = time.monotonic()
    counting = asyncio.create_task(asyncio.to_thread(child.count, forever))
    await asyncio.sleep(0.3)
    child.close()
    with pytest.raises(NoAnswer):
        await counting
    assert time.monotonic() - began < 5
    with pytest.raises(NoAnswer, match="ends"):
        child.count(long_key(1))
