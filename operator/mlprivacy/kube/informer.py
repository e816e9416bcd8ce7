"""A local copy of one resource, kept by list and watch on raw JSON, compact in memory and honest about its age."""

import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Final

import orjson

from mlprivacy.kube import metrics
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, Expired, NotFound, Unreachable
from mlprivacy.kube.resources import Resource

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""
Indexer = Callable[[Object], Iterable[str]]
Transform = Callable[[Object], Object]
Keys = list[Key]
Handler = Callable[[Object | None, Object | None], None]

_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
RELIST_SECONDS: Final = 1800.0
STEADY_SECONDS: Final = 5.0


def compact(obj: Object) -> Object:
    """Drop what nothing decides on and what doubles an object's size: managedFields and kubectl's last-applied copy."""
    metadata = obj["metadata"]
    metadata.pop("managedFields", None)
    annotations = metadata.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        del annotations[_LAST_APPLIED]
        if not annotations:
            del metadata["annotations"]
    return obj


def identity_and_labels(obj: Object) -> Object:
    """Keep only what names an object and its labels: enough for namespaces."""
    keep = ("name", "namespace", "uid", "resourceVersion", "labels", "deletionTimestamp")
    metadata = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {key: metadata[key] for key in keep if key in metadata},
    }


class Informer:
    """Keeps a copy of all objects of one resource (in one namespace, or under one selector) and tells of changes.

    Objects are held as JSON bytes and decoded on each access, so that a returned dict is the caller's own. While the
    API server is away the copy keeps answering and `staleness_seconds` grows. A list *replaces* the copy, so that
    deletions missed by a broken watch are found. Everything runs in one event loop; nothing here is thread-safe.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        indexers: Mapping[str, Indexer] | None = None,
        transform: Transform = compact,
        metadata_only: bool = False,
        chunk_size: int = 500,
        watch_seconds: int = 300,
        inactivity_seconds: float = 60.0,
        relist_seconds: float = RELIST_SECONDS,
        backoff: tuple[float, float] = (0.5, 30.0),
        name: str | None = None,
    ) -> None:
        """`backoff` is the first and the longest pause in seconds after failures, doubled each time, with jitter.

        `metadata_only` asks the API server for metadata alone. `relist_seconds` bounds how long a copy lives on watch
        events only: a watch that waits for a future that a restored etcd has undone would else stay silent for ever.
        `name` labels the metrics; two informers of one resource in one process need different ones.
        """
        self.resource = resource
        self.name = name or str(resource)
        self._client = client
        self._namespace = namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._indexers = dict(indexers or {})
        self._transform = transform
        self._metadata_only = metadata_only
        self._chunk_size = chunk_size
        self._watch_seconds = watch_seconds
        self._inactivity_seconds = inactivity_seconds
        self._relist_seconds = relist_seconds
        self._backoff = backoff
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._objects: dict[Key, bytes] = {}
        self._indices: dict[str, dict[str, set[Key]]] = {name: {} for name in self._indexers}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._heard = time.monotonic()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None
        """Why the copy is not fresh, as a sentence; None while list and watch work."""
        metrics.follow(metrics.CACHE_STALENESS, {"resource": self.name}, lambda: self.staleness_seconds)
        metrics.follow(metrics.CACHE_OBJECTS, {"resource": self.name}, lambda: float(len(self._objects)))
        metrics.follow(metrics.CACHE_SYNCED, {"resource": self.name}, lambda: float(self.synced))

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        """True once a complete list was read and while the resource is served."""
        return self._synced.is_set()

    async def wait_synced(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the caller's deadline
        """Wait until synced; False when `timeout` seconds passed first."""
        try:
            async with asyncio.timeout(timeout):
                await self._synced.wait()
        except TimeoutError:
            return False
        return True

    @property
    def staleness_seconds(self) -> float:
        """Seconds since the API server last sent anything for this copy.

        A quiet resource reaches `inactivity_seconds` and falls back when the watch is opened anew.
        """
        return time.monotonic() - self._heard

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, namespace: str | None, name: str) -> Object | None:
        """The object, or None; `namespace` is None or empty for cluster-scoped resources."""
        raw = self._objects.get((namespace or "", name))
        return None if raw is None else _decode(raw)

    def keys(self, namespace: str | None = None) -> Keys:
        """The keys of all objects, or of one namespace's."""
        return [key for key in self._objects if namespace is None or key[0] == namespace]

    def list(self, namespace: str | None = None) -> Iterator[Object]:
        """All objects, or one namespace's, decoded one at a time from a snapshot of the keys."""
        for key in self.keys(namespace):
            raw = self._objects.get(key)
            if raw is not None:
                yield _decode(raw)

    def by_index(self, index: str, key: str) -> Keys:
        """The sorted keys that `index` files under `key`. Raises KeyError for an index that was not declared."""
        return sorted(self._indices[index].get(key, ()))

    def objects_by_index(self, index: str, key: str) -> Iterator[Object]:
        """The objects that `index` files under `key`."""
        for place in self.by_index(index, key):
            raw = self._objects.get(place)
            if raw is not None:
                yield _decode(raw)

    def index_keys(self, index: str) -> tuple[str, ...]:
        """The keys under which `index` files anything."""
        return tuple(self._indices[index])

    def on_change(self, handler: Handler) -> None:
        """Call `handler(old, new)` after each change: old is None for a new object, new is None for a deleted one.

        Handlers run in the loop and must not block; they get objects of their own. Objects already here are told at
        once. An exception is logged and does not stop the copy.
        """
        self._handlers.append(handler)
        for obj in self.list():
            self._tell((handler,), None, obj)

    # -- running ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run in the background until `stop`."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=f"informer {self.name}")

    async def stop(self) -> None:
        """End the background task; the copy keeps answering."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run(self) -> None:
        """List, then watch, for ever; every failure is retried with a growing pause."""
        version: str | None = None
        listed = 0.0
        while True:
            try:
                if version is None or time.monotonic() - listed > self._relist_seconds:
                    version = await self._replace()
                    listed = time.monotonic()
                version = await self._follow(version)
            except _WatchBroken as broken:
                version = broken.version
                await self._pause(broken.error)
            except Expired as error:
                version = None
                await self._pause(error)
            except ApiError as error:
                version = None
                if isinstance(error, NotFound):
                    # No such resource: its CRD is missing, so an empty answer would be a wrong one.
                    self._synced.clear()
                await self._pause(error)
            except Exception as error:
                version = None
                logger.exception("cache of %s: unexpected error; listing again", self.name)
                await self._pause(Unreachable(f"unexpected {type(error).__name__}: {error}", "Internal"))

    async def _replace(self) -> str:
        """Read everything, then forget what is no longer there."""
        try:
            version, seen = await self._read_list(self._chunk_size)
        except Expired:
            # The list took longer than the API server keeps a continue token: once more in one piece.
            version, seen = await self._read_list(0)
        for key in [key for key in self._objects if key not in seen]:
            self._remove(key)
        metrics.CACHE_RELISTS.labels(self.name).inc()
        self._recovered()
        self._synced.set()
        return version

    async def _read_list(self, chunk_size: int) -> tuple[str, set[Key]]:
        seen: set[Key] = set()
        version = ""
        pages = self._client.list_pages(
            self.resource,
            self._namespace,
            chunk_size=chunk_size,
            metadata_only=self._metadata_only,
            **self._selectors,
        )
        async for page in pages:
            self._heard = time.monotonic()
            version = page.resource_version
            for obj in page.items:
                seen.add(self._store(obj))
        return version, seen

    async def _follow(self, version: str) -> str:
        """One watch from `version`; returns where to go on when the server ended it in good order."""
        opened = time.monotonic()
        events = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=version,
            timeout_seconds=self._watch_seconds,
            inactivity_seconds=self._inactivity_seconds,
            metadata_only=self._metadata_only,
            opened=self._recovered,
            **self._selectors,
        )
        count = 0
        try:
            async with aclosing(events):
                async for event in events:
                    count += 1
                    self._heard = time.monotonic()
                    obj = event["object"]
                    version = str(obj["metadata"].get("resourceVersion") or version)
                    if event["type"] == "DELETED":
                        self._remove(self._key(obj))
                    elif event["type"] != "BOOKMARK":
                        self._store(obj)
        except (Expired, NotFound):
            raise
        except Unreachable as error:
            if error.reason == "Garbled":
                raise
            if error.reason == "Inactive":
                # Ask again from the same place: this is how a connection that died silently is found out.
                return version
            raise _WatchBroken(version, error) from error
        except ApiError as error:
            raise _WatchBroken(version, error) from error
        finally:
            # Only a watch that lived a while ends a series of failures: one that opens and breaks must not be
            # retried, or listed anew, without a growing pause.
            if time.monotonic() - opened >= STEADY_SECONDS:
                self._failures = 0
        if count == 0 and time.monotonic() - opened < 1.0:
            raise _WatchBroken(version, Unreachable(f"the watch of {self.resource} ended at once"))
        return version

    def _recovered(self) -> None:
        self._heard = time.monotonic()
        if self.problem is not None:
            logger.info("cache of %s: the API server answers again", self.name)
        self.problem = None

    async def _pause(self, error: ApiError) -> None:
        first, longest = self._backoff
        wait = min(first * 2 ** min(self._failures, 16), longest)
        if error.retry_after is not None:
            wait = max(wait, min(error.retry_after, longest))
        self._failures += 1
        self.problem = f"the copy of {self.resource} is not kept up to date: {error}"
        logger.warning("%s; trying again in about %.1f s", self.problem, wait)
        await asyncio.sleep(wait * self._random.uniform(0.5, 1.0))

    # -- the copy --------------------------------------------------------------------------------------------------

    def _key(self, obj: Object) -> Key:
        metadata = obj["metadata"]
        name = metadata.get("name")
        if not isinstance(name, str) or not name:
            raise Unreachable(f"an object of {self.resource} came without a name", "Garbled")
        return (sys.intern(metadata.get("namespace") or ""), name)

    def _store(self, obj: Object) -> Key:
        key = self._key(obj)
        obj = self._transform(obj)
        # Copied to its exact size: orjson grows its buffer by doubling, and the holes it leaves behind cost three
        # times the object.
        raw = bytes(memoryview(orjson.dumps(obj)))
        before = self._objects.get(key)
        if before == raw:
            return key
        old = _decode(before) if before is not None and (self._indexers or self._handlers) else None
        self._objects[key] = raw
        self._reindex(key, old, obj)
        self._tell(self._handlers, old, obj)
        return key

    def _remove(self, key: Key) -> None:
        raw = self._objects.pop(key, None)
        if raw is None:
            return
        if self._indexers or self._handlers:
            old = _decode(raw)
            self._reindex(key, old, None)
            self._tell(self._handlers, old, None)

    def _reindex(self, key: Key, old: Object | None, new: Object | None) -> None:
        for name, indexer in self._indexers.items():
            index = self._indices[name]
            was = self._filed(name, indexer, old)
            now = self._filed(name, indexer, new)
            for value in was - now:
                places = index.get(value)
                if places is not None:
                    places.discard(key)
                    if not places:
                        del index[value]
            for value in now - was:
                index.setdefault(value, set()).add(key)

    def _filed(self, name: str, indexer: Indexer, obj: Object | None) -> set[str]:
        if obj is None:
            return set()
        try:
            return set(indexer(obj))
        except Exception:
            # Users write these objects: a shape the indexer did not expect must not stop the copy of all others.
            logger.exception("cache of %s: index %s failed on %s", self.name, name, obj["metadata"].get("name"))
            return set()

    def _tell(self, handlers: Iterable[Handler], old: Object | None, new: Object | None) -> None:
        for handler in handlers:
            try:
                handler(old, new)
            except Exception:
                logger.exception("cache of %s: a change handler failed", self.name)


class _WatchBroken(Exception):
    """A watch failed but its place is known: go on from there without a new list."""

    def __init__(self, version: str, error: ApiError) -> None:
        super().__init__(version, error)
        self.version = version
        self.error = error


def _decode(raw: bytes) -> Object:
    obj: Object = orjson.loads(raw)
    return obj
