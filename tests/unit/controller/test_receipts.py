"""Receipts travel together, one bad record harms no other, and nobody waits for a collector that is away."""

import asyncio

import pytest

from mlprivacy.audit.client import CollectorError, CollectorRefused, CollectorUnavailable
from mlprivacy.audit.record import Event, Receipt, RecordError, Subject
from mlprivacy.controller.receipts import Receipts


def event(number):
    subject = Subject("TrainingJob", "research", "study", "u")
    return Event("2026-06-01T12:00:00Z", f"{number:064x}", "decision", subject, {})


class Collector:
    """Answers as told, and remembers the batches."""

    def __init__(self, problem=None):
        self.batches = []
        self.problem = problem or (lambda events: None)

    async def receipt(self, events):
        self.batches.append([e.id for e in events])
        error = self.problem(events)
        if error:
            raise error
        return [Receipt(e.id, n + 1, "h" * 64, "w") for n, e in enumerate(events)]


async def test_many_at_once_are_one_request_and_the_same_is_sent_once():
    collector = Collector()
    receipts = Receipts(collector)
    found = await asyncio.gather(*(receipts.get(event(n % 10)) for n in range(20)))
    assert [r.id for r in found] == [event(n % 10).id for n in range(20)]
    assert len(collector.batches) == 1
    assert len(collector.batches[0]) == 10


@pytest.mark.parametrize("error", [CollectorRefused("bad"), RecordError("bad")])
async def test_one_bad_record_does_not_keep_the_others_from_theirs(error):
    bad = event(3).id
    receipts = Receipts(Collector(lambda events: error if bad in [e.id for e in events] else None))
    found = await asyncio.gather(*(receipts.get(event(n)) for n in range(6)), return_exceptions=True)
    assert [isinstance(r, CollectorError) for r in found] == [n == 3 for n in range(6)]


async def test_after_a_failure_nobody_waits_for_the_collector():
    collector = Collector(lambda events: CollectorUnavailable("away"))
    receipts = Receipts(collector)
    for _ in range(50):
        with pytest.raises(CollectorError, match="away"):
            await receipts.get(event(1))
    assert len(collector.batches) == 1


async def test_a_fault_reaches_every_waiter():
    receipts = Receipts(Collector(lambda events: KeyError("odd")))
    found = await asyncio.gather(*(receipts.get(event(n)) for n in range(3)), return_exceptions=True)
    assert all(isinstance(r, CollectorError) for r in found)
