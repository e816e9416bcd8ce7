"""kopf's side: registration only. Handlers say which job changed; everything else is the reconciler's."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import kopf

from mlprivacy.api.names import GROUP, VERSION

Seen = Callable[[str, str | None, dict[str, Any]], None]
# Else a line for every event, and a warning that signals are ignored in a thread, which is what is wanted.
_NOISY = ("kopf.objects", "kopf.activities", "kopf._core.engines.activities")
_SILENT = ("kopf._core.reactor.running",)


class _NoEssence(kopf.DiffBaseStorage):
    """Nothing is compared with an earlier version, so nothing is copied for it: that was half of an event's cost."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        """Nothing of an object is essential to kopf here."""
        return {}

    def fetch(self, *, body: Any) -> Any:
        """There is no earlier version."""
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Keep nothing."""


class _NoProgress(kopf.ProgressStorage):
    """No handler has progress: they only pass events on."""

    def fetch(self, *, key: Any, body: Any) -> Any:
        """There is none."""
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        """Keep nothing."""

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        """Keep nothing."""

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        """Keep nothing."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing to clear."""
        return essence


def settings_for_events() -> kopf.OperatorSettings:
    """Settings of a framework that only passes events on."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None  # it would kill the process, which is not kopf's alone
    settings.persistence.diffbase_storage = _NoEssence()
    settings.persistence.progress_storage = _NoProgress()
    settings.posting.loggers = False
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 360
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.execution.default_backoff = 10
    settings.queueing.idle_timeout = 0.2
    settings.queueing.exit_timeout = 0.2
    return settings


def registry_for(seen: Seen, kubeconfig: str | None) -> kopf.OperatorRegistry:
    """A registry whose handlers call ``seen(kind, event type, object)``. No state of kopf's is kept on any object."""
    registry = kopf.OperatorRegistry()
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.ERROR)

    @kopf.on.login(id="login", registry=registry)
    async def login(**kwargs: Any) -> Any:
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
