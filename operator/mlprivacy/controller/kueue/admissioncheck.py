"""The AdmissionCheck controller of the privacy budget, for all that is no TrainingJob's turn.

It tells Kueue that somebody answers, and answers for Workloads that stand for no TrainingJob. For those that do, the
job itself is looked at: `queueing.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from mlprivacy.controller import metrics
from mlprivacy.controller.kueue.check import active_status, is_ours, pending, state_of_foreign
from mlprivacy.controller.kueue.checkstatus import FIELD_MANAGER, write_check
from mlprivacy.controller.kueue.served import Served
from mlprivacy.controller.kueue.turns import of_job
from mlprivacy.controller.kueue.workload import Queued
from mlprivacy.controller.store import JobKey, JobStore
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Conflict, NotFound
from mlprivacy.policy.modes import ceiling_of

logger = logging.getLogger(__name__)
KINDS = ("AdmissionCheck", "Workload")
SOON_SECONDS = 0.2  # somebody was faster
AGAIN_SECONDS = 1.0  # the objects are still being read


class AdmissionChecks:
    """Reconciles AdmissionChecks, and Workloads of others."""

    def __init__(
        self,
        served: Served,
        client: KubeClient,
        jobs: JobStore,
        labels: Callable[[str], Mapping[str, str] | None],
        now: Callable[[], datetime],
    ) -> None:
        """`labels` gives those of a namespace, None where there is none of that name."""
        self._served = served
        self._client = client
        self._jobs = jobs
        self._labels = labels
        self._now = now

    async def reconcile(self, key: JobKey) -> float | None:
        """One AdmissionCheck or one Workload; the seconds until the next look, or None.

        Raises:
            ApiError: what is worth another try.
        """
        if not self._served.synced:
            return None if self._served.absent else AGAIN_SECONDS
        try:
            if key.kind == "AdmissionCheck":
                await self._activate(key.name)
            else:
                await self._answer(key)
        except NotFound:
            return None
        except Conflict:
            return SOON_SECONDS
        return None

    async def _activate(self, name: str) -> None:
        found = self._served.check(name)
        if found is None or not is_ours(found) or "deletionTimestamp" in found["metadata"]:
            return
        status = active_status(found, self._now())
        if status is None:
            return
        body = {"metadata": {"name": name, "uid": found["metadata"]["uid"]}, "status": status}
        resource = self._served.resource("AdmissionCheck")
        await self._client.apply(resource, body, field_manager=FIELD_MANAGER, subresource="status")
        logger.info("the AdmissionCheck %s is answered", name)

    async def _answer(self, key: JobKey) -> None:
        one = self._served.workload(key.namespace, key.name)
        if one is None or self._of_a_job(one):
            return
        for check in pending(one, self._served.ours):
            state = state_of_foreign(one.namespace, ceiling_of(self._labels(one.namespace)))
            await write_check(self._client, self._served.resource("Workload"), one, check.name, state, self._now())
            metrics.ADMISSION_CHECKS.labels(state.state).inc()
            return  # the next one is written on the version that comes of this

    def _of_a_job(self, one: Queued) -> bool:
        """Whether it stands for a TrainingJob that is there: its uid can not be made up."""
        name, uid = one.owner
        raw = self._jobs.get(JobKey("TrainingJob", one.namespace, name)) if name else None
        return raw is not None and raw["metadata"]["uid"] == uid and bool(of_job([one], name, uid))
