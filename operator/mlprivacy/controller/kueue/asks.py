"""Whom a job's attempt asks for privacy budget, as this package sees it."""

from __future__ import annotations

from typing import Any, Protocol

from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.model import Decision


class Asks(Protocol):
    """Answers for one attempt of a job; what is granted is reserved by then."""

    async def ask(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> Answer:
        """The answer now. Asking twice for one attempt reserves once."""
