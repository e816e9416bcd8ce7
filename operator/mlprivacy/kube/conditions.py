"""Pure functions over `metav1.Condition` lists: set one, read one, tell whether a write is needed."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mlprivacy.api.text import printable

Condition = dict[str, Any]
Conditions = list[Condition]
ConditionStatus = Literal["True", "False", "Unknown"]

MESSAGE_BYTES: Final = 2048
"""The API allows 32 kB; longer than this nobody reads, and it is stored with every job."""

_REASON: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")


def timestamp(now: datetime) -> str:
    """A moment as `metav1.Time`: UTC, whole seconds. Raises ValueError for a naive datetime."""
    if now.tzinfo is None:
        raise ValueError("the time of a condition needs a time zone")
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def bounded(message: str, limit: int = MESSAGE_BYTES) -> str:
    """The message on one line without control characters, cut to `limit` bytes of UTF-8 at a character's border.

    An ellipsis says that something is missing. What people wrote into policies and data is shown on terminals.
    """
    raw = printable(message).encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"


def get_condition(conditions: Iterable[Mapping[str, Any]] | None, type: str) -> Mapping[str, Any] | None:
    """The condition of that type, or None."""
    return next((c for c in conditions or () if c.get("type") == type), None)


def is_true(conditions: Iterable[Mapping[str, Any]] | None, type: str, *, generation: int | None = None) -> bool:
    """Whether the condition is True, and of that generation where one is given."""
    found = get_condition(conditions, type)
    if found is None or found.get("status") != "True":
        return False
    return generation is None or found.get("observedGeneration") == generation


def set_condition(
    conditions: Iterable[Mapping[str, Any]] | None,
    type: str,
    status: ConditionStatus,
    reason: str,
    message: str,
    *,
    observed_generation: int,
    now: datetime,
) -> Conditions:
    """A new list with this condition set; the order of the others stays, a new one goes to the end.

    `lastTransitionTime` moves only when `status` changes. Raises ValueError for a reason that the API would refuse.
    """
    if not _REASON.fullmatch(reason) or len(reason) > 1024:
        raise ValueError(f"condition reason {reason!r} is not a CamelCase word; the API server would refuse it")
    result = [dict(c) for c in conditions or ()]
    old = next((c for c in result if c.get("type") == type), None)
    new: Condition = {
        "type": type,
        "status": status,
        "observedGeneration": observed_generation,
        "lastTransitionTime": timestamp(now),
        "reason": reason,
        "message": bounded(message),
    }
    if old is None:
        return [*result, new]
    if old.get("status") == status and old.get("lastTransitionTime"):
        new["lastTransitionTime"] = old["lastTransitionTime"]
    return [new if c is old else c for c in result]


def same_conditions(before: Iterable[Mapping[str, Any]] | None, after: Iterable[Mapping[str, Any]] | None) -> bool:
    """Whether writing `after` over `before` would change anything; the order and an absent list do not count."""

    def keyed(conditions: Iterable[Mapping[str, Any]] | None) -> dict[Any, Mapping[str, Any]]:
        return {c.get("type"): c for c in conditions or ()}

    return keyed(before) == keyed(after)
