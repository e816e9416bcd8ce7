"""Decisions of admission as audit events, sent without waiting: evidence, but no condition of anything."""

from __future__ import annotations

import logging
import ssl
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY

from mlprivacy.admission.review import Answer, Review
from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.record import Event, RecordError, Subject, event_id, utc_now
from mlprivacy.audit.recorder import AsyncRecorder

logger = logging.getLogger(__name__)
EVENT_KIND = "admission-decision"


def event_of(review: Review, answer: Answer) -> Event:
    """The event of one answer. Its id rests on the review's uid, so that a repeated call is one event.

    Raises RecordError for a text that is no Unicode.
    """
    uid = review.object["metadata"].get("uid")
    return Event(
        time=utc_now(),
        id=event_id(EVENT_KIND, review.uid, answer.verdict, answer.digest),
        kind=EVENT_KIND,
        subject=Subject(
            kind=review.kind, namespace=review.namespace, name=review.name, uid=uid if isinstance(uid, str) else ""
        ),
        data={
            "operation": review.operation,
            "allowed": answer.allowed,
            "verdict": answer.verdict,
            "digest": answer.digest,
            "rules": sorted({rule for rule, _ in answer.rules}),
        },
    )


class Recording:
    """Sends events to the collector while it is entered. Use as an async context manager."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        """`context` holds the certificate whose common name is the writer's."""
        self._client = CollectorClient(url, context)
        self._recorder = AsyncRecorder(self._client, registry=REGISTRY)

    async def __aenter__(self) -> Self:
        self._recorder.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._recorder.stop()
        await self._client.aclose()

    def record(self, review: Review, answer: Answer) -> None:
        """Take one answer; never waits, never raises."""
        try:
            self._recorder.record(event_of(review, answer))
        except (RecordError, ValueError) as error:
            logger.warning("a decision was not recorded: %s", error)
