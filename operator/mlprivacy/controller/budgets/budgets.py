"""A PrivacyBudget in the cluster: what it asks for goes into the ledger, what the ledger says goes into its status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from mlprivacy.api.base import Parsed
from mlprivacy.api.privacy_budget import KIND, PrivacyBudgetSpec
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.budget.ledger.errors import ChainError, Refused
from mlprivacy.budget.ledger.promise import Next, budget_errors, next_promise
from mlprivacy.budget.ledger.state import State
from mlprivacy.budget.ledger.summary import guarantee_holds, status_of
from mlprivacy.budget.ledger.transitions import Retire, Transition
from mlprivacy.controller.announce import Announcer
from mlprivacy.controller.budgets import metrics
from mlprivacy.controller.budgets.blocks import block_steps
from mlprivacy.controller.budgets.desk import Desk, InForce
from mlprivacy.controller.budgets.desks import Closed, Desks
from mlprivacy.controller.budgets.gauges import observe
from mlprivacy.controller.budgets.recovery import Restored
from mlprivacy.controller.budgets.restoration import restored_note
from mlprivacy.controller.budgets.sources import Registrations
from mlprivacy.controller.effects import Effects
from mlprivacy.controller.status import Tri
from mlprivacy.controller.store import JobKey
from mlprivacy.controller.writes import Write
from mlprivacy.kube.client import Object
from mlprivacy.kube.conditions import same_conditions, set_condition
from mlprivacy.kube.errors import NotFound
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import PRIVACYBUDGETS
from mlprivacy.policy.domains import effective
from mlprivacy.policy.durations import parse_time

logger = logging.getLogger(__name__)
AT_ONCE: Final = 16  # steps of one entry
TICK: Final = 5.0  # seconds between looks while jobs wait for time to unlock something, or to run out
HOUR: Final = 3600.0
TAINTS_SAID: Final = 10  # newest ones, as many as a status holds


class Budgets:
    """Reconciles PrivacyBudgets."""

    def __init__(
        self,
        facts: FactStore,
        effects: Effects,
        desks: Desks,
        registrations: Registrations,
        now: Callable[[], datetime],
        again: Callable[[str], None],
        announcer: Announcer,
    ) -> None:
        """``again`` is told a budget whose promise or blocks changed, so that what was refused is looked at anew."""
        self._facts = facts
        self._effects = effects
        self._desks = desks
        self._registrations = registrations
        self._now = now
        self._again = again
        self._announcer = announcer
        self._domains: dict[str, str] = {}  # by name, as last seen

    def named(self, domain: str) -> list[JobKey]:
        """The budgets of a domain."""
        return [JobKey(KIND.kind, "", name) for name, own in self._domains.items() if own == domain]

    def of_identities(self, identities: Collection[str]) -> list[str]:
        """Names of the budgets that list one of these identities."""
        return [b.name for b in self._all() if b.spec is not None and not set(b.spec.identities).isdisjoint(identities)]

    def say_restored(self, done: Restored) -> None:
        """Say on the budgets of the domain that entries of its ledger were written again."""
        for budget in self._all():
            if budget.spec is not None and budget.spec.subject_domain == done.subject_domain:
                self._announcer.say(budget.raw, "Warning", Reason.LEDGER_RESTORED.value, restored_note(done))

    async def reconcile(self, key: JobKey) -> float | None:
        """One budget; the seconds until the next look, or None.

        Raises:
            ApiError: the ledger can not be read or written now.
        """
        raw = self._facts.informers[KIND.kind].get(None, key.name)
        parsed = self._facts.parsed(KIND.kind, "", key.name)
        before = self._domains.get(key.name)
        spec = parsed.spec if parsed is not None else None
        if before is not None and (spec is None or spec.subject_domain != before):
            self._domains.pop(key.name, None)
            self._speaks(before)
        if raw is None or parsed is None or "deletionTimestamp" in raw["metadata"]:
            return None
        if spec is None:
            text = " ".join(f"{e.path} {e.message}." for e in parsed.errors[:4])
            await self._tell(raw, _unreadable(text), {})
            return None
        self._domains[key.name] = spec.subject_domain
        return await self._served(raw, parsed, spec)

    async def _served(self, raw: Object, parsed: Parsed[PrivacyBudgetSpec], spec: PrivacyBudgetSpec) -> float | None:
        domain = spec.subject_domain
        first = self._speaks(domain)
        if first is None or first.name != parsed.name:
            why = effective(self._all()).idle.get(parsed.name, f"it is not the one that counts for {domain}")
            await self._tell(raw, _taken(f"{why}, and was there first; this one has no effect. Delete it"), {})
            return None
        try:
            desk = await self._desks.open(domain)
            waits = await self._keep(desk, raw, spec)
            await desk.decide()
        except (Closed, ChainError) as error:
            closed = error if isinstance(error, Closed) else self._desks.broke(domain, error)
            await self._tell(raw, _closed(closed), {})
            metrics.observe_ledger(domain, healthy=not closed.broken)
            return None if closed.broken else TICK
        summary = {**status_of(desk.state), "waiting": len(desk.waiting_jobs)}
        await self._tell(raw, _conditions(desk.state, waits), summary)
        self._say(raw, desk.state)
        observe(desk, self._desks.behind(domain), waits=waits is not None)
        timed = spec.scheduling.timeout or (spec.scheduling.unlocking and spec.scheduling.unlocking.lifetime)
        return TICK if desk.waiting and timed else HOUR

    def _speaks(self, domain: str) -> Parsed[PrivacyBudgetSpec] | None:
        """The budget that speaks for the domain, as decisions have it. The desk is told."""
        first = effective(self._all()).in_force.get(domain)
        if first is None or first.spec is None:
            self._desks.of(domain).in_force(None)
            metrics.forget(domain)
        else:
            self._desks.of(domain).in_force(InForce(first.name, first.spec, _made(first)))
        return first

    def _all(self) -> Iterator[Parsed[PrivacyBudgetSpec]]:
        for _, name in self._facts.informers[KIND.kind].keys(None):
            parsed = self._facts.parsed(KIND.kind, "", name)
            if parsed is not None and "deletionTimestamp" not in parsed.raw.get("metadata", {}):
                yield parsed

    async def _keep(self, desk: Desk, raw: Object, spec: PrivacyBudgetSpec) -> str | None:
        """Write what the budget asks of the ledger; why a promise waits, or a step is refused, or None."""
        annotations = raw["metadata"].get("annotations") or {}
        following = next_promise(spec, annotations, desk.state.promise)
        said = following.waits
        steps = list(self._steps(desk.state, spec, following))
        for start in range(0, len(steps), AT_ONCE):
            try:
                await desk.write(steps[start : start + AT_ONCE])
            except Refused as refused:
                said = said or str(refused)
        if desk.state.promise is None:
            return said
        units = max(self._registrations.units(spec.identities), default=None)
        said = said or next((f"{error.path}: {error.sentence}" for error in budget_errors(spec, units)), None)
        later, wrong = block_steps(desk.state, spec, _time(raw), self._now())
        said = said or wrong
        try:
            for start in range(0, len(later), AT_ONCE):
                await desk.write(later[start : start + AT_ONCE])
        except Refused as error:
            said = said or str(error)
        else:
            if following.promise is not None or any(isinstance(step, Retire) for step in later):
                self._again(raw["metadata"]["name"])
        return said

    def _steps(self, state: State, spec: PrivacyBudgetSpec, following: Next) -> Iterator[Transition]:
        if following.promise is not None:
            yield following.promise
        if following.promise is not None or state.promise is not None:
            for one in self._registrations.of_identities(spec.identities):
                sources = state.identities.get(one.identity)
                if sources is None or (one.source is not None and one.source not in sources):
                    yield one

    def _say(self, raw: Object, state: State) -> None:
        """Say of each new use outside accounting. Those of before are in the status already."""
        told = {str(taint.get("entry")) for taint in (raw.get("status") or {}).get("taints") or ()}
        for mark in list(state.taints.values())[-TAINTS_SAID:]:
            entry = state.name_of(mark.sequence)
            if entry not in told and (raw.get("status") or {}).get("head"):
                blocks = f"{mark.blocks} block{'' if mark.blocks == 1 else 's'}"
                note = f"{mark.job} used {blocks} without being counted ({mark.reason}); see {entry}"
                self._announcer.say(raw, "Warning", Reason.TAINTED.value, note)

    async def _tell(self, raw: Object, found: dict[ConditionType, Tri], summary: dict[str, Any]) -> None:
        generation = int(raw["metadata"].get("generation") or 0)
        before = raw.get("status") or {}
        conditions: Any = before.get("conditions")
        for type_, (status, reason, message) in found.items():
            conditions = set_condition(
                conditions, type_, status, reason, message, observed_generation=generation, now=self._now()
            )
        now = {"observedGeneration": generation, "conditions": conditions, **summary}
        same = all(before.get(key) == value for key, value in now.items() if key != "conditions")
        if same and same_conditions(before.get("conditions"), conditions):
            return
        patch = {**now, **without(before, {**before, **now})}
        call = self._effects.client.merge_patch_status(PRIVACYBUDGETS, raw["metadata"]["name"], None, patch)
        try:
            await self._effects.write(Write.STATUS, call)
        except NotFound:
            return


def without(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a merge patch has to say so that members of objects go that were there before and are not any more."""
    found: dict[str, Any] = {}
    for key, value in now.items():
        was = before.get(key)
        if isinstance(value, Mapping) and isinstance(was, Mapping) and (gone := was.keys() - value.keys()):
            found[key] = {**value, **dict.fromkeys(gone)}
    return found


def _conditions(state: State, waits: str | None) -> dict[ConditionType, Tri]:
    ready: Tri
    if state.promise is None:
        ready = ("False", Reason.PROMISE_WAITS, waits or "nothing is promised yet")
    else:
        promise = state.promise
        text = f"every block is held to epsilon {promise.epsilon}, delta {promise.delta} ({promise.unit})"
        ready = ("True", Reason.PROMISE_KEPT, text)
    stalled: Tri = ("False", Reason.PROGRESSING, "nothing for people to do")
    if waits is not None:
        stalled = ("True", Reason.PROMISE_WAITS, waits)
    holds = guarantee_holds(state)
    taints = list(state.taints.values())
    last = taints[-1] if taints else None
    text = "no block was used outside accounting"
    if last is not None:
        text = f"data of blocks was used outside accounting, last by {last.job} ({last.reason}); they say so for good"
    elif not holds:
        text = "data of blocks was used outside accounting; they say so for good"
    return {
        ConditionType.ACCEPTED: ("True", Reason.ALLOWED, "the spec can be read"),
        ConditionType.READY: ready,
        ConditionType.STALLED: stalled,
        ConditionType.GUARANTEE_HOLDS: (
            ("True", Reason.PROMISE_KEPT, text) if holds else ("False", Reason.TAINTED, text)
        ),
    }


def _refused(reason: Reason, text: str) -> dict[ConditionType, Tri]:
    return {
        ConditionType.ACCEPTED: ("False", reason, text),
        ConditionType.READY: ("False", reason, text),
        ConditionType.STALLED: ("True", reason, text),
    }


def _unreadable(text: str) -> dict[ConditionType, Tri]:
    return _refused(Reason.INVALID_SPEC, text)


def _taken(text: str) -> dict[ConditionType, Tri]:
    return _refused(Reason.DOMAIN_TAKEN, text)


def _closed(why: Closed) -> dict[ConditionType, Tri]:
    reason = Reason.LEDGER_BROKEN if why.broken else Reason.LEDGER_UNAVAILABLE
    text = f"nothing of it is granted: {why}"
    return {
        ConditionType.ACCEPTED: ("True", Reason.ALLOWED, "the spec can be read"),
        ConditionType.READY: ("False", reason, text),
        ConditionType.STALLED: ("True", reason, text)
        if why.broken
        else ("False", Reason.PROGRESSING, "it is looked at again by itself"),
    }


def _made(budget: Parsed[PrivacyBudgetSpec]) -> datetime:
    return _time(budget.raw)


def _time(raw: Any) -> datetime:
    return parse_time(str(raw["metadata"].get("creationTimestamp")))
