"""A ledger's state in words and percentages, for the status of a PrivacyBudget and for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlprivacy.api.base import Assurance
from mlprivacy.budget.curves import effective_delta, epsilon_of
from mlprivacy.budget.ledger.blocks import Ranges
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.table import NEVER
from mlprivacy.budget.ledger.units import PER_EPSILON, UNBOUNDED, Units, from_units, row_of
from mlprivacy.budget.ledger.usage import Matrix

FULLEST: Final = 20
TAINTS: Final = 10
_ASSURANCES: Final = tuple(Assurance)


@dataclass(frozen=True, slots=True)
class Use:
    """What is used of one block, in percent at the order with most room, and as ε at the promise's δ."""

    key: int
    label: str
    used: float
    reserved: float
    epsilon: float
    weakest: Assurance | None
    tainted: bool
    retired: bool


def used_fraction(state: State, rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Of each row the part that is used at the usable order with most room, and the index of that order.

    0 is untouched, 1 is full. Shape of both: (rows,).
    """
    usable = np.flatnonzero(state.capacity > 0)
    table = state.table
    total = table.used[rows][:, usable].astype(np.float64)
    fractions = total / state.capacity[usable].astype(np.float64)
    best = fractions.argmin(axis=1)
    found: NDArray[np.float64] = fractions[np.arange(len(rows)), best]
    return found, usable[best]


def use_of(state: State, rows: NDArray[Any]) -> list[Use]:
    """What is used of each of these rows of the table."""
    fractions, orders = used_fraction(state, rows)
    return [
        _use(state, int(row), float(fraction), int(order))
        for row, fraction, order in zip(rows, fractions, orders, strict=True)
    ]


def _use(state: State, row: int, fraction: float, order: int) -> Use:
    table = state.table
    reserved = float(table.used[row, order] - table.committed[row, order]) / float(state.capacity[order])
    weakest = int(table.weakest[row])
    return Use(
        key=table.base + row,
        label=state.label(table.base + row),
        used=100 * fraction,
        reserved=100 * reserved,
        epsilon=block_epsilon(state, table.used[row]),
        weakest=None if weakest == NEVER else _ASSURANCES[weakest],
        tainted=bool(table.tainted[row]),
        retired=bool(table.retired[row]),
    )


def block_epsilon(state: State, total: Matrix) -> float:
    """ε of what a block has spent and holds reserved, at the δ of the promise. Infinite when no order gives one."""
    if state.promise is None or not total.any():
        return 0.0
    return epsilon_of(state.orders, from_units([int(value) for value in total]), float(state.promise.delta))


def fullest(state: State, most: int = FULLEST) -> list[Use]:
    """The blocks that are used most, fullest first; untouched ones are left out unless they are tainted."""
    rows = np.flatnonzero(state.table.opened)
    if not len(rows):
        return []
    fractions, _ = used_fraction(state, rows)
    touched = (fractions > 0) | state.table.tainted[rows]
    order = np.lexsort((rows, -fractions))
    chosen = [index for index in order.tolist() if touched[index]][:most]
    return use_of(state, rows[chosen])


def times_that_fit(state: State, ranges: Ranges, curve: Units) -> int:
    """How many more jobs of this curve all of these blocks take, one after another; quotas left aside.

    Raises:
        ValueError: when a block is none of the ledger, or the curve is zero at a usable order.
    """
    if not state.table.covers(ranges):
        raise ValueError("a block is none of this ledger")
    demand = row_of(curve)
    usable = np.flatnonzero(state.capacity > 0)
    if not demand[usable].all():
        raise ValueError("a job whose loss is zero fits for ever")
    rows = state.table.rows(ranges)
    left = state.capacity[usable] - state.table.used[rows][:, usable]
    return max(0, int((left // demand[usable]).max(axis=1).min()))


def guarantee_holds(state: State) -> bool:
    """False when data of any block was used outside accounting."""
    return not bool(state.table.tainted.any())


def worst_case(state: State) -> tuple[float | None, str]:
    """What the person with the fullest block has lost at the promise's δ, and why that is a bound; None for none."""
    if state.promise is None:
        return None, "nothing is promised yet"
    if state.promise.unit != "User":
        return None, "the unit is Event: nothing bounds how many records a person has, nor in how many blocks they lie"
    if not guarantee_holds(state):
        return None, "data of tainted blocks was used outside accounting, so nothing bounds what those people lost"
    rows = np.flatnonzero(state.table.opened)
    if not len(rows):
        return 0.0, "no block is open"
    worst = block_epsilon(state, _worst_row(state, rows))
    if worst == float("inf"):
        return None, "a block was spent beyond every order of the budget"
    return worst, "each person's data lies in one block, and every dataset of the domain spends from it"


def _worst_row(state: State, rows: NDArray[Any]) -> Matrix:
    """The losses of the block with the largest ε, found without converting each block by itself."""
    totals = state.table.used[rows]
    losses = np.where(totals >= UNBOUNDED, np.inf, totals / PER_EPSILON)
    # At one order ε is the loss and a term that depends on the order and on δ alone: taken where ε is far above 0.
    far, delta = 1e6, float(state.promise.delta) if state.promise is not None else 0.5
    terms = np.array([epsilon_of((order,), (far,), delta) - far for order in state.orders])
    worst: Matrix = totals[int((losses + terms).min(axis=1).argmax())]
    return worst


@dataclass(frozen=True, slots=True)
class Figures:
    """A ledger in single numbers, for metrics. ``used`` is a share (1 is full), ``worst`` is None without a bound."""

    open: int
    exhausted: int
    retired: int
    tainted: int
    used: float
    reservations: int
    sequence: int
    promised: float | None
    worst: float | None


def figures_of(state: State) -> Figures:
    """The figures; a table of 10,000 blocks is looked at once and no block by itself."""
    table, promise = state.table, state.promise
    opened = table.opened
    rows = np.flatnonzero(opened & ~table.retired)
    fractions = used_fraction(state, rows)[0] if promise is not None and len(rows) else np.zeros(0)
    return Figures(
        open=len(rows),
        exhausted=int((fractions >= 1).sum()),
        retired=int((opened & table.retired).sum()),
        tainted=int((opened & table.tainted).sum()),
        used=float(fractions.max()) if len(fractions) else 0.0,
        reservations=len(state.reservations),
        sequence=state.head.sequence,
        promised=float(promise.epsilon) if promise is not None else None,
        worst=worst_case(state)[0],
    )


def status_of(state: State) -> dict[str, Any]:
    """The part of a PrivacyBudget's status that the ledger gives; conditions and generation are the caller's."""
    table, promise = state.table, state.promise
    opened = table.opened
    rows = np.flatnonzero(opened & ~table.retired)
    fractions = used_fraction(state, rows)[0] if promise is not None and len(rows) else np.zeros(0)
    epsilon, reason = worst_case(state)
    status: dict[str, Any] = {
        "blocks": {
            "open": len(rows),
            "exhausted": int((fractions >= 1).sum()),
            "retired": int((opened & table.retired).sum()),
            "tainted": int((opened & table.tainted).sum()),
        },
        "usedPercent": _percent(float(fractions.max()) * 100 if len(fractions) else 0.0),
        "fullest": [use_status(use) for use in fullest(state)] if promise is not None else [],
        "taints": [
            {
                "job": str(mark.job),
                "reason": mark.reason,
                "entry": state.name_of(mark.sequence),
                "time": mark.time,
            }
            for mark in list(state.taints.values())[: -TAINTS - 1 : -1]
        ],
        "reservations": len(state.reservations),
    }
    if len(there := np.flatnonzero(opened)):
        status["firstBlock"] = state.label(table.base + int(there[0]))
        status["lastBlock"] = state.label(table.base + int(there[-1]))
    if state.head.sequence:
        status["head"] = state.name_of(state.head.sequence)
    spent = table.weakest[table.weakest < NEVER]
    if len(spent):
        status["weakestAssurance"] = str(_ASSURANCES[int(spent.min())])
    if promise is not None:
        delta = float(promise.delta)
        status["promise"] = {
            "epsilon": float(promise.epsilon),
            "delta": delta,
            "effectiveDelta": effective_delta(state.orders, float(promise.epsilon), delta),
            "revision": promise.revision,
            "orders": len(promise.orders),
            **({"noticeVersion": promise.notice_version} if promise.notice_version else {}),
        }
        status["worstCasePerPerson"] = {
            "delta": delta,
            "reason": reason,
            **({"epsilon": round(epsilon, 6)} if epsilon is not None else {}),
        }
    return status


def use_status(use: Use) -> dict[str, Any]:
    """One entry of ``status.fullest``."""
    return {
        "block": use.label,
        "usedPercent": _percent(use.used),
        "reservedPercent": _percent(use.reserved),
        "tainted": use.tainted,
        "retired": use.retired,
        **({"epsilon": round(use.epsilon, 6)} if use.epsilon != float("inf") else {}),
        **({"weakestAssurance": str(use.weakest)} if use.weakest is not None else {}),
    }


def _percent(value: float) -> float:
    return round(value, 3)
