"""A cluster whose network plugin ignores NetworkPolicy: nothing governed runs there, and the job says why.

The probe's deadline and the pause before another attempt are shorter here than the chart's minute (conftest.VALUES).
"""

import pytest

from mlprivacy.api import names
from mlprivacy.audit.seal import EXIT_NOT_ENFORCED
from node.cluster import NodeCluster
from node.world import World, condition, eventually

PROGRAM = "print('this ran', flush=True)\n"


@pytest.mark.timeout(600)
def test_where_policies_are_not_enforced_a_job_is_held_says_so_and_resolves_by_itself(
    world: World, own_node: NodeCluster
) -> None:
    own_node.enforcing(False)
    try:
        world.apply(world.training_job(PROGRAM))
        job = world.until("Ready", "False", "SealNotEnforced", seconds=180)
        assert "NetworkPolicy is not enforced" in condition(job, "Ready")["message"]
        assert condition(job, "Stalled")["status"] == "True"
        assert condition(job, "Running")["status"] == "False"
        pod = world.pods()[0]
        seal = pod["status"]["initContainerStatuses"][0]
        assert seal["name"] == names.CONTAINER_SEAL
        assert seal["state"]["terminated"]["exitCode"] == EXIT_NOT_ENFORCED
        assert "this ran" not in world.log(pod["metadata"]["name"], "trainer")
    finally:
        own_node.enforcing(True)
    done = world.until("Completed", "True", seconds=240)
    assert condition(done, "Stalled")["status"] == "False"
    assert done["status"]["attempt"] == 2


def test_a_pod_that_is_open_at_first_waits_until_it_is_sealed(world: World, own_node: NodeCluster) -> None:
    """A policy that arrives late is what the probe is for: the program starts once the canary is out of reach."""
    own_node.enforcing(False)
    try:
        world.apply(world.training_job(PROGRAM))
        pod = world.governed_pod("Pending")["metadata"]["name"]

        def probing() -> bool:
            statuses = world.get("pods", pod)["status"].get("initContainerStatuses", [])
            return bool(statuses and statuses[0]["state"].get("running"))

        eventually(probing, "the seal probe to run")
        assert "this ran" not in world.log(pod, "trainer")
    finally:
        own_node.enforcing(True)
    world.until("Completed", "True")
    assert "this ran" in world.log(pod, "trainer")
