"""Whole lives of a TrainingJob under the planner: users change their minds, others delete, the controller dies.

The model carries out each step as the reconciler does, write by write, and may be killed after any of them.
Whatever happens, no attempt is made twice, no two attempts run at once, and a job that may run comes to run.
"""

from dataclasses import dataclass, field, replace

from builders import NOW, decide, training_job
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.controller.plan import Phase, Plan, Seen, Step, plan_training

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

    def plan(self) -> Plan:
        return plan_training(
            self.status, self.decision, list(self.jobs.values()), suspend=self.suspend, pods_alive=False,
            ttl_seconds=None, controls_left=True, now=NOW,
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
        self.jobs[number] = Seen(f"mlp-diagnosis-{number}", "u", number, self.decision.digest, False, True)

    def _report(self, plan: Plan, started: str | None = "kept", finished: str | None = None) -> None:
        before = int(self.status.get("attempt") or 0)
        assert plan.attempt >= before or plan.step is Step.FINISH, "an attempt's number went back"
        suspended = "True" if plan.phase is Phase.STOPPED else "False"
        completed = "True" if plan.phase is Phase.SUCCEEDED else "False"
        self.status = {
            "attempt": plan.attempt,
            "startedAt": self.status.get("startedAt") if started == "kept" else started,
            "finishedAt": finished or self.status.get("finishedAt"),
            "conditions": [
                {"type": "Suspended", "status": suspended},
                {"type": "Completed", "status": completed, "reason": str(plan.reason)},
            ],
        }

    def happen(self, what: str) -> None:
        """Something that is not the controller's doing."""
        running = [job for job in self.jobs.values() if not job.suspended and not job.finished]
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
                self.jobs[running[0].number] = replace(running[0], finished="Complete", running=False)
            # An attempt that was made and never reported can not be told from one that was never made, so a Job that
            # others delete in that moment is made again. Where guards enforce, others can not delete it.
            case "delete" if self.jobs and self.status.get("startedAt"):
                self.jobs.pop(max(self.jobs))
                self.deleted_by_others = True


EVENTS = st.sampled_from(["suspend", "resume", "refuse", "allow", "edit", "complete", "delete"])
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
    assert plan.step is Step.REST
    assert all(job.suspended or job.finished for job in life.jobs.values())
