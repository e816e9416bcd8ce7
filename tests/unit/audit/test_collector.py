"""The collector over real mutual TLS: who may write what, bounded bodies, receipts, export, health, rotation."""

import asyncio
import dataclasses
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mlprivacy.audit.chain import LogLocked
from mlprivacy.audit.client import CollectorClient, CollectorRefused, CollectorUnavailable
from mlprivacy.audit.record import Event, Record
from mlprivacy.audit.seal import CanaryAddress
from mlprivacy.audit.tls import FileTLS, client_context
from mlprivacy.audit.verify import verify

MakeEvent = Callable[..., Event]


async def send(collector: Any, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """One raw POST as ``name``."""
    files = collector.pki.issue(name)
    context = client_context(files.cert, files.key, files.ca)
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{collector.url}/v1/records", data=body, ssl=context) as response,
    ):
        return response.status, await response.json()


async def test_a_receipt_is_given_in_the_chain_of_the_certificates_name(start_collector: Any, event: MakeEvent) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        receipts = await client.receipt([event(1), event(2)])
        assert [(receipt.writer, receipt.id) for receipt in receipts] == [
            ("controller", event(1).id),
            ("controller", event(2).id),
        ]
        assert (await client.heads())["controller"].hash == receipts[-1].hash
        assert await client.receipt([event(1), event(2)]) == receipts
    assert verify(collector.config.directory).ok


async def test_more_events_than_one_request_holds_are_sent_in_several(start_collector: Any, event: MakeEvent) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        receipts = await client.receipt([event(number) for number in range(2300)])
        assert [receipt.id for receipt in receipts] == [event(number).id for number in range(2300)]


async def test_without_a_client_certificate_nothing_is_heard(start_collector: Any, pki: Any) -> None:
    async with start_collector() as collector, aiohttp.ClientSession() as session:
        context = ssl.create_default_context(cafile=str(pki.ca))
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{collector.url}/v1/heads", ssl=context)


async def test_another_cas_client_is_refused(start_collector: Any, tmp_path: Path, authority: Any) -> None:
    stranger = authority(tmp_path / "stranger").issue("controller")
    async with start_collector() as collector:
        context = client_context(stranger.cert, stranger.key, collector.pki.ca)
        async with CollectorClient(collector.url, context, attempts=1) as client:
            with pytest.raises(CollectorUnavailable):
                await client.heads()


@pytest.mark.parametrize("name", ["Controller", "a/b", "..", "system:admin", "collector"])
async def test_names_that_are_no_writers_are_refused(start_collector: Any, event: MakeEvent, name: str) -> None:
    async with start_collector() as collector:
        files = collector.pki.issue(name, "odd")
        context = client_context(files.cert, files.key, files.ca)
        async with CollectorClient(collector.url, context, attempts=1) as client:
            with pytest.raises(CollectorRefused, match=r"may not write|common name"):
                await client.receipt([event(1)])
        assert not [path for path in collector.config.directory.iterdir() if path.is_dir()]


async def test_a_list_of_writers_is_kept_to(start_collector: Any, event: MakeEvent) -> None:
    async with start_collector(writers={"controller"}) as collector:
        async with collector.client("controller") as client:
            assert await client.receipt([event(1)])
        async with collector.client("admission") as client:
            with pytest.raises(CollectorRefused, match="may not write"):
                await client.receipt([event(1)])


async def test_bad_bodies_are_answered_with_what_is_wrong(start_collector: Any, event: MakeEvent) -> None:
    good = event(1).as_dict()
    cases = [
        (b"{", 400, "not JSON"),
        (b"[NaN]", 400, "not JSON"),
        (b"{}", 400, "list of 1 to 1000"),
        (b"[]", 400, "list of 1 to 1000"),
        (b"[" * 50_000, 400, "not JSON"),
        (json.dumps([good] * 1001).encode(), 400, "list of 1 to 1000"),
        (json.dumps([good, {**good, "kind": "NO"}]).encode(), 400, "Event 1: `kind`"),
        (json.dumps([{**good, "kind": "torn"}]).encode(), 400, "log's own"),
        (json.dumps([{**good, "data": {"x": 2**64 - 1}}]).encode(), 400, "64 bits"),
        (b"[" + b" " * (8 << 20) + b"]", 413, "larger than"),
    ]
    async with start_collector() as collector:
        for body, status, words in cases:
            found, answer = await send(collector, "controller", body)
            assert (found, words in answer["error"]) == (status, True), (body[:80], found, answer)
        assert (await send(collector, "controller", json.dumps([good]).encode()))[0] == 200


async def test_an_export_verifies_as_a_file_and_only_readers_get_others(
    start_collector: Any, event: MakeEvent, tmp_path: Path
) -> None:
    async with start_collector(segment_bytes=20_000) as collector:
        async with collector.client("controller") as client:
            for number in range(0, 300, 50):  # rotates between requests
                await client.receipt([event(number + offset) for offset in range(50)])
        async with collector.client("auditor") as client:
            exported = b"".join([line + b"\n" async for line in client.lines("controller", 10)])
            heads = await client.heads()
            with pytest.raises(CollectorRefused, match="no chain"):
                await anext(client.lines("nobody"))
        async with collector.client("admission") as client:
            with pytest.raises(CollectorRefused, match="may not read"):
                await anext(client.lines("controller"))
    assert Record.parse(exported.splitlines()[0]).seq == 10
    (tmp_path / "export.jsonl").write_bytes(exported)
    assert verify(tmp_path / "export.jsonl", anchors=heads).ok


async def test_a_damaged_chain_answers_503_and_the_others_go_on(start_collector: Any, event: MakeEvent) -> None:
    async with start_collector() as collector, collector.client("controller") as client:
        await client.receipt([event(1)])
    (path,) = (collector.config.directory / "controller").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":2'))
    async with start_collector() as collector:
        async with collector.client("controller") as client:
            with pytest.raises(CollectorUnavailable, match="not what was written"):
                await client.receipt([event(2)])
        async with collector.client("admission") as client:
            assert await client.receipt([event(1)])
        async with aiohttp.ClientSession() as session, session.get(f"{collector.health}/metrics") as response:
            assert 'mlprivacy_audit_log_broken{writer="controller"} 1.0' in await response.text()


async def test_health_and_metrics_on_a_port_of_their_own(start_collector: Any, event: MakeEvent) -> None:
    canary = CanaryAddress("127.0.0.1", 1, 1)  # nobody listens there
    async with start_collector() as collector, collector.client("controller") as client:
        await client.receipt([event(1)])
        async with aiohttp.ClientSession() as session:
            for path, status in (("/healthz", 200), ("/readyz", 200), ("/v1/heads", 404)):
                async with session.get(collector.health + path) as response:
                    assert response.status == status
            async with session.get(f"{collector.health}/metrics") as response:
                shown = await response.text()
    assert "mlprivacy_audit_log_records_total 1.0" in shown
    assert 'mlprivacy_audit_log_head{writer="controller"} 2.0' in shown
    assert "mlprivacy_certificate_days_left 1.9" in shown
    async with start_collector(canary_advertised=(canary,)) as collector, aiohttp.ClientSession() as session:
        async with session.get(f"{collector.health}/readyz") as response:
            assert (response.status, "canary" in await response.text()) == (503, True)
        async with session.get(f"{collector.health}/healthz") as response:
            assert response.status == 200


async def test_a_second_collector_on_the_same_directory_ends(start_collector: Any) -> None:
    async with start_collector():
        with pytest.raises(LogLocked):
            async with start_collector():
                pass


async def test_replaced_files_are_served_without_a_restart_and_the_old_ca_is_out(
    start_collector: Any, event: MakeEvent, tmp_path: Path, pki: Any, authority: Any
) -> None:
    live = dataclasses.asdict(pki.issue("live"))
    live["ca"] = tmp_path / "live-ca.pem"
    live["ca"].write_bytes(pki.ca.read_bytes())
    tls = FileTLS(**live, reload_after=0)
    new_pki = authority(tmp_path / "new", "new-ca")
    async with start_collector(tls=tls) as collector:
        async with collector.client("controller") as client:
            assert await client.receipt([event(1)])

        live["cert"].write_bytes(b"half a file")  # a rotation seen half-way keeps the old set
        async with collector.client("controller") as client:
            assert await client.receipt([event(2)])
        assert tls.failures >= 1

        new = new_pki.issue("live")
        for name in ("cert", "key", "ca"):
            live[name].write_bytes(getattr(new, name).read_bytes())
        files = new_pki.issue("controller")
        async with CollectorClient(
            collector.url, client_context(files.cert, files.key, files.ca), attempts=1
        ) as client:
            assert await client.receipt([event(3)])
        old = pki.issue("controller")
        async with CollectorClient(collector.url, client_context(old.cert, old.key, new_pki.ca), attempts=1) as client:
            with pytest.raises(CollectorUnavailable):
                await client.receipt([event(4)])


async def test_stopping_answers_what_is_in_flight(start_collector: Any, event: MakeEvent) -> None:
    async with start_collector() as collector:
        client = collector.client("controller")
        waiting = [asyncio.create_task(client.receipt([event(number)])) for number in range(20)]
        await waiting[0]
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await client.aclose()
    stored = verify(collector.config.directory)
    assert stored.ok
    given = [result for result in results if isinstance(result, list)]
    assert len(given) <= stored.records - 1
