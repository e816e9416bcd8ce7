"""The controller on a stage: its real fact store, index, queue, engine, reconciler and reporter, in one process.

What is not real: the API server (``MemoryApi``, which counts what is written), the collector (it gives every receipt
at once) and kopf (jobs are handed over by ``Stage.put``). Nothing is rendered unless a job is allowed to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.record import Event, Receipt
from mlprivacy.controller import active
from mlprivacy.controller.children import Children
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.controller.reconcile import SOON_SECONDS
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.client import KubeClient, ListPage, Object
from mlprivacy.kube.errors import Conflict, NotFound
from mlprivacy.kube.fabric import RESOURCES as FABRIC
from mlprivacy.kube.facts import FactStore
from mlprivacy.kube.resources import Resource
from mlprivacy.policy.custom import CustomRules
from mlprivacy.workloads.context import RenderSettings

OPERATOR = "mlprivacy-system"
JOBS = ("TrainingJob", "InferenceJob")
Place = tuple[str, str]


class MemoryApi:
    """As much of an API server as the controller needs, in memory. Watches tell every change in its order."""

    def __init__(self) -> None:
        self.version = 100
        self.objects: defaultdict[str, dict[Place, Object]] = defaultdict(dict)
        self.writes: Counter[tuple[str, str]] = Counter()
        self.events: list[Object] = []
        self.keep_events = True
        self._watches: list[tuple[str, Mapping[str, str], asyncio.Queue[Object]]] = []

    def put(self, raw: Mapping[str, Any]) -> Object:
        """What a person creates or updates; the uid and the status of an object that is there stay."""
        stored = copy.deepcopy(dict(raw))
        metadata = stored["metadata"]
        place = (metadata.get("namespace") or "", metadata["name"])
        before = self.objects[stored["kind"]].get(place)
        metadata.setdefault("uid", f"uid-{stored['kind']}-{'-'.join(place)}")
        if before is not None:
            changed = before.get("spec") != stored.get("spec")
            metadata["generation"] = int(before["metadata"].get("generation") or 1) + int(changed)
            if "status" in before:
                stored.setdefault("status", before["status"])
        else:
            metadata.setdefault("generation", 1)
        return self._store(stored)

    def remove(self, kind: str, namespace: str, name: str) -> Object:
        """Delete an object."""
        gone = self.objects[kind].pop((namespace, name))
        self.version += 1
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", gone)
        return gone

    def _store(self, stored: Object) -> Object:
        self.version += 1
        metadata = stored["metadata"]
        metadata["resourceVersion"] = str(self.version)
        place = (metadata.get("namespace") or "", metadata["name"])
        known = place in self.objects[stored["kind"]]
        self.objects[stored["kind"]][place] = stored
        self._tell("MODIFIED" if known else "ADDED", stored)
        return stored

    def _tell(self, event: str, obj: Object) -> None:
        for kind, selectors, queue in self._watches:
            if kind == obj["kind"] and _matches(obj, selectors):
                queue.put_nowait({"type": event, "object": copy.deepcopy(obj)})

    # -- what KubeClient has ---------------------------------------------------------------------------------------

    async def list_pages(
        self, resource: Resource, namespace: str | None = None, **options: Any
    ) -> AsyncIterator[ListPage]:
        items = [
            copy.deepcopy(one) for one in self.objects[resource.kind].values() if _matches(one, _of(options, namespace))
        ]
        yield ListPage(items, str(self.version), None)

    async def watch(self, resource: Resource, namespace: str | None = None, **options: Any) -> AsyncIterator[Object]:
        queue: asyncio.Queue[Object] = asyncio.Queue()
        place = (resource.kind, _of(options, namespace), queue)
        self._watches.append(place)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watches.remove(place)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        found = self.objects[resource.kind].get((namespace or "", name))
        if found is None:
            raise NotFound(404, "NotFound", f"{resource} {name}")
        return copy.deepcopy(found)

    async def request(self, method: str, path: str, **_: Any) -> bytes:
        plurals = [r.plural for r in FABRIC if path == f"/apis/{r.api_version}"]
        return json.dumps({"resources": [{"name": name} for name in plurals]}).encode()

    async def create(self, resource: Resource, body: Object, **_: Any) -> Object:
        if resource.kind == "Event":
            if self.keep_events:
                self.events.append(body)
            return body
        self.writes["create", resource.kind] += 1
        return copy.deepcopy(self._store(copy.deepcopy(body)))

    async def apply(self, resource: Resource, body: Object, **_: Any) -> Object:
        self.writes["apply", resource.kind] += 1
        return copy.deepcopy(self._store(copy.deepcopy(body)))

    async def merge_patch(
        self, resource: Resource, name: str, patch: Object, namespace: str | None = None, **_: Any
    ) -> Object:
        place = (namespace or "", name)
        found = self.objects[resource.kind].get(place)
        if found is None:
            raise NotFound(404, "NotFound", f"{resource} {name}")
        wanted = (patch.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != found["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "newer")
        self.writes["patch", resource.kind] += 1
        return copy.deepcopy(self._store(_merged(found, patch)))

    async def merge_patch_status(
        self, resource: Resource, name: str, namespace: str | None, status: Any, *, resource_version: str | None = None
    ) -> Object:
        patch: Object = {"status": copy.deepcopy(dict(status))}
        if resource_version is not None:
            patch["metadata"] = {"resourceVersion": resource_version}
        return await self.merge_patch(resource, name, patch, namespace)


def _of(options: Mapping[str, Any], namespace: str | None) -> dict[str, str]:
    fields = options.get("field_selector") or ""
    name = fields.removeprefix("metadata.name=") if fields.startswith("metadata.name=") else ""
    return {"namespace": namespace or "", "labels": options.get("label_selector") or "", "name": name}


def _matches(obj: Object, selectors: Mapping[str, str]) -> bool:
    metadata = obj["metadata"]
    if selectors["namespace"] and metadata.get("namespace") != selectors["namespace"]:
        return False
    if selectors["name"] and metadata["name"] != selectors["name"]:
        return False
    labels = metadata.get("labels") or {}
    wanted = [part.split("=") for part in selectors["labels"].split(",") if part]
    return all(labels.get(key) == value for key, value in wanted)


def _merged(base: Object, patch: Mapping[str, Any]) -> Object:
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


class MemoryCollector:
    """Gives each receipt at once, and keeps the records."""

    def __init__(self) -> None:
        self.records: list[Event] = []
        self.keep = True

    async def receipt(self, events: list[Event]) -> list[Receipt]:
        if self.keep:
            self.records += events
        return [Receipt(id=e.id, writer="stage", seq=n, hash="0" * 64) for n, e in enumerate(events, 1)]


class Stage:
    """One controller and its world. ``looked`` are the jobs that were looked at since it was last cleared."""

    def __init__(self, api: MemoryApi, controller: active.Controller, facts: FactStore, clock: Clock) -> None:
        self.api = api
        self.collector = MemoryCollector()
        self.controller = controller
        self.facts = facts
        self.clock = clock
        self.looked: list[JobKey] = []
        self.queue = controller._queue

    def put(self, raw: Mapping[str, Any]) -> Object:
        """Create or change an object; a job is handed to the controller as kopf would."""
        stored = self.api.put(raw)
        if stored["kind"] in JOBS:
            self.controller._job_seen(stored["kind"], None, copy.deepcopy(stored))
        return stored

    def remove(self, raw: Mapping[str, Any]) -> None:
        """Delete an object."""
        metadata = raw["metadata"]
        gone = self.api.remove(raw["kind"], metadata.get("namespace") or "", metadata["name"])
        if gone["kind"] in JOBS:
            self.controller._job_seen(gone["kind"], "DELETED", gone)

    def status(self, raw: Mapping[str, Any]) -> Any:
        """The status of an object as it was written."""
        metadata = raw["metadata"]
        return self.api.objects[raw["kind"]][metadata.get("namespace") or "", metadata["name"]].get("status") or {}

    def jobs_looked_at(self) -> set[str]:
        """``Kind/namespace/name`` of the jobs that were looked at, and forgets them."""
        found = {"/".join(key) for key in self.looked if key.kind in JOBS}
        self.looked.clear()
        return found

    async def settled(self, within: float = 60.0) -> None:
        """Until every change has arrived and nothing waits."""
        async with asyncio.timeout(within):
            quiet = 0
            while quiet < 3:
                await asyncio.sleep(0.005)
                told = all(queue.empty() for _, _, queue in self.api._watches)
                quiet = quiet + 1 if told and self.queue.idle else 0

    async def handle(self, key: JobKey) -> float | None:
        """One look, as the controller's workers do it."""
        self.looked.append(key)
        return await self.controller._handle(key)


class Clock:
    """The time of the stage."""

    def __init__(self, now: Any) -> None:
        self.now = now

    def __call__(self) -> Any:
        return self.now


@asynccontextmanager
async def stage(
    world: Iterable[Mapping[str, Any]],
    now: Any,
    *,
    custom: CustomRules | None = None,
    audit_retention_days: int | None = 4000,
    workers: int = 8,
) -> AsyncIterator[Stage]:
    """A controller that has read this world; its jobs are handed over with it."""
    api = MemoryApi()
    jobs = [raw for raw in world if raw["kind"] in JOBS]
    for raw in world:
        if raw["kind"] not in JOBS:
            api.put(raw)
    client = cast("KubeClient", api)
    facts = FactStore(
        client,
        operator_namespace=OPERATOR,
        audit_retention_days=audit_retention_days,
        custom=custom,
        backoff=(0.01, 0.1),
    )
    children = Children(client)
    settings = RenderSettings(
        operator_namespace=OPERATOR,
        dataplane_image="registry.example/dataplane@sha256:" + "0" * 64,
        canary="10.0.0.1:1:1",
        seal_key="key",
    )
    config = ControllerConfig(
        namespace=OPERATOR, dataplane_image=settings.dataplane_image, collector_url="https://collector", workers=workers
    )
    collector, clock = MemoryCollector(), Clock(now)
    controller = active.Controller(
        config, client, "stage", settings, facts, children, cast("CollectorClient", collector)
    )
    for part in (controller._reconciler, controller._exceptions, controller._reconciler.reporter):
        part.now = clock
    controller._inputs._now = clock
    found = Stage(api, controller, facts, clock)
    found.collector = collector
    facts.start()
    children.start()
    await facts.wait_synced()
    await children.wait_synced()
    async with asyncio.timeout(20):  # what changes between a list and its watch would be lost here
        while len(api._watches) < len(facts.informers) + len(children.informers):  # noqa: ASYNC110 - none has one
            await asyncio.sleep(0.001)
    tasks = [
        asyncio.create_task(found.queue.run(found.handle, workers)),
        asyncio.create_task(controller._announcer.run()),
    ]
    try:
        for raw in jobs:
            found.put(raw)
        await found.settled(600)
        await asyncio.sleep(1.5 * SOON_SECONDS)  # who waited for facts that came looks once more
        await found.settled(600)
        yield found
    finally:
        found.queue.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.gather(facts.stop(), children.stop())
