"""The schedulers of the privacy budget: time of a decision with 10,000 blocks and 1,000 waiting jobs; the simulator.

    budget_schedulers.py

Real: the queue and the policies, as the controller and the simulator run them, in this process, with the 28 orders of a
budget. Each job has a DP-SGD curve of its own; a third ask for all blocks, the others for up to a hundred in a row.
Two situations. "waiting": the blocks are nearly used up, all jobs wait, and before each decision comes a new job, or a
block that the ledger gave something back to. "all anew": the blocks are half used and all jobs are new, as after a
restart, so that every job is looked at and hundreds are granted. Each decision says of every job what it waits for.
The targets are for time on the clock, so that a machine that does other work shows; CPU time stands in the details.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "operator")]

from results import Target, table, target, write  # noqa: E402 - the folders are put on the path first

from mlprivacy.budget.accounting.sampled import sampled_gaussian  # noqa: E402
from mlprivacy.budget.curves import capacity, scale  # noqa: E402
from mlprivacy.budget.orders import DEFAULT_ORDERS  # noqa: E402
from mlprivacy.budget.schedulers.base import Block, Decision, Demand  # noqa: E402
from mlprivacy.budget.schedulers.dpack import Dpack  # noqa: E402
from mlprivacy.budget.schedulers.dpf import Dpf  # noqa: E402
from mlprivacy.budget.schedulers.fcfs import Fcfs  # noqa: E402
from mlprivacy.budget.schedulers.jobs import Policy  # noqa: E402
from mlprivacy.budget.schedulers.queue import Queue  # noqa: E402
from mlprivacy.budget.schedulers.unlocking import Everything, OverTime, PerArrival, Unlocking  # noqa: E402
from mlprivacy.budget.simulate import figures  # noqa: E402
from mlprivacy.budget.simulate.runner import Asked, simulate  # noqa: E402
from mlprivacy.cli import budget_figures  # noqa: E402

BLOCKS, JOBS = 10_000, 1_000
ROUNDS, EACH = 5, 100
ANEW = 3  # decisions of a round on jobs that are all new; one under DPack
START = 27 * 86400.0  # seconds after the blocks were made: under DPF-T, 90 % of each is unlocked
CAPACITY = capacity(DEFAULT_ORDERS, 10.0, 1e-8)
NAMES = tuple(f"block-{n:05}" for n in range(BLOCKS))
Make = Callable[[], tuple[Policy, Unlocking, dict[str, float]]]
CASES: dict[str, Make] = {
    "FCFS with quotas": lambda: (Fcfs(), Everything(), {f"team-{n}": 0.4 for n in range(5)}),
    "DPF-N": lambda: (Dpf(), PerArrival(1000), {}),
    "DPF-T": lambda: (Dpf("cheapest"), OverTime(30 * 86400.0), {}),
    "DPack": lambda: (Dpack(), Everything(), {}),
}


def job(random: Random, number: int) -> Demand:
    """A DP-SGD job: 1 to 50 epochs at batches of 0.1 to 2 % of the people, σ of 0.8 to 2."""
    rate, sigma, epochs = random.uniform(0.001, 0.02), random.uniform(0.8, 2.0), random.randint(1, 50)
    curve = scale(sampled_gaussian(DEFAULT_ORDERS, rate, sigma), round(epochs / rate))
    first = random.randrange(BLOCKS)
    blocks = NAMES if number % 3 == 0 else NAMES[first : first + random.randint(1, 100)]
    return Demand(f"job-{number}", blocks, curve, namespace=f"team-{number % 7}", arrival=float(number))


def block(random: Random, name: str, used: float) -> Block:
    """A block of which about this part is used, at every order."""
    part = min(1.0, max(0.0, random.gauss(used, 0.02)))
    return Block(name, CAPACITY, tuple(max(0.0, room) * part for room in CAPACITY), arrived=900)


def queue_of(make: Make, used: float) -> Queue:
    """A queue with all blocks, of which about this part is used."""
    random = Random(1)  # noqa: S311 - a benchmark
    policy, unlocking, quotas = make()
    queue = Queue(policy, len(DEFAULT_ORDERS), unlocking=unlocking, quotas=quotas)
    for name in NAMES:
        queue.add_block(block(random, name, used))
    return queue


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not pass."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@dataclass
class Times:
    """Milliseconds of decisions on the clock and of CPU, and how many jobs they granted."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    granted: int = 0

    def timed(self, decide: Callable[[], Decision]) -> None:
        """One more."""
        begun, ran = time.perf_counter(), time.thread_time()
        decision = decide()
        self.cpu.append((time.thread_time() - ran) * 1000)
        self.wall.append((time.perf_counter() - begun) * 1000)
        self.granted += len(decision.granted)


def waiting(name: str, queue: Queue, random: Random, now: float) -> Times:
    """Decisions on a queue in which nearly all wait, with something new before each."""
    times = Times()
    for step in range(EACH):
        now += 60.0
        if step % 2:
            changed = block(random, random.choice(NAMES), 0.5)

            def decide(changed: Block = changed, now: float = now) -> Decision:
                queue.add_block(changed)
                return queue.decide(now)
        else:
            demand = replace(job(random, step), id=f"{name}-{now}", arrival=now)
            queue.withdraw(next(iter(queue.waiting())))

            def decide(demand: Demand = demand, now: float = now) -> Decision:  # type: ignore[misc]
                queue.submit(demand)
                return queue.decide(now)

        times.timed(decide)
    return times


def decisions(details: dict[str, Any]) -> list[Target]:
    """Both situations under each policy, in interleaved rounds."""
    random = Random(2)  # noqa: S311 - a benchmark
    jobs = [job(random, number) for number in range(JOBS)]
    queues = {name: queue_of(make, 0.98) for name, make in CASES.items()}
    for queue in queues.values():
        for demand in jobs:
            queue.submit(demand)
        queue.decide(START, explain=False)
    lasting: dict[str, list[Times]] = {name: [] for name in CASES}
    anew: dict[str, list[Times]] = {name: [] for name in CASES}
    left: dict[str, int] = {}
    for number in range(ROUNDS):
        for name, make in CASES.items():
            lasting[name].append(waiting(name, queues[name], random, START + 86400.0 * number / 10))
            times = Times()
            for _ in range(1 if name == "DPack" else ANEW):
                fresh = queue_of(make, 0.5)
                for demand in jobs:
                    fresh.submit(demand)
                times.timed(lambda fresh=fresh: fresh.decide(START))  # type: ignore[misc]
            anew[name].append(times)
            left[name] = len(queues[name].waiting())
    details["decisions"] = {
        name: {
            "waitingAtTheEnd": left[name],
            "waiting": [summary(times) for times in lasting[name]],
            "allAnew": [summary(times) for times in anew[name]],
        }
        for name in CASES
    }
    targets = []
    for name in CASES:
        wanted = 2000 if name == "DPack" else 50
        p99 = [percentile(times.wall, 0.99) for times in lasting[name]]
        targets.append(target(f"{name}: {JOBS} jobs waiting, {BLOCKS} blocks: p99", "ms", wanted, "lower", p99))
        slowest = [max(times.wall) for times in anew[name]]
        targets.append(target(f"{name}: {JOBS} jobs all anew: slowest", "ms", wanted, "lower", slowest))
    return targets


def summary(times: Times) -> dict[str, float]:
    """One round for the file."""
    return {
        "decisions": len(times.wall),
        "granted": times.granted,
        "medianMs": round(statistics.median(times.wall), 2),
        "p99Ms": round(percentile(times.wall, 0.99), 2),
        "p99CpuMs": round(percentile(times.cpu, 0.99), 2),
    }


def simulations(details: dict[str, Any]) -> list[Target]:
    """The published figures in one command, the Rényi workload, and how near the figures come."""
    out = ROOT / "build" / "bench" / "budget-figures"
    begun = time.perf_counter()
    lines = list(budget_figures.make(out, None, plots=False))
    seconds = time.perf_counter() - begun
    renyi = simulate(Asked("multi-block-renyi", "dpf", 14514, repeat=1))
    reached = sum(line.rstrip().endswith(" yes") for line in lines)
    published = sum(point.published is not None for point in figures.points())
    mixed = [simulate(Asked("dpack-mix", policy, repeat=5)).granted for policy in ("dpack", "dpf")]
    details["figures"] = lines
    details["renyi"] = {"granted": renyi.granted, "arrived": renyi.arrived_all, "seconds": round(renyi.seconds, 2)}
    details["dpackMix"] = {"dpack": mixed[0], "dpf": mixed[1]}
    return [
        Target("figures 6 and 8 and the DPack comparison in one command", "s", 60, round(seconds, 1), "lower"),
        Target("published points of figures 6 and 8 within 10 %", "points", published, reached, "higher"),
        Target("grants of DPack over those of DPF", "", 1.3, round(mixed[0] / mixed[1], 3), "higher"),
        Target("Rényi multi-block workload, 234 jobs/s for 300 s", "s", 60, round(renyi.seconds, 1), "lower"),
    ]


def main() -> int:
    """Run it; 1 when it did not get to its end."""
    details: dict[str, Any] = {}
    targets = decisions(details)
    print(table([{**vars(t), "met": t.met} for t in targets]), flush=True)
    targets += simulations(details)
    path = write("budget_schedulers", targets, details)
    print(table([{**vars(t), "met": t.met} for t in targets]))
    print(f"details: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
