"""Losses are counted in a thread, once, remembered, and never waited for beyond the deadline."""

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from builders import budget, clinic_world, counted, facts_of, training_job

from mlprivacy.kube import losses
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.losses import LossCounter, with_losses
from mlprivacy.policy.engine import evaluate, losses_asked
from mlprivacy.policy.loss import Counted, LossKey, LossOutcome, NotCounted, Sampled, Serialised
from mlprivacy.policy.model import Verdict

JOB = training_job()
FACTS = facts_of(clinic_world(budget()))


def key(number: int) -> LossKey:
    """A loss that is quickly counted; each number another."""
    return LossKey(Sampled(1000 + number, 10, 1, 5.0, 100.0, 1), 1, 1, 1e-6)


class Slow:
    """Stands in for the arithmetic: takes until it is let go, and counts how often it was asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[LossKey] = []

    def __call__(self, asked: LossKey) -> LossOutcome:
        self.asked.append(asked)
        self.go.wait(10)
        return NotCounted("slowly")


@pytest.fixture
def slow(monkeypatch):
    arithmetic = Slow()
    monkeypatch.setattr(losses, "count", arithmetic)
    yield arithmetic
    arithmetic.go.set()


async def test_the_facts_have_the_losses_that_the_decision_asks_for() -> None:
    facts = await with_losses(JOB, FACTS, LossCounter())
    assert set(facts.losses) == set(losses_asked(JOB, FACTS))
    assert evaluate(JOB, facts) == evaluate(JOB, counted(JOB, FACTS))
    assert evaluate(JOB, facts).verdict is Verdict.ALLOW


async def test_a_job_that_asks_for_none_starts_no_thread() -> None:
    before = threading.active_count()
    facts = facts_of(clinic_world())
    assert await with_losses(JOB, facts, LossCounter()) is facts
    assert threading.active_count() == before


async def test_what_is_remembered_is_there_without_a_turn_of_the_loop() -> None:
    counter = LossCounter()
    await with_losses(JOB, FACTS, counter)
    again = with_losses(JOB, FACTS, counter)
    with pytest.raises(StopIteration) as done:
        again.send(None)  # it ends without having waited for anything
    assert set(done.value.value.losses) == set(losses_asked(JOB, FACTS))


async def test_the_event_loop_goes_on_while_losses_are_counted(slow: Slow) -> None:
    gathering = asyncio.create_task(with_losses(JOB, FACTS, LossCounter()))
    await asyncio.sleep(0.1)
    assert not gathering.done()
    slow.go.set()
    assert len((await gathering).losses) == 2


async def test_after_the_deadline_the_job_holds_and_the_next_look_finds_the_loss(slow: Slow) -> None:
    counter = LossCounter()
    began = time.monotonic()
    facts = await with_losses(JOB, FACTS, counter, asyncio.get_running_loop().time() + 0.1)
    assert time.monotonic() - began < 2
    assert facts.losses == {}
    assert evaluate(JOB, facts).verdict is Verdict.HOLD
    slow.go.set()
    assert len((await with_losses(JOB, FACTS, counter)).losses) == 2
    assert len(slow.asked) == 2  # what was begun was finished, and not begun again


async def test_no_time_at_all_begins_the_work_for_the_next_look(slow: Slow) -> None:
    slow.go.set()
    counter = LossCounter()
    past = asyncio.get_running_loop().time() - 1
    await with_losses(JOB, FACTS, counter, past)
    for _ in range(100):
        if len(counter.known(losses_asked(JOB, FACTS))) == 2:
            break
        await asyncio.sleep(0.02)
    assert len((await with_losses(JOB, FACTS, counter, past)).losses) == 2


async def test_many_who_ask_for_the_same_have_it_counted_once(slow: Slow) -> None:
    counter = LossCounter()
    gathering = [asyncio.create_task(with_losses(JOB, FACTS, counter)) for _ in range(20)]
    await asyncio.sleep(0.05)
    slow.go.set()
    assert all(len(facts.losses) == 2 for facts in await asyncio.gather(*gathering))
    assert len(slow.asked) == 2


async def test_a_flood_is_bounded(slow: Slow) -> None:
    counter = LossCounter(waiting=4)
    soon = asyncio.get_running_loop().time() + 0.05
    assert await counter.count(tuple(map(key, range(50))), soon) == {}
    slow.go.set()
    found = await counter.count(tuple(map(key, range(50))), asyncio.get_running_loop().time() + 5)
    assert 0 < len(found) <= 8
    assert len(slow.asked) <= 8


async def test_odd_numbers_do_not_hold_up_usual_jobs() -> None:
    """Thousands of rows of a person take minutes to count, and so may an event."""
    held = threading.Event()

    def arithmetic(_: LossKey) -> LossOutcome:
        held.wait(10)
        return NotCounted("counted")

    counter = LossCounter(long=arithmetic)
    many = LossKey(Sampled(10_000, 10, 1, 5.0, 100.0, 3000), 3000, 1, 1e-6)
    odd = LossKey(Serialised("{}"), 1, 1, 1e-6)
    soon = asyncio.get_running_loop().time() + 0.05
    assert await counter.count((many, odd), soon) == {}
    later = asyncio.get_running_loop().time() + 5
    assert set(await counter.count((key(1),), later)) == {key(1)}
    held.set()
    assert set(await counter.count((many, odd), later)) == {many, odd}


async def test_what_was_asked_for_longest_ago_is_forgotten_first() -> None:
    counter = LossCounter(remembered=3)
    later = asyncio.get_running_loop().time() + 30
    await counter.count(tuple(map(key, range(3))), later)
    counter.known((key(0),))
    await counter.count((key(3),), later)
    assert set(counter.known(tuple(map(key, range(4))))) == {key(0), key(2), key(3)}


async def test_what_went_wrong_is_not_remembered(monkeypatch) -> None:
    def broken(_: LossKey) -> LossOutcome:
        raise MemoryError

    counter = LossCounter()
    monkeypatch.setattr(losses, "count", broken)
    assert await counter.count((key(1),), asyncio.get_running_loop().time() + 5) == {}
    monkeypatch.undo()
    found = await counter.count((key(1),), asyncio.get_running_loop().time() + 30)
    assert isinstance(found[key(1)], Counted)


async def test_the_fact_store_hands_them_out(api: Any, client: KubeClient) -> None:
    root = "/apis/mlprivacy.dev/v1alpha1"
    await api.put("/api/v1/namespaces/research", {"metadata": {"labels": {"mlprivacy.dev/enforce": "enforce"}}})
    await api.put("/api/v1/namespaces/clinic", {"metadata": {"labels": {"mlprivacy.dev/enforce": "enforce"}}})
    for raw in clinic_world(budget()):
        metadata = raw["metadata"]
        where = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        plural = f"{raw['kind'].lower()}s".replace("classs", "classes").replace("policys", "policies")
        await api.put(f"{root}{where}/{plural}/{metadata['name']}", raw)
    store = FactStore(client, backoff=(0.01, 0.05))
    store.start()
    assert await store.wait_synced(20)
    facts = await store.gather(JOB, datetime(2026, 6, 1, tzinfo=UTC))
    await store.stop()
    assert [b.name for b in facts.budgets] == ["patients"]
    assert len(facts.losses) == 2
    assert evaluate(JOB, facts).charges[0].loss is not None
