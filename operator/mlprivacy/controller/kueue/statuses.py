"""What is written into the status of a Workload on behalf of its job, as Kueue's own job controllers do. Pure.

The counterpart is pkg/controller/jobframework/reconciler.go of kubernetes-sigs/kueue: whoever runs a job clears its
admission after an eviction, once nothing of it runs, and says when it finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlprivacy.controller.kueue import workload as w
from mlprivacy.kube.conditions import ConditionStatus, get_condition, is_true, set_condition


def released(workload: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The status changes by which an evicted Workload gives its quota back; None where there is nothing to give.

    Lists are whole: to be sent as a merge patch on the very version that was read.
    """
    status = workload.get("status") or {}
    conditions = status.get("conditions") or []
    evicted = get_condition(conditions, w.EVICTED)
    if not is_true(conditions, w.EVICTED) or evicted is None:
        return None
    if not (is_true(conditions, w.QUOTA_RESERVED) or status.get("admission")):
        return None
    reason, message = str(evicted.get("reason") or "Evicted"), str(evicted.get("message") or "")
    at_once: ConditionStatus = "True" if reason in w.REQUEUED_AT_ONCE else "False"
    changes: list[tuple[str, ConditionStatus, str, str]] = [
        (w.REQUEUED, at_once, reason, message),
        (w.QUOTA_RESERVED, "False", "Pending", message),
    ]
    if get_condition(conditions, w.ADMITTED) is not None:
        changes.append((w.ADMITTED, "False", "NoReservation", "The workload has no reservation"))
    if get_condition(conditions, w.PODS_READY) is not None:
        changes.append((w.PODS_READY, "False", "WaitForStart", "Not all pods are ready or succeeded"))
    return {"admission": None, "conditions": _with(workload, changes, now)}


def finished(workload: Mapping[str, Any], reason: str, message: str, now: datetime) -> dict[str, Any] | None:
    """The status changes by which Kueue is done with a Workload; None where it is. Whole lists, as in `released`."""
    conditions = (workload.get("status") or {}).get("conditions") or []
    if is_true(conditions, w.FINISHED):
        return None
    return {"conditions": _with(workload, [(w.FINISHED, "True", reason, message)], now)}


def pods_ready(workload: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The status changes by which Kueue knows that the pod runs (its waitForPodsReady); None where it knows."""
    conditions = (workload.get("status") or {}).get("conditions") or []
    if is_true(conditions, w.PODS_READY) or not is_true(conditions, w.ADMITTED):
        return None
    return {"conditions": _with(workload, [(w.PODS_READY, "True", "Started", "the pod of the attempt runs")], now)}


def _with(
    workload: Mapping[str, Any], changes: list[tuple[str, ConditionStatus, str, str]], now: datetime
) -> list[dict[str, Any]]:
    generation = int(workload["metadata"].get("generation") or 0)
    conditions = (workload.get("status") or {}).get("conditions") or []
    for type_, status, reason, message in changes:
        conditions = set_condition(conditions, type_, status, reason, message, observed_generation=generation, now=now)
    return list(conditions)
