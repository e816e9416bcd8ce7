"""The gate in front of an attempt: a job with a queue's name starts when Kueue admits it, and stops when it is evicted.

What is next is decided in `turns.py`; here it is done, beside the reconcile of the job, so that one job's look and its
Workload's never run at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mlprivacy.api import names
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.controller import metrics
from mlprivacy.controller.announce import Announcer
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.kueue import statuses, turns
from mlprivacy.controller.kueue import workload as w
from mlprivacy.controller.kueue.asks import Asks
from mlprivacy.controller.kueue.check import pending, state_for
from mlprivacy.controller.kueue.checkstatus import write_check
from mlprivacy.controller.kueue.served import Served
from mlprivacy.controller.kueue.turns import Do, Turn
from mlprivacy.controller.kueue.workload import Priority, Queued, Wanted
from mlprivacy.controller.plan import Phase, Plan, QueueCondition, Step
from mlprivacy.controller.status import Outcome
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.conditions import get_condition
from mlprivacy.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from mlprivacy.policy.model import Decision, Verdict

logger = logging.getLogger(__name__)
AGAIN_SECONDS = 5.0  # until what Kueue or the API server refused is tried again
SOON_SECONDS = 0.5
CHARGED_SECONDS = 30.0  # until a queued job is decided on again whose budget others may use up meanwhile


@dataclass
class Queueing:
    """What a reconcile of a TrainingJob does about its queue.

    Attributes:
        served: Kueue's objects.
        client: writes them.
        asks: whom the check asks for privacy budget.
        template: the rendered pod template of an attempt.
        alive: whether a pod of the job may still run.
        announcer: tells Events.
        once: whether something was not told before.
        now: the time.
    """

    served: Served
    client: KubeClient
    asks: Asks
    template: Callable[[JobKey, dict[str, Any], Decision, int], Object]
    alive: Callable[[JobKey, str], bool]
    announcer: Announcer
    once: Callable[[str], bool]
    now: Callable[[], datetime]

    # -- before and while it runs ----------------------------------------------------------------------------------

    async def gate(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan) -> Plan:
        """The plan, held back while Kueue has not admitted the attempt, and stopped where it evicted it.

        Never raises on what the API server says of Kueue's objects, but on a lost race.

        Raises:
            Conflict: when something changed meanwhile; a look at the newer version follows.
        """
        if key.kind != "TrainingJob":
            return plan
        plan = replace(plan, queue=_told(raw))
        if plan.step is Step.START:
            return await self._before_start(key, raw, decision, plan)
        if plan.step is Step.KEEP and self.served.synced:
            why = turns.while_it_runs(self._found(key, raw), queued=_through_the_queue(plan.queue))
            if why is not None:
                return replace(
                    plan, step=Step.STOP, phase=Phase.STOPPED, reason=Reason.EVICTED, message=why, again=None,
                    queue=("True", Reason.EVICTED, why),
                )  # fmt: skip
        return plan

    async def _before_start(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan) -> Plan:
        queue = w.label_of(raw, w.QUEUE_LABEL)
        if not queue:
            await self._leave(key, raw)
            return replace(plan, queue=None)
        if self.served.absent:
            return self._ignored(raw, plan)
        if not self.served.synced:
            return _held(plan, Turn(Do.WAIT, f"it can not be queued yet: {self.served.problem}", again=1.0))
        try:
            template = self.template(key, raw, decision, plan.attempt)
        except Exception:
            logger.exception("%s can not be rendered, so it is not queued; its start says why", key)
            return plan
        wanted = Wanted(
            job=key.name, namespace=key.namespace, uid=raw["metadata"]["uid"], queue=queue, attempt=plan.attempt,
            digest=decision.digest, pod_sets=w.pod_sets_of(template),
            priority_class=w.label_of(raw, w.PRIORITY_LABEL),
        )  # fmt: skip
        turn = turns.before_start(wanted, self._found(key, raw), self.served.ours)
        answer = await self.asks.ask(key, raw, decision, plan.attempt) if turn.do is Do.ASK else None
        try:
            turn = await self._take(raw, wanted, turn, answer)
        except Conflict:
            raise
        except ApiError as error:
            logger.warning("%s: its Workload: %s", key, error)
            turn = Turn(Do.WAIT, f"the API server refuses something about its Workload: {error}", again=AGAIN_SECONDS)
        if turn.do is Do.GO:
            return replace(plan, queue=("False", Reason.ADMITTED, turn.message))
        if decision.charges and turn.again is None:
            turn = replace(turn, again=CHARGED_SECONDS)
        return _held(plan, turn)

    def _ignored(self, raw: dict[str, Any], plan: Plan) -> Plan:
        note = (
            f"the label {w.QUEUE_LABEL} is ignored, since this cluster does not serve {w.GROUP} or the chart's value "
            "kueue.enabled is false"
        )
        if self.once(f"queue-ignored/{raw['metadata']['uid']}"):
            self.announcer.say(raw, "Warning", Reason.QUEUE_NOT_SERVED.value, note)
        return replace(plan, queue=("False", Reason.QUEUE_NOT_SERVED, note))

    async def _take(self, raw: dict[str, Any], wanted: Wanted, turn: Turn, answer: Answer | None) -> Turn:
        """Do what is next; what the job waits for then. ``answer`` is that of the budget where it was asked."""
        one = turn.workload
        match turn.do:
            case Do.CREATE:
                return await self._create(raw, wanted)
            case Do.REMOVE if one is not None:
                await self._remove(one)
            case Do.RENUMBER if one is not None:
                patch = {
                    "metadata": {
                        "resourceVersion": one.version,
                        "labels": {names.LABEL_ATTEMPT: str(wanted.attempt)},
                    }
                }
                await self.client.merge_patch(self.served.resource("Workload"), one.name, patch, one.namespace)
            case Do.RELEASE if one is not None:
                await self._status(one, lambda whole: statuses.released(whole, self.now()))
            case Do.ASK if one is not None and answer is not None:
                return await self._answer(one, answer)
            case _:
                return turn
        message = turn.message or f"its Workload {one.name if one else wanted.name} is being prepared"
        return Turn(Do.WAIT, message, workload=one, again=SOON_SECONDS)

    async def _create(self, raw: dict[str, Any], wanted: Wanted) -> Turn:
        priority = None
        if wanted.priority_class:
            try:
                found = await self.client.get(self.served.resource("WorkloadPriorityClass"), wanted.priority_class)
            except NotFound:
                return Turn(
                    Do.WAIT, f"the WorkloadPriorityClass {wanted.priority_class} does not exist; make it, or change "
                    f"the label {w.PRIORITY_LABEL}", again=AGAIN_SECONDS,
                )  # fmt: skip
            priority = Priority(wanted.priority_class, int(found["value"]))
        made = w.build(wanted, self.served.version, priority)
        try:
            await self.client.create(self.served.resource("Workload"), made)
        except AlreadyExists:
            there = w.read(await self.client.get(self.served.resource("Workload"), wanted.name, wanted.namespace))
            if there.owner != (wanted.job, wanted.uid):
                sentence = f"the Workload {wanted.name} is not this job's; delete it, and the job queues"
                return Turn(Do.WAIT, sentence, again=AGAIN_SECONDS)
        else:
            self.announcer.say(raw, "Normal", "Queued", f"Workload {wanted.name} was made in the queue {wanted.queue}")
        return Turn(Do.WAIT, f"it waits for quota in the queue {wanted.queue} as Workload {wanted.name}")

    async def _answer(self, one: Queued, answer: Answer) -> Turn:
        """Tell Kueue what the budget answers."""
        state = state_for(answer)
        for check in pending(one, self.served.ours):
            if not state.is_told(check):
                resource = self.served.resource("Workload")
                await write_check(self.client, resource, one, check.name, state, self.now())
                metrics.ADMISSION_CHECKS.labels(state.state).inc()
                break  # the next one is written on the version that comes of this
        again = max(SOON_SECONDS, answer.again or 1.0) if state.state == "Pending" else None
        message = f"its Workload {one.name} has quota, and its check is {state.state}: {answer.message}"
        return Turn(Do.WAIT, message, answer.reason if state.state != "Ready" else Reason.QUEUED, one, again)

    # -- afterwards ------------------------------------------------------------------------------------------------

    async def settle(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome) -> bool:
        """Bring the Workloads in line with what became of the job; False when that is to be tried again.

        Raises:
            Conflict: when something changed meanwhile.
        """
        if key.kind != "TrainingJob" or not self.served.synced:
            return True
        try:
            for one in self._found(key, raw):
                if not one.finished and not one.deleting:
                    await self._settle(key, raw, decision, plan, outcome, one)
        except (Conflict, NotFound):
            return False
        except ApiError as error:
            logger.warning("%s: its Workload is not brought up to date yet: %s", key, error)
            return False
        return True

    async def _settle(
        self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan, outcome: Outcome, one: Queued
    ) -> None:
        if outcome.finished_at is not None:
            reason = "Succeeded" if outcome.phase is Phase.SUCCEEDED else "Failed"
            message = outcome.message or "the attempt ended"
            await self._status(one, lambda whole: statuses.finished(whole, reason, message, self.now()))
        elif plan.step is Step.HOLD and plan.seen is not None and one.attempt <= plan.seen.number:
            message = outcome.message or "the attempt was not sealed, and nothing of it ran"
            await self._status(one, lambda whole: statuses.finished(whole, "Failed", message, self.now()))
        elif plan.step is Step.KEEP and plan.seen is not None and plan.seen.running and one.admitted:
            if not one.is_true(w.PODS_READY):
                await self._status(one, lambda whole: statuses.pods_ready(whole, self.now()))
        elif plan.step is Step.REST and self._rests(key, raw, decision, plan):
            await self._remove(one)

    def _rests(self, key: JobKey, raw: dict[str, Any], decision: Decision, plan: Plan) -> bool:
        """Whether it is not to run, and nothing of it does: then it stands in no queue."""
        unwanted = decision.verdict is not Verdict.ALLOW or (raw.get("spec") or {}).get("suspend") is True
        return unwanted and (plan.seen is None or plan.seen.suspended) and not self.alive(key, raw["metadata"]["uid"])

    async def _leave(self, key: JobKey, raw: dict[str, Any]) -> None:
        """A job without a queue's name stands in no queue."""
        if not self.served.synced:
            return
        try:
            for one in self._found(key, raw):
                if not one.finished and not one.deleting:
                    await self._remove(one)
        except ApiError as error:
            logger.info("%s: its Workload is not removed: %s", key, error)

    # -- Workloads -------------------------------------------------------------------------------------------------

    def _found(self, key: JobKey, raw: dict[str, Any]) -> list[Queued]:
        return turns.of_job(self.served.of_job(key), key.name, raw["metadata"]["uid"])

    async def _remove(self, one: Queued) -> None:
        resource = self.served.resource("Workload")
        await self.client.delete(resource, one.name, one.namespace, uid=one.uid, missing_ok=True)

    async def _status(self, one: Queued, change: Callable[[Object], dict[str, Any] | None]) -> None:
        """Change the status of a Workload as it is now, not as a watch shows it."""
        resource = self.served.resource("Workload")
        whole = await self.client.get(resource, one.name, one.namespace)
        status = change(whole) if whole["metadata"]["uid"] == one.uid else None
        if status is not None:
            version = whole["metadata"]["resourceVersion"]
            await self.client.merge_patch_status(resource, one.name, one.namespace, status, resource_version=version)


def _told(raw: dict[str, Any]) -> QueueCondition | None:
    """The condition Queued as it is."""
    found = get_condition((raw.get("status") or {}).get("conditions"), ConditionType.QUEUED)
    if found is None:
        return None
    try:
        reason = Reason(found["reason"])
    except ValueError:  # a later version's
        return None
    return found["status"], reason, str(found.get("message") or "")


def _through_the_queue(queue: QueueCondition | None) -> bool:
    """Whether what runs was started through the queue. A job that names one later goes on until its next attempt."""
    return queue is not None and queue[1] in (Reason.ADMITTED, Reason.EVICTED)


def _held(plan: Plan, turn: Turn) -> Plan:
    """The plan of a job that waits. One that was not sealed goes on saying so: the next pause is reckoned from that."""
    queue: QueueCondition = ("True", turn.reason, turn.message)
    if plan.phase is Phase.UNSEALED:
        return replace(plan, step=Step.REST, again=turn.again, queue=queue)
    reason = Reason.DEACTIVATED if turn.reason is Reason.DEACTIVATED else Reason.QUEUED
    return replace(
        plan, step=Step.REST, phase=Phase.STARTING, reason=reason, message=turn.message, again=turn.again,
        queue=queue, stalled=turn.stalled,
    )  # fmt: skip
