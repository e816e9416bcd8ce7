"""kopf's side: registration only. Handlers say which job changed; everything else is the reconciler's."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import kopf

from mlprivacy.api.names import GROUP, VERSION

Seen = Callable[[str, str | None, dict[str, Any]], None]


def registry_for(seen: Seen, kubeconfig: str | None) -> kopf.OperatorRegistry:
    """A registry whose handlers call ``seen(kind, event type, object)``. No state of kopf's is kept on any object."""
    registry = kopf.OperatorRegistry()
    for noisy in ("kopf.objects", "kopf.activities", "kopf._core.engines.activities"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # else a line for every event

    @kopf.on.startup(id="settings", registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.loggers = False
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.watching.server_timeout = 300
        settings.watching.client_timeout = 360
        settings.networking.request_timeout = 30
        settings.execution.default_backoff = 10
        settings.queueing.idle_timeout = 1.0

    @kopf.on.login(id="login", registry=registry)
    def login(**kwargs: Any) -> Any:
        if kubeconfig is not None:
            os.environ["KUBECONFIG"] = kubeconfig  # kopf's own reader takes the path from there and nowhere else
        return (kubeconfig is None and kopf.login_with_service_account(**kwargs)) or kopf.login_with_kubeconfig(
            **kwargs
        )

    @kopf.on.event(GROUP, VERSION, "trainingjobs", id="trainingjob", registry=registry)
    async def training_job(event: Any, **_: Any) -> None:
        seen("TrainingJob", event["type"], event["object"])

    @kopf.on.event(GROUP, VERSION, "inferencejobs", id="inferencejob", registry=registry)
    async def inference_job(event: Any, **_: Any) -> None:
        seen("InferenceJob", event["type"], event["object"])

    return registry
