"""The state that an AdmissionCheck of the privacy budget gets. Pure.

Kueue gives quota back on Retry and queues the Workload again after requeueAfterSeconds; Rejected deactivates it
(reconcileCheckBasedEviction of kubernetes-sigs/kueue, pkg/controller/core/workload_controller.go).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from mlprivacy.api.base import Mode
from mlprivacy.controller.budgets.answer import Answer
from mlprivacy.controller.kueue.workload import Check, Queued
from mlprivacy.kube.conditions import bounded, get_condition, timestamp

CONTROLLER_NAME: Final = "mlprivacy.dev/privacy-budget"
ACTIVE: Final = "Active"
SHORT_SECONDS: Final = 10.0  # a wait for so long keeps its quota
DEFAULT_SECONDS: Final = 60
LONGEST_SECONDS: Final = 3600

State = Literal["Pending", "Ready", "Retry", "Rejected"]


@dataclass(frozen=True, slots=True)
class CheckState:
    """What is written into ``status.admissionChecks[]`` of a Workload."""

    state: State
    message: str
    requeue_after: int | None = None  # seconds, of Retry only

    def entry(self, name: str, now: datetime) -> dict[str, Any]:
        """The list entry of the check ``name``."""
        entry: dict[str, Any] = {
            "name": name,
            "state": self.state,
            "message": bounded(self.message),
            "lastTransitionTime": timestamp(now),
        }
        if self.requeue_after is not None:
            entry["requeueAfterSeconds"] = self.requeue_after
        return entry

    def is_told(self, check: Check) -> bool:
        """Whether the Workload says so already."""
        return check.state == self.state and check.message == bounded(self.message)


def state_for(answer: Answer) -> CheckState:
    """The state for what the budget answers about one attempt.

    A short wait keeps the quota; for a long one it is given back, since quota that waits for budget is of no use to
    anybody.
    """
    if answer.may_start:
        return CheckState("Ready", answer.message)
    if answer.state == "Refused":
        return CheckState("Rejected", answer.message)
    if answer.again is not None and 0 <= answer.again <= SHORT_SECONDS:
        return CheckState("Pending", answer.message)
    wait = DEFAULT_SECONDS
    if answer.again is not None and math.isfinite(answer.again) and answer.again > 0:
        wait = min(math.ceil(answer.again), LONGEST_SECONDS)
    return CheckState("Retry", answer.message, wait)


def state_of_foreign(namespace: str, ceiling: Mode | None) -> CheckState:
    """The state for a Workload that stands for no TrainingJob.

    Args:
        namespace: where it is.
        ceiling: the mode of that namespace's label, None where it is not governed.
    """
    if ceiling is None:
        return CheckState("Ready", f"the namespace {namespace} is not governed, so nothing of it uses privacy budget")
    sentence = (
        f"the namespace {namespace} is governed, and this Workload stands for no TrainingJob of {CONTROLLER_NAME}; "
        "move its pod template into spec.template of a TrainingJob, and put the label kueue.x-k8s.io/queue-name there"
    )
    if ceiling == "Enforce":
        return CheckState("Rejected", sentence)
    return CheckState("Ready", f"let pass, since the mode of the namespace is {ceiling}: {sentence}")


def pending(workload: Queued, ours: frozenset[str]) -> tuple[Check, ...]:
    """The checks of ours that an answer is due for: quota is reserved, and Kueue does not take it back.

    An eviction sets every check back to Pending while the old quota still stands; that one is not answered.
    """
    due = workload.reserved and workload.active and not (workload.evicted or workload.finished or workload.deleting)
    return tuple(c for c in workload.checks if due and c.name in ours and c.state == "Pending")


def is_ours(check: Mapping[str, Any]) -> bool:
    """Whether an AdmissionCheck asks for the privacy budget."""
    spec: Mapping[str, Any] = check.get("spec") or {}
    return spec.get("controllerName") == CONTROLLER_NAME


def active_status(check: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The status by which Kueue knows that somebody answers the check; None where it says so."""
    metadata = check["metadata"]
    generation = int(metadata.get("generation") or 0)
    found = get_condition((check.get("status") or {}).get("conditions"), ACTIVE) or {}
    if found.get("status") == "True" and found.get("observedGeneration") == generation:
        return None
    parameters = (check.get("spec") or {}).get("parameters")
    message = "the controller of mlprivacy answers"
    if parameters:
        message += "; spec.parameters is not used"
    since = found.get("lastTransitionTime") if found.get("status") == "True" else None
    condition = {
        "type": ACTIVE,
        "status": "True",
        "reason": "Active",
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": since or timestamp(now),
    }
    return {"conditions": [condition]}
