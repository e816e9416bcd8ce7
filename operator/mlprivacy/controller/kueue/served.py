"""Whether the cluster has Kueue, in which version, and copies of its Workloads and AdmissionChecks where it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from mlprivacy.controller.kueue import check, workload
from mlprivacy.controller.kueue.workload import Queued, read
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import KUEUE_VERSIONS, Resource, kueue_resource

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 30.0  # how often it is looked whether the definitions came or went
FIRST_SECONDS: Final = 5.0  # how long the start waits for the Workloads that are there
_NEEDED: Final = frozenset({"workloads", "admissionchecks"})


class Served:
    """The copies of Kueue's objects, while their definitions are served. One event loop.

    ``add`` has a key looked at: a TrainingJob whose Workload changed, a Workload (kind ``Workload``) or an
    AdmissionCheck. ``returned`` is called when Kueue was found, or is gone.
    """

    def __init__(
        self,
        client: KubeClient,
        add: Callable[[JobKey], object],
        returned: Callable[[], None],
        *,
        enabled: bool = True,
        look_seconds: float = LOOK_SECONDS,
        **informer_options: Any,
    ) -> None:
        """`enabled` False never looks. `informer_options` go to the informers."""
        self._client = client
        self._add = add
        self._returned = returned
        self._enabled = enabled
        self._look_seconds = look_seconds
        self._options = informer_options
        self._workloads: Informer | None = None
        self._checks: Informer | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._doubted = False  # Kueue was not to be found at the last look, and was before
        self.absent = not enabled
        """True once it is known that the cluster has no Kueue."""
        self.version = ""

    # -- is it there -----------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Look for the definitions, and wait a moment for the objects that are there."""
        await self.look()
        if self._workloads is not None and self._checks is not None:
            await asyncio.gather(self._workloads.wait_synced(FIRST_SECONDS), self._checks.wait_synced(FIRST_SECONDS))

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds)
            await self.look()

    async def stop(self) -> None:
        """End the watches."""
        informers, self._workloads, self._checks = (self._workloads, self._checks), None, None
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.cancel()
            await asyncio.gather(syncing, return_exceptions=True)
        await asyncio.gather(*(i.stop() for i in informers if i is not None))

    async def look(self) -> None:
        """Whether the cluster has Kueue now. Where it does not say, nothing is changed."""
        if not self._enabled:
            return
        version = await self._version()
        if version == "" and self._workloads is not None and not self._doubted:
            self._doubted = True  # every queued job would start: one look is not enough to go by
            return
        self._doubted = False
        if version is None or (version == self.version and (self._workloads is not None or not version)):
            self.absent = self.absent or version == ""
            return
        if self._workloads is not None:
            logger.info("the API %s/%s is not served any more", workload.GROUP, self.version)
            await self.stop()
        self.version, self.absent = version, not version
        if version:
            logger.info("Kueue is there: %s/%s", workload.GROUP, version)
            self._follow(version)
        else:
            self._returned()

    async def _version(self) -> str | None:
        """The newest version that is served with all that is needed, empty when there is none, None when unknown."""
        for version in KUEUE_VERSIONS:
            try:
                answer = orjson.loads(await self._client.request("GET", f"/apis/{workload.GROUP}/{version}"))
                if {r["name"] for r in answer["resources"]} >= _NEEDED:
                    return version
            except NotFound:
                continue
            except (ApiError, ValueError, KeyError, TypeError) as error:
                logger.info("whether %s/%s is served is not known: %s", workload.GROUP, version, error)
                return None
        return ""

    def _follow(self, version: str) -> None:
        self._workloads = Informer(
            self._client, kueue_resource("Workload", version), transform=workload.as_kept, name="kueue/workloads",
            indexers={"owner": _owner}, **self._options,
        )  # fmt: skip
        self._checks = Informer(
            self._client, kueue_resource("AdmissionCheck", version), name="kueue/admissionchecks", **self._options
        )
        self._workloads.on_change(self._workload_changed)
        self._checks.on_change(self._check_changed)
        self._workloads.start()
        self._checks.start()
        self._syncing = asyncio.create_task(self._now_known(self._workloads, self._checks), name="kueue")

    async def _now_known(self, *informers: Informer) -> None:
        await asyncio.gather(*(i.wait_synced() for i in informers))
        self._returned()

    # -- what is there ---------------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        """True while the copies can be gone by."""
        copies = (self._workloads, self._checks)
        return all(copy is not None and copy.synced for copy in copies)

    @property
    def problem(self) -> str:
        """Why the copies can not be gone by, as a sentence."""
        for informer in (self._workloads, self._checks):
            if informer is not None and informer.problem is not None:
                return informer.problem
        return "the Workloads of Kueue have not been read yet"

    def resource(self, kind: str) -> Resource:
        """The resource of a kind of Kueue's, in the version that is served."""
        return kueue_resource(kind, self.version)

    def of_job(self, key: JobKey) -> list[Queued]:
        """Every Workload that says it is controlled by a TrainingJob of this name."""
        if self._workloads is None:
            return []
        return [read(o) for o in self._workloads.objects_by_index("owner", f"{key.namespace}/{key.name}")]

    def workload(self, namespace: str, name: str) -> Queued | None:
        """One Workload."""
        found = self._workloads.get(namespace, name) if self._workloads is not None else None
        return read(found) if found is not None else None

    def check(self, name: str) -> Object | None:
        """One AdmissionCheck."""
        return self._checks.get(None, name) if self._checks is not None else None

    @property
    def ours(self) -> frozenset[str]:
        """Names of the AdmissionChecks that ask for the privacy budget."""
        found = self._checks.list() if self._checks is not None else ()
        return frozenset(c["metadata"]["name"] for c in found if check.is_ours(c))

    def _all(self) -> Iterator[Queued]:
        if self._workloads is not None:
            yield from map(read, self._workloads.list())

    # -- what changed ----------------------------------------------------------------------------------------------

    def _workload_changed(self, old: Object | None, new: Object | None) -> None:
        for one in (read(obj) for obj in (old, new) if obj is not None):
            if one.owner[0]:
                self._add(JobKey("TrainingJob", one.namespace, one.owner[0]))
        if new is not None and (new["status"].get("admissionChecks")):
            self._add(JobKey("Workload", new["metadata"]["namespace"], new["metadata"]["name"]))

    def _check_changed(self, old: Object | None, new: Object | None) -> None:
        changed = new or old
        if changed is None or not any(check.is_ours(o) for o in (old, new) if o is not None):
            return
        name = changed["metadata"]["name"]
        if new is not None:
            self._add(JobKey("AdmissionCheck", "", name))
        if old is not None and new is not None and old.get("spec") == new.get("spec"):
            return
        for one in self._all():  # whatever waits for it
            if any(c.name == name and c.state == "Pending" for c in one.checks):
                self._add(JobKey("Workload", one.namespace, one.name))
                if one.owner[0]:
                    self._add(JobKey("TrainingJob", one.namespace, one.owner[0]))


def _owner(obj: Object) -> list[str]:
    one = read(obj)
    return [f"{one.namespace}/{one.owner[0]}"] if one.owner[0] else []
