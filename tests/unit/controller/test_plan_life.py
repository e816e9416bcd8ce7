"""Whole lives of a TrainingJob under the planner: users change their minds, others delete, the controller dies.

The model carries out each step as the reconciler does, write by write, and may be killed after any of them.
Whatever happens, no attempt is made twice, no two attempts run at once, and a job that may run comes to run.
"""

import contextlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from builders import NOW, decide, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.plan import Phase, Plan, Seen, Step, plan_training
from mlprivacy.controller.sealing import LONGEST_PAUSE, SEAL_REASONS, Unsealed
from mlprivacy.kube.conditions import set_condition, timestamp

ALLOWED = decide(training_job())
EDITED = decide(training_job(activeDeadlineSeconds=77))
REFUSED = decide(training_job(purpose="marketing"))
STEPS_TO_SETTLE = 12


class Killed(Exception):
    """The controller died after a write."""


@dataclass
class Life:
    """The cluster's side of one job."""

    decision = ALLOWED
    suspend: bool = False
    status: dict = field(default_factory=dict)
    jobs: dict[int, Seen] = field(default_factory=dict)
    made: list[int] = field(default_factory=list)
    deleted_by_others: bool = False
    now: datetime = NOW

    def plan(self) -> Plan:
        return plan_training(
            self.status, self.decision, list(self.jobs.values()), suspend=self.suspend, pods_alive=False,
            ttl_seconds=None, controls_left=True, now=self.now,
        )  # fmt: skip

    def reconcile(self, writes_before_death: int | None = None) -> Plan:
        plan = self.plan()
        for count, write in enumerate(self._writes(plan)):
            if count == writes_before_death:
                raise Killed
            write()
        return plan

    def _writes(self, plan: Plan):
        number = plan.attempt
        match plan.step:
            case Step.START:
                yield lambda: self._report(plan, started=None)
                yield lambda: self._make(number)
                yield lambda: self._report(plan, started="now")
            case Step.STOP:
                yield lambda: self.jobs.update({plan.seen.number: replace(self.jobs[plan.seen.number], suspended=True)})
                yield lambda: self._report(plan)
            case Step.END:
                yield lambda: self._report(plan, started=None)
                yield lambda: self.jobs.pop(plan.seen.number)
            case Step.HOLD:
                yield lambda: self._report(plan, started=None)
            case Step.CONFIRM_LOST:
                yield lambda: self._report(plan, finished="now")
            case Step.FINISH:
                yield lambda: self._report(plan, finished="now")
            case Step.KEEP:
                yield lambda: self._report(plan, started=self.status.get("startedAt") or "now")
            case _:
                yield lambda: self._report(plan)

    def _make(self, number: int) -> None:
        if number in self.jobs:
            return  # AlreadyExists
        assert number not in self.made, f"attempt {number} was made twice"
        assert not any(not job.suspended and not job.finished for job in self.jobs.values()), "two attempts at once"
        self.made.append(number)
        self.jobs[number] = Seen(f"mlp-diagnosis-{number}", "u", number, self.decision.digest, False, False)

    def _report(self, plan: Plan, started: str | None = "kept", finished: str | None = None) -> None:
        before = int(self.status.get("attempt") or 0)
        assert plan.attempt >= before or plan.step is Step.FINISH, "an attempt's number went back"
        suspended = "True" if plan.phase is Phase.STOPPED else "False"
        completed = "True" if plan.phase is Phase.SUCCEEDED else "False"
        stalled = "True" if plan.phase in (Phase.UNSEALED, Phase.FAILED) else "False"
        told = set_condition(
            self.status.get("conditions"), "Stalled", stalled, str(plan.reason), plan.message,
            observed_generation=1, now=self.now,
        )  # fmt: skip
        assert stalled == "False" or not any(job.sealed for job in self.jobs.values()) or plan.phase is Phase.FAILED
        self.status = {
            "attempt": plan.attempt,
            "startedAt": self.status.get("startedAt") if started == "kept" else started,
            "finishedAt": finished or self.status.get("finishedAt"),
            "conditions": [
                {"type": "Suspended", "status": suspended},
                {"type": "Completed", "status": completed, "reason": str(plan.reason)},
                *(condition for condition in told if condition["type"] == "Stalled"),
            ],
        }

    def _told(self, job: Seen) -> bool:
        """A pod's words may go once they are in the status. Before, a failed Job without its pod is a failure."""
        return job.unsealed is None or int(self.status.get("attempt") or 0) > job.number

    def happen(self, what: str) -> None:
        """Something that is not the controller's doing."""
        running = [job for job in self.jobs.values() if not job.suspended and not job.finished]
        waiting = [job for job in running if not job.sealed]
        match what:
            case "suspend":
                self.suspend = True
            case "resume":
                self.suspend = False
            case "refuse":
                self.decision = REFUSED
            case "allow":
                self.decision = ALLOWED
            case "edit":
                self.decision = EDITED
            case "complete" if running:
                self.jobs[running[0].number] = replace(running[0], finished="Complete", running=False, sealed=True)
            case "seal" if waiting:
                self.jobs[waiting[0].number] = replace(waiting[0], sealed=True, running=True)
            case "stay open" if waiting:
                self.jobs[waiting[0].number] = replace(
                    waiting[0], finished="Failed", finished_at=timestamp(self.now), unsealed=Unsealed("p", 3, "Open.")
                )
            case "lose the pod":
                self.jobs = {n: replace(j, unsealed=None) if self._told(j) else j for n, j in self.jobs.items()}
            case "wait":
                self.now += timedelta(seconds=40)
            # An attempt that was made and never reported can not be told from one that was never made, so a Job that
            # others delete in that moment is made again. Where guards enforce, others can not delete it.
            case "delete" if self.jobs and self.status.get("startedAt"):
                self.jobs.pop(max(self.jobs))
                self.deleted_by_others = True


EVENTS = st.sampled_from(
    ["suspend", "resume", "refuse", "allow", "edit", "complete", "delete", "seal", "stay open", "lose the pod", "wait"]
)
ACTIONS = st.one_of(EVENTS, st.none(), st.integers(0, 2))


@given(st.lists(ACTIONS, max_size=30))
def test_no_attempt_is_made_twice_and_a_job_that_may_run_comes_to_run(actions):
    life = Life()
    for action in actions:
        if isinstance(action, str):
            life.happen(action)
        else:
            try:
                life.reconcile(action)
            except Killed:
                continue
    life.happen("resume")
    life.happen("allow")
    life.now += LONGEST_PAUSE
    steps = [life.reconcile().step for _ in range(STEPS_TO_SETTLE)]
    if life.status.get("finishedAt"):
        assert steps[-1] is Step.REST
        well = life.status["conditions"][1]["status"] == "True"
        assert well or life.deleted_by_others
    else:
        assert steps[-1] is Step.KEEP
        assert [j.digest for j in life.jobs.values()] == [ALLOWED.digest]
        assert life.status["attempt"] == max(life.made)


@given(st.lists(ACTIONS, max_size=30))
def test_a_job_that_may_not_run_comes_to_a_stop(actions):
    life = Life()
    for action in actions:
        if isinstance(action, str):
            life.happen(action)
        else:
            try:
                life.reconcile(action)
            except Killed:
                continue
    life.happen("refuse")
    for _ in range(STEPS_TO_SETTLE):
        plan = life.reconcile()
    assert plan.step in (Step.REST, Step.HOLD)
    assert all(job.suspended or job.finished for job in life.jobs.values())


@given(st.integers(1, 12), st.integers(0, 3))
def test_a_job_that_is_never_sealed_is_tried_again_and_again_and_comes_to_run_when_it_is(times, death):
    """Whenever the controller dies. In between it is told as not sealed, never as on its way."""
    life, pauses = Life(), []
    for _ in range(times):
        while life.plan().step is not Step.KEEP:
            step(life, death)
        life.now += timedelta(seconds=60)
        life.happen("stay open")
        step(life, death)
        life.reconcile()
        failed = life.now
        while (found := life.reconcile()).step is Step.HOLD:
            stalled = next(c for c in life.status["conditions"] if c["type"] == "Stalled")
            assert (stalled["status"], stalled["reason"]) == ("True", "SealNotEnforced")
            life.now += timedelta(seconds=found.again)
        pauses.append(life.now - failed)
    assert pauses[0] >= timedelta(seconds=60)
    assert all(later >= min(2 * one - timedelta(seconds=1), LONGEST_PAUSE) for one, later in pairwise(pauses))
    assert max(pauses) < LONGEST_PAUSE + timedelta(seconds=1)
    while life.plan().step is not Step.KEEP:
        step(life, death)
    assert life.plan().phase is Phase.UNSEALED
    assert life.plan().reason in SEAL_REASONS
    life.happen("seal")
    assert life.reconcile().phase is Phase.RUNNING
    assert life.plan().reason is Reason.ATTEMPT_CREATED
    assert life.made == list(range(1, times + 2))


def step(life: Life, death: int) -> None:
    """A reconcile that dies after so many writes, and one that does not."""
    with contextlib.suppress(Killed):
        life.reconcile(death)
    life.reconcile()
