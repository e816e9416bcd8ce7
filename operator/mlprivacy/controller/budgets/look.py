"""What the gate is told of a job, and what it gives back. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlprivacy.controller.plan import Plan, Seen
from mlprivacy.controller.status import Tri
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.charge import Charge
from mlprivacy.policy.model import Decision


@dataclass(frozen=True, slots=True)
class Passed:
    """What came of it: the plan to act on, and what the status says of the budget.

    ``let_go`` are the pods, by name and uid, that may be let go now: they are bound, and still behind their gate.
    """

    plan: Plan
    condition: Tri | None = None
    budgets: tuple[dict[str, Any], ...] = ()
    let_go: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What a reconcile knows of the job it looks at."""

    key: JobKey
    raw: dict[str, Any]
    decision: Decision
    attempts: Sequence[Seen]
    gated: Sequence[tuple[str, str]]  # name and uid of the newest attempt's pods that wait behind their gate
    pods_alive: bool

    @property
    def uid(self) -> str:
        """Of the job."""
        return str(self.raw["metadata"]["uid"])

    @property
    def counted(self) -> tuple[Charge, ...]:
        """What is to be reserved."""
        return tuple(charge for charge in self.decision.charges if charge.outside is None and charge.loss is not None)

    @property
    def outside(self) -> tuple[Charge, ...]:
        """What is used without being counted."""
        return tuple(charge for charge in self.decision.charges if charge.outside is not None)
