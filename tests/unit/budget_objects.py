"""PrivacyBudgets, jobs and ledgers as a cluster holds them, and an API server in memory that serves them."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ledger_world import DOMAIN, ORDERS, chain, copy_of

from mlprivacy.budget.ledger.entry import Entry
from mlprivacy.budget.ledger.fold import fold
from mlprivacy.budget.ledger.summary import status_of
from mlprivacy.budget.ledger.transitions import Transition
from mlprivacy.kube.client import ListPage
from mlprivacy.kube.errors import Forbidden, NotFound

SPEC: dict[str, Any] = {
    "subjectDomain": DOMAIN,
    "identities": ["urn:clinic:visits"],
    "epsilon": 10,
    "delta": 1e-3,
    "noticeVersion": "2026-01",
    "unit": "User",
    "orders": list(ORDERS),
    "blocks": {"by": "Subject", "buckets": 8},
    "scheduling": {"policy": "FCFS"},
}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    """A condition as the controller writes it."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-03-14T12:00:00Z",
    }


def budget(*steps: Transition | Sequence[Transition], name: str = "patients", **spec: Any) -> dict[str, Any]:
    """A PrivacyBudget whose status is that of a ledger with these steps after its founding."""
    state = fold(DOMAIN, chain(*steps)).state
    assert state is not None
    status = status_of(state)
    status["promise"]["noticeVersion"] = "2026-01"
    holds = status["blocks"]["tainted"] == 0
    status["conditions"] = [
        condition("Ready", "True", "PromiseKept"),
        condition("GuaranteeHolds", str(holds), "PromiseKept" if holds else "Tainted"),
    ]
    metadata = {"name": name, "uid": f"uid-{name}", "annotations": {"mlprivacy.dev/promised-by": "dave"}}
    return {"kind": "PrivacyBudget", "metadata": metadata, "spec": {**copy.deepcopy(SPEC), **spec}, "status": status}


def ledger_objects(*steps: Transition | Sequence[Transition]) -> list[dict[str, Any]]:
    """The LedgerEntries of such a ledger."""
    return [stored(entry) for entry in chain(*steps)]


def stored(entry: Entry) -> dict[str, Any]:
    """An entry as it comes back from a server."""
    return {"kind": "LedgerEntry", "metadata": {"name": entry.name}, "spec": copy_of(entry.spec)}


def using_job(name: str = "diagnosis", state: str = "Reserved", waits: str = "", **use: Any) -> dict[str, Any]:
    """A TrainingJob that takes 10 % of each of 8 blocks."""
    taken = {
        "subjectDomain": DOMAIN,
        "budget": "patients",
        "state": state,
        "attempt": 1,
        "blocks": 8,
        "epsilon": 2.5,
        "delta": 1e-8,
        "sharePercent": 10,
        "noiseMultiplier": 1.1,
        "samplingRate": 0.004,
        "steps": 2500,
        **use,
    }
    reserved = condition("BudgetReserved", "False" if waits else "True", waits or "BudgetHeld", "bucket 3 has no room.")
    return {
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "research", "uid": f"uid-{name}"},
        "spec": {"datasets": [{"name": "visits"}]},
        "status": {"budgets": [taken], "conditions": [reserved]},
    }


class Server:
    """An API server in memory. ``hidden`` are the kinds that the caller may not read; ``sent`` what was patched."""

    namespace = "research"

    def __init__(self, *objects: Any, hidden: Sequence[str] = ()) -> None:
        self.objects = list(objects)
        self.hidden = frozenset(hidden)
        self.sent: list[Any] = []
        self.asked = 0

    def _may(self, resource: Any) -> None:
        self.asked += 1
        if resource.kind in self.hidden:
            raise Forbidden(403, "Forbidden", f"{resource.plural} is forbidden")

    async def get(self, resource: Any, name: str, namespace: str | None = None) -> Any:
        self._may(resource)
        for one in self.objects:
            where = one["metadata"].get("namespace")
            if (one["kind"], one["metadata"]["name"], where) == (resource.kind, name, namespace):
                return copy.deepcopy(one)
        raise NotFound(404, "NotFound", "gone", details={"name": name})

    async def list(self, resource: Any, namespace: str | None = None, **options: Any) -> Any:
        self._may(resource)
        found = [one for one in self.objects if one["kind"] == resource.kind]
        return [copy.deepcopy(one) for one in found if namespace in (None, one["metadata"].get("namespace"))]

    async def list_pages(self, resource: Any, **options: Any) -> AsyncIterator[ListPage]:
        yield ListPage(await self.list(resource), "1", None)

    async def merge_patch(self, resource: Any, name: str, patch: Any, namespace: str | None = None) -> Any:
        self._may(resource)
        self.sent.append((resource.kind, name, patch))
        return patch
