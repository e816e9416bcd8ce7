"""One reconcile per job: look, decide, plan, act, report. Handlers only say which job to look at."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mlprivacy.api import names
from mlprivacy.api.reasons import Reason
from mlprivacy.audit.client import CollectorError
from mlprivacy.audit.record import Event, Subject, event_id, rfc3339
from mlprivacy.controller import metrics, observe
from mlprivacy.controller.children import Children
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.controller.drift import Stamps
from mlprivacy.controller.effects import ControlMissing, Effects
from mlprivacy.controller.plan import Phase, Plan, Step, plan_inference, plan_training
from mlprivacy.controller.receipts import Receipts
from mlprivacy.controller.status import Outcome, changed, job_status
from mlprivacy.controller.store import DependencyIndex, JobKey, JobStore
from mlprivacy.controller.teardown import expire, teardown
from mlprivacy.controller.writes import Write
from mlprivacy.controls.render import Rendered, render
from mlprivacy.kube.conditions import timestamp
from mlprivacy.kube.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from mlprivacy.kube.events import EventRecorder
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import JOBS
from mlprivacy.policy.engine import evaluate, parse_job
from mlprivacy.policy.model import Decision, Verdict
from mlprivacy.workloads.context import RenderContext, RenderSettings

logger = logging.getLogger(__name__)
AGAIN_SECONDS = 2.0  # until the next try where something outside is awaited
FAR_SECONDS = 3600.0  # timers are kept short; a later moment is met by looking again


@dataclass
class Reconciler:
    """Everything a reconcile needs. One per process; keys are never reconciled twice at once."""

    config: ControllerConfig
    settings: RenderSettings
    facts: FactStore
    store: JobStore
    index: DependencyIndex
    children: Children
    effects: Effects
    receipts: Receipts
    events: EventRecorder
    now: Callable[[], datetime]
    stamps: Stamps = field(default_factory=Stamps)

    async def job(self, key: JobKey) -> float | None:
        """Reconcile one job; the seconds until it wants another look, or None."""
        raw = self.store.get(key)
        if raw is None:
            self._forget(key)
            return None
        began = time.perf_counter()
        try:
            if "deletionTimestamp" in raw["metadata"]:
                return await teardown(self.effects, self.children, key, raw)
            return await self._decided(key, raw)
        except Conflict:
            return AGAIN_SECONDS / 4  # somebody was faster; the next look has the newer version
        finally:
            metrics.RECONCILE_SECONDS.labels(key.kind).observe(time.perf_counter() - began)

    def _forget(self, key: JobKey) -> None:
        self.index.drop(key)
        self.stamps.drop(key)

    async def _decided(self, key: JobKey, raw: dict[str, Any]) -> float | None:
        now = self.now()
        decision = evaluate(raw, await self.facts.gather(raw, now, read_misses=False))
        self.index.put(key, decision.dependencies)
        metrics.DECISIONS.labels(decision.verdict.value).inc()
        plan = self._plan(key, raw, decision, now)
        outcome = await self._act(key, raw, decision, plan)
        await self._report(key, raw, decision, outcome)
        return self._next_look(decision, plan, outcome, now)

    def _plan(self, key: JobKey, raw: dict[str, Any], decision: Decision, now: datetime) -> Plan:
        uid, spec = raw["metadata"]["uid"], raw.get("spec") or {}
        suspend = spec.get("suspend") is True
        if key.kind == "InferenceJob":
            return plan_inference(decision, observe.deployment(self.children, key, uid), suspend=suspend)
        return plan_training(
            raw.get("status") or {},
            decision,
            observe.attempts(self.children, key, uid),
            suspend=suspend,
            pods_alive=observe.pods_alive(self.children, key, uid),
            ttl_seconds=self._ttl(spec, decision),
            controls_left=bool(self.children.of("NetworkPolicy", key, uid)),
            now=now,
        )

    def _ttl(self, spec: dict[str, Any], decision: Decision) -> int | None:
        wanted = [
            spec.get("ttlSecondsAfterFinished"),
            decision.obligations.ttl_seconds,
            self.config.default_ttl_seconds,
        ]
        known = [t for t in wanted if isinstance(t, int)]
        return min(known) if known else None

    # -- acting ----------------------------------------------------------------------------------------------------

    async def _act(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan) -> Outcome:
        before = raw.get("status") or {}
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
        )
        match plan.step:
            case Step.START | Step.KEEP:
                return await self._surround(key, raw, decision, plan, outcome)
            case Step.STOP if plan.seen:
                kind = "Job" if key.kind == "TrainingJob" else "Deployment"
                await self.effects.stop(kind, plan.seen.name, key.namespace)
                await self.events.publish(
                    raw, "Warning", "Suspended", f"{kind} {plan.seen.name} was stopped: {plan.reason}"
                )
            case Step.END if plan.seen:
                # Status first: it must say Suspended before the Job is gone, else the attempt would look lost.
                await self._report(key, raw, decision, outcome)
                job = _named(key, plan.seen.name, plan.seen.uid)
                await self.effects.delete(Write.END_ATTEMPT, job)
                return replace(outcome, message=plan.message or "the stopped attempt is being deleted")
            case Step.CONFIRM_LOST:
                return await self._confirm_lost(key, raw, plan, outcome)
            case Step.FINISH if plan.seen:
                return self._finish(key, raw, plan, outcome)
            case Step.EXPIRE:
                await expire(self.effects, self.children, key, raw)
                return replace(outcome, rendered=())
            case _:
                pass
        return outcome if plan.attempt else replace(outcome, controls=None)

    async def _surround(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome
    ) -> Outcome:
        """Make the controls, hold the receipt, then make the workload; or repair what drifted of them."""
        uid = raw["metadata"]["uid"]
        drifted: list[str] = []
        if plan.step is Step.KEEP:
            seal = observe.seal_failure(self.children, key, uid)
            if seal is not None:
                return replace(outcome, phase=Phase.FAILED, reason=Reason.SEAL_NOT_ENFORCED, message=seal, stalled=True)
            drifted = self.stamps.drifted(key, uid, self.children)
            if self.stamps.known(key) and not drifted and outcome.started_at:
                return outcome
        rendered = render(self._context(key, raw, decision, plan.attempt))
        try:
            if plan.step is Step.START and names.FINALIZER not in (raw["metadata"].get("finalizers") or []):
                await self.effects.finalizers(key, raw, hold=True)
            made = [await self.effects.control(obj) for obj in rendered.controls]
            if plan.step is Step.START:
                # After the controls: the pod names the account that was just made.
                await self.effects.dry_run(rendered.workload, rendered.pod)
        except (Invalid, Forbidden) as error:
            return _rejected(outcome, error)
        except ControlMissing as error:
            return replace(outcome, controls=("False", Reason.CONTROLS_PENDING, str(error)))
        try:
            receipt = await self._receipt(raw, decision, plan.attempt, rendered)
        except CollectorError as error:
            sentence = f"no receipt from the collector, so nothing is started: {error}"
            return replace(
                outcome, reason=Reason.AUDIT_UNAVAILABLE, message=sentence,
                controls=("False", Reason.AUDIT_UNAVAILABLE, sentence),
            )  # fmt: skip
        ready = replace(
            outcome,
            receipt=receipt,
            rendered=tuple((o["kind"], o["metadata"]["name"]) for o in (*rendered.controls, rendered.workload)),
            controls=(
                "True",
                Reason.CONTROLS_IN_PLACE,
                "every control was made and read back, and the receipt is held",
            ),
        )
        return await self._workload(key, raw, decision, plan, ready, rendered, made, drifted)

    async def _workload(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome,
        rendered: Rendered, made: list[dict[str, Any]], drifted: list[str],
    ) -> Outcome:  # fmt: skip
        training = key.kind == "TrainingJob"
        if plan.step is Step.START:
            claimed = replace(outcome, started_at=None)
            await self._report(key, raw, decision, claimed, step=Write.CLAIM)
        workload = None
        try:
            if plan.step is Step.START or not training:
                workload = await self.effects.workload(rendered.workload)
        except (Invalid, Forbidden) as error:
            return _rejected(outcome, error)
        if workload is None and plan.seen:
            workload = await self._restored_job(key, plan, rendered)
        stamped = [o for o in made if names.LABEL_FLOOR not in (o["metadata"].get("labels") or {})]
        self.stamps.put(key, [*stamped, *([workload] if workload else [])])
        if plan.step is Step.START:
            await self.events.publish(
                raw, "Normal", "Started", f"{rendered.workload['kind']} {rendered.workload['metadata']['name']} was "
                "created under its controls",
            )  # fmt: skip
        elif drifted:
            metrics.DRIFT.inc(len(drifted))
            await self.events.publish(raw, "Warning", "ControlsDrifted", f"repaired: {', '.join(sorted(drifted))}")
        return replace(outcome, started_at=outcome.started_at or timestamp(self.now()))

    async def _restored_job(self, key: JobKey, plan: Plan, rendered: Rendered) -> dict[str, Any] | None:
        """The labels, annotations and owner of a running Job as rendered; its pod template can not change."""
        if plan.seen is None:
            return None
        metadata = rendered.workload["metadata"]
        patch = {"metadata": {k: metadata[k] for k in ("labels", "annotations", "ownerReferences")}}
        try:
            return await self.effects.write(
                Write.WORKLOAD, self.effects.client.merge_patch(JOBS, plan.seen.name, patch, key.namespace)
            )
        except NotFound:
            return None

    async def _confirm_lost(self, key: JobKey, raw: dict[str, Any], plan: Plan, outcome: Outcome) -> Outcome:
        """The watch may lag: only a live read tells that an attempt's Job was deleted by others."""
        name = f"{names.OBJECT_PREFIX}{key.name}-{plan.attempt}"
        try:
            await self.effects.client.get(JOBS, name, key.namespace)
        except NotFound:
            message = f"the Job {name} of the attempt was deleted by others, so the attempt is lost"
            await self.events.publish(raw, "Warning", "AttemptLost", message)
            return replace(outcome, message=message, finished_at=timestamp(self.now()))
        return replace(outcome, phase=Phase.STARTING, reason=Reason.PROGRESSING)

    def _finish(self, key: JobKey, raw: dict[str, Any], plan: Plan, outcome: Outcome) -> Outcome:
        seal = observe.seal_failure(self.children, key, raw["metadata"]["uid"])
        reason, message = (Reason.SEAL_NOT_ENFORCED, seal) if seal else (plan.reason, plan.message)
        seen = plan.seen
        ended = seen.finished_at if seen and seen.finished_at else timestamp(self.now())
        return replace(outcome, reason=reason, message=message, finished_at=ended,
                       started_at=outcome.started_at or ended)  # fmt: skip

    def _context(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> RenderContext:
        kind, job = parse_job(raw)
        if job.spec is None:
            raise ValueError(f"{key} was allowed although its spec can not be read")
        return RenderContext(
            kind=kind, name=key.name, namespace=key.namespace, uid=raw["metadata"]["uid"], spec=job.spec,
            decision=decision, attempt=attempt, settings=self.settings,
        )  # fmt: skip

    async def _receipt(self, raw: dict[str, Any], decision: Decision, attempt: int, rendered: Rendered | None) -> str:
        """The collector's fsynced receipt for this decision on this attempt."""
        kind, namespace, name, uid = decision.subject
        generation = int(raw["metadata"].get("generation") or 0)
        made = (
            [f"{o['kind']}/{o['metadata']['name']}" for o in (*rendered.controls, rendered.workload)]
            if rendered
            else []
        )
        event = Event(
            time=rfc3339(self.now()),
            id=event_id("render" if rendered else "decision", uid, generation, decision.record_digest, attempt),
            kind="render" if rendered else "decision",
            subject=Subject(kind, namespace, name, uid),
            data={
                "decision": decision.as_dict(),
                "attempt": attempt,
                "generation": generation,
                "requestedBy": (raw["metadata"].get("annotations") or {}).get(names.ANNOTATION_REQUESTED_BY),
                "objects": made,
            },
        )
        receipt = await self.receipts.get(event)
        self.config.after_write(Write.RECEIPT)
        return f"{receipt.writer}/{receipt.seq}/{receipt.hash[:16]}"

    # -- reporting -------------------------------------------------------------------------------------------------

    async def _report(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, outcome: Outcome, step: Write = Write.STATUS
    ) -> None:
        """Write the status when it changes, with a receipt for a decision that is new."""
        current = self.store.get(key) or raw
        before = (current.get("status") or {}).get("decision") or {}
        status = job_status(current, decision, outcome, self.now())
        new = before.get("findings", []) != status["decision"]["findings"] or before.get("verdict") != decision.verdict
        if new and decision.verdict is not Verdict.ALLOW:
            try:
                status["receipt"] = await self._receipt(current, decision, outcome.attempt, None)
            except CollectorError as error:
                # Nothing runs, so the person is told without waiting; the receipt is fetched at the next look.
                logger.warning("no receipt for the decision on %s: %s", key, error)
                status["receipt"] = None
        if not changed(current, status):
            return
        await self.effects.status(key, status, step)
        if new:
            await self._announce(current, decision)

    async def _announce(self, raw: dict[str, Any], decision: Decision) -> None:
        worst = (decision.blocking or decision.warnings)[:1]
        note = worst[0].sentence() if worst else "the decision allows the job"
        reason = {Verdict.ALLOW: "Accepted", Verdict.DENY: "Refused", Verdict.HOLD: "Held"}[decision.verdict]
        await self.events.publish(raw, "Normal" if decision.verdict is Verdict.ALLOW else "Warning", reason, note)

    def _next_look(self, decision: Decision, plan: Plan, outcome: Outcome, now: datetime) -> float | None:
        waits = [plan.again] if plan.again is not None else []
        if decision.valid_until is not None:
            waits.append((decision.valid_until - now).total_seconds() + 0.05)
        if outcome.controls and outcome.controls[0] == "False" and plan.step in (Step.START, Step.KEEP):
            waits.append(30.0 if outcome.stalled else AGAIN_SECONDS)
        if plan.step in (Step.END, Step.CONFIRM_LOST, Step.STOP, Step.EXPIRE, Step.FINISH):
            waits.append(0.5)
        return max(0.05, min(*waits, FAR_SECONDS)) if waits else None


def _controls_before(status: dict[str, Any]) -> Any:
    found = next((c for c in status.get("conditions") or [] if c.get("type") == "ControlsReady"), None)
    if found is None or found["status"] != "True":
        return None
    return found["status"], Reason(found["reason"]), found["message"]


def _rejected(outcome: Outcome, error: ApiError) -> Outcome:
    sentence = f"the API server refuses what is rendered from the template: {error}"
    return replace(
        outcome, reason=Reason.TEMPLATE_REJECTED, message=sentence, stalled=True,
        controls=("False", Reason.TEMPLATE_REJECTED, sentence),
    )  # fmt: skip


def _named(key: JobKey, name: str, uid: str) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": key.namespace, "uid": uid}
    }  # fmt: skip
