"""The end of a job: the workload first, the controls when its pods are gone, our finalizer last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mlprivacy.api import names
from mlprivacy.controller.effects import Effects
from mlprivacy.controller.store import JobKey
from mlprivacy.controller.writes import Write
from mlprivacy.kube.client import Object
from mlprivacy.kube.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    JOBS,
    NETWORKPOLICIES,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)

LOOK_AGAIN_SECONDS = 1.0
# The NetworkPolicy goes last: an allow is needless without pods, and the floor stays anyway.
_CONTROLS: tuple[Resource, ...] = (SERVICES, CONFIGMAPS, SERVICEACCOUNTS, NETWORKPOLICIES)


async def teardown(
    effects: Effects, key: JobKey, raw: dict[str, Any], gone: Callable[[JobKey, str], Awaitable[None]]
) -> float | None:
    """One pass of deleting a job; the seconds until the next pass, None when our finalizer is off.

    ``gone`` is awaited, with the job and its uid, once nothing of it runs, before the job itself may go.
    """
    if names.FINALIZER not in (raw["metadata"].get("finalizers") or []):
        return None
    if not await clear(effects, key, raw["metadata"]["uid"]):
        return LOOK_AGAIN_SECONDS
    await gone(key, raw["metadata"]["uid"])
    await effects.finalizers(key, raw, hold=False)
    return None


async def clear(effects: Effects, key: JobKey, uid: str) -> bool:
    """One pass of deleting what was rendered for a job; True when all is gone. Reads live: a cache may lag behind."""
    selector = f"{names.LABEL_JOB_UID}={uid}"
    workloads: list[Object] = []
    for resource in (JOBS, DEPLOYMENTS):
        workloads += await effects.client.list(resource, key.namespace, label_selector=selector)
    workloads = [obj for obj in workloads if _ours(obj)]
    for obj in workloads:
        if "deletionTimestamp" not in obj["metadata"]:
            await effects.delete(Write.DELETE_WORKLOAD, obj)
    if workloads or await effects.pods_of(key.namespace, uid):
        return False
    for resource in _CONTROLS:
        for obj in await effects.client.list(resource, key.namespace, label_selector=selector):
            if _ours(obj):
                await effects.delete(Write.DELETE_CONTROL, obj)
    return True


def _ours(obj: Object) -> bool:
    """Whether we made it. A label of ours on somebody's object must not keep a job from being deleted."""
    metadata = obj["metadata"]
    return names.LABEL_RENDERED in (metadata.get("labels") or {}) and metadata["name"].startswith(names.OBJECT_PREFIX)
