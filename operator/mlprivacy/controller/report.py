"""What a reconcile found out, told: the receipt of a new decision, the status, an Event."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mlprivacy.api import names
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.audit.client import CollectorError
from mlprivacy.audit.record import Event, Subject, event_id, rfc3339
from mlprivacy.controller import metrics
from mlprivacy.controller.announce import Announcer
from mlprivacy.controller.causes import Causes, as_status, sentence
from mlprivacy.controller.effects import Effects, Superseded
from mlprivacy.controller.plan import Phase, Plan, Step
from mlprivacy.controller.receipts import Receipts
from mlprivacy.controller.sealing import SEAL_REASONS, told
from mlprivacy.controller.status import Outcome, Tri, changed, job_status, shown_findings
from mlprivacy.controller.store import JobKey
from mlprivacy.controller.writes import Write
from mlprivacy.controls.render import Rendered
from mlprivacy.kube.conditions import get_condition
from mlprivacy.policy.model import Decision, Verdict

logger = logging.getLogger(__name__)
NOTED_KEPT = 10_000  # records that are not sent again; after a restart they are, and the collector knows them


@dataclass
class Reporter:
    """Writes status only where it changes, and only on the version of the job that was judged."""

    effects: Effects
    receipts: Receipts
    announcer: Announcer
    now: Callable[[], datetime]
    causes: Causes = field(default_factory=Causes)
    noted: OrderedDict[str, None] = field(default_factory=OrderedDict)

    async def report(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, outcome: Outcome, step: Write = Write.STATUS
    ) -> bool:
        """Write the status when it changes; False when a receipt is still to be had.

        Raises:
            Conflict: when somebody wrote to the job meanwhile.
            Superseded: when the job that was judged is gone, or was edited.
        """
        current = self._same(key, raw)
        before = current.get("status") or {}
        last = before.get("decision") or {}
        changed_by = self._changed_by(current, decision)
        status = job_status(current, decision, outcome, self.now(), changed_by)
        shown = status["decision"]["findings"]
        new = last.get("findings", []) != shown or last.get("verdict") != decision.verdict
        complete = True
        if decision.verdict is not Verdict.ALLOW and (new or not before.get("receipt")):
            try:
                status["receipt"] = await self.receipt(current, decision, outcome.attempt, None)
            except CollectorError as error:
                # Nothing runs, so the person is told without waiting; the receipt is fetched at the next look.
                logger.info("no receipt for the decision on %s yet: %s", key, error)
                status["receipt"] = None
                complete = False
        if changed(current, status):
            await self.effects.status(key, self._same(key, raw), status, step)
            if new:
                self._announce(current, decision, sentence(changed_by))
        return complete

    def _changed_by(self, raw: dict[str, Any], decision: Decision) -> list[dict[str, Any]]:
        """What changed before the decision became what it is; nothing where the job itself was made or changed."""
        status = raw.get("status") or {}
        last = status.get("decision")
        if not last:
            return []
        if last.get("findings", []) == shown_findings(decision) and last.get("verdict") == decision.verdict:
            return list(last.get("changedBy") or ())
        if status.get("observedGeneration") != int(raw["metadata"].get("generation") or 0):
            return []
        kind, namespace, name, _ = decision.subject
        return as_status(self.causes.of(JobKey(kind, namespace, name)))

    async def receipt(self, raw: dict[str, Any], decision: Decision, attempt: int, rendered: Rendered | None) -> str:
        """The collector's fsynced receipt for this decision on this attempt.

        Raises:
            CollectorError: when it could not be had.
        """
        kind, namespace, name, uid = decision.subject
        generation = int(raw["metadata"].get("generation") or 0)
        what = "render" if rendered else "decision"
        objects = (*rendered.controls, rendered.workload) if rendered else ()
        event = Event(
            time=rfc3339(self.now()),
            id=event_id(what, uid, generation, decision.record_digest, attempt),
            kind=what,
            subject=Subject(kind, namespace, name, uid),
            data={
                "decision": decision.as_dict(),
                "attempt": attempt,
                "generation": generation,
                "requestedBy": (raw["metadata"].get("annotations") or {}).get(names.ANNOTATION_REQUESTED_BY),
                "objects": [f"{o['kind']}/{o['metadata']['name']}" for o in objects],
                "changedBy": self._changed_by(raw, decision),
            },
        )
        receipt = await self.receipts.get(event)
        self.effects.config.after_write(Write.RECEIPT)
        return f"{receipt.writer}/{receipt.seq}/{receipt.hash[:16]}"

    async def seal(self, raw: dict[str, Any], plan: Plan) -> bool:
        """Say, count and record that a pod did not get past its seal; say that one did after all. ``raw`` is the job
        before this was reported. False when the record is still to be had.
        """
        before, seen = told((raw.get("status") or {}).get("conditions")), plan.seen
        if seen is None:
            return True
        if plan.reason not in SEAL_REASONS:
            if before is not None and seen.sealed:
                self.announcer.say(raw, "Normal", "Sealed", f"a pod of {seen.name} was sealed; the job goes on")
            return True
        training = raw["kind"] == "TrainingJob"
        if seen.unsealed is None or (training and plan.step not in (Step.HOLD, Step.END)):
            return True  # nothing new, or its Job has not ended yet
        if training:
            new = int((raw.get("status") or {}).get("attempt") or 0) < plan.attempt
        else:
            new = before is None or before.reason is not plan.reason
        if new:
            metrics.UNSEALED.labels(raw["kind"], plan.reason.value).inc()
            self.announcer.say(raw, "Warning", plan.reason.value, plan.message)
        metadata, lost = raw["metadata"], seen.unsealed
        event = Event(
            time=rfc3339(self.now()),
            id=event_id("unsealed", metadata["uid"], seen.number, lost.pod, lost.code),
            kind="unsealed",
            subject=Subject(raw["kind"], metadata["namespace"], metadata["name"], metadata["uid"]),
            data={
                "attempt": seen.number,
                "pod": lost.pod,
                "reason": lost.reason.value,
                "exitCode": lost.code,
                "message": lost.sentence,
            },
        )
        return await self._note(event)

    def budget(self, raw: dict[str, Any], told: Tri | None) -> None:
        """Say what became of a job's privacy budget, once for each change. ``raw`` is the job before."""
        before = get_condition((raw.get("status") or {}).get("conditions"), ConditionType.BUDGET_RESERVED) or {}
        if told is None or (before.get("status"), before.get("reason")) == told[:2]:
            return
        _, reason, message = told
        if reason in (Reason.NO_BUDGET_NEEDED, Reason.WAITING_FOR_BUDGET):
            return  # nothing that people would look for
        good = reason is Reason.BUDGET_HELD
        self.announcer.say(raw, "Normal" if good else "Warning", reason.value, message)

    def silence(self, raw: dict[str, Any], plan: Plan) -> None:
        """Say that a sidecar is not heard, or is heard again. ``raw`` is the job before this was reported."""
        conditions = (raw.get("status") or {}).get("conditions")
        before = get_condition(conditions, ConditionType.RUNNING) or {}
        was = before.get("status") == "True" and before.get("reason") == Reason.SIDECAR_SILENT
        if plan.phase is Phase.RUNNING and was != (plan.reason is Reason.SIDECAR_SILENT):
            if was:
                self.announcer.say(raw, "Normal", "SidecarHeard", "the collector hears the sidecar again")
            else:
                metrics.SILENT.labels(raw["kind"]).inc()
                self.announcer.say(raw, "Warning", plan.reason.value, plan.message)

    async def _note(self, event: Event) -> bool:
        """Record something that nothing waits for; False when the receipt is still to be had."""
        if event.id in self.noted:
            return True
        try:
            await self.receipts.get(event)
        except CollectorError as error:
            logger.info("no receipt for the record %r on %s yet: %s", event.kind, event.subject.name, error)
            return False
        return self.once(event.id)

    def once(self, what: str) -> bool:
        """Whether ``what`` was not noted before; notes it."""
        if what in self.noted:
            return False
        self.noted[what] = None
        if len(self.noted) > NOTED_KEPT:
            self.noted.popitem(last=False)
        return True

    def _same(self, key: JobKey, raw: dict[str, Any]) -> dict[str, Any]:
        """The newest version of the job that was judged."""
        current = self.effects.store.get(key)
        if current is None:
            raise Superseded(f"{key} is gone")
        then, now = raw["metadata"], current["metadata"]
        edited = then.get("generation") != now.get("generation")
        if then["uid"] != now["uid"] or edited or "deletionTimestamp" in now:
            raise Superseded(f"{key} was edited, deleted or made anew meanwhile")
        return current

    def _announce(self, raw: dict[str, Any], decision: Decision, cause: str) -> None:
        worst = (decision.blocking or decision.warnings)[:1]
        note = worst[0].sentence() if worst else "the decision allows the job"
        reason = {Verdict.ALLOW: "Accepted", Verdict.DENY: "Refused", Verdict.HOLD: "Held"}[decision.verdict]
        said = f"{cause}: {note}" if cause else note
        self.announcer.say(raw, "Normal" if decision.verdict is Verdict.ALLOW else "Warning", reason, said)
