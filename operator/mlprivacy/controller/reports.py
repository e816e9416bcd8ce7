"""OpenReports in the cluster: one Report for each job with findings, where their definition is installed.

Beside the point of a reconcile, so it never fails one: without the definition nothing happens, what is refused is told
once and tried again, what somebody else changes is put right.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import orjson

from mlprivacy.controller import metrics
from mlprivacy.controller.announce import Announcer
from mlprivacy.controller.children import SELECTOR
from mlprivacy.controller.effects import namespace_ends
from mlprivacy.controller.store import JobKey, version_of
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, Forbidden, Invalid, NotFound
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import REPORTS
from mlprivacy.policy.model import Decision
from mlprivacy.report.openreports import content_digest, job_of, report_name, report_of

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 30.0  # how often it is looked whether the definition came or went, and what failed is tried again
FIRST_SECONDS: Final = 5.0  # how long the start waits for the reports that are there
LAG_SECONDS: Final = 10.0  # how long an answer to a write counts although the watch does not show it
NOT_WRITTEN: Final = "ReportNotWritten"


def as_kept(obj: Object) -> Object:
    """A Report in few bytes: which one it is, and a digest of what it says."""
    metadata = obj["metadata"]
    return {
        "metadata": {k: metadata[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in metadata},
        "digest": content_digest(obj),
    }


class _Told(NamedTuple):
    """What a job's Report is to say (a digest), how the API server stores that, and in which version."""

    wanted: str
    stored: str
    version: int
    until: float  # when the watch must have shown it


class Reports:
    """Writes the Report of a job where it differs, and removes that of a job without findings.

    What is kept are digests: the copy of the API server's reports, and what was written last. One event loop.
    """

    def __init__(
        self,
        client: KubeClient,
        announcer: Announcer,
        jobs: Iterable[JobKey],
        again: Callable[[JobKey], None],
        *,
        look_seconds: float = LOOK_SECONDS,
        now: Callable[[], float] = time.monotonic,
        **informer_options: Any,
    ) -> None:
        """`jobs` are all jobs at the time of iteration; `again` has a job looked at once more. `now` only grows."""
        self._client = client
        self._announcer = announcer
        self._jobs = jobs
        self._again = again
        self._look_seconds = look_seconds
        self._now = now
        self._options = informer_options
        self._informer: Informer | None = None
        self._syncing: asyncio.Task[None] | None = None
        self._told: dict[JobKey, _Told] = {}
        self._owed: set[JobKey] = set()  # could not be written, for a reason that passes
        self._refused: dict[str, set[JobKey]] = {}  # by namespace: refused there, or not tried since
        self._trying: set[JobKey] = set()  # of those the ones that are tried now
        self._unreadable = False

    # -- is there anything to do -----------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Look for the definition, and wait a moment for the reports that are there."""
        await self.look()
        if self._informer is not None:
            await self._informer.wait_synced(FIRST_SECONDS)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds)
            await self.look()
            self._retry()

    async def stop(self) -> None:
        """End the watch."""
        informer, self._informer = self._informer, None
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.cancel()
            await asyncio.gather(syncing, return_exceptions=True)
        if informer is not None:
            await informer.stop()

    async def look(self) -> None:
        """Whether the cluster has the definition now. Where it does not say, nothing is changed."""
        served = await self._served()
        if served is False and self._informer is not None:
            logger.info("the definition (CRD) of %s is gone, so no reports are written", REPORTS)
            await self.stop()
            self._told.clear()
            self._owed.clear()
            self._refused.clear()
            self._trying.clear()
        elif served and self._informer is None and await self._readable():
            informer = Informer(
                self._client, REPORTS, label_selector=SELECTOR, transform=as_kept, name="openreports", **self._options
            )
            informer.on_change(self._changed)
            informer.start()
            self._informer = informer
            self._syncing = asyncio.create_task(self._now_known(informer), name="openreports")

    async def _served(self) -> bool | None:
        try:
            answer = orjson.loads(await self._client.request("GET", f"/apis/{REPORTS.api_version}"))
            return any(r["name"] == REPORTS.plural for r in answer["resources"])
        except NotFound:
            return False
        except (ApiError, ValueError, KeyError, TypeError) as error:
            logger.info("whether %s are served is not known: %s", REPORTS, error)
            return None

    async def _readable(self) -> bool:
        try:
            async for _ in self._client.list_pages(REPORTS, label_selector=SELECTOR, chunk_size=1, metadata_only=True):
                break
        except Forbidden as error:
            if not self._unreadable:
                logger.warning("no reports are written, since they may not be read: %s", error)
            self._unreadable = True
            return False
        except ApiError as error:
            logger.info("%s can not be listed: %s", REPORTS, error)
            return False
        self._unreadable = False
        return True

    async def _now_known(self, informer: Informer) -> None:
        """What is there is known from now on, so each job can be held against it."""
        await informer.wait_synced()
        for key in self._jobs:
            self._again(key)

    def _retry(self) -> None:
        """Try again what failed; where a namespace refuses, one job of it stands for all."""
        owed, self._owed = self._owed, set()
        known = set(self._jobs) if self._refused else set()
        for namespace, waiting in list(self._refused.items()):
            waiting.intersection_update(known)
            if waiting:
                key = min(waiting)
                self._trying.add(key)
                owed.add(key)
            else:
                del self._refused[namespace]
        for key in owed:
            self._again(key)

    # -- one job ---------------------------------------------------------------------------------------------------

    async def report(self, key: JobKey, raw: Object, decision: Decision, *, governed: bool) -> None:
        """Bring the Report of a job in line with its decision. Never raises on what the API server answers.

        Args:
            key: the job.
            raw: the job, for an Event about it.
            decision: the decision in force.
            governed: whether its namespace is; elsewhere nothing of ours is made.
        """
        informer = self._informer
        if informer is None or not informer.synced:
            return
        try:
            wanted = report_of(decision) if governed else None
            if wanted is None:
                await self._remove(informer, key)
            else:
                await self._bring(informer, key, wanted)
        except NotFound as error:  # the namespace is gone, or the definition, which the next look finds out
            logger.debug("the report on %s is not written: %s", key, error)
        except (Forbidden, Invalid) as error:
            if not namespace_ends(error):
                self._refuse(key, raw, error)
        except ApiError as error:
            logger.info("the report on %s is not written yet: %s", key, error)
            self._owed.add(key)
        except Exception:
            logger.exception("the report on %s: a fault of ours; it is not written", key)
        self._trying.discard(key)

    def forget(self, key: JobKey) -> None:
        """A job is gone; its Report goes with it, as it owns it."""
        self._told.pop(key, None)
        self._owed.discard(key)
        self._trying.discard(key)
        self._refused.get(key.namespace, set()).discard(key)

    async def _remove(self, informer: Informer, key: JobKey) -> None:
        self._told.pop(key, None)
        name = report_name(key.kind, key.name)
        shown = informer.get(key.namespace, name)
        if shown is None or self._waits(key):
            return
        uid = shown["metadata"]["uid"]
        await self._client.delete(REPORTS, name, key.namespace, uid=uid, missing_ok=True)
        self._wrote(key, "removed")

    async def _bring(self, informer: Informer, key: JobKey, wanted: Object) -> None:
        digest = content_digest(wanted)
        if self._stands(informer, key, digest) or self._waits(key):
            return
        # Before the answer: the watch may be faster, and must not take this for somebody else's change.
        self._told[key] = _Told(digest, digest, 0, 0.0)
        try:
            # Not strict: an older definition does not know every field, and drops those.
            answer = await self._client.apply(REPORTS, wanted, field_validation="Ignore")
        except BaseException:
            self._told.pop(key, None)
            raise
        version = version_of(answer["metadata"].get("resourceVersion"))
        self._told[key] = _Told(digest, content_digest(answer), version, self._now() + LAG_SECONDS)
        self._wrote(key, "written")

    def _stands(self, informer: Informer, key: JobKey, digest: str) -> bool:
        """Whether the API server has it as wanted, as far as the watch and the last answer tell."""
        shown = informer.get(key.namespace, report_name(key.kind, key.name))
        told = self._told.get(key)
        told = told if told is not None and told.wanted == digest else None
        if shown is None:
            return told is not None and self._now() < told.until
        version = version_of(shown["metadata"].get("resourceVersion"))
        if told is not None and (version < told.version or shown["digest"] == told.stored):
            return True
        if shown["digest"] != digest:
            return False
        self._told[key] = _Told(digest, digest, version, 0.0)
        return True

    def _waits(self, key: JobKey) -> bool:
        """Whether the namespace refuses reports and this job is not the one that is tried."""
        refused = self._refused.get(key.namespace)
        if refused is None or key in self._trying:
            return False
        refused.add(key)
        return True

    def _wrote(self, key: JobKey, change: str) -> None:
        metrics.REPORTS.labels(change).inc()
        waiting = self._refused.pop(key.namespace, None)
        if waiting is not None:
            logger.info("reports are written in the namespace %s again", key.namespace)
            for other in waiting - {key}:
                self._again(other)

    def _refuse(self, key: JobKey, raw: Object, error: ApiError) -> None:
        """Told once for each namespace, until a report is written there again."""
        metrics.REPORTS.labels("refused").inc()
        if key.namespace not in self._refused:
            note = f"no reports are written in the namespace {key.namespace}, and jobs go on without: {error}"
            logger.warning("%s", note)
            self._announcer.say(raw, "Warning", NOT_WRITTEN, note)
        self._refused.setdefault(key.namespace, set()).add(key)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """A Report was changed or removed, by us or by others; only the latter is looked at again."""
        if self._informer is None or not self._informer.synced:
            return
        metadata = (new or old or {})["metadata"]
        job = job_of(metadata["name"])
        if job is None:
            return
        key = JobKey(job[0], metadata["namespace"], job[1])
        told = self._told.get(key)
        if new is None:
            if told is not None:
                del self._told[key]
                self._again(key)
        elif told is None or (
            version_of(metadata.get("resourceVersion")) > told.version and new["digest"] != told.stored
        ):
            self._again(key)
