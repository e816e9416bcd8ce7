"""How a plan looks: as JSON for scripts, as a table for people. Every ε that people read is rounded up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mlprivacy.accountant.client import Accountant, NoAnswer
from mlprivacy.budget.accounting.events import Refused
from mlprivacy.budget.accounting.rdp import rounded_up
from mlprivacy.budget.planner import Plan

_DIGITS: Final = 5  # significant ones of an ε in a table
_WORDS: Final = {
    "epsilon": "epsilon",
    "noise_multiplier": "the noise multiplier",
    "steps": "the number of steps",
    "batch_size": "the batch size",
    "records": "the number of records",
}


def pld_of(plan: Plan, seconds: float) -> tuple[float | None, str | None]:
    """ε by privacy loss distributions, or None and a sentence why there is none."""

    async def ask() -> float:
        async with Accountant(seconds=seconds) as accountant:
            return await accountant.pld_epsilon(plan.event, plan.delta)

    try:
        return asyncio.run(ask()), None
    except (NoAnswer, Refused) as error:
        return None, f"there is no epsilon by privacy loss distributions: {error}."


def body(plan: Plan, pld: float | None) -> dict[str, Any]:
    """The plan as JSON. An ε that is not finite is null."""
    return {
        "epsilon": {"rdp": _finite(plan.epsilon), "pld": _finite(pld)},
        "steps": plan.steps,
        "sampling_rate": plan.sampling_rate,
        "noise_multiplier": plan.noise_multiplier,
        "delta": plan.delta,
        "records": plan.records,
        "batch_size": plan.batch_size,
        "epochs": float(plan.epochs),
        "rows_per_unit": plan.rows_per_unit,
        "stability": plan.stability,
        "trials": plan.trials,
        "solved_for": plan.solved_for,
        "ceiling": plan.ceiling,
        "within": plan.within,
        "warnings": list(plan.warnings),
    }


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """The plan in lines for people."""
    epsilon = found["epsilon"]
    rows = [
        ("epsilon (Rényi)", shown(epsilon["rdp"])),
        ("epsilon (PLD)", shown(epsilon["pld"]) if epsilon["pld"] is not None else "-"),
        ("delta", f"{found['delta']:g}{_whence(found)}"),
        ("noise multiplier", f"{found['noise_multiplier']:g}"),
        ("steps", str(found["steps"])),
        ("epochs", f"{found['epochs']:g}"),
        ("sampling rate", f"{found['sampling_rate']:g}"),
        ("batch size", _or_dash(found["batch_size"])),
        ("records", _or_dash(found["records"])),
        ("rows per unit", str(found["rows_per_unit"])),
        ("stability", str(found["stability"])),
        ("trials", str(found["trials"])),
    ]
    yield from (f"{name:<18}{value}" for name, value in rows)
    yield ""
    if found["solved_for"] == "nothing":
        kept = "keeps" if found["within"] else "does NOT keep"
        yield f"All was given: the job {kept} the ceiling of epsilon {found['ceiling']:g}."
    else:
        aim = "" if found["ceiling"] is None else f" so that epsilon is at most {found['ceiling']:g}"
        yield f"Computed: {_WORDS[found['solved_for']]}{aim}."
    yield "A budget is charged the Rényi curve; PLD is for reports on this one job."
    if "budget" in found:
        yield f"Budget: {found['budget']['sentence']}"
        yield from (f"  {note}" for note in found["budget"].get("notes", ()))
    if found.get("utility"):
        yield ""
        yield from _utility(found["utility"])


def _whence(found: Mapping[str, Any]) -> str:
    """Where δ comes from, beside what the budget promises."""
    if "budget" not in found:
        return ""
    promised = found["budget"]["delta"]
    also = "" if promised is None else f"; the budget promises {promised:g}"
    return {
        "given": f" (as given{also})",
        "records": f" (1/(100 N), as for a job that says none{also})",
        "budget": " (what the budget promises, since N is not known)",
    }[found["delta_from"]]


def _utility(points: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(points[0]["varied"])
    head = [*names, "epsilon", "utility"]
    yield "  ".join(f"{name:>16}" for name in head)
    for point in points:
        utility = "failed" if point["utility"] is None else f"{point['utility']:.6g}"
        cells = [*(f"{point['varied'][name]:g}" for name in names), shown(point["epsilon"]), utility]
        yield "  ".join(f"{cell:>16}" for cell in cells)


def shown(epsilon: float | None) -> str:
    """An ε for people: five significant digits, rounded up."""
    if epsilon is None:
        return "none (no bound)"
    return f"{rounded_up(epsilon, _DIGITS):g}" if epsilon > 0 else "0"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
