"""What people read of a wait, a refusal or a grant: the block, how much is missing, when it may be. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.blocks import BlockError
from mlprivacy.budget.ledger.errors import Code, Refused
from mlprivacy.budget.ledger.reach import NeverReached
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.units import PER_EPSILON
from mlprivacy.budget.schedulers.base import Reason as Why
from mlprivacy.budget.schedulers.base import Waiting
from mlprivacy.controller.budgets.answer import Answer

LOOK_AGAIN: Final = 60.0  # seconds, where nothing tells when it pays
_REASONS: Final = {
    Why.LOCKED: Reason.BUDGET_LOCKED,
    Why.QUOTA: Reason.QUOTA_REACHED,
    Why.EXHAUSTED: Reason.BUDGET_EXHAUSTED,
    Why.TOO_LARGE: Reason.BUDGET_EXHAUSTED,
}
_CODES: Final = {
    Code.QUOTA_REACHED: Reason.QUOTA_REACHED,
    Code.EXHAUSTED: Reason.BUDGET_EXHAUSTED,
}


def waits(waiting: Waiting, state: State, now: datetime) -> Answer:
    """Why a job waits, at which block, and when it would be unlocked."""
    block = state.label(int(waiting.block))
    order = state.orders[waiting.order]
    missing = "" if math.isinf(waiting.missing) else f": epsilon {waiting.missing / PER_EPSILON:.3g} is missing"
    at = f" at order {order:g}, where least is missing" if missing else ""
    where = f"{state.subject_domain}, {block}"
    text = {
        Why.LOCKED: f"waits for {where}{missing}{at}, until more of it is unlocked",
        Why.QUOTA: f"waits for {where}{missing}{at}; the namespace has had its share of it",
        Why.EXHAUSTED: f"waits for {where}{missing}{at}; only what running jobs give back makes room",
        Why.TOO_LARGE: f"can never be granted: {where} could not take it when nothing of it was used",
    }[waiting.reason]
    again, when = LOOK_AGAIN, ""
    if waiting.unlocks_at is not None and waiting.unlocks_at > now.timestamp():
        moment = datetime.fromtimestamp(60 * math.ceil(waiting.unlocks_at / 60), UTC)
        when = f". If nothing else takes it, that is at {moment:%Y-%m-%d %H:%M} UTC"
        again = min(LOOK_AGAIN, max(1.0, waiting.unlocks_at - now.timestamp() + 0.5))
    elif waiting.unlocks_after:
        others = "one more job asks" if waiting.unlocks_after == 1 else f"{waiting.unlocks_after} more jobs ask"
        when = f". That is when {others} for the block"
    passed = f". Later jobs that were granted meanwhile: {waiting.passed_over}" if waiting.passed_over else ""
    message = f"the job {text}{when}{passed}"
    if waiting.reason is Why.TOO_LARGE:
        return Answer("Refused", _REASONS[waiting.reason], message)
    return Answer("Waiting", _REASONS[waiting.reason], message, again)


def refused(error: Refused) -> Answer:
    """What the ledger itself said against a reservation. Room may come again; what the budget demands does not change
    by itself.
    """
    if error.code in _CODES:
        return Answer("Waiting", _CODES[error.code], f"the job waits: {error}", LOOK_AGAIN)
    return Answer("Refused", Reason.BUDGET_EXHAUSTED, f"the job can not be granted: {error}")


def unreached(error: BlockError) -> Answer:
    """What a job is told that reaches no open block."""
    if isinstance(error, NeverReached):
        return Answer("Refused", Reason.BUDGET_EXHAUSTED, f"the job can never be granted: {error}")
    return Answer("Waiting", Reason.WAITING_FOR_BUDGET, f"the job waits: {error}", LOOK_AGAIN)
