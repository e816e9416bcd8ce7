"""Exceptions in the controller: which job a change concerns, each use recorded and counted once, what a status says."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from builders import NOW, change, decide, exception, facts_of, policy, training_job

from mlprivacy.api.reasons import Reason
from mlprivacy.audit.client import CollectorUnavailable
from mlprivacy.controller.effects import Superseded
from mlprivacy.controller.exceptions import Exceptions, jobs_of
from mlprivacy.controller.plan import Phase
from mlprivacy.controller.status import Outcome, job_status
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.errors import Conflict, NotFound, Unreachable
from mlprivacy.kube.factstore_changes import matters
from mlprivacy.policy.model import Verdict

JOB = change(training_job(), "spec.privacy.epsilon", 5)
PLAIN = policy(packs=[])
DECISION = decide(JOB, PLAIN, exception())


class Cluster:
    """An API server with one exception, and a collector. ``fail`` are what the next calls raise."""

    def __init__(self) -> None:
        self.exception: dict[str, Any] | None = exception()
        self.exception["metadata"]["resourceVersion"] = "1"
        self.seen = copy.deepcopy(self.exception)  # in the copy of the controller
        self.records: list[Any] = []
        self.writes: list[Any] = []
        self.fail: dict[str, list[Exception]] = {"get": [], "patch": [], "record": []}

    def _step(self, what: str) -> None:
        if self.fail[what]:
            raise self.fail[what].pop(0)

    async def get(self, resource: Any, name: str) -> Any:
        self._step("get")
        if self.exception is None:
            raise NotFound(404, "NotFound", "gone")
        return copy.deepcopy(self.exception)

    async def merge_patch_status(self, resource: Any, name: str, namespace: None, status: Any, **options: Any) -> Any:
        self._step("patch")
        assert self.exception is not None
        if options["resource_version"] != self.exception["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "newer")
        self.writes.append(status)
        self.exception["status"] = {**self.exception.get("status", {}), **copy.deepcopy(status)}
        self.exception["metadata"]["resourceVersion"] += "1"
        return self.exception

    async def write(self, step: Any, call: Any) -> Any:
        return await call

    async def record(self, event: Any) -> Any:
        self._step("record")
        if event.id not in [r.id for r in self.records]:
            self.records.append(event)

    def controller(self) -> Exceptions:
        """A controller that has just started."""
        informer = SimpleNamespace(get=lambda namespace, name: copy.deepcopy(self.seen))
        return Exceptions(
            facts=SimpleNamespace(informers={"PolicyException": informer}),  # type: ignore[arg-type]
            effects=SimpleNamespace(client=self, write=self.write),  # type: ignore[arg-type]
            receipts=SimpleNamespace(get=self.record),  # type: ignore[arg-type]
            now=lambda: NOW,
        )

    @property
    def uses(self) -> int:
        return int(((self.exception or {}).get("status") or {}).get("uses") or 0)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_each_attempt_counts_once_however_often_it_is_looked_at(cluster: Cluster) -> None:
    controller = cluster.controller()
    for attempt in (1, 1, 1, 2, 2):
        assert await controller.count(JOB, DECISION, attempt)
    assert (cluster.uses, len(cluster.records)) == (2, 2)
    data = cluster.records[0].data
    assert (data["rule"], data["ticket"], data["attempt"]) == ("dp-required", "PRIV-17", 1)
    assert (data["requestedBy"], data["approvedBy"]) == ("alice", "dave")


async def test_a_controller_that_starts_anew_counts_nothing_twice(cluster: Cluster) -> None:
    for attempt in (1, 2, 2, 1):
        assert await cluster.controller().count(JOB, DECISION, attempt)
    assert (cluster.uses, len(cluster.records)) == (2, 2)


async def test_a_job_made_anew_under_its_name_counts_again(cluster: Cluster) -> None:
    controller = cluster.controller()
    await controller.count(JOB, DECISION, 1)
    again = change(JOB, "metadata.uid", "another")
    await controller.count(again, replace(DECISION, subject=(*DECISION.subject[:3], "another")), 1)
    assert cluster.uses == 2


async def test_another_writer_of_the_status_loses_no_use(cluster: Cluster) -> None:
    cluster.fail["patch"] = [Conflict(409, "Conflict", "newer"), Conflict(409, "Conflict", "newer")]
    assert await cluster.controller().count(JOB, DECISION, 1)
    assert cluster.uses == 1


@pytest.mark.parametrize("what", ["get", "patch", "record"])
async def test_what_fails_is_done_at_the_next_look(cluster: Cluster, what: str) -> None:
    controller = cluster.controller()
    cluster.fail[what] = [CollectorUnavailable("away") if what == "record" else Unreachable("away")]
    assert not await controller.count(JOB, DECISION, 1)
    assert await controller.count(JOB, DECISION, 1)
    assert (cluster.uses, len(cluster.records)) == (1, 1)


async def test_nothing_starts_without_the_record(cluster: Cluster) -> None:
    cluster.fail["record"] = [CollectorUnavailable("away")]
    with pytest.raises(CollectorUnavailable):
        await cluster.controller().record(JOB, DECISION, 1)


async def test_the_record_before_the_start_and_the_one_after_it_are_one(cluster: Cluster) -> None:
    controller = cluster.controller()
    await controller.record(JOB, DECISION, 1)
    await controller.count(JOB, DECISION, 1)
    assert (cluster.uses, len(cluster.records)) == (1, 1)


async def test_an_exception_that_is_gone_makes_the_decision_old(cluster: Cluster) -> None:
    cluster.seen = None  # type: ignore[assignment]
    with pytest.raises(Superseded):
        await cluster.controller().record(JOB, DECISION, 1)


async def test_one_deleted_a_moment_ago_is_counted_nowhere(cluster: Cluster) -> None:
    cluster.exception = None
    assert await cluster.controller().count(JOB, DECISION, 1)
    assert cluster.writes == []


async def test_a_job_that_needs_none_writes_nothing(cluster: Cluster) -> None:
    assert await cluster.controller().count(training_job(), decide(training_job(), PLAIN, exception()), 1)
    assert (cluster.records, cluster.writes) == ([], [])


def test_a_change_concerns_the_job_that_is_named_and_no_other() -> None:
    job = {JobKey("TrainingJob", "research", "diagnosis")}
    assert jobs_of(None, exception()) == jobs_of(exception(), None) == jobs_of(exception(), exception()) == job


@pytest.mark.parametrize(
    ("new", "matter"),
    [
        (exception(approved=False), True),
        (exception(expiresAt="2026-06-10T00:00:00Z"), True),
        (exception(approved_by="erin"), True),
        (exception(requested_by=None), True),
        (change(exception(), "metadata.deletionTimestamp", "2026-06-01T11:00:00Z"), True),
        (exception() | {"status": {"uses": 3}}, False),
    ],
)
def test_a_use_concerns_nobody_and_a_stamp_does(new: dict[str, Any], matter: bool) -> None:
    assert matters(exception(), new) is matter


def test_the_status_of_the_job_says_by_which_exception_it_runs() -> None:
    status = job_status(JOB, DECISION, Outcome(Phase.RUNNING, Reason.ATTEMPT_RUNNING, attempt=1), NOW)
    accepted = next(c for c in status["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "AllowedByException")
    assert accepted["message"].startswith("it runs by exception only (visits-dp).")
    assert status["exceptions"] == ["visits-dp"]
    assert status["decision"]["findings"][0]["exception"] == "visits-dp"


def test_a_job_that_is_refused_for_something_else_names_none() -> None:
    refused = decide(change(JOB, "spec.assurance", "Gated"), PLAIN, exception())
    assert (refused.verdict, refused.exceptions) == (Verdict.DENY, ("visits-dp",))
    assert job_status(JOB, refused, Outcome(Phase.REFUSED, Reason.REFUSED), NOW)["exceptions"] == []


def test_of_facts_only_those_that_name_the_job_are_chosen() -> None:
    assert [e.name for e in facts_of([exception()]).exceptions] == ["visits-dp"]


def test_a_job_whose_status_alone_changed_concerns_no_exception(cluster: Cluster) -> None:
    controller, job = cluster.controller(), JobKey("TrainingJob", "research", "diagnosis")
    named = facts_of([exception()]).exceptions
    controller.facts = SimpleNamespace(exceptions=lambda *_: named)  # type: ignore[assignment]
    mine = [JobKey("PolicyException", "", "visits-dp")]
    assert controller.concerned(job, 1) == mine
    assert controller.concerned(job, 1) == []
    assert controller.concerned(job, 2) == mine
    assert controller.concerned(job, None) == mine
    assert controller.concerned(job, 2) == mine
    named = ()
    assert controller.concerned(job, 2) == []
    assert controller.generations == {}
