"""What a job asks of privacy budgets: one charge for each subject domain whose data it uses. Plain frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mlprivacy.budget.curves import Curve

Outside = Literal["Audit", "Warn", "Exception", "NoMechanism"]
"""Why data is used without being counted, as the ledger's taint says it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Blocks that one dataset of the job reaches, in the budget's own partition. None is no bound on that side.

    Labels are as the ledger calls blocks (``Cut.label``); moments are of the public calendar and bound blocks by
    IngestionTime only: for other partitions a row filter is no block selection (accounting.md 1).
    """

    first: str | None = None
    last: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The privacy loss of a job, with every number known.

    Attributes:
        curve: ε at each order of the budget, stability, rows per unit and trials included.
        epsilon: for people, at ``delta``, by Rényi accounting on fine orders.
        delta: of the job.
        noise_multiplier: None where the mechanism has none (a serialised event).
        sampling_rate: of a Poisson sample; None likewise.
        steps: None likewise.
    """

    curve: Curve
    epsilon: float
    delta: float
    noise_multiplier: float | None = None
    sampling_rate: float | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What one job takes of one subject domain.

    Attributes:
        domain: the subject domain.
        budget: name of the PrivacyBudget.
        datasets: ``namespace/name`` of the job's datasets of the domain.
        selections: blocks that they reach; their union is charged.
        loss: what each of these blocks is charged; None where nothing is promised or it can not be counted.
        image: digest (``sha256:…``) of the trainer's image, where the template names one.
        outside: why the job runs without being counted: its blocks are tainted instead; None: it is counted.
    """

    domain: str
    budget: str
    datasets: tuple[str, ...]
    selections: tuple[Selection, ...]
    loss: Loss | None
    image: str | None = None
    outside: Outside | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A dataset that the ledger of ``domain`` holds, for ever: its identity, and its normalised source where known."""

    domain: str
    identity: str
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What the ledger says of a job's charge now. Known to the controller alone, who has the ledger.

    Attributes:
        held: an attempt of the job holds, or has spent, its reservation: what is left matters no more.
        never: why it can not be granted any more, whatever other jobs give back; None when it may be.
        largest: the largest ε, at the job's δ, that could be granted now; None when it is not known, 0 when none could.
        remedy: what else can be done.
    """

    held: bool = False
    never: str | None = None
    largest: float | None = None
    remedy: str | None = None


Rooms = Mapping[str, Room]
"""By subject domain."""
