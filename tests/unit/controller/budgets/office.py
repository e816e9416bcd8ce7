"""What the tests of desks and gate share: a domain with a promise, wishes, and a ledger in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.unit import ledger_world as world

from mlprivacy.api.base import Assurance
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.transitions import Register
from mlprivacy.budget.ledger.units import from_units
from mlprivacy.controller.budgets.asks import Wish
from mlprivacy.controller.budgets.desk import Desk, InForce
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.charge import Charge, Loss, Selection

NOON = world.NOON


def budget(domain: str = world.DOMAIN, **changes: Any) -> PrivacyBudgetSpec:
    """The PrivacyBudget of the domain, at the orders of ledger_world."""
    fields: dict[str, Any] = {
        "subjectDomain": domain,
        "identities": ["urn:clinic:visits"],
        "epsilon": 10,
        "delta": 1e-3,
        "unit": "User",
        "orders": list(world.ORDERS),
        "blocks": {"by": "Subject", "buckets": 8},
    }
    return PrivacyBudgetSpec.model_validate({**fields, **changes})


def key(number: int, namespace: str = "research") -> JobKey:
    """A job by its number."""
    return JobKey("TrainingJob", namespace, f"job-{number}")


def charge(share: float = 0.1, domain: str = world.DOMAIN, **changes: Any) -> Charge:
    """What takes this share of each block, at every order."""
    fields: dict[str, Any] = {
        "domain": domain,
        "budget": "patients",
        "datasets": ("clinic/visits",),
        "selections": (Selection(),),
        "loss": Loss(from_units(world.part_of(share)), 2.5, 1e-5, 1.1, 0.01, 600),
    }
    return Charge(**{**fields, **changes})


def wish(number: int, share: float = 0.1, *, attempt: int = 1, **changes: Any) -> Wish:
    """Job `number` asks for a share of every block."""
    namespace = changes.pop("namespace", "research")
    asked: datetime = changes.pop("asked", NOON)
    shared: bool = changes.pop("shared", False)
    return Wish(
        key(number, namespace),
        f"uid-{number}",
        attempt,
        charge(share, **changes),
        Assurance.DECLARED,
        (Register("urn:clinic:visits", "s3://clinic/visits/"),),
        asked,
        shared,
    )


@dataclass
class Counter:
    """A desk with its ledger in memory, and who was woken."""

    log: world.MemoryLog = field(default_factory=world.MemoryLog)
    woken: list[JobKey] = field(default_factory=list)
    now: datetime = NOON
    domain: str = world.DOMAIN

    def desk(self, spec: PrivacyBudgetSpec | None = None) -> Desk:
        """A new process at the same ledger. The domain has its promise and its blocks."""
        desk = Desk(self.log, self.domain, "one", lambda: self.now, self.woken.append)
        world.run(desk.ledger.current())
        if desk.ledger.fold.head.sequence == 0:
            world.run(desk.write(world.FOUNDING))
        desk.in_force(InForce("patients", spec or budget(self.domain), NOON))
        return desk
