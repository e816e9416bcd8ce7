"""Two controllers, one log: whatever the order of their requests, crashes, lost answers and retries.

No block is over-spent at every order, no step that was acknowledged is missing or there twice, each attempt reserves
and settles once, and both controllers arrive at the state that a third one reads from the log. The machine drives the
coroutines of both request by request. It holds the log against arithmetic of its own, which shares nothing with the
ledger's. Run it at length with MLPRIVACY_LEDGER_EXAMPLES=10000.
"""

from __future__ import annotations

import os
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger_world import (
    CAPACITY,
    DOMAIN,
    FOUNDING,
    NOON,
    Fault,
    MemoryLog,
    job,
    ledger,
    part_of,
    reserve,
    run,
)

from mlprivacy.budget.ledger.append import Ledger
from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.checkpoint import parts_of, state_text
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.transitions import (
    Bind,
    Commit,
    Release,
    Retire,
    Taint,
    Transition,
    canonical,
    transition_body,
)

CONTROLLERS = st.sampled_from([0, 1])
JOBS = st.integers(1, 3)
ATTEMPTS = st.sampled_from([1, 1, 1, 2])
PODS = st.sampled_from(["pod-1", "pod-2"])
RANGES = st.sampled_from([(0, 7), (0, 3), (2, 5), (7, 7)])
# Shares of a block. At one order the last takes everything, at another nothing much: no single order tells what fits.
CURVES = st.sampled_from(
    [part_of(0.3), part_of(0.5), part_of(1.0), (CAPACITY[0], 1, 1), (1, CAPACITY[1], CAPACITY[2] // 2)]
)
RESERVES = st.builds(lambda n, c, r, a: reserve(n, blocks=r, attempt=a, curve=c), JOBS, CURVES, RANGES, ATTEMPTS)
ENDS = st.builds(
    lambda make, key, pod: make(key, pod),
    st.sampled_from(
        [
            lambda key, pod: Bind(*key, pod),
            lambda key, pod: Bind(*key, pod),
            lambda key, pod: Commit(*key, "Unknown"),
            lambda key, pod: Commit(*key, "Planned", pod, part_of(0.2), ended=True),
            lambda key, pod: Release(*key, "Withdrawn"),
        ]
    ),
    st.tuples(JOBS.map("uid-{}".format), ATTEMPTS),
    PODS,
)
MARKS = st.one_of(
    st.builds(lambda n, r: Taint(job(n), (Range(*r),), "Exception"), JOBS, RANGES),
    st.builds(lambda: Retire((Range(7, 7),), "Owner")),
)
STEPS = st.integers(0, 19).flatmap(lambda n: RESERVES if n < 9 else ENDS if n < 18 else MARKS)
# How many requests of it go through at once; the other controller may go on in between, or this one crash.
REQUESTS = st.sampled_from([0, 1, 2, 3, 99, 99, 99])
FAULTS = st.sampled_from(["none", "none", "none", "lost", "done-unheard", "late"])


class Controllers(RuleBasedStateMachine):
    """Both controllers, the log, and what was acknowledged to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.log = MemoryLog(pause=True)
        self.ledgers = [self._new(0), self._new(1)]
        self.busy: list[tuple[Coroutine[Any, Any, Any], Transition | None] | None] = [None, None]
        self.acknowledged: list[Transition] = []
        self.last: list[Transition | None] = [None, None]
        self.checkpoints = 0
        self.seen = (0, 0)

    def _new(self, index: int) -> Ledger:
        return ledger(self.log, f"controller-{index}", lambda: self.now)

    @initialize()
    def found(self) -> None:
        run(self.ledgers[0].append(FOUNDING))
        self.acknowledged += FOUNDING

    @rule(acts=st.lists(st.tuples(CONTROLLERS, STEPS, REQUESTS, FAULTS), min_size=1, max_size=6))
    def act(self, acts: list[tuple[int, Transition, int, Fault]]) -> None:
        for index, step, requests, fault in acts:
            self._begin(index, step, requests, fault)

    @rule(index=CONTROLLERS, requests=REQUESTS)
    def retries_what_the_other_did(self, index: int, requests: int) -> None:
        if (step := self.last[1 - index]) is not None:
            self._begin(index, step, requests, "none")

    @precondition(lambda self: self.checkpoints < 2)
    @rule(index=CONTROLLERS, requests=REQUESTS)
    def writes_a_checkpoint(self, index: int, requests: int) -> None:
        self.finish(index)
        self.checkpoints += 1
        self.busy[index] = (self._checkpoint(self.ledgers[index]), None)
        self.goes_on(index, requests, "none")

    @staticmethod
    async def _checkpoint(one: Ledger) -> None:
        await one.refresh()
        assert one.fold.state is not None
        for part in parts_of(one.fold.state, 1200):
            await one.append([part])

    def _begin(self, index: int, step: Transition, requests: int, fault: Fault) -> None:
        self.finish(index)
        self.last[index] = step
        self.busy[index] = (self.ledgers[index].append([step]), step)
        self.goes_on(index, requests, fault)

    @rule(index=CONTROLLERS, requests=REQUESTS, fault=FAULTS)
    def goes_on(self, index: int, requests: int, fault: Fault) -> None:
        self.log.fault = fault
        for _ in range(requests):
            self._step(index)
        self.log.fault = "none"

    def finish(self, index: int) -> None:
        while self.busy[index] is not None:
            self._step(index)

    @rule(index=CONTROLLERS)
    def crashes(self, index: int) -> None:
        """It forgets everything at once, in the middle of whatever it does, and starts again."""
        if (busy := self.busy[index]) is not None:
            busy[0].close()
        self.busy[index] = None
        self.ledgers[index] = self._new(index)

    @precondition(lambda self: self.log.late)
    @rule()
    def a_late_request_arrives(self) -> None:
        self.log.deliver()

    @rule(seconds=st.integers(-90, 120))
    def the_clock_moves(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def _step(self, index: int) -> None:
        busy = self.busy[index]
        if busy is None:
            return
        coroutine, step = busy
        refused: Refused | None = None
        try:
            coroutine.send(None)
        except StopIteration:
            if step is not None:
                self.acknowledged.append(step)
        except Refused as error:
            refused = error
        else:
            return
        self.busy[index] = None
        if refused is not None and step is not None and transition_body(step) in self._written():
            # What is in the log is never refused to whoever retries it, but for a pod that comes too late.
            assert isinstance(step, Bind)
            assert refused.code is Code.SETTLED

    def _written(self) -> list[dict[str, Any]]:
        ordered = sorted(self.log.specs.values(), key=lambda spec: int(spec["sequence"]))
        return [body for spec in ordered for body in spec["transitions"]]

    @invariant()
    def the_log_is_what_it_must_be(self) -> None:
        if self.seen == (now := (len(self.log.specs), len(self.acknowledged))):
            return
        self.seen = now
        sequences = sorted(spec["sequence"] for spec in self.log.specs.values())
        assert sequences == list(range(1, len(sequences) + 1))
        bodies = self._written()
        hold_to_arithmetic(bodies)
        written = [canonical(body) for body in bodies]
        for step in self.acknowledged:
            assert canonical(transition_body(step)) in written
        assert len(set(written)) == len(written)

    def teardown(self) -> None:
        for index in (0, 1):
            self.finish(index)
        for one in self.ledgers:
            run(one.refresh())
        whole = fold(DOMAIN, self.log.entries())
        assert whole.state is not None
        for one in self.ledgers:
            assert one.fold.state is not None
            assert state_text(one.fold.state) == state_text(whole.state)


def hold_to_arithmetic(bodies: list[dict[str, Any]]) -> None:
    """Adds the log up by hand, with plain numbers and from nothing but its JSON."""
    capacity: list[int] = []
    spent: dict[int, list[int]] = {}
    held: dict[tuple[str, int], dict[str, Any]] = {}
    pods: dict[tuple[str, int], str] = {}
    settled: set[tuple[str, int]] = set()
    for body in bodies:
        match body:
            case {"promise": {"capacity": found}}:
                capacity = found
            case {"reserve": asked}:
                key = (asked["job"]["uid"], asked["attempt"])
                assert key not in held
                assert key not in settled
                held[key] = asked
                charge(spent, asked, asked["curve"], 1)
                for block in blocks_of(asked):
                    assert any(room > 0 and used <= room for used, room in zip(spent[block], capacity, strict=True))
            case {"bind": bound}:
                key = (bound["jobUID"], bound["attempt"])
                assert key in held
                assert pods.setdefault(key, bound["podUID"]) == bound["podUID"]
            case {"commit": end} | {"release": end}:
                key = (end["jobUID"], end["attempt"])
                asked = held.pop(key)
                settled.add(key)
                if body["type"] == "Release":
                    assert key not in pods
                    charge(spent, asked, asked["curve"], -1)
                elif "curve" in end:
                    assert pods[key] == end["podUID"]
                    assert all(0 <= now <= was for was, now in zip(asked["curve"], end["curve"], strict=True))
                    charge(spent, asked, asked["curve"], -1)
                    charge(spent, asked, end["curve"], 1)


def blocks_of(asked: dict[str, Any]) -> list[int]:
    return [block for one in asked["ranges"] for block in range(one["first"], one["last"] + 1)]


def charge(spent: dict[int, list[int]], asked: dict[str, Any], curve: list[int], sign: int) -> None:
    for block in blocks_of(asked):
        before = spent.get(block, [0] * len(curve))
        spent[block] = [used + sign * loss for used, loss in zip(before, curve, strict=True)]


EXAMPLES = int(os.environ.get("MLPRIVACY_LEDGER_EXAMPLES", "60"))

TestControllers = pytest.mark.timeout(300 + EXAMPLES)(Controllers.TestCase)
TestControllers.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
