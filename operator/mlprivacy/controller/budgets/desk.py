"""The desk of one subject domain: its ledger, and the queue of the jobs that wait for its blocks.

Whoever asks is decided on together with all that wait, by the budget's own policy. A grant is an entry of the ledger
before anybody hears of it; what the queue thinks is only which job to try, and the ledger has the last word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.append import Appended, Ledger, Log
from mlprivacy.budget.ledger.blocks import BlockError, count, keys
from mlprivacy.budget.ledger.checks import Terms
from mlprivacy.budget.ledger.errors import Refused
from mlprivacy.budget.ledger.promise import terms_of
from mlprivacy.budget.ledger.state import Reservation, State, was_released
from mlprivacy.budget.ledger.transitions import AttemptKey, Bind, Commit, Register, Release, Reserve, Transition
from mlprivacy.budget.ledger.units import Units
from mlprivacy.budget.schedulers.queue import Queue
from mlprivacy.controller.budgets import metrics, words
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.budgets.asks import Wish, block_ids
from mlprivacy.controller.budgets.measures import recorded
from mlprivacy.controller.budgets.queues import demand_of, queue_of
from mlprivacy.controller.store import JobKey

AGAIN: Final = 2.0
OTHERWISE: Final = Answer(
    "Waiting", Reason.WAITING_FOR_BUDGET, "something else is reserved for this attempt; another one follows", 0.2
)


@dataclass(frozen=True, slots=True)
class InForce:
    """The PrivacyBudget that speaks for the domain."""

    name: str
    spec: PrivacyBudgetSpec
    made: datetime

    @property
    def terms(self) -> Terms:
        """What it says of who may spend."""
        return terms_of(self.spec)


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a wish: the answer, and what is held."""

    answer: Answer
    held: Reservation | None = None
    blocks: int = 0
    entry: str | None = None


class Desk:
    """One domain. Every call takes its turn; none waits for a job.

    Args:
        log: where the entries are.
        domain: the subject domain.
        writer: the name that this process's entries bear.
        clock: the present, aware.
        wake: told which job to look at, since it was granted something or its time is over.
        changed: told the domain when its ledger has a new entry, or other jobs wait.
    """

    def __init__(
        self,
        log: Log,
        domain: str,
        writer: str,
        clock: Callable[[], datetime],
        wake: Callable[[JobKey], None],
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.domain = domain
        self.ledger = Ledger(log, domain, writer, clock)
        self.lock = asyncio.Lock()
        self.budget: InForce | None = None
        self._clock = clock
        self._wake = wake
        self._changed = changed
        self._queue: Queue | None = None
        self._through = -1  # the entry up to which the queue knows the ledger
        self._waiting: dict[str, Wish] = {}
        self._counted: set[str] = set()  # those that have counted as arrivals
        self._said: dict[str, Answer] = {}  # what the ledger said against the last try
        self._turned_away: set[JobKey] = set()  # they wait and ask again, and the queue can not take them
        self._unspent: set[AttemptKey] = set()  # ended without having spent anything of what they held

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The ledger's newest known state. Raises RuntimeError while it is not known."""
        if self.ledger.fold.state is None:
            raise RuntimeError(f"the ledger of {self.domain} has no whole checkpoint")
        return self.ledger.fold.state

    @property
    def waiting(self) -> tuple[Wish, ...]:
        """Who waits, in the order in which they came."""
        return tuple(self._waiting.values())

    @property
    def waiting_jobs(self) -> frozenset[JobKey]:
        """All jobs that wait for this budget: in the queue, or turned away for now and about to ask again."""
        return frozenset(self._turned_away | {wish.key for wish in self._waiting.values()})

    def wait_of(self, wish: Wish) -> Answer | None:
        """What one of them waits for."""
        found = self._queue.wait_of(_ident(wish)) if self._queue is not None else None
        return words.waits(found, self.state, self._clock()) if found is not None else None

    def held_by(self, uid: str) -> dict[AttemptKey, Reservation]:
        """What the job holds."""
        return {key: held for key, held in self.state.reservations.items() if key[0] == uid}

    def in_force(self, budget: InForce | None) -> None:
        """This PrivacyBudget speaks for the domain from now on; None: there is none."""
        if budget != self.budget:
            self.budget = budget
            self._through = -1

    # -- asking ----------------------------------------------------------------------------------------------------

    async def ask(self, wish: Wish) -> Asked:
        """Reserve, or wait. Asking again is harmless; whoever is granted is told by ``wake``.

        Raises:
            ApiError: the ledger can not be read or written now.
            ChainError: it is broken.
        """
        async with self.lock:
            await self.ledger.current()
            if (found := self.holds(wish)) is not None:
                if found.held is not None and not wish.paid_by(found.held.reserve, self.state):
                    return Asked(OTHERWISE)
                return found
            if (refused := self._against(wish)) is not None:
                self._forget(_ident(wish))
                return Asked(self._noted(wish, refused))
            try:
                self._join(wish)
            except BlockError as error:
                return Asked(self._noted(wish, words.unreached(error)))
            await self._decide(but=wish.key)
            found = self.holds(wish) or Asked(self._answer(wish))
            self._noted(wish, found.answer)
            return found

    def holds(self, wish: Wish) -> Asked | None:
        """The reservation of this very attempt, where it has one."""
        held = self.state.reservations.get(wish.attempt_key)
        if held is None:
            return None
        blocks = count(held.reserve.ranges)
        many = "1 block" if blocks == 1 else f"{blocks} blocks"
        message = f"reserved on {many} of {self.domain}"
        return Asked(Answer("Reserved", Reason.BUDGET_HELD, message), held, blocks, self.state.name_of(held.sequence))

    def _against(self, wish: Wish) -> Answer | None:
        """What no waiting mends."""
        if self.budget is None:
            return Answer("Waiting", Reason.WAITING_FOR_BUDGET, f"{self.domain} has no PrivacyBudget now", None)
        if self.state.promise is None:
            return Answer("Waiting", Reason.WAITING_FOR_BUDGET, f"{self.domain} is promised nothing yet", AGAIN)
        if len(wish.curve) != len(self.state.orders):
            return Answer("Waiting", Reason.WAITING_FOR_BUDGET, "the budget's orders are being read", AGAIN)
        terms = self.budget.terms
        if wish.assurance.rank < terms.minimum_assurance.rank or (
            terms.images and wish.charge.image not in terms.images
        ):
            return Answer("Refused", Reason.BUDGET_EXHAUSTED, "the budget demands more assurance or a reviewed image")
        if terms.quotas and wish.key.namespace not in terms.quotas:
            message = f"the budget has quotas and none for the namespace {wish.key.namespace}; ask its owner for one"
            return Answer("Refused", Reason.QUOTA_REACHED, message)
        return None

    def _answer(self, wish: Wish) -> Answer:
        ident = _ident(wish)
        if (said := self._said.get(ident)) is not None:
            return said
        if ident not in self._waiting:
            return Answer("Refused", Reason.BUDGET_TIMEOUT, "the job waited longer than the budget's timeout")
        return self.wait_of(wish) or Answer("Waiting", Reason.WAITING_FOR_BUDGET, "the job waits for its turn", AGAIN)

    def _join(self, wish: Wish) -> None:
        """Take the wish among the waiting. Raises BlockError when it reaches no block."""
        ident = _ident(wish)
        self._said.pop(ident, None)
        for other in [i for i, one in self._waiting.items() if one.uid == wish.uid and i != ident]:
            self._forget(other)  # of an earlier attempt
        queue = self._ready()
        if ident in self._waiting:
            if self._waiting[ident] == wish:
                return
            self._forget(ident)
        self._submit(queue, ident, wish)
        self._waiting[ident] = wish
        self._changed(self.domain)

    def _submit(self, queue: Queue, ident: str, wish: Wish) -> None:
        if self.budget is None:
            raise BlockError(f"{self.domain} has no PrivacyBudget now")
        queue.submit(demand_of(wish, ident, self.state, self.budget.spec), counts=ident not in self._counted)
        self._counted.add(ident)

    def _noted(self, wish: Wish, answer: Answer) -> Answer:
        """The answer; who waits without being in the queue is counted among the waiting all the same."""
        away = answer.state == "Waiting" and _ident(wish) not in self._waiting
        if away != (wish.key in self._turned_away):
            (self._turned_away.add if away else self._turned_away.discard)(wish.key)
            self._changed(self.domain)
        return answer

    def withdraw(self, key: JobKey) -> None:
        """The job waits no more: it was suspended, refused or deleted."""
        if key in self._turned_away:
            self._turned_away.discard(key)
            self._changed(self.domain)
        for ident in [i for i, one in self._waiting.items() if one.key == key]:
            self._forget(ident)

    def _forget(self, ident: str) -> None:
        if self._waiting.pop(ident, None) is not None:
            self._changed(self.domain)
        self._said.pop(ident, None)
        if self._queue is not None:
            self._queue.withdraw(ident)

    # -- deciding --------------------------------------------------------------------------------------------------

    def _ready(self) -> Queue:
        """The queue as the ledger is now; made anew where others wrote, blocks were opened or the budget changed."""
        if self.budget is None:
            raise BlockError(f"{self.domain} has no PrivacyBudget now")
        if self._queue is not None and self._through == self.ledger.fold.head.sequence:
            return self._queue
        queue = queue_of(self.budget.spec, self.state, self.budget.made, self._queue)
        for ident, wish in list(self._waiting.items()):
            try:
                self._submit(queue, ident, wish)
            except BlockError:
                del self._waiting[ident]
                self._wake(wish.key)
        self._queue, self._through = queue, self.ledger.fold.head.sequence
        return queue

    async def decide(self) -> None:
        """Grant what can be granted now, and give up whose time is over."""
        async with self.lock:
            await self.ledger.current()
            if self.budget is not None and self.state.promise is not None and self._waiting:
                await self._decide()

    async def _decide(self, but: JobKey | None = None) -> None:
        """``but`` is looked at already and need not be woken."""
        queue = self._ready()
        again = True
        while again:
            again = False
            with metrics.DECISION_SECONDS.time():
                decision = queue.decide(self._clock().timestamp(), explain=False)
            if decision.expired:
                self._changed(self.domain)
            for ident in decision.expired:
                wish = self._waiting.pop(ident)
                if wish.key != but:
                    self._wake(wish.key)
            for ident in decision.granted:
                wish = self._waiting.pop(ident)
                if wish.shared:
                    # Its turn has come here; whether it has come everywhere it finds out by asking again.
                    queue.give_back(block_ids(wish.ranges(self.state)), _floats(wish.curve), wish.key.namespace)
                    again = True
                    self._wake(wish.key)
                    continue
                await self._grant(ident, wish)
                if wish.key != but:
                    self._wake(wish.key)
            if self._through != self.ledger.fold.head.sequence:
                queue, again = self._ready(), True

    async def _grant(self, ident: str, wish: Wish) -> None:
        """Write the reservation. Where the ledger says no the wish waits for the next change."""
        try:
            await self._append([*wish.sources, wish.reserve(wish.ranges(self.state))])
        except Refused as refused:
            self._through = -1  # the queue was wrong; the next look makes it anew
            self._said[ident] = words.refused(refused)
        except BaseException:
            self._through = -1
            self._waiting[ident] = wish
            raise
        else:
            metrics.GRANTS.inc()
            self._said.pop(ident, None)

    async def _append(self, transitions: Sequence[Transition]) -> Appended:
        before = self.ledger.fold.head.sequence
        with recorded(transitions):
            done = await self.ledger.append(transitions, self.budget.terms if self.budget is not None else None)
        head = self.ledger.fold.head.sequence
        if head == before + 1 and self._through == before and all(isinstance(t, _KEEP) for t in transitions):
            self._through = head  # nothing but what the queue knows itself
        if head != before:
            self._changed(self.domain)
        return done

    # -- jobs over several domains ---------------------------------------------------------------------------------

    async def fits(self, wish: Wish) -> Answer | None:
        """None when it could be granted at once; else why not, and it takes its place among the waiting.

        The caller holds the lock.
        """
        if (refused := self._against(wish)) is not None:
            self._forget(_ident(wish))
            return self._noted(wish, refused)
        try:
            if self.budget is not None and self._ready().fits(
                demand_of(wish, _ident(wish), self.state, self.budget.spec)
            ):
                return None
            self._join(wish)
        except BlockError as error:
            return self._noted(wish, words.unreached(error))
        await self._decide(but=wish.key)
        return self._noted(wish, self._answer(wish))

    async def reserve(self, wish: Wish) -> None:
        """Write the reservation of one that fits. The caller holds the lock. Raises Refused."""
        ranges = wish.ranges(self.state)
        self.withdraw(wish.key)
        await self._append([*wish.sources, wish.reserve(ranges)])
        if self._queue is not None and self._through == self.ledger.fold.head.sequence:
            self._queue.take(block_ids(ranges), _floats(wish.curve), wish.key.namespace)

    # -- after the grant -------------------------------------------------------------------------------------------

    async def write(self, transitions: Sequence[Transition]) -> Appended:
        """Write other steps: binds, taints, what the budget itself asks for. Raises Refused."""
        async with self.lock:
            await self.ledger.current()
            return await self._append(transitions)

    async def settle(self, steps: Sequence[Commit | Release]) -> None:
        """End reservations; whoever waits for what is given back is woken. A step that was taken already is no error.

        The caller does not hold the lock. Raises Refused for a step that is not allowed.
        """
        async with self.lock:
            await self.ledger.current()
            await self._settle(steps)
            if self.budget is not None and self._waiting:
                await self._decide()

    async def _settle(self, steps: Sequence[Commit | Release]) -> None:
        for step in steps:
            held = self.state.reservations.get(step.key)
            if held is None:
                continue  # settled before, by this step or another
            await self._append([step])
            self._give_back(held, step)
            if isinstance(step, Commit) and step.curve is not None and not any(step.curve):
                self._unspent = {key for key in self._unspent if key in self.state.settled} | {step.key}

    def gave_back(self, key: AttemptKey) -> bool:
        """Whether the attempt ended and spent nothing of what it held, as far as this process knows."""
        done = self.state.settled.get(key)
        return done is not None and (key in self._unspent or was_released(key, done))

    async def back_out(self, wish: Wish) -> None:
        """Give back what was reserved a moment ago, since another domain said no. The caller holds the lock."""
        await self._settle([Release(wish.uid, wish.attempt, "Refused")])

    def _give_back(self, held: Reservation, step: Commit | Release) -> None:
        reserve = held.reserve
        spent: Units = (0,) * len(reserve.curve) if isinstance(step, Release) else step.curve or reserve.curve
        queue = self._queue
        if queue is None or spent == reserve.curve or self._through != self.ledger.fold.head.sequence:
            return
        there = [ident for ident in map(str, keys(reserve.ranges)) if ident in queue.table.index]
        if there:
            rest = tuple(float(was - now) for was, now in zip(reserve.curve, spent, strict=True))
            queue.give_back(there, rest, reserve.job.namespace)


# What changes no block beyond what the queue took or is told.
_KEEP: Final = (Bind, Commit, Register, Release, Reserve)


def _ident(wish: Wish) -> str:
    return f"{wish.uid}/{wish.attempt}"


def _floats(curve: Units) -> tuple[float, ...]:
    return tuple(float(value) for value in curve)
