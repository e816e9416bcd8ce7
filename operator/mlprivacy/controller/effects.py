"""The API writes of one reconcile: each goes through here, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from mlprivacy.api import names
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.controller.store import JobKey, JobStore
from mlprivacy.controller.writes import Write
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import AlreadyExists, NotFound
from mlprivacy.kube.resources import (
    DEPLOYMENTS,
    INFERENCEJOBS,
    JOBS,
    NETWORKPOLICIES,
    PODS,
    TRAININGJOBS,
    Resource,
    resource_of,
)

T = TypeVar("T")
JOB_RESOURCES: Mapping[str, Resource] = {"TrainingJob": TRAININGJOBS, "InferenceJob": INFERENCEJOBS}


class ControlMissing(Exception):
    """A control was applied and is not there as applied; nothing is started on top of it."""


class Effects:
    """Writes to the API server, and keeps the job store as new as what was written."""

    def __init__(self, client: KubeClient, config: ControllerConfig, store: JobStore) -> None:
        self.client = client
        self.config = config
        self.store = store

    async def write(self, step: Write, call: Awaitable[T]) -> T:
        """Await one write, then tell of it."""
        result = await call
        self.config.after_write(step)
        return result

    # -- the job itself --------------------------------------------------------------------------------------------

    async def status(self, key: JobKey, status: Mapping[str, Any], step: Write = Write.STATUS) -> None:
        """Write the status of a job. A job that is gone has none."""
        resource = JOB_RESOURCES[key.kind]
        try:
            call = self.client.merge_patch_status(resource, key.name, key.namespace, status)
            self.store.put(await self.write(step, call))
        except NotFound:
            self.store.drop(key)

    async def finalizers(self, key: JobKey, raw: Object, *, hold: bool) -> None:
        """Put our finalizer on a job, or take it off; others' stay. A lost race raises Conflict."""
        metadata = raw["metadata"]
        others = [f for f in metadata.get("finalizers") or [] if f != names.FINALIZER]
        wanted = [*others, names.FINALIZER] if hold else others
        patch = {
            "metadata": {
                "finalizers": wanted,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            }
        }
        step = Write.FINALIZER if hold else Write.RELEASE
        try:
            # Not strict: a field of the spec that this version does not know must not keep the finalizer on.
            call = self.client.merge_patch(
                JOB_RESOURCES[key.kind], key.name, patch, key.namespace, field_validation="Ignore"
            )
            self.store.put(await self.write(step, call))
        except NotFound:
            self.store.drop(key)

    # -- controls --------------------------------------------------------------------------------------------------

    async def control(self, obj: Object) -> Object:
        """Apply one control and read it back.

        Raises:
            ControlMissing: when what is stored is not what was applied.
        """
        resource = resource_of(obj)
        step = Write.FLOOR if names.LABEL_FLOOR in (obj["metadata"].get("labels") or {}) else Write.CONTROL
        await self.write(step, self.client.apply(resource, obj))
        metadata = obj["metadata"]
        found = await self.client.get(resource, metadata["name"], metadata["namespace"])
        lacking = missing_part(obj, found)
        if lacking:
            raise ControlMissing(
                f"{obj['kind']} {metadata['namespace']}/{metadata['name']} was applied, and {lacking} is not as applied"
            )
        return found

    async def dry_run(self, workload: Object, pod: Object) -> None:
        """Ask the API server, strictly, whether it would take workload and pod. Nothing is written.

        Raises:
            ApiError: what it says against them.
        """
        if workload["kind"] == "Deployment":
            await self.client.apply(DEPLOYMENTS, workload, dry_run=True)
        else:
            try:
                await self.client.create(JOBS, workload, dry_run=True)
            except AlreadyExists:
                return
        await self.client.create(PODS, pod, dry_run=True)

    # -- the workload ----------------------------------------------------------------------------------------------

    async def workload(self, obj: Object) -> Object:
        """Create the Job, or apply the Deployment. A Job that is there already is left as it is."""
        if obj["kind"] == "Deployment":
            return await self.write(Write.WORKLOAD, self.client.apply(DEPLOYMENTS, obj))
        try:
            return await self.write(Write.WORKLOAD, self.client.create(JOBS, obj))
        except AlreadyExists:
            return await self.client.get(JOBS, obj["metadata"]["name"], obj["metadata"]["namespace"])

    async def stop(self, kind: str, name: str, namespace: str) -> None:
        """Suspend the Job, or scale the Deployment to nothing."""
        resource, patch = (JOBS, {"suspend": True}) if kind == "Job" else (DEPLOYMENTS, {"replicas": 0})
        try:
            await self.write(Write.SUSPEND, self.client.merge_patch(resource, name, {"spec": patch}, namespace))
        except NotFound:
            return

    async def delete(self, step: Write, obj: Object, *, propagation: Any = "Background") -> None:
        """Delete one rendered object, and no namesake made since."""
        metadata = obj["metadata"]
        call = self.client.delete(
            resource_of(obj),
            metadata["name"],
            metadata["namespace"],
            uid=metadata["uid"],
            propagation=propagation,
            missing_ok=True,
        )
        await self.write(step, call)

    async def pods_of(self, namespace: str, uid: str) -> list[Object]:
        """The pods of a job that may still run, read live."""
        pods = await self.client.list(PODS, namespace, label_selector=f"{names.LABEL_JOB_UID}={uid}")
        return [p for p in pods if (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]

    async def policies_in(self, namespace: str) -> list[Object]:
        """Our NetworkPolicies of a namespace, read live."""
        return await self.client.list(
            NETWORKPOLICIES, namespace, label_selector=f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
        )


def missing_part(wanted: Any, found: Any, path: str = "") -> str | None:
    """The first field of ``wanted`` that is not in ``found`` with the same value; None when all are there.

    Fields the API server adds do not matter, with one exception: a list must have the same length, since another
    entry in a NetworkPolicy's rules would open what the others close. Empty lists and maps may be absent.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return None if not wanted and found is None else path or "the object"
        for key, value in wanted.items():
            problem = missing_part(value, found.get(key), f"{path}.{key}" if path else str(key))
            if problem:
                return problem
        return None
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return None if not wanted and found is None else path
        for index, (one, two) in enumerate(zip(wanted, found, strict=True)):
            problem = missing_part(one, two, f"{path}[{index}]")
            if problem:
                return problem
        return None
    return None if wanted == found else path
