"""One reconcile per job: look, decide, plan, act, report. Handlers only say which job to look at."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from mlprivacy.api import names
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.controller import metrics, observe
from mlprivacy.controller.budgets.gate import Gate
from mlprivacy.controller.budgets.look import Look, Passed
from mlprivacy.controller.causes import TIME, Causes
from mlprivacy.controller.children import Children, pod_as_kept
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.controller.effects import Effects, Superseded, owner_uids
from mlprivacy.controller.exceptions import Exceptions
from mlprivacy.controller.kueue.queueing import Queueing
from mlprivacy.controller.plan import Plan, Seen, Step, plan_inference, plan_training
from mlprivacy.controller.report import Reporter
from mlprivacy.controller.reports import Reports
from mlprivacy.controller.sealing import SEAL_REASONS
from mlprivacy.controller.status import Outcome
from mlprivacy.controller.store import DependencyIndex, JobKey, JobStore
from mlprivacy.controller.surround import Surrounder
from mlprivacy.controller.teardown import clear, teardown
from mlprivacy.controller.writes import Write
from mlprivacy.kube.conditions import get_condition, timestamp
from mlprivacy.kube.errors import Conflict, Forbidden, NotFound, TooManyRequests
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import JOBS
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Decision, Dependency
from mlprivacy.policy.modes import ceiling_of

logger = logging.getLogger(__name__)
SOON_SECONDS = 0.1  # somebody was faster, or something of ours is on its way
AGAIN_SECONDS = 2.0  # until the next try where something outside is awaited
STALLED_SECONDS = 30.0  # where people have to change something that no watch tells of
UNSTARTED_SECONDS = 300.0  # how long an attempt that can not be made keeps what is reserved for it
FAR_SECONDS = 3600.0  # timers are kept short; a later moment is met by looking again


@dataclass
class Reconciler:
    """Everything a reconcile needs. One per process; keys are never reconciled twice at once."""

    config: ControllerConfig
    facts: FactStore
    store: JobStore
    index: DependencyIndex
    children: Children
    effects: Effects
    reporter: Reporter
    surrounder: Surrounder
    now: Callable[[], datetime]
    hears: observe.Hears
    exceptions: Exceptions
    gate: Gate
    queueing: Queueing
    causes: Causes = field(default_factory=Causes)
    until: dict[JobKey, datetime] = field(default_factory=dict)  # when the last decision could change by time alone
    reports: Reports | None = None

    async def job(self, key: JobKey) -> float | None:
        """Reconcile one job; the seconds until it wants another look, or None.

        Raises:
            ApiError: what is worth another try, later.
        """
        raw = self.store.get(key)
        if raw is None:
            self._forget(key)
            return None
        began = time.perf_counter()
        try:
            if "deletionTimestamp" in raw["metadata"]:
                self.facts.forget(key)
                return await teardown(self.effects, key, raw, self.gate.gone)
            return await self._decided(key, raw)
        except (Conflict, Superseded) as lost:
            logger.debug("%s is judged anew: %s", key, lost)
            return SOON_SECONDS  # the next look has the newer version
        finally:
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - began)

    def _forget(self, key: JobKey) -> None:
        self.index.drop(key)
        self.facts.forget(key)
        self.gate.withdraw(key)
        self.until.pop(key, None)
        self.causes.settle(key, self.causes.of(key))
        self.surrounder.stamps.drop(key)
        if self.reports is not None:
            self.reports.forget(key)

    async def _decided(self, key: JobKey, raw: dict[str, Any]) -> float | None:
        now = self.now()
        due = self.until.get(key)
        if due is not None and now >= due:
            self.causes.note([key], Dependency(TIME, "", timestamp(due)))
        changes, version = self.causes.of(key), self.facts.version
        facts = await self.facts.gather(raw, now, read_misses=False)
        decision = evaluate(raw, facts)
        if rooms := await self.gate.rooms(raw, decision, facts):
            decision = evaluate(raw, replace(facts, rooms=rooms))
        # Where custom rules were asked for, time has passed: a change meanwhile found nothing of this in the index yet.
        stale = self.facts.version != version
        self._remember(key, decision)
        metrics.DECISIONS.labels(decision.verdict.value).inc()
        passed = await self._plan(key, raw, decision, now)
        plan = passed.plan
        await self._replace(key, raw, plan.seen)
        for name, pod in passed.let_go:
            await self.effects.let_go(key.namespace, name, pod)
        outcome = await self._act(key, raw, decision, passed)
        if plan.step is Step.START and outcome.controls is not None and outcome.controls[0] != "True":
            since = None if outcome.stalled else now - timedelta(seconds=UNSTARTED_SECONDS)
            await self.gate.give_up(raw["metadata"]["uid"], since)
        complete = await self.reporter.report(key, raw, decision, outcome)
        if self.reports is not None:
            governed = ceiling_of(facts.namespaces.get(key.namespace)) is not None
            await self.reports.report(key, raw, decision, governed=governed)
        complete = await self.queueing.settle(key, raw, decision, plan, outcome) and complete
        self.reporter.silence(raw, plan)
        self.reporter.budget(raw, passed.condition)
        complete = await self.reporter.seal(raw, plan) and complete
        if plan.step in (Step.START, Step.KEEP) and outcome.started_at is not None:
            complete = await self.exceptions.count(raw, decision, plan.attempt) and complete
        if outcome.finished_at:
            self.surrounder.stamps.drop(key)
        self.causes.settle(key, changes)
        return SOON_SECONDS if stale else _next_look(decision, plan, outcome, now, complete=complete)

    def _remember(self, key: JobKey, decision: Decision) -> None:
        """What the decision rests on, and until when: the reasons to look again."""
        self.index.put(key, decision.dependencies)
        if decision.valid_until is None:
            self.until.pop(key, None)
        else:
            self.until[key] = decision.valid_until

    async def _plan(self, key: JobKey, raw: dict[str, Any], decision: Decision, now: datetime) -> Passed:
        """The next step, and what the privacy budget makes of it."""
        uid, spec = raw["metadata"]["uid"], raw.get("spec") or {}
        suspend = spec.get("suspend") is True
        if key.kind == "InferenceJob":
            replicas = spec.get("replicas", 1)
            seen = observe.deployment(self.children, key, uid, self.hears)
            plan = plan_inference(decision, seen, suspend=suspend, replicas=replicas if replicas == 0 else 1)
            return Passed(plan)
        attempts = await self._attempts(key, raw)
        pods_alive = observe.pods_alive(self.children, key, uid)
        plan = plan_training(
            raw.get("status") or {},
            decision,
            attempts,
            suspend=suspend,
            pods_alive=pods_alive,
            ttl_seconds=self._ttl(spec, decision),
            controls_left=bool(self.children.of("NetworkPolicy", key, uid)),
            now=now,
            seal_retry=timedelta(seconds=self.config.seal_retry_seconds),
        )
        gated = observe.gated(self.children, key, uid, plan.attempt)
        look = Look(key, raw, decision, attempts, gated, pods_alive)
        asked = await self.gate.ready(look, plan)
        plan = await self.queueing.gate(key, raw, decision, asked)
        if asked.step is Step.START and plan.step is not Step.START:
            return self.gate.queued(look, plan)
        return await self.gate.before(look, plan)

    async def _attempts(self, key: JobKey, raw: dict[str, Any]) -> list[Seen]:
        """The attempts as the watches show them. Of one that failed the pod is read live: its watch may be behind that
        of its Job, and whether anything of the user's ran decides whether the job is over.
        """
        uid = raw["metadata"]["uid"]
        found = observe.attempts(self.children, key, uid, self.hears)
        newest = max(found, key=lambda a: a.number, default=None)
        ended = (raw.get("status") or {}).get("finishedAt")
        if newest is None or newest.finished != "Failed" or newest.unsealed is not None or ended:
            return found
        pods = [pod_as_kept(p) for p in await self.effects.all_pods_of(key.namespace, uid)]
        return [observe.with_seal(newest, pods) if a is newest else a for a in found]

    def _ttl(self, spec: dict[str, Any], decision: Decision) -> int | None:
        wanted = [
            spec.get("ttlSecondsAfterFinished"),
            decision.obligations.ttl_seconds,
            self.config.default_ttl_seconds,
        ]
        known = [t for t in wanted if isinstance(t, int)]
        return min(known) if known else None

    # -- acting ----------------------------------------------------------------------------------------------------

    async def _act(self, key: JobKey, raw: dict[str, Any], decision: Decision, passed: Passed) -> Outcome:
        before, plan = raw.get("status") or {}, passed.plan
        outcome = Outcome(
            phase=plan.phase,
            reason=plan.reason,
            message=plan.message,
            attempt=plan.attempt,
            controls=_controls_before(before),
            started_at=before.get("startedAt"),
            finished_at=before.get("finishedAt"),
            receipt=before.get("receipt"),
            rendered=tuple((r["kind"], r["name"]) for r in before.get("rendered") or []),
            simulated=self.config.simulated_nodes,
            stalled=plan.reason in SEAL_REASONS or plan.stalled,
            queue=plan.queue,
            budget=passed.condition,
            budgets=passed.budgets,
        )
        match plan.step:
            case Step.START:
                return await self.surrounder.start(key, raw, decision, plan, outcome)
            case Step.KEEP:
                return await self.surrounder.keep(key, raw, decision, plan, outcome)
            case Step.STOP if plan.seen:
                kind = "Job" if key.kind == "TrainingJob" else "Deployment"
                await self.effects.stop(kind, plan.seen.name, key.namespace)
                note = f"{kind} {plan.seen.name} was stopped: {plan.message or plan.reason}"
                self.reporter.announcer.say(raw, "Warning", "Suspended", note)
            case Step.END if plan.seen:
                return await self._end(key, raw, decision, plan, outcome)
            case Step.CONFIRM_LOST:
                return await self._confirm_lost(key, raw, decision, plan, outcome)
            case Step.HOLD:
                return replace(outcome, started_at=None)
            case Step.FINISH if plan.seen:
                return self._finish(plan, outcome)
            case Step.EXPIRE:
                if await clear(self.effects, key, raw["metadata"]["uid"]):
                    return replace(outcome, rendered=())
            case _:
                pass
        return outcome

    async def _replace(self, key: JobKey, raw: dict[str, Any], seen: Seen | None) -> None:
        """End each pod whose gateway was started anew: meanwhile its program may have taken the port of the clients.
        Where a PodDisruptionBudget holds such a pod, all of them go; the next look starts them again.
        """
        for name, uid in seen.restarted if seen is not None else ():
            if self.reporter.once(f"gateway-restarted/{uid}"):
                metrics.GATEWAY_RESTARTS.inc()
                note = f"the gateway of the pod {name} was started anew, so the pod is replaced"
                self.reporter.announcer.say(raw, "Warning", "GatewayRestarted", note)
            try:
                await self.effects.evict(key.namespace, name, uid)
            except (TooManyRequests, Forbidden) as refused:
                logger.warning("the pod %s/%s is not let go (%s): all replicas are", key.namespace, name, refused)
                if seen is not None:
                    await self.effects.stop("Deployment", seen.name, key.namespace)

    async def _end(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome) -> Outcome:
        """Delete a stopped attempt. The next one is claimed first: an attempt that goes must not look lost."""
        ending = replace(outcome, started_at=None)
        await self.reporter.report(key, raw, decision, ending, step=Write.CLAIM)
        if plan.seen is not None:
            metadata = {"name": plan.seen.name, "namespace": key.namespace, "uid": plan.seen.uid}
            job = {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "metadata": metadata}
            await self.effects.delete(Write.END_ATTEMPT, job)
        return ending

    async def _confirm_lost(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome
    ) -> Outcome:
        """The watch may lag, or labels were taken off: only a live read tells that the Job was deleted by others."""
        name = f"{names.OBJECT_PREFIX}{key.name}-{plan.attempt}"
        try:
            job = await self.effects.client.get(JOBS, name, key.namespace)
        except NotFound:
            job = None
        if job is not None and raw["metadata"]["uid"] in owner_uids(job):
            await self.surrounder.relabel(key, raw, decision, plan.attempt)
            raise Superseded(f"the Job {name} is there after all")
        message = f"the Job {name} of the attempt was deleted by others, so the attempt is lost"
        self.reporter.announcer.say(raw, "Warning", "AttemptLost", message)
        return replace(outcome, message=message, finished_at=timestamp(self.now()))

    def _finish(self, plan: Plan, outcome: Outcome) -> Outcome:
        ended = plan.seen.finished_at if plan.seen and plan.seen.finished_at else timestamp(self.now())
        return replace(outcome, finished_at=ended, started_at=outcome.started_at or ended)


def _next_look(decision: Decision, plan: Plan, outcome: Outcome, now: datetime, *, complete: bool) -> float | None:
    """Seconds until something may have changed that no watch tells of."""
    waits = [plan.again] if plan.again is not None else []
    if decision.valid_until is not None:
        waits.append(max(1.0, (decision.valid_until - now).total_seconds() + 0.05))
    if plan.step in (Step.START, Step.KEEP) and (outcome.controls is None or outcome.controls[0] == "False"):
        waits.append(STALLED_SECONDS if outcome.stalled else AGAIN_SECONDS)
    if plan.step in (Step.END, Step.STOP, Step.EXPIRE, Step.FINISH):
        waits.append(0.5)
    if not complete:
        waits.append(5 * AGAIN_SECONDS)
    return max(0.05, min(*waits, FAR_SECONDS)) if waits else None


def _controls_before(status: dict[str, Any]) -> Any:
    found = get_condition(status.get("conditions"), ConditionType.CONTROLS_READY)
    if found is None or found["status"] != "True":
        return None
    return found["status"], Reason(found["reason"]), found["message"]
