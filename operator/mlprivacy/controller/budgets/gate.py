"""The gate in front of every attempt: its loss is reserved before it is made, bound to its pod before that runs, and
spent when it ends. What is used without being counted marks its blocks for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.budget.ledger.entry import domain_hash, moment_of
from mlprivacy.budget.ledger.errors import ChainError, Refused
from mlprivacy.budget.ledger.transitions import Bind, Commit, Register, Release, Taint, TaintReason
from mlprivacy.controller.budgets import ends, report
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.budgets.asks import Wish
from mlprivacy.controller.budgets.desk import Desk
from mlprivacy.controller.budgets.desks import Closed, Desks
from mlprivacy.controller.budgets.look import Look, Passed
from mlprivacy.controller.budgets.rooms import lack_of, room_of
from mlprivacy.controller.plan import Plan, Step
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.conditions import is_true
from mlprivacy.policy.charge import Charge, Room, Rooms
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.model import Decision

logger = logging.getLogger(__name__)
SOON: Final = 0.2  # seconds
Sources = Callable[[Charge], tuple[Register, ...]]
"""What the ledger registers of a charge's datasets with their first use: identity and normalised source."""


class Gate:
    """Between the plan of a TrainingJob and its being carried out."""

    def __init__(self, desks: Desks, sources: Sources) -> None:
        self._desks = desks
        self._sources = sources

    async def ready(self, look: Look, plan: Plan) -> Plan:
        """What is over is settled. The plan of a start gets a number that no reservation of before has used up.

        Raises:
            ApiError: the ledger can not be read or written now.
        """
        await self._settle(look, plan)
        await self._unpaid(look)
        if plan.step is not Step.START:
            self.withdraw(look.key)
            return plan
        try:
            return replace(plan, attempt=await self._number(look, plan.attempt))
        except (Closed, ChainError):
            return plan  # `before` says so, and starts nothing

    def queued(self, look: Look, plan: Plan) -> Passed:
        """A start that waits for its turn in a queue."""
        desks = [self._desks.of(charge.domain) for charge in look.counted]
        known = [d for d in desks if d.ledger.fold.state is not None and d.ledger.fold.head.sequence]
        if len(known) < len(desks):
            return report.queued(look, plan, ())
        wishes = [self._wish(look, charge, plan.attempt) for charge in look.counted]
        return report.queued(look, plan, report.lines_of(wishes, desks))

    async def before(self, look: Look, plan: Plan) -> Passed:
        """A start is held until its loss is reserved; a pod that runs is bound.

        Raises:
            ApiError: the ledger can not be read or written now.
        """
        if not look.decision.charges:
            return report.nothing(look, plan, tuple(self._desks))
        try:
            if plan.step is Step.START:
                return await self._start(look, plan)
            if plan.step is Step.KEEP:
                return await self._keep(look, plan)
        except (Closed, ChainError) as error:
            closed = error if isinstance(error, Closed) else self._broke(look, error)
            logger.warning("%s: %s", look.key, closed)
            if plan.step is Step.START:
                return report.waiting(look, plan, report.closed(closed))
        return report.as_before(look, plan, tuple(self._desks))

    def withdraw(self, key: JobKey) -> None:
        """The job waits for nothing any more."""
        for desk in self._desks:
            desk.withdraw(key)

    async def rooms(self, raw: dict[str, Any], decision: Decision, facts: Facts) -> Rooms:
        """The domains that can not grant the job any more, whatever others give back; none for most jobs.

        A job that holds what it needs, or runs, or is over is not asked about. Raises ApiError.
        """
        counted = [charge for charge in decision.charges if charge.outside is None and charge.loss is not None]
        status, uid = raw.get("status") or {}, str(raw["metadata"]["uid"])
        running = status.get("startedAt") and not is_true(status.get("conditions"), ConditionType.SUSPENDED)
        if not counted or running or status.get("finishedAt") or self._desks.holding(uid):
            return {}
        found: dict[str, Room] = {}
        for charge in counted:
            try:
                desk = await self._desks.open(charge.domain)
            except Closed:
                continue  # the gate says so, and starts nothing
            if (lack := lack_of(desk.state, charge)) is not None:
                key = JobKey("TrainingJob", raw["metadata"]["namespace"], raw["metadata"]["name"])
                again = partial(self._desks.wake, key)
                found[charge.domain] = await room_of(lack, charge, facts.losses, again)
        return found

    # -- before a start --------------------------------------------------------------------------------------------

    async def ask(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> Answer:
        """Reserve for an attempt, or say what it waits for. Raises ApiError."""
        if not decision.charges:
            return Answer("NotNeeded", Reason.NO_BUDGET_NEEDED, "none of its datasets has a privacy budget")
        look = Look(key, raw, decision, (), (), pods_alive=False)
        try:
            return (await self._reserved(look, attempt))[0]
        except Closed as closed:
            return report.closed(closed)
        except ChainError as error:
            return report.closed(self._broke(look, error))

    async def _start(self, look: Look, plan: Plan) -> Passed:
        answer, lines = await self._reserved(look, plan.attempt)
        if not answer.may_start:
            return report.waiting(look, plan, answer, lines)
        for charge in look.outside:
            lines.append(await self._taint(look, charge, plan.attempt))
        return report.granted(look, plan, answer, lines)

    async def _number(self, look: Look, number: int) -> int:
        """The attempt's number: one that the ledger has settled, or holds for something else, is used up."""
        for charge in look.counted:
            desk = await self._desks.open(charge.domain)
            newest = desk.state.newest_attempt(look.uid)
            if newest < number:
                continue
            held = desk.held_by(look.uid).get((look.uid, newest))
            if held is None:
                number = max(number, newest + 1)
            elif not self._wish(look, charge, newest).paid_by(held.reserve, desk.state):
                await desk.settle(ends.gone([held]))
                number = max(number, newest + 1)
            else:
                number = max(number, newest)
        return number

    def _broke(self, look: Look, error: ChainError) -> Closed:
        """Which domain's entry it is that is wrong: its name says so."""
        domains = [charge.domain for charge in look.decision.charges]
        mine = next((d for d in domains if error.entry.startswith(domain_hash(d))), domains[0])
        return self._desks.broke(mine, error)

    async def _reserved(self, look: Look, number: int) -> tuple[Answer, list[report.Line]]:
        wishes = [self._wish(look, charge, number, shared=len(look.counted) > 1) for charge in look.counted]
        if not wishes:
            outside = Answer("Outside", Reason.OUTSIDE_ACCOUNTING, "the job runs without being counted")
            return outside, []
        if len(wishes) == 1:
            desk = await self._desks.open(wishes[0].charge.domain)
            asked = await desk.ask(wishes[0])
            return asked.answer, report.lines_of(wishes, [desk])
        return await self._all_of(wishes)

    async def _all_of(self, wishes: Sequence[Wish]) -> tuple[Answer, list[report.Line]]:
        """On every domain or on none. Desks are taken in the order of their names, so that no two jobs wait for each
        other; nothing is held at one while another has no room.
        """
        desks = [await self._desks.open(wish.charge.domain) for wish in wishes]
        async with AsyncExitStack() as stack:
            for desk in desks:
                await stack.enter_async_context(desk.lock)
            open_ = [(desk, wish) for desk, wish in zip(desks, wishes, strict=True) if desk.holds(wish) is None]
            for desk, wish in open_:
                if (no := await desk.fits(wish)) is not None:
                    return no, report.lines_of(wishes, desks)
            done: list[tuple[Desk, Wish]] = []
            for desk, wish in open_:
                try:
                    await desk.reserve(wish)
                except Refused as refused:
                    for earlier, given in reversed(done):
                        await earlier.back_out(given)
                    message = f"{desk.domain} has no room any more: {refused}"
                    answer = Answer("Waiting", Reason.WAITING_FOR_BUDGET, message, SOON)
                    return answer, report.lines_of(wishes, desks)
                done.append((desk, wish))
            domains = " and ".join(desk.domain for desk in desks)
            answer = Answer("Reserved", Reason.BUDGET_HELD, f"reserved on every block of {domains}")
            return answer, report.lines_of(wishes, desks)

    def _wish(self, look: Look, charge: Charge, number: int, *, shared: bool = False) -> Wish:
        made = look.raw["metadata"].get("creationTimestamp")
        return Wish(
            look.key,
            look.uid,
            number,
            charge,
            look.decision.achieved,
            self._sources(charge),
            parse_time(str(made)),
            shared,
        )

    async def _unpaid(self, look: Look) -> None:
        """An attempt that ran without being counted marks its blocks, whatever is decided of it now: it was there
        before the budget was, or before its data belonged to it.
        """
        for charge in look.decision.charges:
            for number in _ran(look):
                if (charge.domain, number) in _told(look):
                    continue
                try:
                    desk = await self._desks.open(charge.domain)
                    key = (look.uid, number)
                    if key not in desk.state.reservations and key not in desk.state.settled:
                        await self._mark(self._wish(look, charge, number), desk, charge.outside or "Ungoverned")
                except (Closed, ChainError) as error:
                    logger.warning("%s: %s", look.key, error)

    async def _taint(self, look: Look, charge: Charge, number: int) -> report.Line:
        desk = await self._desks.open(charge.domain)
        wish = self._wish(look, charge, number)
        await self._mark(wish, desk, charge.outside or "NoMechanism")
        return report.outside(wish, desk)

    async def _mark(self, wish: Wish, desk: Desk, reason: TaintReason) -> None:
        """Say of every block that the job reaches that its data is used without being counted, once."""
        state = desk.state
        if state.promise is None:
            return
        try:
            ranges = wish.ranges(state)
        except ValueError as error:
            logger.info("%s uses no open block of %s: %s", wish.key, desk.domain, error)
            return
        known = any(mark.job.uid == wish.uid for mark in state.taints.values())
        if known and state.table.tainted[state.table.rows(ranges)].all():
            return
        try:
            await desk.write([*wish.sources, Taint(wish.job, ranges, reason)])
        except Refused as refused:
            logger.warning("the blocks that %s uses of %s are not marked: %s", wish.key, desk.domain, refused)

    # -- while it runs ---------------------------------------------------------------------------------------------

    async def _keep(self, look: Look, plan: Plan) -> Passed:
        lines: list[report.Line] = []
        bound = True
        for charge in look.counted:
            desk = await self._desks.open(charge.domain)
            wish = self._wish(look, charge, plan.attempt)
            held = desk.state.reservations.get(wish.attempt_key)
            if held is None:
                bound = False  # a pod behind the gate has nothing that it could spend
                if wish.attempt_key not in desk.state.settled:
                    lines.append(report.outside(wish, desk))  # `ready` has marked its blocks
                continue
            for _, pod in look.gated:
                try:
                    await desk.write([Bind(look.uid, plan.attempt, pod)])
                except Refused as refused:
                    logger.warning("the pod %s of %s is not bound: %s", pod, look.key, refused)
                    bound = False
            lines += report.lines_of([wish], [desk])
        for charge in look.outside:
            lines.append(await self._taint(look, charge, plan.attempt))
        return report.running(look, plan, lines, tuple(look.gated) if bound else (), tuple(self._desks))

    # -- when it ends ----------------------------------------------------------------------------------------------

    async def _settle(self, look: Look, plan: Plan) -> None:
        finished = bool((look.raw.get("status") or {}).get("finishedAt"))
        for desk in self._desks.holding(look.uid):
            held = list(desk.held_by(look.uid).values())
            steps = ends.ends(held, plan, look.attempts, pods_alive=look.pods_alive, finished=finished)
            await self._write_ends(desk, steps)

    async def gone(self, key: JobKey, uid: str) -> None:
        """The job is being deleted and nothing of it runs any more. Raises ApiError."""
        self.withdraw(key)
        for desk in self._desks.holding(uid):
            await self._write_ends(desk, ends.gone(desk.held_by(uid).values()))

    async def give_up(self, uid: str, since: datetime | None = None) -> None:
        """An attempt that can not be made keeps nothing from others: what no pod is bound to is given back, where it
        was reserved before ``since`` (None: whenever). Raises ApiError.
        """
        for desk in self._desks.holding(uid):
            unbound = [
                held for held in desk.held_by(uid).values()
                if held.pod is None and (since is None or moment_of(held.time) < since)
            ]  # fmt: skip
            await self._write_ends(desk, ends.gone(unbound))

    async def _write_ends(self, desk: Desk, steps: Sequence[Commit | Release]) -> None:
        if not steps:
            return
        try:
            await self._desks.open(desk.domain)
            await desk.settle(steps)
        except Closed as closed:  # nothing is written to a ledger that may not be the one that was
            logger.warning("a reservation of %s is not settled now: %s", desk.domain, closed)
        except ChainError as error:  # the job's end is told all the same; what it held stays held
            logger.warning("%s", self._desks.broke(desk.domain, error))
        except Refused as refused:
            logger.warning("a reservation of %s is not settled: %s", desk.domain, refused)


def _ran(look: Look) -> set[int]:
    """The attempts of which something ran, as far as anything still says so."""
    status = look.raw.get("status") or {}
    seen = {a.number for a in look.attempts if a.running or a.sealed or (a.finished and a.unsealed is None)}
    return seen | ({int(status.get("attempt") or 1)} if status.get("startedAt") else set())


def _told(look: Look) -> set[tuple[str, int]]:
    """The domains and attempts that were counted, as the status says after the ledger has forgotten their names."""
    lines = (look.raw.get("status") or {}).get("budgets") or ()
    counted = ("Reserved", "Committed", "Released")
    return {(str(line["subjectDomain"]), int(line["attempt"])) for line in lines if line["state"] in counted}
