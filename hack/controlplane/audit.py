"""Reads the API server's audit log: who did what to which object, when, and which annotations admission left."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AuditEvent:
    """One completed request. `received` and `completed` are the API server's clock, to the microsecond."""

    received: datetime
    completed: datetime
    verb: str
    user: str
    groups: tuple[str, ...]
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    annotations: Mapping[str, str]
    raw: Mapping[str, Any] = field(repr=False)


def read_audit_log(path: Path) -> Iterator[AuditEvent]:
    """Completed requests in the order in which they were written down. A torn last line is left out."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                return
            raw = json.loads(line)
            if raw.get("stage") == "ResponseComplete":
                yield _event(raw)


def select(events: Iterator[AuditEvent], **wanted: str | int | None) -> list[AuditEvent]:
    """The events whose fields equal every given value; None means any. `user` may be a real or an impersonated name."""
    conditions = {name: value for name, value in wanted.items() if value is not None}
    return [event for event in events if all(getattr(event, name) == value for name, value in conditions.items())]


def _event(raw: Mapping[str, Any]) -> AuditEvent:
    reference = raw.get("objectRef", {})
    # The user on whose behalf the request was judged: the impersonated one where there is one.
    user = raw.get("impersonatedUser") or raw.get("user", {})
    return AuditEvent(
        received=datetime.fromisoformat(raw["requestReceivedTimestamp"]),
        completed=datetime.fromisoformat(raw["stageTimestamp"]),
        verb=raw.get("verb", ""),
        user=user.get("username", ""),
        groups=tuple(user.get("groups", ())),
        group=reference.get("apiGroup", ""),
        resource=reference.get("resource", ""),
        subresource=reference.get("subresource", ""),
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=raw.get("responseStatus", {}).get("code", 0),
        annotations=raw.get("annotations", {}),
        raw=raw,
    )
