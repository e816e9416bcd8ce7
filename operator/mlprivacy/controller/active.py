"""The active controller: what changed goes into one queue, workers look at one key at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.record import Event
from mlprivacy.controller import metrics
from mlprivacy.controller.affected import Affected
from mlprivacy.controller.announce import Announcer
from mlprivacy.controller.budgets.office import BUDGET, Office
from mlprivacy.controller.causes import Causes
from mlprivacy.controller.children import Children, owner_of
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.controller.defaults import DefaultClasses
from mlprivacy.controller.effects import Effects
from mlprivacy.controller.exceptions import EXCEPTION, Exceptions
from mlprivacy.controller.framework import Framework
from mlprivacy.controller.gone import gone_event
from mlprivacy.controller.heartbeats import Heartbeats
from mlprivacy.controller.inputs import INPUT_KINDS, Inputs
from mlprivacy.controller.kueue.admissioncheck import KINDS as KUEUE_KINDS
from mlprivacy.controller.kueue.admissioncheck import AdmissionChecks
from mlprivacy.controller.kueue.queueing import Queueing
from mlprivacy.controller.kueue.served import Served
from mlprivacy.controller.observe import pods_alive
from mlprivacy.controller.packs import Packs
from mlprivacy.controller.receipts import Receipts
from mlprivacy.controller.reconcile import Reconciler
from mlprivacy.controller.report import Reporter
from mlprivacy.controller.reports import Reports
from mlprivacy.controller.store import DependencyIndex, JobKey, JobStore, version_of
from mlprivacy.controller.surround import Surrounder
from mlprivacy.controller.sweep import Sweep
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError
from mlprivacy.kube.events import EventRecorder
from mlprivacy.kube.fabric import KINDS as FABRIC_KINDS
from mlprivacy.kube.facts import ATTESTATIONS, PACKS, FactStore
from mlprivacy.kube.factstore_changes import REGISTRATIONS, matters
from mlprivacy.kube.workqueue import WorkQueue
from mlprivacy.policy.model import Dependency
from mlprivacy.workloads.context import RenderSettings

logger = logging.getLogger(__name__)
FIRST_PAUSE = 0.5  # seconds until a reconcile that failed is tried again, doubled each time
LONGEST_PAUSE = 60.0
PARTING_SECONDS = 0.8  # what a reconcile under way gets to end at the end of the process


class Controller:
    """Reconciles jobs, what they refer to, and the floors of namespaces."""

    def __init__(
        self,
        config: ControllerConfig,
        client: KubeClient,
        identity: str,
        settings: RenderSettings,
        facts: FactStore,
        children: Children,
        collector: CollectorClient,
        *,
        record: Callable[[Event], object] = lambda _: None,
    ) -> None:
        """``record`` takes the events that nothing waits for; it must not block."""
        self._record = record
        self._config = config
        self._facts = facts
        self._children = children
        self._store = JobStore()
        self._index = DependencyIndex()
        self._affected = Affected(facts, self._index)
        self._causes = Causes()
        self._queue: WorkQueue[JobKey] = WorkQueue("jobs")
        self._failures: dict[JobKey, int] = {}
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        effects = Effects(client, config, self._store, children.wrote)
        self._announcer = Announcer(EventRecorder(client, "mlprivacy.dev/controller", identity))
        receipts = Receipts(collector)
        reporter = Reporter(effects, receipts, self._announcer, _utc_now, self._causes)
        self._exceptions = Exceptions(facts, effects, receipts, _utc_now)
        self._packs = Packs(facts, self._announcer)
        self._reports = Reports(client, self._announcer, self._store, self._queue.add) if config.open_reports else None
        self._office = Office(
            client, collector, facts, effects, self._store, self._queue.add, identity, _utc_now, self._spend_anew,
            self._announcer, record, config.checkpoint_every,
        )  # fmt: skip
        self._heartbeats = Heartbeats(collector, config.patience, self._heard)
        surrounder = Surrounder(settings, children, effects, reporter, self._exceptions)
        self._kueue = Served(client, self._queue.add, self._queue_all, enabled=config.kueue)
        self._checks = AdmissionChecks(self._kueue, client, self._store, facts.labels, _utc_now)
        self._reconciler = Reconciler(
            config=config,
            facts=facts,
            store=self._store,
            index=self._index,
            children=children,
            effects=effects,
            reporter=reporter,
            surrounder=surrounder,
            exceptions=self._exceptions,
            gate=self._office.gate,
            queueing=Queueing(
                served=self._kueue,
                client=client,
                asks=config.asks or self._office.gate,
                template=surrounder.template,
                alive=lambda key, uid: pods_alive(children, key, uid),
                announcer=self._announcer,
                once=reporter.once,
                now=_utc_now,
            ),
            causes=self._causes,
            now=_utc_now,
            hears=self._heartbeats.silence,
            reports=self._reports,
        )
        self._inputs = Inputs(facts, effects, children, _utc_now)
        self._defaults = DefaultClasses(client)
        self._framework = Framework(self._job_seen, config.kubeconfig)
        self._sweep = Sweep(client, self._store, self._queue.add)
        metrics.JOBS.set_function(lambda: len(self._store))
        facts.on_change(self._fact_changed)
        facts.on_counted(lambda job: self._queue.add(JobKey(*job)))
        children.on_change(self._child_changed)

    def not_ready(self) -> str | None:
        """Why decisions can not be made yet, or None."""
        if not self._facts.synced:
            return "; ".join(self._facts.problems()) or "the facts have not been read yet"
        return None if self._children.synced else "the rendered objects have not been read yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            if await _either(self._synced(), stopping):
                await self._work(stopping)
        finally:
            stopping.cancel()
            if self._reports is not None:
                await self._reports.stop()
            await self._kueue.stop()

    async def _synced(self) -> None:
        await self._facts.wait_synced()
        await self._children.wait_synced()
        await self._sweep.served()
        await self._office.begin()
        if self._reports is not None:
            await self._reports.begin()
        await self._kueue.begin()

    async def _work(self, stopping: asyncio.Task[Any]) -> None:
        self._framework.start()
        workers = asyncio.create_task(self._queue.run(self._handle, self._config.workers), name="workers")
        beside = [
            asyncio.create_task(self._announcer.run(), name="events"),
            asyncio.create_task(self._sweep.run(self._framework.restart), name="sweep"),
            asyncio.create_task(self._office.run(), name="budgets"),
        ]
        if self._config.kueue:
            beside.append(asyncio.create_task(self._kueue.run(), name="kueue"))
        if self._config.default_classes:
            beside.append(asyncio.create_task(self._defaults.run(), name="default classes"))
        if self._reports is not None:
            beside.append(asyncio.create_task(self._reports.run(), name="reports"))
        if not self._config.simulated_nodes:
            beside.append(asyncio.create_task(self._heartbeats.run(), name="heartbeats"))
        try:
            await asyncio.wait({workers, stopping, *beside}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._queue.close()
            await asyncio.gather(self._framework.stop(), asyncio.wait({workers}, timeout=PARTING_SECONDS))
            ended = [task for task in (workers, *beside) if task.done()]
            for task in (workers, *beside):
                task.cancel()
            await asyncio.gather(workers, *beside, return_exceptions=True)
        for task in ended:
            task.result()

    async def _handle(self, key: JobKey) -> float | None:
        """One look at one key. Whatever fails there stays there: it is told, and tried again later."""
        # Most looks find nothing to do and never wait. Without this the probes and the lease would wait for them all.
        await asyncio.sleep(0)
        try:
            if key.kind in INPUT_KINDS or key.kind == "Namespace":
                after = await self._inputs.reconcile(key)
            elif key.kind == PACKS:
                self._packs.look(key.name)
                after = None
            elif key.kind == BUDGET:
                after = await self._office.budgets.reconcile(key)
            elif key.kind == EXCEPTION:
                after = await self._exceptions.reconcile(key)
            elif key.kind in KUEUE_KINDS:
                after = await self._checks.reconcile(key)
            else:
                after = await self._reconciler.job(key)
        except ApiError as error:
            wait = self._pause(key, "api")
            logger.warning("%s: %s; trying again in %.1f s", _place(key), error, wait)
            return wait
        except Exception:
            wait = self._pause(key, "fault")
            logger.exception("%s: a fault of ours; trying again in %.1f s", _place(key), wait)
            return wait
        self._failures.pop(key, None)
        return after

    def _pause(self, key: JobKey, cause: str) -> float:
        metrics.RECONCILE_FAILURES.labels(key.kind, cause).inc()
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        return float(min(FIRST_PAUSE * 2 ** min(count, 16), LONGEST_PAUSE) * self._random.uniform(0.75, 1.0))

    # -- what changed ----------------------------------------------------------------------------------------------

    def _job_seen(self, kind: str, event: str | None, obj: dict[str, Any]) -> None:
        metadata = obj["metadata"]
        key = JobKey(kind, metadata.get("namespace", ""), metadata["name"])
        if event == "DELETED":
            self._store.drop(key, version_of(metadata.get("resourceVersion")))
            self._queue.add(key)
        elif self._store.put({**obj, "kind": kind}):
            self._queue.add(key)
        generation = None if event == "DELETED" else metadata.get("generation")
        for exception in self._exceptions.concerned(key, generation):
            self._queue.add(exception)

    def _queue_all(self) -> None:
        """Look at every training job: Kueue was found, or is gone."""
        for key in self._store:
            if key.kind == "TrainingJob":
                self._queue.add(key)

    def _child_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is None:
            return
        # Whose it was, too: what another job took over is missed by the one that lost it.
        owners = {owner for one in (old, new) if one is not None and (owner := owner_of(one)) is not None}
        for owner in owners:
            self._queue.add(owner)
        if not owners and obj["kind"] == "NetworkPolicy":
            self._queue.add(JobKey("Namespace", "", obj["metadata"]["namespace"]))

    def _heard(self, namespace: str, name: str) -> None:
        """A pod's sidecar fell silent, or was heard again."""
        pod = self._children.informers["Pod"].get(namespace, name)
        owner = owner_of(pod) if pod is not None else None
        if owner is not None:
            self._queue.add(owner)

    def _spend_anew(self, budget: str) -> None:
        """A budget holds its blocks to something else than before."""
        for key in self._index.resting_on([Dependency(BUDGET, "", budget)]):
            self._queue.add(key)

    def _fact_changed(self, changed: Dependency, old: Object | None, new: Object | None) -> None:
        if (event := gone_event(old, new)) is not None:
            self._record(event)
        # A register, a network or a node is no object of ours, and registrations are no object: nothing is written.
        if changed.kind not in (ATTESTATIONS, REGISTRATIONS) and changed.kind not in FABRIC_KINDS:
            self._queue.add(JobKey(changed.kind, changed.namespace, changed.name))
        if not matters(old, new):
            return
        for key in self._office.concerned(changed, old, new):
            self._queue.add(key)
        jobs = self._affected.jobs(changed, old, new)
        self._causes.note(jobs, changed)
        inputs = self._affected.inputs(changed, old, new)
        for keys in (jobs, self._affected.exceptions(changed, old, new, jobs), inputs):
            for key in keys:
                self._queue.add(key)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _place(key: JobKey) -> str:
    return f"{key.kind} {key.namespace}/{key.name}" if key.namespace else f"{key.kind} {key.name}"


async def _either(work: Coroutine[Any, Any, None], stopping: asyncio.Task[Any]) -> bool:
    """Await ``work``; False when the stop came first."""
    task = asyncio.create_task(work)
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
        return True
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return False
