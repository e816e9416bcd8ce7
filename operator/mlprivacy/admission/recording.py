"""Decisions and changes as audit events, sent without waiting: evidence, but no condition of anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from prometheus_client import REGISTRY, CollectorRegistry

from mlprivacy.admission import metrics
from mlprivacy.admission.changes import RECORDED, changed_event, is_request
from mlprivacy.admission.review import Answer, Review
from mlprivacy.admission.thrift import Thrift
from mlprivacy.audit.client import CollectorClient
from mlprivacy.audit.record import Event, RecordError, Subject, event_id, utc_now
from mlprivacy.audit.recorder import AsyncRecorder

logger = logging.getLogger(__name__)
EVENT_KIND = "admission-decision"
LOOK_SECONDS = 30.0  # between two looks for summaries that are due


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

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext,
        *,
        registry: CollectorRegistry = REGISTRY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`context` holds the certificate whose common name is the writer's."""
        self._client = CollectorClient(url, context)
        self._recorder = AsyncRecorder(self._client, registry=registry)
        self._thrift = Thrift()
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._recorder.start()
        self._looking = asyncio.create_task(self._look(), name="summaries of refusals")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        self.summarise(all_of_them=True)
        await self._recorder.stop()
        await self._client.aclose()

    def record(self, review: Review, answer: Answer) -> None:
        """Take one answer; never waits, never raises."""
        try:
            # What lets nothing run is what somebody could send without end.
            if (not answer.allowed or is_request(review)) and not self._thrift.own_record(
                review.namespace, review.kind, self._clock()
            ):
                metrics.NOT_RECORDED_ALONE.inc()
                return
            self._recorder.record((changed_event if review.kind in RECORDED else event_of)(review, answer))
        except (RecordError, ValueError) as error:
            logger.warning("a decision was not recorded: %s", error)

    def summarise(self, *, all_of_them: bool = False) -> None:
        """Record what was counted and is due, or all of it."""
        for event in self._thrift.summaries(self._clock(), all_of_them=all_of_them):
            self._recorder.record(event)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.summarise()
