"""One attempt's wish for the blocks of one domain, and the ledger's step that grants it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from mlprivacy.api.base import Assurance
from mlprivacy.budget.ledger.blocks import Ranges, keys
from mlprivacy.budget.ledger.reach import reached
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.transitions import AttemptKey, Job, Register, Reserve, Taint
from mlprivacy.budget.ledger.units import Units, to_units
from mlprivacy.controller.store import JobKey
from mlprivacy.policy.charge import Charge, Outside


@dataclass(frozen=True, slots=True)
class Wish:
    """What one attempt of a job wants of one domain.

    Attributes:
        key: the job.
        uid: of the job.
        attempt: its number.
        charge: what it takes.
        assurance: with which it would run.
        sources: its datasets of the domain, which the ledger registers with the first use.
        asked: when the job was made; it waits from then on.
        shared: it needs other domains as well, so that a grant here is only the turn to try all of them.
    """

    key: JobKey
    uid: str
    attempt: int
    charge: Charge
    assurance: Assurance
    sources: tuple[Register, ...]
    asked: datetime
    shared: bool = False

    @property
    def attempt_key(self) -> AttemptKey:
        """As the ledger names it."""
        return self.uid, self.attempt

    @property
    def job(self) -> Job:
        """As the ledger names it."""
        return Job(self.key.namespace, self.key.name, self.uid)

    @property
    def curve(self) -> Units:
        """What each block is charged. Raises ValueError without a loss."""
        if self.charge.loss is None:
            raise ValueError(f"{self.key} has no loss that could be charged")
        return to_units(self.charge.loss.curve)

    def ranges(self, state: State) -> Ranges:
        """The blocks that it is charged on now. Raises BlockError."""
        if state.promise is None:
            raise ValueError("the ledger has no promise yet")
        return reached(state, state.promise.cut, self.charge.selections)

    def reserve(self, ranges: Ranges) -> Reserve:
        """The step that reserves them."""
        return Reserve(self.job, self.attempt, ranges, self.curve, self.assurance, self.charge.image)

    def taint(self, ranges: Ranges, reason: Outside) -> Taint:
        """The step that says that they are used without being counted."""
        return Taint(self.job, ranges, reason)

    def paid_by(self, held: Reserve, state: State) -> bool:
        """Whether what is held was reserved for what is asked now, and for every block that it reaches now: the job may
        have been edited since, and blocks may have been opened.
        """
        if (held.curve, held.assurance, held.image, held.job) != (
            self.curve, self.assurance, self.charge.image, self.job,
        ):  # fmt: skip
            return False
        try:
            wanted = self.ranges(state)
        except ValueError:  # none is reached
            return False
        return all(any(have.first <= one.first and one.last <= have.last for have in held.ranges) for one in wanted)


@lru_cache(maxsize=256)
def block_ids(ranges: Ranges) -> tuple[str, ...]:
    """The blocks as schedulers name them; one tuple for all who ask for the same, since it may hold ten thousand."""
    return tuple(str(key) for key in keys(ranges))
