"""The client's bounds and retries, and the recorder that drops rather than waits."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from mlprivacy.audit.client import CollectorClient, CollectorRefused, CollectorUnavailable
from mlprivacy.audit.record import Event, Receipt
from mlprivacy.audit.recorder import AsyncRecorder
from mlprivacy.audit.tls import client_context

MakeEvent = Callable[..., Event]


async def test_a_collector_that_comes_back_is_found_again(start_collector: object, event: MakeEvent) -> None:
    async with start_collector() as collector:  # type: ignore[operator]
        client: CollectorClient = collector.client("controller", attempts=50, pause=0.01)
        (first,) = await client.receipt([event(1)])
        port = collector.ports.port
    asking = asyncio.create_task(client.receipt([event(1), event(2)]))
    await asyncio.sleep(0.05)
    async with start_collector(port=port):  # type: ignore[operator]
        receipts = await asking
    await client.aclose()
    assert receipts[0] == first
    assert receipts[1].seq == first.seq + 1


async def test_an_absent_collector_is_given_up_with_a_sentence(pki: object, event: MakeEvent) -> None:
    files = pki.issue("controller")  # type: ignore[attr-defined]
    context = client_context(files.cert, files.key, files.ca)
    async with CollectorClient("https://127.0.0.1:1", context, attempts=3, pause=0.001) as client:
        with pytest.raises(CollectorUnavailable, match="gave no receipt"):
            await client.receipt([event(1)])


class FakeClient(CollectorClient):
    """Stands in for the network: away until told, refuses the events named."""

    def __init__(self) -> None:
        self.present = asyncio.Event()
        self.refuses: set[str] = set()
        self.got: list[str] = []

    async def receipt(self, events: Sequence[Event]) -> list[Receipt]:
        if not self.present.is_set():
            raise CollectorUnavailable("The collector is away.")
        if self.refuses & {event.id for event in events}:
            raise CollectorRefused("One of them is bad.")
        self.got += [event.id for event in events]
        return []


@pytest.fixture
async def client() -> FakeClient:
    return FakeClient()


def dropped(registry: CollectorRegistry, reason: str) -> float:
    return registry.get_sample_value("mlprivacy_audit_dropped_total", {"reason": reason}) or 0


async def test_records_wait_for_the_collector_and_the_overflow_is_counted(client: FakeClient, event: MakeEvent) -> None:
    registry = CollectorRegistry()
    recorder = AsyncRecorder(client, registry=registry, capacity=10, linger=0, again=0.01)
    taken = [recorder.record(event(number)) for number in range(15)]
    assert taken == [True] * 10 + [False] * 5
    assert dropped(registry, "queue-full") == 5
    recorder.start()
    await asyncio.sleep(0.03)
    assert client.got == []
    client.present.set()
    await recorder.stop()
    assert client.got == [event(number).id for number in range(10)]
    assert recorder.waiting == 0
    assert registry.get_sample_value("mlprivacy_audit_sent_total") == 10


async def test_one_refused_record_does_not_take_the_others_with_it(client: FakeClient, event: MakeEvent) -> None:
    registry = CollectorRegistry()
    recorder = AsyncRecorder(client, registry=registry, linger=0.01)
    client.present.set()
    client.refuses = {event(1).id}
    recorder.start()
    for number in range(3):
        recorder.record(event(number))
    await recorder.stop()
    assert client.got == [event(0).id, event(2).id]
    assert dropped(registry, "refused") == 1


async def test_stopping_without_a_collector_ends_and_counts_what_is_lost(client: FakeClient, event: MakeEvent) -> None:
    registry = CollectorRegistry()
    recorder = AsyncRecorder(client, registry=registry, linger=0, again=0.01)
    recorder.start()
    for number in range(4):
        recorder.record(event(number))
    await recorder.stop(timeout=0.1)
    assert dropped(registry, "stopped") == 4
