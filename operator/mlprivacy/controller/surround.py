"""Starts and keeps what runs: controls, read back; dry-run; receipt; claim; the workload last. Repairs what drifted."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from mlprivacy.api import names
from mlprivacy.api.reasons import Reason
from mlprivacy.audit.client import CollectorError
from mlprivacy.controller import metrics
from mlprivacy.controller.children import Children
from mlprivacy.controller.drift import Stamps
from mlprivacy.controller.effects import ControlMissing, Effects, NameTaken, Superseded, namespace_ends
from mlprivacy.controller.exceptions import Exceptions
from mlprivacy.controller.plan import Phase, Plan
from mlprivacy.controller.report import Reporter
from mlprivacy.controller.status import Outcome
from mlprivacy.controller.store import JobKey
from mlprivacy.controller.writes import Write
from mlprivacy.controls.foreign import REMEDY, opening
from mlprivacy.controls.render import Rendered, render
from mlprivacy.kube.client import Object
from mlprivacy.kube.conditions import timestamp
from mlprivacy.kube.errors import ApiError, Conflict, Forbidden, Invalid, TooManyRequests, Unreachable
from mlprivacy.policy.engine import parse_job
from mlprivacy.policy.model import Decision
from mlprivacy.workloads.context import RenderContext, RenderSettings

logger = logging.getLogger(__name__)

IN_PLACE = "every control was made and read back, and the receipt is held"


@dataclass
class Surrounder:
    """The steps START and KEEP."""

    settings: RenderSettings
    children: Children
    effects: Effects
    reporter: Reporter
    exceptions: Exceptions
    stamps: Stamps = field(default_factory=Stamps)

    async def start(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome
    ) -> Outcome:
        """Make what the decision asks for. When that fails, what runs under an older decision is stopped:
        else a job could be kept at laxer terms by a template that can not be rendered.

        Raises:
            ApiError: what is worth another try and tells nothing about the job.
            Superseded: when the job changed meanwhile; nothing was started then.
        """
        try:
            result = await self._start(key, raw, decision, plan, outcome)
        except (Conflict, Superseded, Unreachable, TooManyRequests):
            raise
        except ApiError as error:
            result = _rejected(outcome, error)
        except Exception:
            logger.exception("%s could not be rendered: a fault of ours", key)
            result = _pending(outcome, "the operator can not render it; its log says why")
        if result.controls is None or result.controls[0] != "True":
            await self._stop_superseded(key, raw, decision, plan)
        return result

    async def _stop_superseded(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan) -> None:
        seen = plan.seen
        if key.kind != "InferenceJob" or seen is None or seen.suspended or seen.digest == decision.digest:
            return
        await self.effects.stop("Deployment", seen.name, key.namespace)
        sentence = (
            f"Deployment {seen.name} was stopped: it ran under an older decision, and this one can not be rendered"
        )
        self.reporter.announcer.say(raw, "Warning", "Suspended", sentence)

    async def _start(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome
    ) -> Outcome:
        """Make the controls, hold the receipt, claim the attempt, then make the workload."""
        # Whatever comes of it, this attempt has not started: a start that is left over would make it look lost.
        outcome = replace(outcome, started_at=None, finished_at=None, controls=None, rendered=())
        if plan.attempt > 1 and await self.effects.pods_of(key.namespace, raw["metadata"]["uid"]) and not plan.seen:
            return replace(outcome, message=outcome.message or "pods of the last attempt are ending")
        rendered = render(self._context(key, raw, decision, plan.attempt))
        await self._hold(key, raw)
        made, problem = await self._controls(rendered)
        problem = problem or await self._opened(key, decision, rendered)
        if problem is not None:
            return _pending(outcome, problem)
        try:
            # After the controls: the pod names the account that was just made.
            await self.effects.dry_run(rendered.workload, rendered.pod)
        except (Invalid, Forbidden) as error:
            return _pending(outcome, str(error)) if namespace_ends(error) else _rejected(outcome, error)
        try:
            receipt = await self.reporter.receipt(raw, decision, plan.attempt, rendered)
            await self.exceptions.record(raw, decision, plan.attempt)
        except CollectorError as error:
            return _no_receipt(outcome, error)
        ready = replace(
            outcome,
            receipt=receipt,
            rendered=tuple((o["kind"], o["metadata"]["name"]) for o in (*rendered.controls, rendered.workload)),
            controls=("True", Reason.CONTROLS_IN_PLACE, IN_PLACE),
        )
        await self.reporter.report(key, raw, decision, ready, step=Write.CLAIM)
        try:
            workload = await self.effects.workload(rendered.workload)
        except (Invalid, Forbidden) as error:
            return _pending(ready, str(error)) if namespace_ends(error) else _rejected(ready, error)
        except NameTaken as error:
            return _pending(ready, str(error))
        self._stamp(key, made, workload)
        metrics.ATTEMPTS.labels(key.kind).inc()
        note = f"{workload['kind']} {workload['metadata']['name']} was created under its controls"
        self.reporter.announcer.say(raw, "Normal", "Started", note)
        return replace(ready, started_at=timestamp(self.reporter.now()))

    async def keep(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome) -> Outcome:
        """Repair what others changed or removed. What can not be repaired stops the workload.

        Raises:
            ApiError: what is worth another try.
        """
        uid = raw["metadata"]["uid"]
        drifted = self.stamps.drifted(key, uid, self.children)
        whole = outcome.controls is not None and outcome.started_at is not None and outcome.receipt is not None
        held = names.FINALIZER in (raw["metadata"].get("finalizers") or [])
        if self.stamps.known(key) and not drifted and whole and held:
            return outcome
        rendered = render(self._context(key, raw, decision, plan.attempt))
        await self._hold(key, raw)
        made, problem = await self._controls(rendered)
        if problem is not None and plan.seen:
            await self.effects.stop(rendered.workload["kind"], plan.seen.name, key.namespace)
            sentence = f"stopped, since a control can not be restored: {problem}"
            self.reporter.announcer.say(raw, "Warning", "Suspended", sentence)
            return replace(
                outcome, phase=Phase.STOPPED, reason=Reason.CONTROLS_DRIFTED, message=sentence,
                controls=("False", Reason.CONTROLS_DRIFTED, sentence),
            )  # fmt: skip
        if key.kind == "TrainingJob":
            workload = await self.effects.restore_job(rendered.workload)
        else:
            workload = await self.effects.workload(rendered.workload)
        self._stamp(key, made, workload)
        if drifted:
            metrics.DRIFT.inc(len(drifted))
            note = f"repaired: {', '.join(sorted(drifted))}"
            self.reporter.announcer.say(raw, "Warning", "ControlsDrifted", note)
        receipt = outcome.receipt
        if receipt is None:
            try:
                receipt = await self.reporter.receipt(raw, decision, plan.attempt, rendered)
            except CollectorError as error:
                return _no_receipt(outcome, error)
        return replace(
            outcome,
            receipt=receipt,
            rendered=tuple((o["kind"], o["metadata"]["name"]) for o in (*rendered.controls, rendered.workload)),
            controls=("True", Reason.CONTROLS_IN_PLACE, IN_PLACE),
            started_at=outcome.started_at or timestamp(self.reporter.now()),
        )

    def template(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> Object:
        """The pod template of an attempt, as it would be started.

        Raises:
            ValueError: for a job that can not be read.
        """
        rendered: Object = render(self._context(key, raw, decision, attempt)).workload["spec"]["template"]
        return rendered

    async def relabel(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> None:
        """Put a Job's metadata back: without its labels no watch of ours shows it."""
        await self.effects.restore_job(render(self._context(key, raw, decision, attempt)).workload)
        metrics.DRIFT.inc()

    async def _hold(self, key: JobKey, raw: dict[str, Any]) -> None:
        """Our finalizer, before anything is rendered that would have to be taken down."""
        if names.FINALIZER not in (raw["metadata"].get("finalizers") or []):
            await self.effects.finalizers(key, raw, hold=True)

    async def _controls(self, rendered: Rendered) -> tuple[list[Object], str | None]:
        """The controls as stored, and why one of them is not."""
        made: list[Object] = []
        for obj in rendered.controls:
            try:
                made.append(await self.effects.control(obj, known=self.children.shows(obj)))
            except ControlMissing as error:
                return made, str(error)
            except (Invalid, Forbidden) as error:
                return made, f"{obj['kind']} {obj['metadata']['name']}: {error}"
        return made, None

    async def _opened(self, key: JobKey, decision: Decision, rendered: Rendered) -> str | None:
        """Which NetworkPolicy, made before the namespace was governed, would open the job's pods; None if none does."""
        if decision.mode != "Enforce":
            return None
        labels = rendered.workload["spec"]["template"]["metadata"]["labels"]
        own = [o["metadata"]["name"] for o in rendered.controls if o["kind"] == "NetworkPolicy"]
        found = opening(await self.effects.policies_in(key.namespace), labels, own)
        if not found:
            return None
        return f"the NetworkPolicy {key.namespace}/{found[0]} would open what is closed around the job; {REMEDY}"

    def _stamp(self, key: JobKey, made: list[Object], workload: Object | None) -> None:
        own = [o for o in made if names.LABEL_FLOOR not in (o["metadata"].get("labels") or {})]
        self.stamps.put(key, [*own, *([workload] if workload else [])])

    def _context(self, key: JobKey, raw: dict[str, Any], decision: Decision, attempt: int) -> RenderContext:
        kind, job = parse_job(raw)
        if job.spec is None:
            raise ValueError(f"{key} was allowed although its spec can not be read")
        return RenderContext(
            kind=kind, name=key.name, namespace=key.namespace, uid=raw["metadata"]["uid"], spec=job.spec,
            decision=decision, attempt=attempt, settings=self.settings,
        )  # fmt: skip


def _anew(outcome: Outcome) -> Outcome:
    """What keeps an attempt from being made is told instead of how the last one was not sealed."""
    if outcome.phase is not Phase.UNSEALED:
        return outcome
    return replace(outcome, phase=Phase.STARTING, reason=Reason.PROGRESSING, stalled=False)


def _pending(outcome: Outcome, problem: str) -> Outcome:
    sentence = f"a control is not in place, so nothing is started: {problem}"
    return replace(_anew(outcome), message=sentence, controls=("False", Reason.CONTROLS_PENDING, sentence))


def _no_receipt(outcome: Outcome, error: CollectorError) -> Outcome:
    sentence = f"no receipt from the collector, so nothing is started: {error}"
    return replace(
        _anew(outcome), reason=Reason.AUDIT_UNAVAILABLE, message=sentence,
        controls=("False", Reason.AUDIT_UNAVAILABLE, sentence),
    )  # fmt: skip


def _rejected(outcome: Outcome, error: ApiError) -> Outcome:
    sentence = f"the API server refuses what is rendered from the template: {error}"
    return replace(
        _anew(outcome), reason=Reason.TEMPLATE_REJECTED, message=sentence, stalled=True,
        controls=("False", Reason.TEMPLATE_REJECTED, sentence),
    )  # fmt: skip
