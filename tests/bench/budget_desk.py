"""The privacy budget at the controller's desk: how long a job is decided on, and how long its curve takes.

    budget_desk.py

One domain with 10,000 blocks at 28 orders; DP-SGD jobs with curves of their own ask for all blocks until none fits,
and 1,000 more wait. All that the desk does is measured but the API server: entries go into memory (budget_append.py
measures the server). A restart is a new desk at the same ledger. The curve of a job is measured with a rate and a noise
that nobody asked for before, and again.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(Path(__file__).resolve().parent), str(ROOT / "hack"), str(ROOT / "operator"), str(ROOT / "tests" / "unit"),
]  # fmt: skip

from ledger_world import MemoryLog  # noqa: E402 - the folders are put on the path first
from results import Target, table, target, write  # noqa: E402

from mlprivacy.api.base import Assurance  # noqa: E402
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec  # noqa: E402
from mlprivacy.budget.accounting.events import dp_sgd  # noqa: E402
from mlprivacy.budget.accounting.rdp import curve_of  # noqa: E402
from mlprivacy.budget.ledger.blocks import Cut, Range  # noqa: E402
from mlprivacy.budget.ledger.transitions import Open, Promise, Register, Release  # noqa: E402
from mlprivacy.budget.ledger.units import capacity_units, decimal  # noqa: E402
from mlprivacy.budget.orders import DEFAULT_ORDERS  # noqa: E402
from mlprivacy.controller.budgets.asks import Wish  # noqa: E402
from mlprivacy.controller.budgets.desk import Desk, InForce  # noqa: E402
from mlprivacy.controller.store import JobKey  # noqa: E402
from mlprivacy.policy.charge import Charge, Loss, Selection  # noqa: E402

BLOCKS, WAITING, ROUNDS = 10_000, 1000, 5
NOW = datetime(2026, 3, 14, tzinfo=UTC)
ORDERS = tuple(float(order) for order in DEFAULT_ORDERS)
DECISION = {"FCFS": 0.05, "DPF": 0.05, "DPack": 2.0}


def wish(number: int) -> Wish:
    """A job of its own curve, which takes about a twelfth of a block."""
    curve = curve_of(dp_sgd(0.002, 2000 + number % 50, 0.62), ORDERS)
    charge = Charge("patients", "patients", ("clinic/visits",), (Selection(),), Loss(curve, 3.0, 1e-8))
    key = JobKey("TrainingJob", "research", f"job-{number}")
    return Wish(key, f"uid-{number}", 1, charge, Assurance.DECLARED, (Register("urn:clinic:visits"),), NOW)


def budget(policy: str) -> InForce:
    """The domain's PrivacyBudget."""
    spec = {
        "subjectDomain": "patients", "identities": ["urn:clinic:visits"], "epsilon": 10, "delta": 1e-8, "unit": "User",
        "blocks": {"by": "Subject", "buckets": BLOCKS}, "scheduling": {"policy": policy},
    }  # fmt: skip
    return InForce("patients", PrivacyBudgetSpec.model_validate(spec), NOW)


async def desk_of(log: MemoryLog, policy: str) -> Desk:
    """A process at the ledger."""
    desk = Desk(log, "patients", "bench", lambda: NOW, lambda _: None)
    await desk.ledger.current()
    if desk.ledger.fold.head.sequence == 0:
        orders = tuple(decimal(order) for order in ORDERS)
        promise = Promise(
            1, orders, "10", "1e-08", "User", "AddOrRemoveOne", Cut("Subject", None, BLOCKS),
            capacity_units(ORDERS, 10, 1e-8),
        )  # fmt: skip
        await desk.write([promise, Open((Range(0, BLOCKS - 1),))])
    desk.in_force(budget(policy))
    return desk


async def decisions(policy: str) -> dict[str, float]:
    """Seconds: p99 of asking while others wait, of a release that lets one of them through, and after a restart."""
    log = MemoryLog()
    desk = await desk_of(log, policy)
    number = 0
    while (await desk.ask(wish(number))).answer.may_start:
        number += 1
    asks = []
    for waiting in range(number + 1, number + WAITING):
        one, begun = wish(waiting), time.perf_counter()
        await desk.ask(one)
        asks.append(time.perf_counter() - begun)
    held = next(iter(desk.state.reservations))
    begun = time.perf_counter()
    await desk.settle([Release(*held, "Withdrawn")])
    released = time.perf_counter() - begun
    anew = await desk_of(log, policy)
    begun = time.perf_counter()
    await anew.ask(wish(number + 1))
    return {
        "ask": sorted(asks)[int(len(asks) * 0.99)],
        "release": released,
        "restart": time.perf_counter() - begun,
    }


def curves() -> dict[str, list[float]]:
    """Milliseconds for the curve of a job, cold and cached, for one row of a person and for ten."""
    found: dict[str, list[float]] = {"cold": [], "cached": []}
    for number in range(40):
        event = dp_sgd(0.001 + number * 1.7e-5, 3000 + number, 0.9 + number * 0.013, 1 if number % 2 else 10)
        for times in found.values():  # cold first
            begun = time.perf_counter()
            curve_of(event, ORDERS)
            times.append(1000 * (time.perf_counter() - begun))
    return {kind: [max(values[start : start + 8]) for start in range(0, 40, 8)] for kind, values in found.items()}


def main() -> int:
    """Run it; 1 when it did not get to its end."""
    rounds: dict[str, list[dict[str, float]]] = {policy: [] for policy in DECISION}
    for _ in range(ROUNDS):
        for policy, found in rounds.items():  # in turn, so that a busy machine slows all alike
            found.append(asyncio.run(decisions(policy)))
    targets: list[Target] = []
    for policy, wanted in DECISION.items():
        for what, words in (("ask", "p99 of asking"), ("release", "a release"), ("restart", "first after a restart")):
            values = [one[what] for one in rounds[policy]]
            targets.append(target(f"Desk, {policy}: {words}, {BLOCKS} blocks", "s", wanted, "lower", values))
    job = curves()
    targets.append(target("Curve of a job, cold (worst of eight)", "ms", 100, "lower", job["cold"]))
    targets.append(target("Curve of a job, cached (worst of eight)", "ms", 20, "lower", job["cached"]))
    details: dict[str, Any] = {"decisions": rounds, "curves": job}
    path = write("budget_desk", targets, details)
    print(table([{**vars(t), "met": t.met} for t in targets]))
    print(f"details: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
