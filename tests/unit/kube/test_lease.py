"""Leader election under failures: one acts at a time, a lost lease is noticed, an emptied one is taken at once."""

import asyncio

import pytest

from mlprivacy.kube.errors import Unreachable
from mlprivacy.kube.lease import Lease
from mlprivacy.kube.resources import LEASES

PATH = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/controller"
TIMES = {"duration": 1.0, "renew_within": 0.6, "retry": 0.05}


def contender(client, identity="a", **options):
    return Lease(client, "sys", "controller", identity, **{**TIMES, **options})


async def stop(*leases):
    await asyncio.gather(*(lease.release() for lease in leases))


async def test_of_two_contenders_one_holds_it_and_the_other_follows_after_release(api, client):
    first, second = contender(client, "a"), contender(client, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(1.5)
    assert first.held
    assert not second.held
    assert second.holder == "a"
    await first.release()
    async with asyncio.timeout(20):
        await waiting
    assert second.held
    assert not first.held
    assert not first.lost.is_set()
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 1
    await stop(second)


async def test_a_dead_holder_is_followed_after_the_duration_it_promised(api, client):
    await api.put(
        PATH,
        {"spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "2099-01-01T00:00:00.000000Z"}},
    )
    lease = contender(client)
    async with asyncio.timeout(20):
        await lease.acquire()
    assert lease.held
    await stop(lease)


async def test_a_holder_that_can_not_renew_gives_up_and_says_so(api, client):
    reasons = []
    lease = contender(client, on_lost=reasons.append)
    await lease.acquire()
    api.fail(500, times=1000)
    async with asyncio.timeout(20):
        await lease.lost.wait()
    assert not lease.held
    assert "renewals did not come through" in reasons[0]
    api.faults.clear()
    await stop(lease)


async def test_held_turns_false_by_itself_even_if_the_loop_is_stuck_in_a_request(api, client, eventually):
    lease = contender(client)
    await lease.acquire()
    api.fail(503, times=1000, headers={"Retry-After": "5"})
    await eventually(lambda: not lease.held)
    async with asyncio.timeout(20):
        await lease.lost.wait()
    api.faults.clear()
    await stop(lease)


async def test_a_lease_taken_by_another_is_lost_at_the_next_renewal(api, client):
    lease = contender(client)
    await lease.acquire()
    await api.put(PATH, {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}})
    async with asyncio.timeout(20):
        await lease.lost.wait()
    assert "thief holds it" in lease.lost_reason
    await stop(lease)
    assert api.objects[PATH]["spec"]["holderIdentity"] == "thief"


async def test_a_stranger_who_edits_metadata_does_not_cost_the_lease(api, client, eventually):
    lease = contender(client)
    await lease.acquire()
    edited = {**api.objects[PATH], "metadata": {"labels": {"x": "y"}}}
    version = (await api.put(PATH, edited))["metadata"]["resourceVersion"]
    await eventually(lambda: int(api.objects[PATH]["metadata"]["resourceVersion"]) > int(version) + 1)
    assert lease.held
    await stop(lease)


async def test_a_deleted_lease_is_made_again(api, client, eventually):
    lease = contender(client)
    await lease.acquire()
    await api.remove(PATH)
    await eventually(lambda: PATH in api.objects)
    assert lease.held
    await stop(lease)


async def test_an_unexpected_error_while_renewing_ends_in_a_lost_lease_too(client, monkeypatch):
    lease = contender(client)
    await lease.acquire()

    async def broken(*_args, **_options):
        raise RuntimeError("boom")

    monkeypatch.setattr(client, "replace", broken)
    async with asyncio.timeout(20):
        await lease.lost.wait()
    assert not lease.held
    await stop(lease)


async def test_a_closed_client_is_unreachable(client):
    await client.close()
    with pytest.raises(Unreachable, match="was closed"):
        await client.get(LEASES, "controller", "sys")


async def test_release_empties_the_record(client):
    lease = contender(client)
    await lease.acquire()
    await lease.release()
    assert (await client.get(LEASES, "controller", "sys"))["spec"]["holderIdentity"] == ""


def test_times_that_would_let_two_act_at_once_are_refused():
    with pytest.raises(ValueError, match="retry < renew_within < duration"):
        Lease(None, "sys", "controller", "a", duration=10, renew_within=15, retry=1)
