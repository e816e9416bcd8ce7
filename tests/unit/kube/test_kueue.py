"""The queue's gate and Kueue's copies against an API server: absent, installed later, gone; refused and unreachable.

Matrix: definitions (absent, one version, both, gone, not known) × what the API server answers about a Workload. What
Kueue does is tested on a real API server (tests/cluster/kueue).
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, decide, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.kueue.admissioncheck import AdmissionChecks
from mlprivacy.controller.kueue.queueing import Queueing
from mlprivacy.controller.kueue.served import Served
from mlprivacy.controller.plan import Phase, Plan, Seen, Step
from mlprivacy.controller.status import Outcome
from mlprivacy.controller.store import JobKey, JobStore
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Conflict

GROUP = "/apis/kueue.x-k8s.io"
KEY = JobKey("TrainingJob", "research", "diagnosis")
JOB = training_job()
QUEUED = {**JOB, "metadata": {**JOB["metadata"], "labels": {"kueue.x-k8s.io/queue-name": "team"}}}
ALLOWED = decide(JOB)
START = Plan(Step.START, Phase.STARTING, 1, Reason.PROGRESSING)
RESOURCES = {"resources": [{"name": "workloads"}, {"name": "admissionchecks"}, {"name": "localqueues"}]}
TEMPLATE = {"metadata": {}, "spec": {"containers": [{"name": "trainer", "image": "registry.example/trainer"}]}}
CHECK = {
    "apiVersion": "kueue.x-k8s.io/v1beta2",
    "kind": "AdmissionCheck",
    "spec": {"controllerName": "mlprivacy.dev/privacy-budget"},
}


class Free:
    """Nothing has a budget."""

    async def ask(self, *_: Any) -> Answer:
        return Answer("NotNeeded", Reason.NO_BUDGET_NEEDED, "none of its datasets has a privacy budget")


class Announced:
    """Events that were said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def say(self, job: Any, type: str, reason: str, note: str) -> None:
        self.said.append((reason, note))


class Told:
    """A budget that answers what it was told to, or fails."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.asked: list[int] = []

    async def ask(self, key: Any, raw: Any, decision: Any, attempt: int) -> Answer:
        self.asked.append(attempt)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Desk:
    """The gate of one job, the keys that are to be looked at, and Kueue's definitions to put there and take away."""

    def __init__(self, api: Any, client: KubeClient) -> None:
        self.api = api
        self.keys: list[JobKey] = []
        self.returned = 0
        self.jobs = JobStore()
        self.events = Announced()
        self.served = Served(client, self.keys.append, self._back, backoff=(0.01, 0.05))
        self.gate = Queueing(
            served=self.served, client=client, asks=Free(), template=lambda *_: TEMPLATE,
            alive=lambda *_: False, announcer=self.events, once=lambda what: True, now=lambda: NOW,  # type: ignore[arg-type]
        )  # fmt: skip

    def _back(self) -> None:
        self.returned += 1

    def install(self, *versions: str) -> None:
        for version in versions:
            self.api.objects[f"{GROUP}/{version}"] = RESOURCES

    def uninstall(self) -> None:
        for version in ("v1beta1", "v1beta2"):
            self.api.objects.pop(f"{GROUP}/{version}", None)

    async def ready(self, *versions: str) -> None:
        self.install(*versions or ("v1beta2",))
        await self.served.begin()
        assert self.served.synced

    async def plan(self, raw: Any = QUEUED, plan: Plan = START) -> Plan:
        return await self.gate.gate(KEY, raw, ALLOWED, plan)

    async def workload(self, **changes: Any) -> dict[str, Any]:
        """The job's Workload, made by the gate, then changed as Kueue would, and seen."""
        await self.plan()
        path = f"{GROUP}/v1beta2/namespaces/research/workloads/mlp-diagnosis-1"
        made = self.api.objects[path]
        version = (await self.api.put(path, {**made, **changes}))["metadata"]["resourceVersion"]
        await self.seen(lambda: (one := self.served.workload("research", "mlp-diagnosis-1")) and one.version == version)
        return self.api.objects[path]

    async def seen(self, look: Any) -> None:
        async with asyncio.timeout(5):
            while not look():  # noqa: ASYNC110 - what is awaited is a watch
                await asyncio.sleep(0.01)

    def stored(self) -> dict[str, Any]:
        return self.api.objects[f"{GROUP}/v1beta2/namespaces/research/workloads/mlp-diagnosis-1"]


@pytest.fixture
async def desk(api: Any, client: KubeClient) -> AsyncIterator[Desk]:
    made = Desk(api, client)
    yield made
    await made.served.stop()


def status(**states: str) -> dict[str, Any]:
    since = "2026-06-01T11:00:00Z"
    conditions = [
        {"type": t, "status": s, "reason": "Preempted", "message": "so", "lastTransitionTime": since}
        for t, s in states.items()
    ]
    entry = {"name": "privacy-budget", "state": "Pending", "message": "", "lastTransitionTime": since}
    return {"conditions": conditions, "admission": {"clusterQueue": "team-a"}, "admissionChecks": [entry]}


# -- is Kueue there ----------------------------------------------------------------------------------------------------


async def test_without_kueue_a_label_is_ignored_and_that_is_said(desk: Desk) -> None:
    await desk.served.begin()
    plan = await desk.plan()
    assert (plan.step, plan.queue[:2]) == (Step.START, ("False", Reason.QUEUE_NOT_SERVED))
    assert [reason for reason, _ in desk.events.said] == ["QueueNotServed"]


async def test_while_it_is_not_known_whether_kueue_is_there_a_job_with_a_queue_waits(desk: Desk) -> None:
    desk.api.fail(503, times=40, when=GROUP)
    await desk.served.begin()
    plan = await desk.plan()
    assert (plan.step, plan.reason, plan.again) == (Step.REST, Reason.QUEUED, 1.0)
    assert (await desk.plan(JOB)).step is Step.START  # one without a queue has nothing to wait for


@pytest.mark.parametrize(
    ("versions", "used"), [(["v1beta1"], "v1beta1"), (["v1beta2"], "v1beta2"), (["v1beta1", "v1beta2"], "v1beta2")]
)
async def test_the_newest_version_that_is_served_is_used(desk: Desk, versions: list[str], used: str) -> None:
    await desk.ready(*versions)
    await desk.plan()
    assert desk.served.version == used
    assert f"{GROUP}/{used}/namespaces/research/workloads/mlp-diagnosis-1" in desk.api.objects


async def test_kueue_that_is_installed_later_has_all_jobs_looked_at(desk: Desk) -> None:
    await desk.served.begin()
    assert desk.returned == 0
    desk.install("v1beta2")
    await desk.served.look()
    await desk.seen(lambda: desk.returned == 1)
    assert not desk.served.absent


async def test_one_look_that_does_not_find_kueue_starts_no_queued_job(desk: Desk) -> None:
    await desk.ready()
    desk.uninstall()
    await desk.served.look()
    assert not desk.served.absent
    await desk.served.look()
    assert desk.served.absent
    assert (await desk.plan()).step is Step.START


async def test_an_api_server_that_does_not_answer_changes_nothing(desk: Desk) -> None:
    await desk.ready()
    for _ in range(3):
        desk.api.fail(500, times=4, when=f"{GROUP}/v1beta")
        await desk.served.look()
    assert desk.served.version == "v1beta2"


async def test_switched_off_it_is_never_looked_for(api: Any, client: KubeClient) -> None:
    served = Served(client, lambda _: None, lambda: None, enabled=False)
    await served.begin()
    assert (served.absent, api.requests) == (True, [])


async def test_a_change_of_a_workload_has_its_job_and_its_check_looked_at(desk: Desk) -> None:
    await desk.ready()
    await desk.workload(status=status(QuotaReserved="True"))
    assert {KEY, JobKey("Workload", "research", "mlp-diagnosis-1")} <= set(desk.keys)


# -- the gate ----------------------------------------------------------------------------------------------------------


async def test_a_job_without_a_queue_starts_and_leaves_the_queue_it_stood_in(desk: Desk) -> None:
    await desk.ready()
    await desk.workload()
    plan = await desk.plan(JOB)
    assert (plan.step, plan.queue) == (Step.START, None)
    assert not any("/workloads/" in path for path in desk.api.objects)


async def test_a_workload_of_somebody_elses_in_the_way_is_named(desk: Desk) -> None:
    await desk.ready()
    path = f"{GROUP}/v1beta2/namespaces/research/workloads/mlp-diagnosis-1"
    await desk.api.put(path, {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "Workload", "spec": {}})
    plan = await desk.plan()
    assert plan.step is Step.REST
    assert "the Workload mlp-diagnosis-1 is not this job's" in plan.message


async def test_what_the_api_server_refuses_is_told_and_tried_again(desk: Desk) -> None:
    await desk.ready()
    desk.api.fail(403, when="/workloads")
    plan = await desk.plan()
    assert (plan.step, plan.reason, plan.again) == (Step.REST, Reason.QUEUED, 5.0)
    assert "injected" in plan.message


async def test_the_budget_is_asked_once_there_is_quota_and_the_answer_is_written(desk: Desk) -> None:
    await desk.api.put(f"{GROUP}/v1beta2/admissionchecks/privacy-budget", CHECK)
    await desk.ready()
    desk.gate.asks = told = Told(Answer("Waiting", Reason.BUDGET_LOCKED, "block 3 unlocks later", 90.0))
    await desk.plan()
    assert told.asked == []
    await desk.workload(status=status(QuotaReserved="True"))
    plan = await desk.plan()
    (entry,) = desk.stored()["status"]["admissionChecks"]
    assert told.asked == [1]
    assert (entry["state"], entry["requeueAfterSeconds"], entry["message"]) == ("Retry", 90, "block 3 unlocks later")
    assert plan.queue == ("True", Reason.BUDGET_LOCKED, plan.message)


async def test_a_fault_of_the_budget_is_not_taken_for_an_answer(desk: Desk) -> None:
    await desk.api.put(f"{GROUP}/v1beta2/admissionchecks/privacy-budget", CHECK)
    await desk.ready()
    await desk.workload(status=status(QuotaReserved="True"))
    desk.gate.asks = Told(RuntimeError("the ledger broke"))
    with pytest.raises(RuntimeError, match="the ledger broke"):
        await desk.plan()
    assert desk.stored()["status"]["admissionChecks"][0]["state"] == "Pending"


async def test_an_answer_to_a_workload_that_changed_meanwhile_is_not_written(desk: Desk) -> None:
    await desk.api.put(f"{GROUP}/v1beta2/admissionchecks/privacy-budget", CHECK)
    await desk.ready()
    made = await desk.workload(status=status(QuotaReserved="True"))
    path = f"{GROUP}/v1beta2/namespaces/research/workloads/mlp-diagnosis-1"
    await desk.api.put(path, {**made, "status": status(QuotaReserved="True", Evicted="True")}, lost=True)
    desk.gate.asks = Told(Answer("Reserved", Reason.BUDGET_HELD, "held"))
    with pytest.raises(Conflict):
        await desk.plan()
    assert desk.stored()["status"]["admissionChecks"][0]["state"] == "Pending"


# -- while it runs and afterwards --------------------------------------------------------------------------------------

SEEN = Seen("mlp-diagnosis-1", "uid-job", 1, ALLOWED.digest, suspended=False, running=True)
KEEP = Plan(Step.KEEP, Phase.RUNNING, 1, Reason.ATTEMPT_CREATED, seen=SEEN)
THROUGH = {"type": "Queued", "status": "False", "reason": "Admitted", "message": "Kueue admitted it"}
RUNS = {**QUEUED, "status": {"attempt": 1, "conditions": [THROUGH]}}


async def test_a_running_job_stops_when_it_is_evicted(desk: Desk) -> None:
    await desk.ready()
    await desk.workload(status=status(QuotaReserved="True", Admitted="True"))
    assert (await desk.plan(RUNS, KEEP)).step is Step.KEEP
    await desk.workload(status=status(QuotaReserved="True", Admitted="True", Evicted="True"))
    plan = await desk.plan(RUNS, KEEP)
    assert (plan.step, plan.phase, plan.reason) == (Step.STOP, Phase.STOPPED, Reason.EVICTED)


async def test_a_job_that_was_started_without_a_queue_is_not_stopped_by_a_label(desk: Desk) -> None:
    await desk.ready()
    assert (await desk.plan(QUEUED, KEEP)).step is Step.KEEP


async def test_an_attempt_that_ends_gives_its_quota_back_even_after_a_refusal(desk: Desk) -> None:
    await desk.ready()
    await desk.workload(status=status(QuotaReserved="True", Admitted="True"))
    rest = replace(KEEP, step=Step.REST, phase=Phase.SUCCEEDED)
    outcome = Outcome(Phase.SUCCEEDED, Reason.SUCCEEDED, finished_at="2026-06-01T12:00:00Z")
    desk.api.fail(403, when="/workloads/mlp-diagnosis-1")
    assert not await desk.gate.settle(KEY, RUNS, ALLOWED, rest, outcome)
    assert await desk.gate.settle(KEY, RUNS, ALLOWED, rest, outcome)
    finished = [c for c in desk.stored()["status"]["conditions"] if c["type"] == "Finished"]
    assert [(c["status"], c["reason"]) for c in finished] == [("True", "Succeeded")]


async def test_an_attempt_that_was_not_sealed_gives_its_quota_back_while_it_pauses(desk: Desk) -> None:
    await desk.ready()
    await desk.workload(status=status(QuotaReserved="True", Admitted="True"))
    hold = Plan(Step.HOLD, Phase.UNSEALED, 2, Reason.SEAL_NOT_CONFIRMED, "not confirmed in time", seen=SEEN)
    assert await desk.gate.settle(KEY, RUNS, ALLOWED, hold, Outcome(Phase.UNSEALED, Reason.SEAL_NOT_CONFIRMED))
    assert any(c["type"] == "Finished" for c in desk.stored()["status"]["conditions"])


async def test_a_job_that_may_not_run_any_more_leaves_the_queue(desk: Desk) -> None:
    await desk.ready()
    await desk.workload()
    refused = decide(training_job(purpose="marketing"))
    rest = Plan(Step.REST, Phase.REFUSED, 0, Reason.REFUSED)
    assert await desk.gate.settle(KEY, QUEUED, refused, rest, Outcome(Phase.REFUSED, Reason.REFUSED))
    assert not any("/workloads/" in path for path in desk.api.objects)


# -- checks and Workloads of others ------------------------------------------------------------------------------------

CHECK_PATH = f"{GROUP}/v1beta2/admissionchecks/privacy-budget"


def checks_of(desk: Desk, client: KubeClient, enforce: str | None = "enforce") -> AdmissionChecks:
    labels = {"mlprivacy.dev/enforce": enforce} if enforce else {}
    return AdmissionChecks(desk.served, client, desk.jobs, lambda _: labels, lambda: NOW)


async def test_a_check_that_is_looked_at_before_all_is_read_is_looked_at_again(desk: Desk, client: KubeClient) -> None:
    await desk.api.put(CHECK_PATH, CHECK)
    desk.install("v1beta2")
    await desk.served.look()  # the first list is still under way
    checks = checks_of(desk, client)
    assert await checks.reconcile(JobKey("AdmissionCheck", "", "privacy-budget")) == 1.0
    await desk.seen(lambda: desk.served.synced)
    assert await checks.reconcile(JobKey("AdmissionCheck", "", "privacy-budget")) is None
    assert desk.api.objects[CHECK_PATH]["status"]["conditions"][0]["status"] == "True"


@pytest.mark.parametrize(("known", "state"), [(True, "Pending"), (False, "Rejected")])
async def test_an_owner_that_is_no_job_of_ours_makes_no_workload_ours(
    desk: Desk, client: KubeClient, known: bool, state: str
) -> None:
    await desk.api.put(CHECK_PATH, CHECK)
    await desk.ready()
    if known:
        desk.jobs.put({**QUEUED, "metadata": {**QUEUED["metadata"], "resourceVersion": "1"}})
    await desk.workload(status=status(QuotaReserved="True"))
    await checks_of(desk, client).reconcile(JobKey("Workload", "research", "mlp-diagnosis-1"))
    assert desk.stored()["status"]["admissionChecks"][0]["state"] == state
