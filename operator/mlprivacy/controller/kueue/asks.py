"""Whom a job's attempt asks for privacy budget, as this package sees it."""

from __future__ import annotations

from typing import Any, Protocol

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.model import Decision


class Asks(Protocol):
    """Answers for one attempt of a job; what is granted is reserved by then."""

    async def ask(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> Answer:
        """The answer now. Asking twice for one attempt reserves once."""


class Uncharged:
    """Answers where nobody keeps the ledger: what is charged waits, everything else needs nothing."""

    async def ask(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> Answer:
        """NotNeeded for a decision without charges, else Waiting."""
        if decision.charges:
            message = "its data has a privacy budget, and nobody of this controller keeps the ledger"
            return Answer("Waiting", Reason.LEDGER_UNAVAILABLE, message)
        return Answer("NotNeeded", Reason.NO_BUDGET_NEEDED, "none of its datasets has a privacy budget")
