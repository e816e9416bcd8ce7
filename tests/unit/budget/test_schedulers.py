"""The schedulers: every decision is what a plain pass over all jobs comes to; nothing is over-spent; quotas hold.

The plain pass (`Plain`) is written here without arrays and without parking. Hypothesis plays blocks, jobs, releases and
the clock; numbers are small and whole, so that sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprivacy.budget.schedulers.base import Block, Decision, Demand, Reason, SchedulerError
from mlprivacy.budget.schedulers.dpack import Dpack
from mlprivacy.budget.schedulers.dpf import Dpf
from mlprivacy.budget.schedulers.fcfs import Fcfs
from mlprivacy.budget.schedulers.jobs import Policy
from mlprivacy.budget.schedulers.queue import Queue
from mlprivacy.budget.schedulers.unlocking import Everything, OverTime, PerArrival, Unlocking

ORDERS = 3
QUOTAS = {"small": 0.25, "none": 0.0}


# -- what is played ----------------------------------------------------------------------------------------------------

curves = st.tuples(*[st.integers(0, 6).map(float)] * ORDERS)
capacities = st.tuples(*[st.integers(-4, 16).map(float)] * ORDERS)
unlockings = st.sampled_from([Everything(), PerArrival(1), PerArrival(3), OverTime(4.0)])


@dataclass(frozen=True)
class Release:
    """Half of what a block has used is given back."""

    block: int


@dataclass(frozen=True)
class Ask:
    """A job; its blocks are those of these numbers that there are by then."""

    blocks: frozenset[int]
    demand: Demand
    own: tuple[float, ...] | None


asks = st.builds(
    Ask,
    blocks=st.frozensets(st.integers(0, 4), min_size=1),
    demand=st.builds(
        Demand,
        id=st.just(""),
        blocks=st.just(()),
        curve=curves,
        weight=st.sampled_from([1.0, 2.0]),
        priority=st.sampled_from([0, 0, 5]),
        namespace=st.sampled_from(["", "small", "none"]),
        timeout=st.sampled_from([math.inf, math.inf, 2.0]),
    ),
    own=st.none() | curves,
)
steps = st.lists(
    st.one_of(asks, asks, asks, capacities, st.builds(Release, st.integers(0, 4)), st.sampled_from([0.0, 1.0, 3.0])),
    max_size=40,
)


@dataclass
class Plain:
    """The plain pass: all jobs in order, each granted when every one of its blocks has an order with room."""

    policy: str
    unlocking: Unlocking
    blocks: dict[str, Block] = field(default_factory=dict)
    theirs: dict[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)
    jobs: list[Demand] = field(default_factory=list)

    def part(self, block: Block, now: float) -> float:
        if isinstance(self.unlocking, PerArrival):
            return min(1.0, block.arrived / self.unlocking.n)
        if isinstance(self.unlocking, OverTime):
            return min(1.0, max(0.0, (now - block.created) / self.unlocking.lifetime))
        return 1.0

    def fits(self, job: Demand, name: str, now: float) -> bool:
        block, curve = self.blocks[name], job.own.get(name, job.curve)
        part = self.part(block, now)
        room = [cap * part if cap > 0 else -math.inf for cap in block.capacity]
        if not any(u + c <= r for u, c, r in zip(block.used, curve, room, strict=True)):
            return False
        if job.namespace not in QUOTAS:
            return True
        had = self.theirs.get((job.namespace, name), (0.0,) * ORDERS)
        share = [cap * QUOTAS[job.namespace] if cap > 0 else -math.inf for cap in block.capacity]
        return any(u + c <= r for u, c, r in zip(had, curve, share, strict=True))

    def key(self, job: Demand) -> tuple[object, ...]:
        if self.policy == "FCFS":
            return (-job.priority, job.arrival)
        shares = []
        for name in job.blocks:
            pairs = zip(job.own.get(name, job.curve), self.blocks[name].capacity, strict=True)
            shares += [c / cap for c, cap in pairs if cap > 0] or [math.inf]
        return (-job.priority, [share / job.weight for share in sorted(shares, reverse=True)])

    def decide(self, now: float) -> tuple[list[str], list[str]]:
        expired = [job for job in self.jobs if job.arrival + job.timeout <= now]
        self.jobs = [job for job in self.jobs if job not in expired]
        granted = []
        for job in sorted(self.jobs, key=self.key):  # stable: ties go by order of submission
            if all(self.fits(job, name, now) for name in job.blocks):
                granted.append(job)
                for name in job.blocks:
                    curve = job.own.get(name, job.curve)
                    used = tuple(u + c for u, c in zip(self.blocks[name].used, curve, strict=True))
                    self.blocks[name] = replace(self.blocks[name], used=used)
                    had = self.theirs.get((job.namespace, name), (0.0,) * ORDERS)
                    self.theirs[job.namespace, name] = tuple(u + c for u, c in zip(had, curve, strict=True))
        self.jobs = [job for job in self.jobs if job not in granted]
        return [job.id for job in granted], [job.id for job in expired]

    def block(self, name: str) -> Block:
        """As the ledger would hand it over."""
        used_by = {team: self.theirs.get((team, name), (0.0,) * ORDERS) for team in QUOTAS}
        return replace(self.blocks[name], used_by=used_by)


def play(
    queue: Queue, plain: Plain, played: list[object], *, exactly: bool, watch: Callable[[], None] = lambda: None
) -> list[Decision]:
    """Both see the same. With `exactly` they must decide the same, else the plain one only keeps the books of jobs."""
    now, decisions = 0.0, []
    for number, step in enumerate(played):
        if isinstance(step, tuple):
            block = Block(f"b{len(plain.blocks)}", step, used=(0.0,) * ORDERS, created=now)
            plain.blocks[block.id] = block
            queue.add_block(block)
        elif isinstance(step, Release) and f"b{step.block}" in plain.blocks:
            name = f"b{step.block}"
            used = tuple(value // 2 for value in plain.blocks[name].used)
            for team in QUOTAS:
                had = plain.theirs.get((team, name), (0.0,) * ORDERS)
                plain.theirs[team, name] = tuple(value // 2 for value in had)
            plain.blocks[name] = replace(plain.blocks[name], used=used)
            queue.add_block(plain.block(name))
        elif isinstance(step, Ask) and (names := tuple(f"b{n}" for n in sorted(step.blocks) if n < len(plain.blocks))):
            own = {names[0]: step.own} if step.own else {}
            demand = replace(step.demand, id=f"j{number}", blocks=names, own=own, arrival=now)
            plain.jobs.append(demand)
            for name in names:
                plain.blocks[name] = replace(plain.blocks[name], arrived=plain.blocks[name].arrived + 1)
            queue.submit(demand)
        elif isinstance(step, float):
            now += step
            decisions.append(queue.decide(now))
            if exactly:
                granted, expired = plain.decide(now)
                assert decisions[-1].granted == tuple(granted)
                assert set(decisions[-1].expired) == set(expired)
                assert [waiting.id for waiting in decisions[-1].waiting] == [demand.id for demand in plain.jobs]
        watch()
    return decisions


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([Fcfs(), Dpf()]), unlockings, steps)
def test_parking_jobs_decides_as_a_plain_pass_over_all_of_them(
    policy: Policy, unlocking: Unlocking, played: list[object]
) -> None:
    queue = Queue(policy, ORDERS, unlocking=unlocking, quotas=QUOTAS)
    play(queue, Plain(policy.name, unlocking), [*played, 1.0], exactly=True)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([Fcfs(), Dpf(), Dpf("cheapest"), Dpack()]), unlockings, steps)
def test_no_block_is_overspent_at_every_order_and_quotas_hold(
    policy: Policy, unlocking: Unlocking, played: list[object]
) -> None:
    queue = Queue(policy, ORDERS, unlocking=unlocking, quotas=QUOTAS)
    plain = Plain(policy.name, unlocking)
    kept = [step for step in played if not isinstance(step, Release)]
    decisions = play(queue, plain, [*kept, 1.0], exactly=False)
    asked = {demand.id: demand for demand in plain.jobs}
    granted = [asked[name] for decision in decisions for name in decision.granted]
    for name, block in plain.blocks.items():
        for team, share in ((None, 1.0), *QUOTAS.items()):
            took = [
                job.own.get(name, job.curve) for job in granted if name in job.blocks and team in (None, job.namespace)
            ]
            if took:
                sums = [sum(values) for values in zip(*took, strict=True)]
                assert any(cap > 0 and s <= cap * share for s, cap in zip(sums, block.capacity, strict=True))


@settings(max_examples=100, deadline=None)
@given(unlockings, steps)
def test_what_is_unlocked_never_exceeds_the_capacity_nor_shrinks(unlocking: Unlocking, played: list[object]) -> None:
    queue = Queue(Fcfs(), ORDERS, unlocking=unlocking, quotas=QUOTAS)
    before: dict[str, float] = {}

    def watch() -> None:
        for name, at in queue.table.index.items():
            part = float(queue.table.part[at])
            assert before.get(name, 0.0) <= part <= 1.0
            before[name] = part

    play(queue, Plain("FCFS", unlocking), played, exactly=False, watch=watch)


@settings(max_examples=100, deadline=None)
@given(st.lists(asks, min_size=1, max_size=12), capacities, st.integers(0, 8))
def test_more_capacity_never_shortens_the_run_of_first_comers_that_all_get_theirs(
    jobs: list[Ask], small: tuple[float, ...], more: int
) -> None:
    """Under FCFS. The number of all grants may shrink: a larger early job may then fit and take the place of two."""

    def run(capacity: tuple[float, ...]) -> int:
        queue = Queue(Fcfs(), ORDERS)
        queue.add_block(Block("b0", capacity))
        for number, ask in enumerate(jobs):
            queue.submit(replace(ask.demand, id=f"{number}", blocks=("b0",), priority=0, arrival=float(number)))
        granted = set(queue.decide(0.0).granted)
        return next((n for n in range(len(jobs)) if f"{n}" not in granted), len(jobs))

    assert run(small) <= run(tuple(value + more if value > 0 else value for value in small))


# -- by example --------------------------------------------------------------------------------------------------------


def basic(policy: Policy, *blocks: str, **options: object) -> Queue:
    """A queue of basic composition with blocks of ε = 10."""
    queue = Queue(policy, 1, **options)  # type: ignore[arg-type]
    for name in blocks:
        queue.add_block(Block(name, (10.0,)))
    return queue


def job(name: str, epsilon: float, *blocks: str, **more: object) -> Demand:
    return Demand(name, blocks or ("a",), (float(epsilon),), **more)  # type: ignore[arg-type]


def test_first_come_first_served_and_a_job_that_does_not_fit_holds_nobody_up() -> None:
    queue = basic(Fcfs(), "a")
    for demand in (job("first", 6), job("second", 6), job("third", 4)):
        queue.submit(demand)
    decision = queue.decide(7.0)
    assert decision.granted == ("first", "third")
    (second,) = decision.waiting
    assert (second.id, second.reason, second.block, second.missing) == ("second", Reason.EXHAUSTED, "a", 6.0)
    assert (second.age, second.passed_over) == (7.0, 1)


def test_all_blocks_or_none() -> None:
    queue = basic(Fcfs(), "a", "b")
    queue.submit(job("b-alone", 8, "b"))
    queue.submit(job("both", 5, "a", "b"))
    assert queue.decide(0.0).granted == ("b-alone",)
    queue.submit(job("a-alone", 10, "a"))
    assert queue.decide(1.0).granted == ("a-alone",)


def test_a_release_lets_the_next_one_in() -> None:
    queue = basic(Fcfs(), "a")
    queue.submit(job("first", 8))
    queue.submit(job("second", 5))
    assert queue.decide(0.0).granted == ("first",)
    queue.add_block(Block("a", (10.0,), used=(3.0,)))
    assert queue.decide(1.0).granted == ("second",)


def test_a_quota_is_a_share_of_every_block_and_the_rest_is_for_others() -> None:
    queue = basic(Fcfs(), "a", quotas={"lab": 0.4})
    for demand in (job("one", 3, namespace="lab"), job("two", 3, namespace="lab"), job("other", 4, namespace="shop")):
        queue.submit(demand)
    decision = queue.decide(0.0)
    assert decision.granted == ("one", "other")
    (waiting,) = decision.waiting
    assert (waiting.reason, waiting.missing) == (Reason.QUOTA, 2.0)


def test_dpf_unlocks_with_each_arrival_and_grants_the_smallest_share_first() -> None:
    queue = basic(Dpf(), "a", unlocking=PerArrival(4))
    queue.submit(job("large", 6))
    (waiting,) = queue.decide(0.0).waiting
    assert (waiting.reason, waiting.missing, waiting.unlocks_after) == (Reason.LOCKED, 3.5, 2)
    queue.submit(job("small", 2))
    assert queue.decide(1.0).granted == ("small",)
    queue.submit(job("other", 1))
    queue.submit(job("last", 1))
    assert queue.decide(2.0).granted == ("other", "last", "large")


def test_dpf_t_says_when_a_waiting_job_would_be_granted() -> None:
    queue = basic(Dpf(), "a", "b", unlocking=OverTime(100.0))
    queue.submit(job("early", 5, "a", "b"))
    (waiting,) = queue.decide(20.0).waiting
    assert (waiting.unlocks_at, waiting.unlocks_after, queue.earliest("early")) == (50.0, None, 50.0)
    assert queue.decide(49.0).granted == ()
    assert queue.decide(50.0).granted == ("early",)


def test_a_clock_that_goes_backwards_takes_nothing_back() -> None:
    queue = basic(Dpf(), "a", unlocking=OverTime(100.0))
    queue.decide(60.0)
    queue.submit(job("job", 6))
    assert queue.decide(10.0).granted == ("job",)


def test_ties_of_the_dominant_share_go_by_the_next_largest() -> None:
    queue = basic(Dpf(), "a", "b")
    queue.submit(job("two-blocks", 6, "a", "b"))
    queue.submit(job("one-block", 6, "a"))
    assert queue.decide(0.0).granted == ("one-block",)


def test_weights_and_priorities_come_before_size() -> None:
    queue = basic(Dpf(), "a")
    for demand in (job("small", 6), job("heavy", 8, weight=2.0)):
        queue.submit(demand)
    assert queue.decide(0.0).granted == ("heavy",)
    queue = basic(Dpf(), "a")
    for demand in (job("small", 6), job("urgent", 9, priority=1)):
        queue.submit(demand)
    assert queue.decide(0.0).granted == ("urgent",)


def test_the_published_share_inverts_the_cost_of_curves_and_the_cheapest_order_does_not() -> None:
    """One order of the block has hardly any capacity; only the dominant share looks at it."""
    capacity = (0.001, 10.0)
    cheap, dear = (5.0, 0.1), (0.05, 9.95)

    def first(policy: Policy) -> tuple[str, ...]:
        queue = Queue(policy, 2)
        queue.add_block(Block("a", capacity))
        queue.submit(Demand("dear", ("a",), dear))
        queue.submit(Demand("cheap", ("a",), cheap))
        return queue.decide(0.0).granted

    assert first(Dpf("dominant")) == ("dear",)
    assert first(Dpf("cheapest")) == ("cheap",)


def test_dpack_fills_the_order_at_which_most_jobs_fit() -> None:
    """Nine jobs are cheap at the second order; one is cheaper than each of them at the first."""
    queue = Queue(Dpack(), 2)
    queue.add_block(Block("a", (10.0, 10.0)))
    queue.submit(Demand("odd", ("a",), (0.5, 9.0)))
    for number in range(9):
        queue.submit(Demand(f"job-{number}", ("a",), (9.0, 1.0)))
    assert queue.decide(0.0).granted == tuple(f"job-{number}" for number in range(9))


def test_dpack_weighs_what_a_job_asks_of_scarce_blocks() -> None:
    queue = basic(Dpack(), "a", "b")
    queue.add_block(Block("b", (10.0,), used=(8.0,)))
    queue.submit(job("of-the-scarce", 2, "a", "b"))
    queue.submit(job("of-the-other", 9, "a"))
    assert queue.decide(0.0).granted == ("of-the-other",)


def test_a_job_that_no_block_could_ever_take_is_told_so() -> None:
    queue = basic(Fcfs(), "a")
    queue.submit(job("huge", 11))
    (waiting,) = queue.decide(0.0).waiting
    assert (waiting.reason, waiting.missing, waiting.unlocks_at) == (Reason.TOO_LARGE, 1.0, None)


def test_a_timeout_ends_the_waiting() -> None:
    queue = basic(Fcfs(), "a")
    queue.submit(job("huge", 11, arrival=5.0, timeout=10.0))
    assert queue.decide(14.9).expired == ()
    assert queue.decide(15.0).expired == ("huge",)
    assert queue.waiting() == ()


def test_a_job_submitted_again_after_a_restart_unlocks_nothing_more() -> None:
    queue = Queue(Dpf(), 1, unlocking=PerArrival(4))
    queue.add_block(Block("a", (10.0,), arrived=2))
    queue.submit(job("job", 5), counts=False)
    assert queue.decide(0.0).granted == ("job",)
    assert int(queue.table.arrived[0]) == 2


def test_a_block_state_that_is_a_little_old_locks_nothing_again() -> None:
    queue = basic(Dpf(), "a", unlocking=PerArrival(4))
    for number in range(2):
        queue.submit(job(f"job-{number}", 9))
    queue.add_block(Block("a", (10.0,), arrived=1))
    queue.submit(job("small", 7))
    assert queue.decide(0.0).granted == ("small",)


@pytest.mark.parametrize("policy", [Fcfs(), Dpack()])
def test_jobs_that_no_longer_wait_leave_nothing_behind(policy: Policy) -> None:
    queue = basic(policy, "a")
    for number in range(100):
        queue.submit(job(f"job-{number}", 11, timeout=float(number)))
        queue.submit(job(f"other-{number}", 11))
        queue.decide(0.0)
    queue.decide(100.0)
    for number in range(100):
        queue.withdraw(f"other-{number}")
    assert (queue.waiting(), queue._parked, queue._deadlines) == ((), {}, [])


@pytest.mark.parametrize(
    ("demand", "says"),
    [
        (Demand("j", (), (1.0,)), "asks for no block"),
        (Demand("j", ("a", "a"), (1.0,)), "names a block twice"),
        (Demand("j", ("gone",), (1.0,)), "no block gone"),
        (Demand("j", ("a",), (1.0, 2.0)), "2 values and the budget has 1"),
        (Demand("j", ("a",), (-1.0,)), "no privacy loss"),
        (Demand("j", ("a",), (math.nan,)), "no privacy loss"),
        (Demand("j", ("a",), (1.0,), weight=0.0), "weight is above 0"),
        (Demand("j", ("a",), (1.0,), arrival=math.nan), "no time"),
        (Demand("j", ("a",), (1.0,), own={"b": (1.0,)}), "none of its blocks"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused_in_a_sentence(demand: Demand, says: str) -> None:
    with pytest.raises(SchedulerError, match=says):
        basic(Fcfs(), "a").submit(demand)
