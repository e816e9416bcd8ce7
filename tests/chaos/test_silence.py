"""A program that drowns its own sidecar: nobody hears the meter any more, the job says so, and then it is stopped.

The patience is a minute and five, so this test takes its time.
"""

import pytest

from node.world import World, condition, eventually

# More connections than the sidecar serves, each held as long as it lets them: to all others it says that it is busy.
DROWN = """
import asyncio

async def hold():
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", 15021)
            await asyncio.wait_for(reader.read(1), 10)
            writer.close()
        except (OSError, TimeoutError):
            await asyncio.sleep(0.01)

async def main():
    tasks = [asyncio.create_task(hold()) for _ in range(600)]
    print("drowning", flush=True)
    await asyncio.gather(*tasks)

asyncio.run(main())
"""


@pytest.mark.timeout(900)
def test_a_program_that_drowns_its_sidecar_is_seen_and_stopped(world: World) -> None:
    world.apply(world.training_job(DROWN))
    pod = world.governed_pod()["metadata"]["name"]
    world.said(pod, "drowning", "trainer")
    job = world.until("Running", "True", "SidecarSilent", seconds=180)
    assert condition(job, "Stalled")["status"] == "False"

    job = world.until("Suspended", "True", "SidecarSilent", seconds=420)
    assert condition(job, "Stalled")["reason"] == "SidecarSilent"
    eventually(lambda: not world.pods(), "its pod to be gone")
    assert job["status"]["attempt"] == 1

    world.cluster.kubectl("patch", "trainingjobs.mlprivacy.dev", "study", "-n", world.namespace, "--type=merge",
                          "-p", '{"spec": {"suspend": true}}')  # fmt: skip
    world.until("Suspended", "True", "SuspendedByUser")
    world.cluster.kubectl("patch", "trainingjobs.mlprivacy.dev", "study", "-n", world.namespace, "--type=merge",
                          "-p", '{"spec": {"suspend": false}}')  # fmt: skip
    eventually(lambda: world.job()["status"].get("attempt") == 2, "another attempt, which people decided on")
