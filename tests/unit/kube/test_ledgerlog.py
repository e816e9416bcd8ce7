"""The ledger's log under failures: what a create that was not answered may have done, and what was not done.

What a real API server does is tested against a real one (tests/cluster/budget).
"""

import asyncio
from datetime import UTC, datetime

import pytest
from aiohttp import web
from ledger_world import DOMAIN, FOUNDING, NOON, chain, reserve

from mlprivacy.budget.ledger.append import AlreadyExists, Ledger, OutcomeUnknown
from mlprivacy.budget.ledger.entry import entry_name
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.credentials import Credentials
from mlprivacy.kube.errors import ApiError, Forbidden, NotFound
from mlprivacy.kube.ledgerlog import ApiLedgerLog

ENTRIES = chain(reserve(1))
FIRST = ENTRIES[0]
PATH = "/apis/mlprivacy.dev/v1alpha1/ledgerentries"


@pytest.fixture
def log(client):
    return ApiLedgerLog(client)


def ledger(log):
    return Ledger(log, DOMAIN, "one", lambda: NOON)


def cut(api, *, done):
    """Cut the connection of the next create, after it was carried out or before."""

    def fault(request):
        if request.method != "POST":
            return None
        if done:
            body = api.bodies[-1]
            api.objects[f"{PATH}/{body['metadata']['name']}"] = body
        request.transport.abort()
        return web.Response()

    api.faults.append(fault)


async def test_an_entry_is_created_once_and_strictly(api, log):
    await log.create(FIRST.name, FIRST.spec)
    assert await log.get(FIRST.name) == FIRST.spec
    path, query = next(one[1:] for one in api.requests if one[0] == "POST")
    assert (path, query["fieldValidation"]) == (PATH, "Strict")
    with pytest.raises(AlreadyExists):
        await log.create(FIRST.name, FIRST.spec)
    assert api.count("POST") == 2


async def test_reads_ask_for_what_is_there_now(api, log):
    await log.get(FIRST.name)
    await log.list(DOMAIN)
    assert not any("resourceVersion" in query for _, _, query in api.requests)
    assert api.requests[-1][2]["fieldSelector"] == f"spec.domain={FIRST.spec['domain']}"


async def test_an_entry_that_is_not_there_is_none_and_a_kind_that_is_not_there_is_an_error(api, log):
    assert await log.get(FIRST.name) is None
    api.missing.add("ledgerentries")
    with pytest.raises(NotFound):
        await log.get(FIRST.name)
    with pytest.raises(NotFound):
        await log.list(DOMAIN)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_an_error_of_the_server_says_nothing_of_the_outcome_and_is_not_sent_again(api, log, status):
    api.fail(status)
    with pytest.raises(OutcomeUnknown):
        await log.create(FIRST.name, FIRST.spec)
    assert api.count("POST") == 1


@pytest.mark.parametrize("status", [400, 403, 413, 422, 429])
async def test_what_was_refused_was_not_done(api, log, status):
    api.fail(status)
    with pytest.raises(ApiError):
        await log.create(FIRST.name, FIRST.spec)
    assert api.objects == {}


async def test_a_server_that_is_away_says_nothing_of_the_outcome(api, log):
    await api.stop()
    with pytest.raises(OutcomeUnknown):
        await log.create(FIRST.name, FIRST.spec)


async def test_a_create_that_takes_too_long_says_nothing_of_the_outcome(api):
    release = asyncio.Event()

    async def slow(request):
        await release.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", slow)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    credentials = Credentials(f"http://127.0.0.1:{runner.addresses[0][1]}", token="t")  # noqa: S106
    try:
        async with KubeClient(credentials, request_seconds=0.1) as client:
            with pytest.raises(OutcomeUnknown):
                await ApiLedgerLog(client).create(FIRST.name, FIRST.spec)
    finally:
        release.set()
        await runner.cleanup()


@pytest.mark.parametrize("done", [True, False], ids=["it had happened", "it had not"])
async def test_an_append_that_was_not_answered_is_in_the_ledger_once(api, log, done):
    cut(api, done=done)
    books = ledger(log)
    appended = await books.append(FOUNDING)
    assert appended.already is done
    assert books.fold.head.sequence == 1
    assert list(api.objects) == [f"{PATH}/{entry_name(DOMAIN, 1)}"]


async def test_a_refusal_reaches_whoever_appends_and_nothing_is_known_that_is_not_there(api, log):
    books = ledger(log)
    await books.append(FOUNDING)
    api.fail(403, when="fieldValidation")
    with pytest.raises(Forbidden):
        await books.append([reserve(1)])
    assert books.fold.head.sequence == 1
    await books.append([reserve(1)])
    assert books.fold.head.sequence == 2


async def test_a_list_is_by_sequence_and_of_one_domain(log):
    mine = chain(*(reserve(number, 0.01) for number in range(11)))  # names sort otherwise: …-1, …-10, …-11, …-2
    for entry in [*mine, *chain(domain="other")]:
        await log.create(entry.name, entry.spec)
    assert list(await log.list(DOMAIN)) == [(entry.name, entry.spec) for entry in mine]
    assert (await log.list(DOMAIN))[3] == (mine[3].name, mine[3].spec)
    assert [entry.hash for entry in await log.stored(DOMAIN)] == [entry.hash for entry in mine]


async def test_a_list_whose_token_expired_begins_anew(api, log):
    for entry in ENTRIES:
        await log.create(entry.name, entry.spec)
    api.fail(410, when="limit")
    assert len(await log.list(DOMAIN)) == len(ENTRIES)
    api.fail(410, times=9, when="limit")
    with pytest.raises(ApiError):
        await log.list(DOMAIN)


async def test_a_delete_of_what_is_gone_is_no_error(api, log):
    await log.create(FIRST.name, FIRST.spec)
    assert await log.delete(FIRST.name, "uid-101") is True
    assert api.bodies[-1]["preconditions"] == {"uid": "uid-101"}
    assert await log.delete(FIRST.name) is False


async def test_the_domains_are_read_from_names_and_one_entry_each(api, log):
    for entry in [*chain(reserve(1), reserve(2)), *chain(domain="other")]:
        await log.create(entry.name, entry.spec)
    before = api.count("GET")
    assert await log.domains() == {DOMAIN, "other"}
    assert api.count("GET") - before == 1 + 2


async def test_the_clock_is_the_servers(api, log, client):
    assert log.now() is None
    await log.get(FIRST.name)
    assert abs((log.now() - datetime.now(UTC)).total_seconds()) < 60
