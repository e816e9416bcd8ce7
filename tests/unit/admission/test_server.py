"""The HTTP side: limits, peers, drain; and the rule by which a process is fresh enough to decide."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from mlprivacy.admission.main import Freshness
from mlprivacy.admission.peers import PeerLimiter
from mlprivacy.admission.review import MAX_BODY
from mlprivacy.admission.server import AdmissionServer
from mlprivacy.kube.certificates import LeafSpec, new_ca, new_leaf
from mlprivacy.kube.tls import HotTLS

NOW = datetime.now(UTC)
CA = new_ca(NOW, timedelta(days=1))


def tls(clients: str = "none") -> HotTLS:
    found = HotTLS(clients=clients, client_ca=CA.certificate if clients == "required" else None)
    leaf = new_leaf(CA, LeafSpec("server", ip_addresses=("127.0.0.1",)), NOW, timedelta(days=1))
    found.load(leaf.certificate, leaf.key, CA.certificate, NOW)
    return found


def client_context(tmp_path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=CA.certificate.decode())
    if name is not None:
        leaf = new_leaf(CA, LeafSpec(name, server=False, client=True), NOW, timedelta(days=1))
        file = tmp_path / f"{name}.pem"
        file.write_bytes(leaf.certificate + leaf.key)
        context.load_cert_chain(file)
    return context


@pytest.fixture
async def open_server(world) -> AsyncIterator[AdmissionServer]:
    """A server that asks nobody for a certificate and lets an address ask six times at once."""
    server = AdmissionServer(
        world.handler, tls().server_context, client_name=None, limiter=PeerLimiter(3.0, clock=lambda: 0.0)
    )
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


async def post(server: AdmissionServer, context: ssl.SSLContext, **options) -> tuple[int, bytes]:
    method, path = options.pop("method", "POST"), options.pop("path", "/validate/kinds")
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"https://127.0.0.1:{server.port}{path}", ssl=context, **options) as answer,
    ):
        return answer.status, await answer.read()


async def test_a_review_is_answered(open_server, tmp_path, world, review_of) -> None:
    status, body = await post(open_server, client_context(tmp_path, None), json=review_of(world.job()))

    assert status == 200
    assert b'"allowed":true' in body


async def test_only_post_is_served(open_server, tmp_path) -> None:
    assert (await post(open_server, client_context(tmp_path, None), method="GET"))[0] == 405


async def test_a_body_of_eight_mebibytes_is_read_and_a_larger_one_is_not(open_server, tmp_path) -> None:
    context, kind = client_context(tmp_path, None), {"Content-Type": "application/json"}

    fits = await post(open_server, context, data=b" " * MAX_BODY, headers=kind)
    large = await post(open_server, context, data=b" " * (MAX_BODY + 1), headers=kind)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * (1 << 20)

    chunked = await post(open_server, context, data=endless(), headers=kind)

    assert (fits[0], b"not JSON" in fits[1]) == (400, True)
    assert (large[0], chunked[0]) == (413, 413)


async def test_strangers_are_held_to_a_rate(open_server, tmp_path) -> None:
    context = client_context(tmp_path, None)

    answers = [(await post(open_server, context, json={}))[0] for _ in range(8)]

    assert answers == [400] * 6 + [429] * 2


async def test_under_mutual_tls_only_the_named_client_is_answered(world, tmp_path, review_of) -> None:
    server = AdmissionServer(world.handler, tls("required").server_context, client_name="kube-apiserver", limiter=None)
    await server.start("127.0.0.1", 0)
    review = review_of(world.job())
    try:
        known = await post(server, client_context(tmp_path, "kube-apiserver"), json=review)
        other = await post(server, client_context(tmp_path, "somebody"), json=review)
        with pytest.raises(aiohttp.ClientError):
            await post(server, client_context(tmp_path, None), json=review)
    finally:
        await server.stop()

    assert known[0] == 200
    assert other[0] == 403
    assert b"diagnosis" not in other[1]


async def test_what_is_under_way_is_finished_when_it_stops(
    open_server, tmp_path, world, review_of, monkeypatch
) -> None:
    gather, entered, go = world.gather, asyncio.Event(), asyncio.Event()

    async def slow(raw, now, **_):
        entered.set()
        await go.wait()
        return await gather(raw, now)

    monkeypatch.setattr(world, "gather", slow)
    asked = asyncio.create_task(post(open_server, client_context(tmp_path, None), json=review_of(world.job())))
    await entered.wait()
    stopping = asyncio.create_task(open_server.stop())
    await asyncio.sleep(0)
    go.set()

    status, body = await asked
    await stopping

    assert (status, b'"allowed":true' in body) == (200, True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(open_server, client_context(tmp_path, None), json=review_of(world.job()))


class Source:
    def __init__(self) -> None:
        self.synced = True
        self.age = 0.0

    def staleness_seconds(self) -> float:
        return self.age


def test_nothing_is_decided_before_everything_was_read_nor_on_old_facts() -> None:
    facts, jobs = Source(), Source()
    freshness = Freshness(facts, jobs, 300.0, look_seconds=0.0)
    assert freshness.problem() is None

    jobs.synced = False
    assert freshness.problem() == "mlprivacy has not read all policies and data sets yet"
    jobs.synced = True
    facts.age = 301.0
    assert freshness.problem() == (
        "mlprivacy has had no word from the API server for 301 s, so what it knows may be out of date"
    )
    facts.age = 5.0
    assert freshness.problem() is None
