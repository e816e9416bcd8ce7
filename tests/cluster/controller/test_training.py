"""A TrainingJob from apply to its end, on the real API server.

Nodes are simulated: a pod there proves objects and their order, never a process.
"""

import pytest

pytestmark = pytest.mark.cluster


def test_an_allowed_job_is_accepted_and_its_controls_come_before_it(world):
    world.apply(world.training_job())
    world.cluster.kubectl(
        "wait", "--for=condition=Accepted", "trainingjobs.mlprivacy.dev/study", "-n", world.namespace, "--timeout=60s"
    )
    job = world.started()

    created = world.written("jobs", verb="create")[0]
    for resource in ("networkpolicies", "serviceaccounts", "configmaps"):
        writes = world.written(resource)
        assert writes, resource
        assert all(write.completed <= created.received for write in writes if write.name.startswith("mlp-study")), (
            resource
        )
    assert job["status"]["receipt"]
