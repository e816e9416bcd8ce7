"""Kubernetes Events with stable reasons and names made from their content, so that restarts do not duplicate them."""

import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.conditions import bounded
from mlprivacy.kube.errors import AlreadyExists, ApiError, NotFound
from mlprivacy.kube.resources import EVENTS

logger = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]

NOTE_BYTES: Final = 1024  # the API's own bound
QUIET_SECONDS: Final = 300.0
_REMEMBERED: Final = 4096
_REASON: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,127}")


def event_name(regarding: Mapping[str, Any], controller: str, type: str, reason: str, note: str) -> str:
    """A name for what is said about which object: the same content gives the same name, in every process."""
    metadata = regarding["metadata"]
    parts = (regarding["kind"], metadata.get("namespace", ""), metadata["name"], metadata.get("uid", ""))
    digest = hashlib.sha256("\0".join((*parts, controller, type, reason, note)).encode()).hexdigest()
    return f"{metadata['name'][:200].rstrip('.-')}.{digest[:20]}"


class EventRecorder:
    """Publishes Events; a repeated one becomes the `series` of the first, and at most one write per five minutes."""

    def __init__(
        self,
        client: KubeClient,
        controller: str,
        instance: str,
        *,
        quiet_seconds: float = QUIET_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`controller` is the component (`mlprivacy.dev/controller`), `instance` the pod's or host's name."""
        self._client = client
        self._controller, self._instance = controller, instance
        self._quiet_seconds = quiet_seconds
        self._now = now
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def publish(
        self,
        regarding: Mapping[str, Any],
        type: EventType,
        reason: str,
        note: str,
        *,
        action: str = "Reconcile",
        related: Mapping[str, Any] | None = None,
    ) -> None:
        """Say something about an object. Never fails: an Event that can not be written is logged.

        Events about cluster-scoped objects lie in namespace `default`, as the API demands. Raises ValueError only for
        a reason that is not one CamelCase word, which is a programming error.
        """
        if not _REASON.fullmatch(reason):
            raise ValueError(f"event reason {reason!r} must be one CamelCase word of at most 128 letters")
        note = bounded(note, NOTE_BYTES)
        namespace = regarding["metadata"].get("namespace") or "default"
        name = event_name(regarding, self._controller, type, reason, note)
        if not self._due((namespace, name)):
            return
        now = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        event: Object = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": now,
            "reportingController": self._controller,
            "reportingInstance": self._instance[:128],
            "action": action,
            "reason": reason,
            "type": type,
            "note": note,
            "regarding": _reference(regarding),
        }
        if related is not None:
            event["related"] = _reference(related)
        try:
            await self._write(event, now)
        except ApiError as error:
            self._said.pop((namespace, name), None)
            logger.warning("an Event was not written: %s %s: %s (%s)", type, reason, note, error)

    async def _write(self, event: Object, now: str) -> None:
        namespace, name = event["metadata"]["namespace"], event["metadata"]["name"]
        try:
            await self._client.create(EVENTS, event)
        except AlreadyExists:
            try:
                found = await self._client.get(EVENTS, name, namespace)
                count = int((found.get("series") or {}).get("count") or 1) + 1
                series = {"count": count, "lastObservedTime": now}
                await self._client.merge_patch(EVENTS, name, {"series": series}, namespace)
            except NotFound:
                await self._client.create(EVENTS, event)  # its hour was just over

    def _due(self, key: tuple[str, str]) -> bool:
        now = time.monotonic()
        last = self._said.get(key)
        if last is not None and now - last < self._quiet_seconds:
            return False
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return True


def _reference(obj: Mapping[str, Any]) -> Object:
    metadata = obj["metadata"]
    fields = ("namespace", "name", "uid", "resourceVersion")
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        **{field: metadata[field] for field in fields if metadata.get(field)},
    }
