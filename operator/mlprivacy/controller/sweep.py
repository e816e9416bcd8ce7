"""Finds what kopf's watches missed: kopf never notices a job that was deleted while a watch was broken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mlprivacy.controller import metrics
from mlprivacy.controller.effects import JOB_RESOURCES
from mlprivacy.controller.store import JobKey, JobStore, version_of
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import ApiError, NotFound

logger = logging.getLogger(__name__)
SWEEP_SECONDS = 300.0
MISSING_SECONDS = 2.0  # between looks for a definition that is not there yet
LAG_SECONDS = 5.0  # how late a watch may be before it counts as having missed something


class Sweep:
    """Lists names and versions of all jobs now and then, and holds the store against them."""

    def __init__(
        self, client: KubeClient, store: JobStore, changed: Callable[[JobKey], None], *, lag: float = LAG_SECONDS
    ) -> None:
        """``changed`` is called with each job whose news were missed."""
        self._client = client
        self._store = store
        self._changed = changed
        self._lag = lag

    async def served(self) -> None:
        """Wait until the API server serves both kinds of jobs: kopf does not look again for a definition."""
        for kind, resource in JOB_RESOURCES.items():
            told = False
            while True:
                try:
                    async for _ in self._client.list_pages(resource, chunk_size=1, metadata_only=True):
                        break
                except NotFound:
                    if not told:
                        logger.warning("the definition (CRD) of %s is missing; waiting for it", kind)
                        told = True
                except ApiError as error:
                    logger.warning("%s can not be listed: %s", kind, error)
                else:
                    break
                await asyncio.sleep(MISSING_SECONDS)

    async def run(self, again: Callable[[], None]) -> None:
        """Sweep until cancelled; ``again`` is called when a definition that was missing is served again."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.once()
            except NotFound:
                await self.served()
                again()
            except ApiError as error:
                logger.warning("jobs can not be listed, so it is not known whether news were missed: %s", error)

    async def once(self) -> None:
        """One sweep of both kinds.

        Raises:
            ApiError: when they can not be listed.
        """
        for kind in JOB_RESOURCES:
            await self._kind(kind)

    async def _kind(self, kind: str) -> None:
        known = [key for key in self._store if key.kind == kind]
        there: dict[JobKey, int] = {}
        listed = 0
        async for page in self._client.list_pages(JOB_RESOURCES[kind], metadata_only=True):
            listed = version_of(page.resource_version)
            for obj in page.items:
                metadata = obj["metadata"]
                key = JobKey(kind, metadata.get("namespace", ""), metadata["name"])
                there[key] = version_of(metadata.get("resourceVersion"))
        for key in known:
            if key not in there and self._store.version(key) >= 0 and self._store.drop(key, listed):
                self._missed(key, "deleted")
        late = [key for key, version in there.items() if self._store.version(key) < version]
        if late:
            await asyncio.sleep(self._lag)
            for key in late:
                if self._store.version(key) < there[key]:
                    await self._read(key)

    async def _read(self, key: JobKey) -> None:
        try:
            raw = await self._client.get(JOB_RESOURCES[key.kind], key.name, key.namespace)
        except NotFound:
            return
        if self._store.put({**raw, "kind": key.kind}):
            self._missed(key, "changed")

    def _missed(self, key: JobKey, change: str) -> None:
        metrics.MISSED.labels(change).inc()
        logger.info("no watch told that %s was %s", key, change)
        self._changed(key)
