"""PolicyExceptions in the cluster: their own status, and the record and the count of each use."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mlprivacy.api.names import ANNOTATION_APPROVED_BY, ANNOTATION_REQUESTED_BY
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.audit.client import CollectorError
from mlprivacy.audit.record import Event, Subject, event_id, rfc3339
from mlprivacy.controller import metrics
from mlprivacy.controller.effects import Effects, Superseded
from mlprivacy.controller.receipts import Receipts
from mlprivacy.controller.status import Tri
from mlprivacy.controller.store import JobKey
from mlprivacy.controller.writes import Write
from mlprivacy.kube.client import Object
from mlprivacy.kube.conditions import same_conditions, set_condition, timestamp
from mlprivacy.kube.errors import ApiError, Conflict, NotFound
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import POLICYEXCEPTIONS
from mlprivacy.policy.exceptions import Judged, Terms, judge
from mlprivacy.policy.gather import references
from mlprivacy.policy.model import Decision
from mlprivacy.policy.standing import standing

logger = logging.getLogger(__name__)
EXCEPTION: Final = POLICYEXCEPTIONS.kind
EVENT_KIND: Final = "exception-used"
NOTED_KEPT: Final = 10_000  # uses that are not recorded and counted again; after a restart they are known elsewhere
TRIES: Final = 5
_WAITS: Final = frozenset({Reason.APPROVED, Reason.WAITING_FOR_APPROVAL})


@dataclass
class Exceptions:
    """Says what each exception is worth, and writes down what it was used for."""

    facts: FactStore
    effects: Effects
    receipts: Receipts
    now: Callable[[], datetime]
    noted: OrderedDict[str, None] = field(default_factory=OrderedDict)
    generations: dict[JobKey, int | None] = field(default_factory=dict)  # of jobs that have exceptions, as last heard

    # -- its own status --------------------------------------------------------------------------------------------

    async def reconcile(self, key: JobKey) -> float | None:
        """The Ready and Stalled conditions of one exception; the seconds until they can change by time alone."""
        raw = self.facts.informers[EXCEPTION].get(None, key.name)
        parsed = self.facts.parsed(EXCEPTION, "", key.name)
        if raw is None or parsed is None:
            return None
        now = self.now()
        judged = judge(parsed, now, await self._terms(raw, now))
        await self._tell(raw, judged, now)
        return None if judged.until is None else max(0.05, (judged.until - now).total_seconds() + 0.05)

    def concerned(self, job: JobKey, generation: int | None) -> list[JobKey]:
        """The exceptions to look at since ``job`` changed: its data may lie under other policies now. None when only
        its status did. ``generation`` is None when the job is gone.
        """
        found = [JobKey(EXCEPTION, "", e.name) for e in self.facts.exceptions(*job)]
        if not found or generation is None:
            self.generations.pop(job, None)
        elif self.generations.get(job) == generation:
            return []
        else:
            self.generations[job] = generation
        return found

    async def _terms(self, raw: Object, now: datetime) -> Terms:
        """What the policies allow that hold for the job and its data; without the job, for its namespace."""
        workload: dict[str, str] = (raw.get("spec") or {}).get("workload") or {}
        kind, namespace, name = (str(workload.get(key) or "") for key in ("kind", "namespace", "name"))
        job = self.effects.store.get(JobKey(kind, namespace, name))
        job = job or {"kind": kind, "metadata": {"namespace": namespace, "name": name}}
        asked = references(job)
        owners = {dataset.namespace for dataset in asked.datasets}
        if asked.consent_scope is not None:
            owners.add(asked.consent_scope[0])
        facts = await self.facts.gather(job, now, read_misses=False)
        return standing(namespace, sorted(owners), facts).terms

    async def _tell(self, raw: Object, judged: Judged, now: datetime) -> None:
        generation = int(raw["metadata"].get("generation") or 0)
        before = raw.get("status") or {}
        conditions: Any = before.get("conditions")
        for type_, (status, reason, message) in _conditions(judged).items():
            conditions = set_condition(
                conditions, type_, status, reason, message, observed_generation=generation, now=now
            )
        if same_conditions(before.get("conditions"), conditions) and before.get("observedGeneration") == generation:
            return
        status_now = {"observedGeneration": generation, "conditions": conditions}
        call = self.effects.client.merge_patch_status(POLICYEXCEPTIONS, raw["metadata"]["name"], None, status_now)
        try:
            await self.effects.write(Write.STATUS, call)
        except NotFound:
            return

    # -- what it was used for --------------------------------------------------------------------------------------

    async def record(self, raw: dict[str, Any], decision: Decision, attempt: int) -> None:
        """Hold the collector's receipt for each exception without which this attempt would be refused.

        Raises:
            CollectorError: when one could not be had; then nothing is to be started.
            Superseded: when an exception is gone, so the decision is out of date.
        """
        for name in decision.exceptions:
            event = self._event(name, raw, decision, attempt)
            if event.id not in self.noted:
                await self.receipts.get(event)

    async def count(self, raw: dict[str, Any], decision: Decision, attempt: int) -> bool:
        """Record and count the use by a started attempt, once for each job's uid and attempt.

        False when something is still to be done, later.
        """
        complete = True
        for name in decision.exceptions:
            event = self._event(name, raw, decision, attempt)
            if event.id in self.noted:
                continue
            try:
                await self.receipts.get(event)
                await self._count(name, event.subject.uid, raw["metadata"]["uid"], attempt)
            except (ApiError, CollectorError) as error:
                logger.info("the use of the exception %s is not counted yet: %s", name, error)
                complete = False
                continue
            metrics.EXCEPTION_USES.labels(str(event.data["rule"])).inc()
            self.noted[event.id] = None
            if len(self.noted) > NOTED_KEPT:
                self.noted.popitem(last=False)
        return complete

    def _event(self, name: str, raw: dict[str, Any], decision: Decision, attempt: int) -> Event:
        found = self.facts.informers[EXCEPTION].get(None, name)
        if found is None:
            raise Superseded(f"the exception {name} is gone")
        metadata, spec = found["metadata"], found["spec"]
        annotations = metadata.get("annotations") or {}
        kind, namespace, job, uid = decision.subject
        return Event(
            time=rfc3339(self.now()),
            id=event_id(EVENT_KIND, metadata["uid"], uid, attempt),
            kind=EVENT_KIND,
            subject=Subject(EXCEPTION, "", name, metadata["uid"]),
            data={
                "rule": spec["rule"],
                "ticket": spec.get("ticket"),
                "expiresAt": spec.get("expiresAt"),
                "requestedBy": annotations.get(ANNOTATION_REQUESTED_BY),
                "approvedBy": annotations.get(ANNOTATION_APPROVED_BY),
                "job": {"kind": kind, "namespace": namespace, "name": job, "uid": raw["metadata"]["uid"]},
                "attempt": attempt,
                "decision": decision.digest,
            },
        )

    async def _count(self, name: str, uid: str, job_uid: str, attempt: int) -> None:
        """One more use, unless the newest one counted is of this attempt or a later one of the same job.

        Raises:
            ApiError: when it could not be written.
        """
        for _ in range(TRIES):
            try:
                live = await self.effects.client.get(POLICYEXCEPTIONS, name)
            except NotFound:
                return
            status = live.get("status") or {}
            last = status.get("lastUsed") or {}
            if live["metadata"]["uid"] != uid:
                return
            if last.get("jobUID") == job_uid and int(last.get("attempt") or 0) >= attempt:
                return
            use = {"jobUID": job_uid, "attempt": attempt, "time": timestamp(self.now())}
            call = self.effects.client.merge_patch_status(
                POLICYEXCEPTIONS,
                name,
                None,
                {"uses": int(status.get("uses") or 0) + 1, "lastUsed": use},
                resource_version=live["metadata"]["resourceVersion"],
            )
            try:
                await self.effects.write(Write.STATUS, call)
            except Conflict:
                continue
            return
        raise Conflict(409, "Conflict", f"{EXCEPTION} {name} is written to all the time")


def jobs_of(old: Object | None, new: Object | None) -> set[JobKey]:
    """The job that a changed exception is for, and no other: also one that rested on none until now."""
    workloads = [one["spec"]["workload"] for one in (old, new) if one is not None]
    return {JobKey(w["kind"], w["namespace"], w["name"]) for w in workloads}


def _conditions(judged: Judged) -> dict[ConditionType, Tri]:
    sentence = judged.sentence[:1].upper() + judged.sentence[1:] + "."
    stalled: Tri = (
        ("False", Reason.PROGRESSING, "nothing is wrong with it")
        if judged.reason in _WAITS
        else ("True", judged.reason, sentence)
    )
    return {
        ConditionType.READY: ("True" if judged.in_force else "False", judged.reason, sentence),
        ConditionType.STALLED: stalled,
    }
