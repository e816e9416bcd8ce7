"""Two controllers contend for one Lease on a real API server: one acts, the other takes over when it ends or dies."""

import asyncio
import contextlib

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.lease import Lease
from mlprivacy.kube.resources import LEASES

TIMES = {"duration": 3.0, "renew_within": 2.0, "retry": 0.2}


@contextlib.asynccontextmanager
async def contenders(cluster, ns):
    """Two leases over connections of their own, as two processes would have."""
    async with (
        await KubeClient.connect(str(cluster.kubeconfig)) as one,
        await KubeClient.connect(str(cluster.kubeconfig)) as two,
    ):
        yield one, Lease(one, ns, "controller", "one", **TIMES), Lease(two, ns, "controller", "two", **TIMES)


async def test_exactly_one_of_two_holds_it_and_a_release_hands_over(cluster, namespace):
    async with contenders(cluster, namespace()) as (client, one, two):
        tasks = {asyncio.create_task(lease.acquire(), name=lease.identity): lease for lease in (one, two)}
        async with asyncio.timeout(60):
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            winner, loser = tasks[done.pop()], tasks[next(iter(waiting))]
            for _ in range(20):
                await asyncio.sleep(0.2)
                assert (winner.held, loser.held) == (True, False)
            await winner.release()
            await next(iter(waiting))
        assert (winner.held, loser.held) == (False, True)
        record = await client.get(LEASES, "controller", loser.namespace)
        assert record["spec"]["holderIdentity"] == loser.identity
        assert record["spec"]["leaseTransitions"] >= 1
        await loser.release()


async def test_a_holder_that_vanishes_is_followed_and_a_cut_off_one_knows_it(cluster, namespace):
    async with contenders(cluster, namespace()) as (client, one, two):
        await one.acquire()
        follow = asyncio.create_task(two.acquire())
        await asyncio.sleep(0.5)
        await client.close()  # the first contender is cut off from the API server
        overlaps = []
        async with asyncio.timeout(60):
            while not two.held:
                overlaps.append(one.held and two.held)
                await asyncio.sleep(0.02)
            await follow
            await one.lost.wait()
        assert not any(overlaps)
        assert not one.held
        await two.release()
