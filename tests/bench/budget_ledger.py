"""The ledger of the privacy budget: a cold fold of 100,000 transitions, by time and memory.

    budget_ledger.py

Real: everything that a process does which knows nothing yet. It reads an export, checks the hash of every entry and
that each follows the one before, parses each step, checks that it is allowed (room on every block included), and adds
it up. A third of the steps reserve, on 1 to 365 of 10,000 blocks at the 28 orders of a budget, for jobs of four
namespaces; a third bind a pod; a third commit. One entry holds one step, which is the slowest. Each round is a process
of its own; its memory is what the kernel says that it held at most, Python and numpy included.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, count, islice
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "operator")]

from results import table, target, write  # noqa: E402 - the folders are put on the path first

from mlprivacy.api.base import Assurance  # noqa: E402
from mlprivacy.budget.accounting.sampled import sampled_gaussian  # noqa: E402
from mlprivacy.budget.curves import scale  # noqa: E402
from mlprivacy.budget.ledger.blocks import Cut, Range  # noqa: E402
from mlprivacy.budget.ledger.entry import Head, link, stamp  # noqa: E402
from mlprivacy.budget.ledger.transitions import (  # noqa: E402
    Bind,
    Commit,
    Job,
    Open,
    Promise,
    Reserve,
    Transition,
)
from mlprivacy.budget.ledger.units import capacity_units, decimal, to_units  # noqa: E402
from mlprivacy.budget.ledger.verify import Verifier, export_line, read_lines  # noqa: E402
from mlprivacy.budget.orders import DEFAULT_ORDERS  # noqa: E402

STEPS, BLOCKS, ROUNDS = 100_000, 10_000, 5
EPSILON, DELTA = 1000.0, 1e-8  # the largest that a budget may have, so that nothing is refused
START = datetime(2026, 1, 1, tzinfo=UTC)


def founding() -> list[Transition]:
    """What the ledger begins with: a promise, and BLOCKS blocks."""
    orders = tuple(decimal(order) for order in DEFAULT_ORDERS)
    room = capacity_units(DEFAULT_ORDERS, EPSILON, DELTA)
    cut = Cut("SubjectCohort", "Day")
    promise = Promise(1, orders, decimal(EPSILON), decimal(DELTA), "User", "AddOrRemoveOne", cut, room)
    return [promise, Open((Range(0, BLOCKS - 1),))]


def jobs_of(random: Random) -> Iterator[Transition]:
    """The steps of jobs without end: each reserves, is bound and commits."""
    curves = [to_units(scale(sampled_gaussian(DEFAULT_ORDERS, 0.001, sigma / 10), 10)) for sigma in range(10, 30)]
    for number in count():
        uid, pod = f"0b1c0b1e-5a3c-4c8e-9f63-{number:012}", f"7d7c0c3a-1111-4c8e-9f63-{number:012}"
        width = random.choice((1, 7, 30, 90, 365))
        first = random.randrange(BLOCKS - width)
        job = Job(f"team-{number % 4}", f"job-{number}", uid)
        yield Reserve(job, 1, (Range(first, first + width - 1),), random.choice(curves), Assurance.INSTRUMENTED)
        yield Bind(uid, 1, pod)
        yield Commit(uid, 1, "Unknown", pod)


def export(path: Path) -> None:
    """Write a ledger of STEPS steps."""
    steps = chain(founding(), jobs_of(Random(6)))  # noqa: S311 - jobs of a benchmark
    head = Head.none("clinic-patients")
    with path.open("wb") as file:
        for number, step in enumerate(islice(steps, STEPS)):
            entry = link(head, [step], stamp(START + timedelta(seconds=30 * number)), "controller")
            head = entry.head
            file.write(export_line(entry) + b"\n")


def fold(path: Path) -> dict[str, float]:
    """Fold it, in this process; seconds on the clock and of CPU, and the most mebibytes that the process held."""
    begun, cpu = time.perf_counter(), time.process_time()
    verifier = Verifier()
    with path.open("rb") as file:
        for line in read_lines(path.name, file):
            verifier.take(line)
    report = verifier.report()
    seconds, spent = time.perf_counter() - begun, time.process_time() - cpu
    if not report.ok or report.entries != STEPS:
        raise SystemExit(f"{report.entries} entries, and {[str(problem) for problem in report.problems[:3]]}")
    return {
        "seconds": seconds,
        "cpu": spent,
        "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    """Run all rounds and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        export(path)
        rounds = []
        for number in range(ROUNDS):
            command = [sys.executable, __file__, "--fold", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rounds.append(json.loads(done.stdout))
            print(f"round {number + 1}: {rounds[-1]}", flush=True)
        size = path.stat().st_size
    targets = [
        target("Ledger: cold fold of 100,000 transitions", "s", 5, "lower", [one["seconds"] for one in rounds]),
        target("Ledger: memory of that fold", "MiB", 256, "lower", [one["mebibytes"] for one in rounds]),
    ]
    write("budget_ledger", targets, {"rounds": rounds, "bytes": size, "blocks": BLOCKS, "orders": len(DEFAULT_ORDERS)})
    print(table([{**vars(one), "met": one.met} for one in targets]))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fold"]:
        print(json.dumps(fold(Path(sys.argv[2]))))
    else:
        sys.exit(main())
