"""Which records a flood may not write one by one: a bucket for each namespace, and a summary of what did not fit. Pure.

A refused request lets nothing run and costs its sender nothing, while its record is kept for years. Of each namespace
BURST refusals are recorded, then one a minute; the others are counted and told together. What was let through is always
recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mlprivacy.audit.record import Event, Subject, event_id, rfc3339

EVENT_KIND: Final = "refusals"
BURST: Final = 60.0
PER_SECOND: Final = 1 / 60
SUMMARY_SECONDS: Final = 600.0  # between two summaries about one namespace
NAMESPACES_MAX: Final = 10_000  # beyond, all others share one bucket
_MANY: Final = "*"


@dataclass
class _Bucket:
    tokens: float
    filled: datetime
    first: datetime | None = None  # of the refusals that wait to be told
    last: datetime | None = None
    counted: Counter[str] = field(default_factory=Counter)


class Thrift:
    """Decides which refusals get a record of their own, and counts the others."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def own_record(self, namespace: str, kind: str, now: datetime) -> bool:
        """True when this refusal is to be recorded by itself; else it is counted under its kind."""
        bucket = self._of(namespace, now)
        bucket.tokens = min(BURST, bucket.tokens + (now - bucket.filled).total_seconds() * PER_SECOND)
        bucket.filled = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        bucket.first = bucket.first or now
        bucket.last = now
        bucket.counted[kind] += 1
        return False

    def summaries(self, now: datetime, *, all_of_them: bool = False) -> Iterator[Event]:
        """The records of what was counted for SUMMARY_SECONDS, or, at the end of the process, of all that was."""
        for namespace, bucket in self._buckets.items():
            if bucket.first is None or bucket.last is None:
                continue
            if not all_of_them and (now - bucket.first).total_seconds() < SUMMARY_SECONDS:
                continue
            first, last = rfc3339(bucket.first), rfc3339(bucket.last)
            yield Event(
                time=rfc3339(now),
                id=event_id(EVENT_KIND, namespace, first, last),
                kind=EVENT_KIND,
                subject=Subject("Namespace", "", namespace, ""),
                data={
                    "count": bucket.counted.total(),
                    "from": first,
                    "to": last,
                    "kinds": dict(sorted(bucket.counted.items())),
                },
            )
            bucket.first = bucket.last = None
            bucket.counted = Counter()

    def _of(self, namespace: str, now: datetime) -> _Bucket:
        found = self._buckets.get(namespace)
        if found is None and len(self._buckets) >= NAMESPACES_MAX:
            namespace = _MANY
            found = self._buckets.get(namespace)
        if found is None:
            found = self._buckets[namespace] = _Bucket(BURST, now)
        return found
