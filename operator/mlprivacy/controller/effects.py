"""The API writes of one reconcile: each goes through here, by name."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from mlprivacy.api import names
from mlprivacy.controller.compare import added, missing_part
from mlprivacy.controller.config import ControllerConfig
from mlprivacy.controller.store import JobKey, JobStore
from mlprivacy.controller.writes import Write
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import AlreadyExists, ApiError, NotFound
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


class Superseded(Exception):
    """The job that was judged is gone, or is another by now; what is half done is judged anew."""


class NameTaken(Exception):
    """A workload of that name is not this job's: an earlier job's on its way out, or made by others."""


class Effects:
    """Writes to the API server, and keeps the caches as new as what was written.

    ``wrote`` is told every answer about a rendered object.
    """

    def __init__(
        self, client: KubeClient, config: ControllerConfig, store: JobStore, wrote: Callable[[Object], None]
    ) -> None:
        self.client = client
        self.config = config
        self.store = store
        self._wrote = wrote

    async def write(self, step: Write, call: Awaitable[T]) -> T:
        """Await one write, then tell of it."""
        result = await call
        self.config.after_write(step)
        return result

    # -- the job itself --------------------------------------------------------------------------------------------

    async def status(self, key: JobKey, raw: Object, status: Mapping[str, Any], step: Write = Write.STATUS) -> None:
        """Write the status of the very version ``raw`` of a job.

        Raises:
            Conflict: when there is a newer version.
            Superseded: when the job is gone.
        """
        resource = JOB_RESOURCES[key.kind]
        version = raw["metadata"]["resourceVersion"]
        try:
            call = self.client.merge_patch_status(resource, key.name, key.namespace, status, resource_version=version)
            self.store.put(await self.write(step, call))
        except NotFound:
            self.store.drop(key)
            raise Superseded(f"{key} is gone") from None

    async def finalizers(self, key: JobKey, raw: Object, *, hold: bool) -> None:
        """Put our finalizer on a job, or take it off; others' stay.

        Raises:
            Conflict: when there is a newer version.
            Superseded: when the job is gone.
        """
        metadata = raw["metadata"]
        others = [f for f in metadata.get("finalizers") or [] if f != names.FINALIZER]
        wanted = [*others, names.FINALIZER] if hold else others
        patch = {"metadata": {"finalizers": wanted, "resourceVersion": metadata["resourceVersion"]}}
        step = Write.FINALIZER if hold else Write.RELEASE
        try:
            # Not strict: a field of the spec that this version does not know must not keep the finalizer on.
            call = self.client.merge_patch(
                JOB_RESOURCES[key.kind], key.name, patch, key.namespace, field_validation="Ignore"
            )
            self.store.put(await self.write(step, call))
        except NotFound:
            self.store.drop(key)
            if hold:
                raise Superseded(f"{key} is gone") from None

    # -- controls --------------------------------------------------------------------------------------------------

    async def control(self, obj: Object, *, known: bool = False) -> Object:
        """Make one control so, and read it back. One that is ``known`` to exist is written only where it differs.

        Applying what is there already is not always without effect (an empty list that a server drops counts as a
        change each time), and the echo of a write without need would be the cause of the next.

        Raises:
            ControlMissing: when what is stored is not what was applied, or belongs to another job.
        """
        if known:
            found = await self._stored(obj)
            if found is not None and self._difference(obj, found) is None:
                self._wrote(found)
                return found
        resource = resource_of(obj)
        metadata = obj["metadata"]
        place = f"{obj['kind']} {metadata['namespace']}/{metadata['name']}"
        step = Write.FLOOR if names.LABEL_FLOOR in (metadata.get("labels") or {}) else Write.CONTROL
        if step is Write.CONTROL:
            self._not_anothers(obj, await self._stored(obj), place)
        await self.write(step, self.client.apply(resource, obj))
        found = await self._stored(obj)
        if found is not None:
            found = await self._cleaned(resource, obj, found, step)
        if found is None:
            raise ControlMissing(f"{place} was applied, and is not there")
        lacking = self._difference(obj, found)
        if lacking:
            raise ControlMissing(f"{place} was applied, and {lacking} is not as applied")
        self._wrote(found)
        return found

    async def _stored(self, obj: Object) -> Object | None:
        metadata = obj["metadata"]
        try:
            return await self.client.get(resource_of(obj), metadata["name"], metadata["namespace"])
        except NotFound:
            return None

    @staticmethod
    def _difference(wanted: Object, found: Object) -> str | None:
        """The first field that is not as wanted, or that others added where it matters."""
        if "deletionTimestamp" in found["metadata"]:
            return "metadata (it is being deleted)"
        return missing_part(wanted, found) or next(iter(added(wanted, found)), None)

    @staticmethod
    def _not_anothers(wanted: Object, found: Object | None, place: str) -> None:
        """A TrainingJob and an InferenceJob may have one name, and so would their controls: the first keeps them."""
        if found is None or _uid_label(found) in (None, _uid_label(wanted)):
            return
        owner: Mapping[str, Any] = next(iter(found["metadata"].get("ownerReferences") or []), {})
        job = f"the {owner['kind']} {owner['name']}" if {"kind", "name"} <= owner.keys() else "another job"
        raise ControlMissing(f"{place} belongs to {job}; delete that one, or make this job under another name")

    async def policies_in(self, namespace: str) -> list[Object]:
        """Every NetworkPolicy of a namespace, read live."""
        return await self.client.list(NETWORKPOLICIES, namespace)

    async def _cleaned(self, resource: Resource, wanted: Object, found: Object, step: Write) -> Object:
        """``found`` without what others added: apply takes away nothing that we never named."""
        extra = added(wanted, found)
        if not extra:
            return found
        metadata = wanted["metadata"]
        call = self.client.merge_patch(resource, metadata["name"], extra, metadata["namespace"])
        return await self.write(step, call)

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
        """Create the Job, or apply the Deployment. A Job of this very attempt that is there is left as it is.

        Raises:
            NameTaken: when a Job of that name belongs to another job.
        """
        if obj["kind"] == "Deployment":
            made = await self.write(Write.WORKLOAD, self.client.apply(DEPLOYMENTS, obj))
            made = await self._cleaned(DEPLOYMENTS, obj, made, Write.WORKLOAD)
        else:
            try:
                made = await self.write(Write.WORKLOAD, self.client.create(JOBS, obj))
            except AlreadyExists:
                name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
                made = await self.client.get(JOBS, name, namespace)
                if _uid_label(made) != _uid_label(obj) or "deletionTimestamp" in made["metadata"]:
                    why = "of an earlier job is not gone yet" if _uid_label(made) else "is not ours; delete it"
                    raise NameTaken(f"the Job {name} {why}") from None
        self._wrote(made)
        return made

    async def restore_job(self, wanted: Object) -> Object | None:
        """Bring what can change on a Job back to what was rendered; its pod template can not change."""
        metadata, spec = wanted["metadata"], wanted["spec"]
        patch = {
            "metadata": {k: metadata[k] for k in ("labels", "annotations", "ownerReferences")},
            "spec": {
                "parallelism": spec["parallelism"],
                "activeDeadlineSeconds": spec.get("activeDeadlineSeconds"),
                "ttlSecondsAfterFinished": None,
            },
        }
        try:
            call = self.client.merge_patch(JOBS, metadata["name"], patch, metadata["namespace"])
            made = await self.write(Write.WORKLOAD, call)
        except NotFound:
            return None
        self._wrote(made)
        return made

    async def stop(self, kind: str, name: str, namespace: str) -> None:
        """Suspend the Job, or scale the Deployment to nothing."""
        resource, patch = (JOBS, {"suspend": True}) if kind == "Job" else (DEPLOYMENTS, {"replicas": 0})
        try:
            call = self.client.merge_patch(resource, name, {"spec": patch}, namespace)
            self._wrote(await self.write(Write.SUSPEND, call))
        except NotFound:
            return

    async def delete(self, step: Write, obj: Object, *, propagation: Any = "Background") -> None:
        """Delete one rendered object, and no namesake made since.

        Raises:
            Conflict: when a namesake is there.
        """
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

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """End one pod within a second; its Deployment makes another.

        Raises:
            ApiError: when the API server does not let it go, for the sake of a PodDisruptionBudget for instance.
        """
        call = self.client.evict(name, namespace, uid=uid, grace_seconds=1)
        with contextlib.suppress(NotFound):
            await self.write(Write.SUSPEND, call)

    async def let_go(self, namespace: str, name: str, uid: str) -> None:
        """Take our scheduling gate off a pod, which has no other. A pod that is gone is no error.

        Raises:
            Conflict: when a namesake is there.
        """
        patch = {"metadata": {"uid": uid}, "spec": {"schedulingGates": None}}
        with contextlib.suppress(NotFound):
            await self.write(Write.LET_GO, self.client.merge_patch(PODS, name, patch, namespace))

    async def pods_of(self, namespace: str, uid: str) -> list[Object]:
        """The pods of a job that have not ended, read live."""
        pods = await self.all_pods_of(namespace, uid)
        return [p for p in pods if (p.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]

    async def all_pods_of(self, namespace: str, uid: str) -> list[Object]:
        """The pods of a job, those that ended too, read live."""
        return await self.client.list(PODS, namespace, label_selector=f"{names.LABEL_JOB_UID}={uid}")


def namespace_ends(error: ApiError) -> bool:
    """Whether a refusal says no more than that the namespace is on its way out."""
    causes = error.details.get("causes") or []
    return any(isinstance(c, Mapping) and c.get("reason") == "NamespaceTerminating" for c in causes)


def owner_uids(obj: Object) -> list[str]:
    """The uids of an object's owners."""
    return [str(owner.get("uid")) for owner in obj["metadata"].get("ownerReferences") or []]


def _uid_label(obj: Object) -> str | None:
    return (obj["metadata"].get("labels") or {}).get(names.LABEL_JOB_UID)
