"""Copies of what decides over RDMA devices and further networks, kept only once a job has asked for any of them."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import orjson

from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import (
    CONFIGMAPS,
    DEVICECLASSES,
    MULTINETWORKPOLICIES,
    NETWORKATTACHMENTS,
    NODES,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
    SRIOVNETWORKNODESTATES,
    SRIOVNETWORKPOOLCONFIGS,
    SRIOVNETWORKS,
    Resource,
)
from mlprivacy.policy.fabric.objects import SHARED_CONFIG
from mlprivacy.policy.fabric.use import RESOURCE_NAME
from mlprivacy.policy.model import Dependency
from mlprivacy.policy.rules.rdma.rdma_multinetpol import POLICY_FOR

logger = logging.getLogger(__name__)

RESOURCES: Final = (
    NETWORKATTACHMENTS,
    MULTINETWORKPOLICIES,
    SRIOVNETWORKS,
    SRIOVNETWORKPOOLCONFIGS,
    SRIOVNETWORKNODESTATES,
    RESOURCECLAIMS,
    RESOURCECLAIMTEMPLATES,
    DEVICECLASSES,
    NODES,
    CONFIGMAPS,
)
KINDS: Final = frozenset(resource.kind for resource in RESOURCES)
BY_NAME: Final = frozenset(
    {NETWORKATTACHMENTS.kind, RESOURCECLAIMS.kind, RESOURCECLAIMTEMPLATES.kind, DEVICECLASSES.kind}
)
"""Kinds of which a decision rests on single objects; of the others it rests on all, wherever they are."""
FIRST_SECONDS: Final = 10.0  # after the first job that asked, jobs wait for what is being read
AGAIN_SECONDS: Final = 60.0  # how often it is looked whether a definition came or went

_Tell = Callable[[Dependency, Object | None, Object | None], None]


def decisive(obj: Object) -> Object:
    """What decides of one object; nothing that changes all the time, so that only what matters is told."""
    metadata, kind = obj["metadata"], obj["kind"]
    kept: dict[str, Any] = {k: metadata[k] for k in ("name", "namespace", "uid") if metadata.get(k)}
    notes = metadata.get("annotations") or {}
    told = {k: notes[k] for k in (RESOURCE_NAME, POLICY_FOR) if k in notes}
    if told:
        kept["annotations"] = told
    small: Object = {"apiVersion": obj["apiVersion"], "kind": kind, "metadata": kept}
    if kind == NODES.kind:
        kept["labels"] = metadata.get("labels") or {}
        amounts = (obj.get("status") or {}).get("allocatable") or {}
        small["status"] = {"allocatable": {k: v for k, v in amounts.items() if "/" in k}}
    elif kind == SRIOVNETWORKNODESTATES.kind:
        small["status"] = {"system": (obj.get("status") or {}).get("system") or {}}
    elif kind == CONFIGMAPS.kind:
        small["data"] = {k: v for k, v in (obj.get("data") or {}).items() if k == "config.json"}
    else:
        small["spec"] = obj.get("spec") or {}
    return small


class FabricStore:
    """Begins to list and watch when a job first asks; clusters without RDMA pay nothing.

    A definition that the cluster does not have means *no such objects*. What may not be read, or was not read yet, is
    *not known*. One event loop; not thread-safe.
    """

    def __init__(self, client: KubeClient, tell: _Tell, **informer_options: Any) -> None:
        """`tell` is called with what changed, the object before and after; it must not block."""
        self._client = client
        self._tell = tell
        self._options = informer_options
        self._informers: dict[str, Informer] = {}
        self._absent: set[str] = set()
        self._lists: dict[str, list[Object]] = {}
        self._task: asyncio.Task[None] | None = None
        self._known: asyncio.Task[None] | None = None
        self._until = 0.0
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._looked = asyncio.Event()

    async def wanted(self, deadline: float | None) -> None:
        """A job asks for what is kept here: begin, and wait until it is known or `deadline` (loop time) has come.

        With a deadline only the first waits: where something may not be read, the others would wait in vain each time.
        Without one, as in the controller, all do for the first FIRST_SECONDS, so that a controller that starts anew
        does not stop what runs. What becomes known later is told, and decides anew.
        """
        now = asyncio.get_running_loop().time()
        if self._task is not None and deadline is not None:
            return
        if self._task is None:
            self._task = asyncio.create_task(self._keep_looking(), name="fabric")
            self._known = asyncio.create_task(self._all_known(), name="fabric known")
            self._until = now + FIRST_SECONDS
        until = self._until if deadline is None else deadline
        if self._known is None or self._known.done() or now >= until:
            return
        await asyncio.wait({self._known}, timeout=until - now)

    async def _all_known(self) -> None:
        await self._looked.wait()
        await asyncio.gather(*(i.wait_synced() for i in self._informers.values()))

    async def stop(self) -> None:
        """End the watches; the copies keep answering."""
        tasks = [t for t in (self._task, self._known, *self._telling.values()) if t is not None]
        self._task = self._known = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *(i.stop() for i in self._informers.values()), return_exceptions=True)

    def source(self, kind: str) -> list[Object] | None:
        """All objects of a kind, as `policy.fabric.objects.Source`; None: not known."""
        if kind in self._absent:
            return []
        informer = self._informers.get(kind)
        if informer is None or not informer.synced:
            return None
        if kind not in self._lists:
            self._lists[kind] = list(informer.list())
        return self._lists[kind]

    async def _keep_looking(self) -> None:
        while True:
            for places in {(r.group, r.version): None for r in RESOURCES}:
                await self._look(*places)
            self._looked.set()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _look(self, group: str, version: str) -> None:
        """Which resources of one version the cluster serves. Where it does not say, nothing is changed."""
        mine = [r for r in RESOURCES if (r.group, r.version) == (group, version)]
        served = {r.plural for r in mine}
        if group:
            try:
                answer = orjson.loads(await self._client.request("GET", f"/apis/{group}/{version}"))
                served = {str(r["name"]) for r in answer["resources"]}
            except NotFound:
                served = set()
            except (ApiError, ValueError, KeyError, TypeError) as error:
                logger.warning("what %s/%s serves is not known: %s", group, version, error)
                return
        for resource in mine:
            if resource.plural in served:
                self._begin(resource)
            else:
                await self._end(resource)

    def _begin(self, resource: Resource) -> None:
        kind = resource.kind
        self._absent.discard(kind)
        if kind in self._informers:
            return
        informer = Informer(
            self._client,
            resource,
            field_selector=f"metadata.name={SHARED_CONFIG}" if resource is CONFIGMAPS else None,
            transform=decisive,
            name=f"fabric-{resource}",
            **self._options,
        )
        self._informers[kind] = informer
        informer.on_change(lambda old, new: self._changed(kind, old, new))
        informer.start()
        self._telling[kind] = asyncio.create_task(self._now_known(kind, informer), name=f"fabric {kind}")

    async def _end(self, resource: Resource) -> None:
        kind = resource.kind
        informer = self._informers.pop(kind, None)
        if informer is not None:
            await informer.stop()
            self._lists.pop(kind, None)
        known = kind in self._absent
        self._absent.add(kind)
        for old in informer.list() if informer is not None else ():
            self._changed(kind, old, None)
        if not known:
            self._tell(Dependency(kind, "", "*"), None, None)

    async def _now_known(self, kind: str, informer: Informer) -> None:
        """What was not known and now is, even where it is empty, decides anew on what waited for it."""
        await informer.wait_synced()
        self._tell(Dependency(kind, "", "*"), None, None)

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        self._lists.pop(kind, None)
        metadata = (new or old or {})["metadata"]
        namespace = metadata.get("namespace") or "" if kind in BY_NAME else ""
        self._tell(Dependency(kind, namespace, metadata["name"]), old, new)
