"""components: admission, controller and collector run in their namespace, and the lease is fresh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, skip, warn
from mlprivacy.kube.client import Object
from mlprivacy.kube.resources import DEPLOYMENTS, LEASES, PODS, STATEFULSETS
from mlprivacy.kube.waiting import waiting_of

_WORKLOADS = (
    (DEPLOYMENTS, "mlprivacy-admission"),
    (DEPLOYMENTS, "mlprivacy-controller"),
    (STATEFULSETS, "mlprivacy-collector"),
)
_LEASE = "mlprivacy-controller"
_TICK = 1.0  # seconds between two looks at the lease
_LONGEST = 15  # seconds a lease may go without being renewed


async def _run(site: Site) -> AsyncIterator[Found]:
    workloads = [(resource, name, await site.find(resource, name, site.namespace)) for resource, name in _WORKLOADS]
    if not any(found for _, _, found in workloads) and await site.find(LEASES, _LEASE, site.namespace) is None:
        yield await _nothing_in(site)
        return
    for resource, name, found in workloads:
        if found is None:
            yield skip(f"{name} does not run in {site.namespace} (development, or another --namespace?)")
            continue
        wanted, ready = int(found["spec"].get("replicas", 1)), int((found.get("status") or {}).get("readyReplicas", 0))
        if ready == 0 and wanted:
            yield bad(
                f"{name} has no ready replica of {wanted}{await _why(site, found)}",
                f"look at `kubectl -n {site.namespace} describe {resource.kind.lower()}/{name}` and its pods' logs",
            )
        elif ready < wanted:
            yield warn(
                f"{name} has {ready} of {wanted} replicas ready{await _why(site, found)}", "wait, or look at its pods"
            )
        else:
            yield ok(f"{name} has {ready} of {wanted} replicas ready")
    yield await _lease(site)


async def _nothing_in(site: Site) -> Found:
    """There is no installation in this namespace; where there is one."""
    holds = {lease["metadata"]["namespace"] for lease in await site.client.list(LEASES) if _is_ours(lease)}
    where = f"; there is one in {', '.join(sorted(holds))}" if holds else ""
    return bad(
        f"there is no installation in the namespace {site.namespace}{where}",
        "name the operator's namespace with -n, or install the chart there",
    )


def _is_ours(lease: Object) -> bool:
    return bool(lease["metadata"]["name"] == _LEASE)


async def _why(site: Site, workload: Object) -> str:
    """What its pods wait for, each reason once; empty where none says."""
    chosen = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(chosen.items()))
    if not selector:
        return ""
    found = [
        waiting
        for pod in await site.client.list(PODS, site.namespace, label_selector=selector)
        if (waiting := waiting_of(pod.get("status") or {}))
    ]
    return "".join(f"; {text}" for text in dict.fromkeys(waiting.sentence() for waiting in found))


async def _lease(site: Site) -> Found:
    """Whether the lease is renewed while we look. Its time is never compared with a clock of ours."""
    mend = (
        f"look at the log of mlprivacy-controller in {site.namespace}; without it no job starts and nothing is repaired"
    )
    first = await site.find(LEASES, _LEASE, site.namespace)
    if first is None:
        return bad(f"there is no lease {_LEASE} in {site.namespace}: no controller has ever been active", mend)
    holder = first["spec"].get("holderIdentity")
    if not holder:
        return bad("nobody holds the controller's lease", mend)
    for _ in range(_LONGEST):
        await asyncio.sleep(_TICK)
        now = await site.find(LEASES, _LEASE, site.namespace)
        if now is not None and _mark(now) != _mark(first):
            return ok(f"the controller is active ({now['spec'].get('holderIdentity')})")
    return bad(f"the controller's lease was not renewed for {_LONGEST} s; its last holder was {holder}", mend)


def _mark(lease: Object) -> tuple[object, object]:
    return lease["spec"].get("renewTime"), lease["spec"].get("holderIdentity")


CHECK = Check("components", 50, "our processes run", _run)
