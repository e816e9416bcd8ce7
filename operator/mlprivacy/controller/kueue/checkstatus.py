"""Writes one state into a Workload's list of checks: server-side apply of that entry alone, on the version seen."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from mlprivacy.controller.kueue.check import CheckState
from mlprivacy.controller.kueue.workload import Queued
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.resources import Resource

FIELD_MANAGER: Final = "mlprivacy-privacy-budget"


async def write_check(
    client: KubeClient, resource: Resource, one: Queued, check: str, state: CheckState, now: datetime
) -> None:
    """Write it. The list is keyed by name, so the checks of others stay as they are.

    Raises:
        Conflict: when there is a newer version of the Workload, to which this may not be the answer.
        ApiError: anything else that the API server says.
    """
    metadata = {"name": one.name, "namespace": one.namespace, "uid": one.uid, "resourceVersion": one.version}
    body = {"metadata": metadata, "status": {"admissionChecks": [state.entry(check, now)]}}
    await client.apply(resource, body, field_manager=FIELD_MANAGER, subresource="status")
