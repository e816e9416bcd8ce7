"""What a promise may say, and how it may follow another one."""

from __future__ import annotations

from typing import Final

from mlprivacy.api.promisers import may_approve
from mlprivacy.budget.curves import check_guarantee
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.transitions import Promise
from mlprivacy.budget.ledger.units import Units, capacity_units, decimal
from mlprivacy.budget.orders import check_orders

RELATION: Final = "AddOrRemoveOne"
# Which partitions put all data of a unit into exactly one block (accounting.md 1).
VALID_CUTS: Final = {
    "User": frozenset({"Subject", "SubjectCohort"}),
    "Event": frozenset({"Subject", "SubjectCohort", "IngestionTime"}),
}


def check_promise(current: Promise | None, new: Promise) -> None:
    """Nothing, when ``new`` can follow ``current`` (None: it is the first).

    Raises:
        Refused: when a number is none, the partition is not valid for the unit, no order is of use, the capacity is not
            that of the promise, what never changes was changed, or a larger promise lacks two people or a new notice.
    """
    orders, epsilon, delta = _numbers(new)
    if new.neighbours != RELATION:
        raise Refused(Code.PROMISE_CHANGED, f"the relation {new.neighbours!r} is not accounted; it must be {RELATION}")
    if new.cut.by not in VALID_CUTS.get(new.unit, frozenset()):
        raise Refused(
            Code.PROMISE_CHANGED,
            f"blocks by {new.cut.by} do not put all data of a unit {new.unit} into one block; choose another partition",
        )
    _check_capacity(capacity_units(orders, epsilon, delta), new.capacity)
    if current is None:
        if new.revision != 1:
            raise Refused(Code.CONFLICT, f"the first promise has the revision 1, and this has {new.revision}")
        return
    if new.revision != current.revision + 1:
        raise Refused(
            Code.CONFLICT, f"the next promise has the revision {current.revision + 1}, and this has {new.revision}"
        )
    for what, before, after in (
        ("orders", current.orders, new.orders),
        ("unit", current.unit, new.unit),
        ("blocks", current.cut, new.cut),
    ):
        if before != after:
            raise Refused(Code.PROMISE_CHANGED, f"{what} can not change: what was spent was counted otherwise")
    if larger(current, epsilon, delta):
        if not may_approve(new.asked_by, new.approved_by):
            raise Refused(
                Code.NEEDS_APPROVAL,
                f"epsilon {new.epsilon}, delta {new.delta} is more than the {current.epsilon}, {current.delta} that is "
                "promised; somebody else than those who asked for it must approve it",
            )
        if new.notice_version is None or new.notice_version == current.notice_version:
            raise Refused(
                Code.NEEDS_APPROVAL, "a larger promise needs the version of the notice in which people read it"
            )


def larger(current: Promise, epsilon: float, delta: float) -> bool:
    """Whether (epsilon, delta) promises less protection than ``current`` in either number."""
    return epsilon > float(current.epsilon) or delta > float(current.delta)


def _numbers(new: Promise) -> tuple[tuple[float, ...], float, float]:
    try:
        orders = check_orders([float(text) for text in new.orders])
        epsilon, delta = float(new.epsilon), float(new.delta)
        check_guarantee(epsilon, delta)
    except ValueError as error:
        raise Refused(Code.PROMISE_CHANGED, str(error)) from error
    if (*new.orders, new.epsilon, new.delta) != tuple(decimal(value) for value in (*orders, epsilon, delta)):
        raise Refused(Code.PROMISE_CHANGED, "a number of the promise is not written in its shortest form")
    return orders, epsilon, delta


def _check_capacity(wanted: Units, found: Units) -> None:
    # One billionth apart is another machine's logarithm; the ledger goes on with what was written first.
    if len(found) != len(wanted) or any(abs(a - b) > 1 for a, b in zip(wanted, found, strict=True)):
        raise Refused(Code.PROMISE_CHANGED, "the capacity is not that of the orders, epsilon and delta of the promise")
    if not any(found):
        raise Refused(
            Code.PROMISE_CHANGED,
            "no order is of use for this promise: epsilon is too small for its delta; raise epsilon, or add larger "
            "orders",
        )
