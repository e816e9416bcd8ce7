"""What a ledger adds up to: blocks, reservations, what is settled, the promise, the datasets. Changed by steps only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, get_args

import numpy as np

from mlprivacy.budget.ledger.blocks import count
from mlprivacy.budget.ledger.entry import Head, entry_name, moment_of, stamp
from mlprivacy.budget.ledger.table import Table
from mlprivacy.budget.ledger.transitions import (
    AttemptKey,
    Bind,
    Checkpoint,
    Commit,
    Job,
    Open,
    Promise,
    Register,
    Release,
    ReleaseReason,
    Reserve,
    Retire,
    Taint,
    Transition,
    digest_of,
)
from mlprivacy.budget.ledger.usage import Matrix

# How long settled attempts are remembered by name: a retry after that is a new step. Also the youngest entry that is
# ever pruned, so that a writer that slept can not write under a name that is free again.
REMEMBER: Final = timedelta(days=1)
_SLACK: Final = timedelta(hours=1)  # they are forgotten an hour's worth at a time


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an attempt holds."""

    reserve: Reserve
    sequence: int
    time: str
    pod: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt whose reservation was committed or released: when, where, and digests of both steps."""

    sequence: int
    time: str
    reserve: str
    settle: str


@dataclass(frozen=True, slots=True)
class TaintMark:
    """One use outside accounting."""

    job: Job
    reason: str
    blocks: int
    sequence: int
    time: str


class State:
    """The sum of a chain up to ``head``. Mutable: a copy costs a few tables, a step a few rows of them.

    ``latest`` is the newest time any entry bore; ``backwards`` counts entries that bore an older one than one before
    them, ``first_backwards`` names the first of these.
    """

    __slots__ = (
        "_attempts",
        "_forget_after",
        "backwards",
        "capacity",
        "first_backwards",
        "head",
        "identities",
        "latest",
        "orders",
        "promise",
        "reservations",
        "settled",
        "table",
        "taints",
    )

    def __init__(self, subject_domain: str) -> None:
        self.head = Head.none(subject_domain)
        self.latest = ""
        self.backwards = 0
        self.first_backwards = ""
        self.promise: Promise | None = None
        self.orders: tuple[float, ...] = ()
        self.capacity: Matrix = np.zeros(0, np.int64)
        self.table = Table(0)
        self.reservations: dict[AttemptKey, Reservation] = {}
        self.settled: dict[AttemptKey, Settled] = {}  # in the order in which they were settled
        self.identities: dict[str, tuple[str, ...]] = {}
        self.taints: dict[str, TaintMark] = {}
        self._attempts: dict[str, int] = {}
        self._forget_after = ""  # the time at which the oldest of `settled` is forgotten; "" where there is none

    @property
    def subject_domain(self) -> str:
        """The domain."""
        return self.head.subject_domain

    def name_of(self, sequence: int) -> str:
        """The name of an entry of this ledger."""
        return entry_name(self.subject_domain, sequence)

    def label(self, key: int) -> str:
        """A block's name for people."""
        return self.promise.cut.label(key) if self.promise is not None else f"block {key}"

    def newest_attempt(self, job_uid: str) -> int:
        """The highest attempt of the job that is reserved or was settled lately; 0 for none."""
        return self._attempts.get(job_uid, 0)

    def copy(self) -> State:
        """Another state of the same content."""
        other = State(self.subject_domain)
        for name in (
            "head",
            "latest",
            "backwards",
            "first_backwards",
            "promise",
            "orders",
            "capacity",
            "_forget_after",
        ):
            setattr(other, name, getattr(self, name))
        other.table = self.table.copy()
        for name in ("reservations", "settled", "identities", "taints", "_attempts"):
            setattr(other, name, dict(getattr(self, name)))
        return other

    # Steps. Each was checked before (checks.py).

    def observe(self, time: str, name: str) -> None:
        """An entry of this time comes next: tell a clock that went backwards, forget what is long settled."""
        if time < self.latest:
            self.backwards += 1
            self.first_backwards = self.first_backwards or name
            return
        self.latest = time
        if self._forget_after and time > self._forget_after:
            self._forget(stamp(moment_of(time) - REMEMBER))

    def _forget(self, before: str) -> None:
        old = []
        for key, settled in self.settled.items():
            if settled.time >= before:
                break
            old.append(key)
        for uid, attempt in old:
            del self.settled[uid, attempt]
            if self._attempts.get(uid) == attempt:
                del self._attempts[uid]
        oldest = next(iter(self.settled.values()), None)
        self._forget_after = _end_of_memory(oldest.time) if oldest is not None else ""

    def apply(self, transition: Transition, sequence: int) -> None:
        """Take a step that is allowed, as part of entry ``sequence``."""
        table = self.table
        match transition:
            case Reserve():
                table.reserve(transition.ranges, transition.curve, transition.job.namespace)
                self.hold(transition.key, Reservation(transition, sequence, self.latest))
            case Bind():
                held = self.reservations[transition.key]
                bound = Reservation(held.reserve, held.sequence, held.time, transition.pod_uid)
                self.reservations[transition.key] = bound
                table.weaken(held.reserve.ranges, held.reserve.assurance)
            case Commit():
                asked = self.reservations[transition.key].reserve
                spent = asked.curve if transition.curve is None else transition.curve
                table.settle(asked.ranges, asked.curve, spent, asked.job.namespace)
                if self.reservations[transition.key].pod is None:  # else the pod weakened them
                    table.weaken(asked.ranges, asked.assurance)
                self._settle(transition, sequence)
            case Release():
                asked = self.reservations[transition.key].reserve
                table.settle(asked.ranges, asked.curve, None, asked.job.namespace)
                self._settle(transition, sequence)
            case Open():
                table.mark("opened", transition.ranges)
            case Retire():
                table.mark("retired", transition.ranges)
            case Taint():
                table.mark("tainted", transition.ranges)
                mark = TaintMark(transition.job, transition.reason, count(transition.ranges), sequence, self.latest)
                self.taints[taint_id(transition)] = mark
            case Register():
                known = self.identities.get(transition.identity, ())
                more = () if transition.source is None or transition.source in known else (transition.source,)
                self.identities[transition.identity] = known + more
            case Promise():
                self.promised(transition)
            case Checkpoint():
                pass  # says again what is known

    def promised(self, promise: Promise) -> None:
        """The promise in force is this one."""
        if self.promise is None:
            self.table = Table(len(promise.orders))
        self.promise = promise
        self.orders = tuple(float(order) for order in promise.orders)
        self.capacity = np.array(promise.capacity, np.int64)

    def hold(self, key: AttemptKey, reservation: Reservation) -> None:
        """An attempt has a reservation; its curve is on the table already."""
        self.reservations[key] = reservation
        self._saw(key)

    def remember(self, key: AttemptKey, settled: Settled) -> None:
        """An attempt is settled."""
        self.settled[key] = settled
        self._forget_after = self._forget_after or _end_of_memory(settled.time)
        self._saw(key)

    def _saw(self, key: AttemptKey) -> None:
        self._attempts[key[0]] = max(key[1], self._attempts.get(key[0], 0))

    def _settle(self, transition: Commit | Release, sequence: int) -> None:
        reserve = self.reservations.pop(transition.key).reserve
        settled = Settled(sequence, self.latest, digest_of(reserve.body()), settle_digest(transition))
        self.remember(transition.key, settled)


def _end_of_memory(time: str) -> str:
    """The time after which an attempt that was settled at ``time`` is forgotten. Stamps sort as moments do."""
    try:
        return stamp(moment_of(time) + REMEMBER + _SLACK)
    except OverflowError:
        return "~"  # the calendar ends before


def taint_id(transition: Taint) -> str:
    """What makes two taints the same."""
    return digest_of(transition.body())


def settle_digest(transition: Commit | Release) -> str:
    """What makes two ends of an attempt the same."""
    return digest_of([transition.TYPE, transition.body()])


def was_released(key: AttemptKey, settled: Settled) -> bool:
    """Whether the attempt's reservation was given back whole, and not committed."""
    return any(settled.settle == settle_digest(Release(*key, reason)) for reason in get_args(ReleaseReason))
