"""From a PrivacyBudget to the ledger's promise: what the next one is, or what it waits for. Pure.

The first promise is made by whoever may make a PrivacyBudget. A larger one is asked for by changing ``spec.epsilon`` or
``spec.delta`` and holds once another person set ``spec.approval`` to it; until then the ledger keeps the old one, also
when the budget was deleted and made anew with larger numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mlprivacy.api.base import FieldError
from mlprivacy.api.names import ANNOTATION_APPROVED_BY, ANNOTATION_PROMISED_BY
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.accounting.rdp import EPSILON_MAX
from mlprivacy.budget.figures import at_least, at_most, exact
from mlprivacy.budget.ledger.blocks import Cut
from mlprivacy.budget.ledger.checks import Terms
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.promise_rules import check_promise, larger
from mlprivacy.budget.ledger.transitions import Promise
from mlprivacy.budget.ledger.units import capacity_units, decimal
from mlprivacy.budget.orders import DEFAULT_ORDERS, check_orders

PEOPLE_MAX: Final = 256  # characters, as the ledger's schema has it
UNITS_PER_DELTA: Final = 100  # delta is at most 1/(100 N) for N units (accounting.md 6)


def budget_errors(spec: PrivacyBudgetSpec, units_at_least: int | None = None) -> tuple[FieldError, ...]:
    """What keeps a budget from ever being kept: it is refused when it is made.

    Args:
        spec: of the PrivacyBudget.
        units_at_least: a public lower bound on the units of its datasets, where one is known.
    """
    return tuple(_errors(spec, units_at_least))


def _errors(spec: PrivacyBudgetSpec, units: int | None) -> Iterator[FieldError]:
    try:
        orders = _orders(spec)
    except ValueError as error:
        yield FieldError("spec.orders", str(error))
        return
    bound = 1.0 if units is None else 1 / (UNITS_PER_DELTA * units)
    useless, large = not any(capacity_units(orders, spec.epsilon, spec.delta)), spec.delta > bound
    delta = min(spec.delta, float(at_most(bound)))  # as it has to be
    least = _larger_epsilon(spec, orders, delta) if useless or large else None
    if useless:
        yield FieldError(
            "spec.epsilon",
            f"{exact(spec.epsilon)} is too little for a delta of {exact(spec.delta)}: no order of the budget is of use",
            remedy=f"set {least}, or add larger orders" if least else "add larger orders",
        )
    if large and units is not None:
        yield FieldError(
            "spec.delta",
            f"{exact(spec.delta)} is more than 1/({UNITS_PER_DELTA} N) for N = {units:,}",
            remedy=f"set delta to {exact(delta)} or less{f' and {least}' if least else ''}",
        )


def _larger_epsilon(spec: PrivacyBudgetSpec, orders: tuple[float, ...], delta: float) -> str | None:
    """The least ε at which some order is of use with this δ, where the budget's is smaller; three digits of it."""
    low, high = float(spec.epsilon), EPSILON_MAX
    if any(capacity_units(orders, low, delta)) or not any(capacity_units(orders, high, delta)):
        return None
    while high - low > high * 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if any(capacity_units(orders, middle, delta)) else (middle, high)
    return f"epsilon to {at_least(high)} or more"


def terms_of(spec: PrivacyBudgetSpec) -> Terms:
    """What the budget says today of who may spend."""
    return Terms(
        minimum_assurance=spec.minimum_assurance,
        images=frozenset(spec.reviewed_images),
        quotas={quota.namespace: quota.share for quota in spec.quotas},
    )


@dataclass(frozen=True, slots=True)
class Next:
    """What is to be done about the promise: ``promise`` is written, or ``waits`` says why the one in force stays."""

    promise: Promise | None = None
    waits: str | None = None
    code: Code | None = None


def next_promise(spec: PrivacyBudgetSpec, annotations: Mapping[str, str], current: Promise | None) -> Next:
    """What follows ``current`` (None: the ledger is empty) when a PrivacyBudget says ``spec``.

    Args:
        spec: of the PrivacyBudget.
        annotations: of the object: who asked for the numbers and who approved them, as admission stamped.
        current: the promise in force.
    """
    try:
        orders = _orders(spec) if spec.orders is not None or current is None else tuple(map(float, current.orders))
        asked = Promise(
            revision=1 if current is None else current.revision + 1,
            orders=tuple(decimal(order) for order in orders),
            epsilon=decimal(spec.epsilon),
            delta=decimal(spec.delta),
            unit=spec.unit,
            neighbours=spec.neighbours,
            cut=Cut.of(spec.blocks),
            capacity=capacity_units(orders, spec.epsilon, spec.delta),
            notice_version=spec.notice_version,
            asked_by=annotations.get(ANNOTATION_PROMISED_BY),
            approved_by=annotations.get(ANNOTATION_APPROVED_BY) if _approves(spec) else None,
        )
        if current is not None and _same(current, asked):
            return Next()
        _check_people(asked)
        check_promise(current, asked)
    except Refused as refused:
        return Next(waits=str(refused), code=refused.code)
    except ValueError as error:
        return Next(waits=str(error), code=Code.PROMISE_CHANGED)
    return Next(promise=asked)


def grows(spec: PrivacyBudgetSpec, current: Promise | None) -> bool:
    """Whether the spec asks for more than what is promised."""
    return current is not None and larger(current, spec.epsilon, spec.delta)


def _same(current: Promise, asked: Promise) -> bool:
    def what(promise: Promise) -> tuple[object, ...]:
        return (
            promise.orders,
            promise.epsilon,
            promise.delta,
            promise.unit,
            promise.neighbours,
            promise.cut,
            promise.notice_version,
        )

    return what(current) == what(asked)


def _check_people(asked: Promise) -> None:
    for person in (asked.asked_by, asked.approved_by):
        if person is not None and len(person) > PEOPLE_MAX:
            raise Refused(
                Code.NEEDS_APPROVAL,
                f"who asked for it takes {len(person)} characters to name, and the ledger keeps {PEOPLE_MAX}; set "
                "epsilon and delta back to what is promised, and have one person ask anew",
            )


def _approves(spec: PrivacyBudgetSpec) -> bool:
    """Whether what is approved is what is asked for now."""
    given = spec.approval
    return given is not None and (given.epsilon, given.delta, given.notice_version) == (
        spec.epsilon,
        spec.delta,
        spec.notice_version,
    )


def _orders(spec: PrivacyBudgetSpec) -> tuple[float, ...]:
    return DEFAULT_ORDERS if spec.orders is None else check_orders(spec.orders)
