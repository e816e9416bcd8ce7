"""What a job that asks for privacy budget is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlprivacy.api.reasons import Reason

State = Literal["NotNeeded", "Reserved", "Outside", "Waiting", "Refused"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer for one attempt of a job.

    Attributes:
        state: NotNeeded (no dataset has a budget), Reserved (on every block), Outside (it runs without being counted,
            and its blocks are tainted), Waiting (it may be granted later by itself) or Refused (it never will be).
        reason: for the condition BudgetReserved.
        message: a sentence.
        again: seconds until it pays to ask again, where that is known; a change of the budget tells of itself.
    """

    state: State
    reason: Reason
    message: str
    again: float | None = None

    @property
    def may_start(self) -> bool:
        """Whether the attempt may be made."""
        return self.state in ("NotNeeded", "Reserved", "Outside")
