"""The queue: properties of its bookkeeping for any order of calls, then the asyncio side by example."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from mlprivacy.kube.workqueue import QueueClosed, QueueState, WorkQueue

KEYS = st.sampled_from("abcde")


class AnyOrderOfCalls(RuleBasedStateMachine):
    """A model that only knows which keys still owe a run; the queue must never lose or double one."""

    held = Bundle("held")

    def __init__(self):
        super().__init__()
        self.queue = QueueState(first=1.0, longest=8.0)
        self.now = 0.0
        self.owed: set[str] = set()
        self.due: dict[str, float] = {}
        self.running: set[str] = set()

    @rule(key=KEYS)
    def add(self, key):
        self.queue.add(key)
        self.owed.add(key)

    @rule(key=KEYS, delay=st.floats(0.1, 10))
    def add_later(self, key, delay):
        self.queue.add_at(key, self.now + delay)
        self.due[key] = min(self.now + delay, self.due.get(key, float("inf")))

    @rule(step=st.floats(0, 10))
    def time_passes(self, step):
        self.now += step
        upcoming = self.queue.advance(self.now)
        ripe = {key for key, when in self.due.items() if when <= self.now}
        self.owed |= ripe
        for key in ripe:
            del self.due[key]
        assert upcoming == min(self.due.values(), default=None)

    @rule(target=held)
    def take(self):
        key = self.queue.take()
        if key is None:
            assert self.owed <= self.running
            return "none"
        assert key not in self.running, "a key was given to two workers"
        assert key in self.owed, "a key was given out that nobody had added"
        self.running.add(key)
        self.owed.discard(key)
        return key

    @rule(key=consumes(held))
    def done(self, key):
        if key == "none":
            return
        self.queue.done(key)
        self.running.discard(key)

    @precondition(lambda self: self.running)
    @rule()
    def what_was_added_while_running_runs_again(self):
        for key in sorted(self.running):
            self.queue.add(key)
            self.owed.add(key)

    @invariant()
    def nothing_is_lost(self):
        assert self.queue.processing == self.running
        assert self.queue.depth == len(self.owed - self.running)


AnyOrderOfCalls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrderOfCalls = AnyOrderOfCalls.TestCase


def test_backoff_doubles_is_bounded_and_forgotten():
    queue = QueueState(first=1.0, longest=10.0)
    assert [queue.failed("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert queue.failed("b") == 1
    queue.forget("a")
    assert queue.failed("a") == 1


def test_backoff_survives_very_many_failures():
    queue = QueueState(first=1.0, longest=10.0)
    for _ in range(2000):
        queue.failed("a")
    assert queue.failed("a") == 10


async def test_workers_never_share_a_key_and_added_while_running_runs_again(eventually):
    queue = WorkQueue("test-share")
    runs, active, overlaps = [], set(), []

    async def handle(key):
        if key in active:
            overlaps.append(key)
        active.add(key)
        runs.append(key)
        if len(runs) < 5:
            queue.add("a")
        await asyncio.sleep(0.005)
        active.discard(key)

    queue.add("a")
    queue.add("a")
    queue.add("b")
    worker = asyncio.create_task(queue.run(handle, workers=4))
    await eventually(lambda: len(runs) >= 5 and queue.idle)
    queue.close()
    await worker
    assert overlaps == []
    assert runs.count("b") == 1


async def test_a_failing_key_is_retried_and_others_go_on():
    queue = WorkQueue("test-retry", first=0.01, longest=0.05)
    seen, finished = [], asyncio.Event()

    async def handle(key):
        seen.append(key)
        if key == "bad" and seen.count("bad") < 3:
            raise RuntimeError("not yet")
        if seen.count("bad") == 3:
            finished.set()

    worker = asyncio.create_task(queue.run(handle, workers=1))
    queue.add("bad")
    queue.add("good")
    async with asyncio.timeout(20):
        await finished.wait()
    queue.close()
    await worker
    assert seen[:2] == ["bad", "good"]


async def test_the_handlers_answer_is_when_to_come_again():
    queue = WorkQueue("test-again")
    runs, twice = [], asyncio.Event()

    async def handle(key):
        runs.append(key)
        if len(runs) == 2:
            twice.set()
            return None
        return 0.01

    worker = asyncio.create_task(queue.run(handle, workers=1))
    queue.add("a")
    async with asyncio.timeout(20):
        await twice.wait()
    queue.close()
    await worker
    assert runs == ["a", "a"]


async def test_a_cancelled_waiter_does_not_swallow_a_key():
    queue = WorkQueue("test-cancel")
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    async with asyncio.timeout(20):
        assert await second == "a"
    assert first.cancelled()


async def test_closing_wakes_all_workers():
    queue = WorkQueue("test-close")
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {QueueClosed}


def test_done_without_take_is_an_error():
    with pytest.raises(KeyError):
        QueueState().done("a")
