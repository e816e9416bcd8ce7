"""A budget's spec and what the ledgers register concern the jobs that rest on them; its status concerns nobody."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, cast

import pytest
from builders import NOW, Raw, budget, change, clinic_world, training_job
from stage import MemoryApi

from mlprivacy.budget.ledger.blocks import Cut
from mlprivacy.budget.ledger.entry import Head, link, stamp
from mlprivacy.budget.ledger.transitions import Bind, Promise, Register, Transition
from mlprivacy.budget.ledger.units import capacity_units
from mlprivacy.controller.affected import Affected
from mlprivacy.controller.store import DependencyIndex, JobKey
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.factstore_changes import matters
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Dependency

JOB = JobKey("TrainingJob", "research", "diagnosis")
BUDGET = budget()
ORDERS = (2.0, 8.0)
PROMISE = Promise(
    revision=1,
    orders=("2", "8"),
    epsilon="10",
    delta="0.001",
    unit="User",
    neighbours="AddOrRemoveOne",
    cut=Cut("Subject", None, 1),
    capacity=capacity_units(ORDERS, 10, 1e-3),
)


def namespace(name: str) -> Raw:
    labels = {"mlprivacy.dev/enforce": "enforce", "kubernetes.io/metadata.name": name}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def entries(*transitions: Transition) -> list[Raw]:
    """The ledger of another domain, one step an entry."""
    head, made = Head.none("shop"), []
    for number, step in enumerate((PROMISE, *transitions)):
        entry = link(head, (step,), stamp(NOW + timedelta(seconds=number)), "tests")
        head = entry.head
        made.append(entry.manifest())
    return made


class Looks:
    """The facts of the clinic, its job as it was decided on, and which jobs each change concerns."""

    def __init__(self, api: MemoryApi, facts: FactStore) -> None:
        self.api, self.facts = api, facts
        self.index = DependencyIndex()
        self._affected = Affected(facts, self.index)
        self._concerned: set[JobKey] = set()
        facts.on_change(self._seen)

    def _seen(self, changed: Dependency, old: Raw | None, new: Raw | None) -> None:
        if matters(old, new):
            self._concerned |= self._affected.jobs(changed, old, new)

    async def decide(self) -> None:
        """What the job rests on, as the facts are now."""
        job = training_job()
        self.index.put(JOB, evaluate(job, await self.facts.gather(job, NOW, read_misses=False)).dependencies)

    def put(self, raw: Mapping[str, Any]) -> None:
        self.api.put(raw)

    async def concerned(self) -> set[JobKey]:
        """The jobs that the changes since the last call concern, once all have arrived."""
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0.005)
            quiet = quiet + 1 if all(queue.empty() for _, _, queue in self.api._watches) else 0
        found, self._concerned = self._concerned, set()
        return found


@pytest.fixture
async def looks() -> AsyncIterator[Looks]:
    api = MemoryApi()
    for raw in (namespace("clinic"), namespace("research"), *clinic_world(), BUDGET):
        api.put(raw)
    facts = FactStore(cast("KubeClient", api), backoff=(0.01, 0.1))
    facts.start()
    await facts.wait_synced()
    async with asyncio.timeout(20):
        while len(api._watches) < len(facts.informers):  # noqa: ASYNC110 - what changes before its watch is lost
            await asyncio.sleep(0.001)
    made = Looks(api, facts)
    await made.decide()
    yield made
    await facts.stop()


async def test_its_spec_concerns_the_jobs_that_rest_on_it(looks: Looks) -> None:
    looks.put(change(BUDGET, "spec.minimumAssurance", "Gated"))
    assert await looks.concerned() == {JOB}
    looks.put(budget("others", subjectDomain="others", identities=["urn:shop:orders"]))
    assert await looks.concerned() == set(), "its data belongs to a domain already"


async def test_its_going_and_its_coming_back_concern_them_too(looks: Looks) -> None:
    looks.api.remove("PrivacyBudget", "", "patients")
    assert await looks.concerned() == {JOB}
    await looks.decide()
    looks.put(BUDGET)
    assert await looks.concerned() == {JOB}


async def test_its_status_concerns_no_job(looks: Looks) -> None:
    version, budgets = looks.facts.version, looks.facts.budgets()
    looks.put({**BUDGET, "status": {"usedPercent": 12}})
    assert await looks.concerned() == set()
    assert looks.facts.version == version
    assert looks.facts.budgets() is budgets


async def test_what_a_ledger_registers_concerns_jobs_and_what_it_spends_does_not(looks: Looks) -> None:
    promise, first, again, spends = entries(
        Register("urn:shop:orders", "s3://shop/orders"), Register("urn:shop:orders"), Bind("uid-1", 1, "pod-1")
    )
    looks.put(promise)
    assert await looks.concerned() == set()
    looks.put(first)
    assert await looks.concerned() == {JOB}
    registered, version = looks.facts.registrations(), looks.facts.version
    (only,) = registered
    assert (only.domain, only.identity, only.source) == ("shop", "urn:shop:orders", "s3://shop/orders")
    for nothing_new in (again, spends):
        looks.put(nothing_new)
    assert await looks.concerned() == set()
    assert looks.facts.version == version
    assert looks.facts.registrations() is registered
