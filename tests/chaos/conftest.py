"""A node, the operator and its load, for tests that break them; apart from the suite, since they take their time."""

import shutil
from collections.abc import Iterator

import pytest

from node import configs
from node.cluster import VOLUMES, NodeCluster, temporary_directory
from node.operator import Operator
from node.world import World

AUDIT_MEGABYTES = 16


@pytest.fixture(scope="module")
def node() -> Iterator[NodeCluster]:
    """A node of this module's own; its volumes are small, so that one can be filled."""
    directory = temporary_directory()
    try:
        with NodeCluster(directory) as cluster:
            for number in range(VOLUMES):
                options = f"size={AUDIT_MEGABYTES}m,mode=777"
                cluster.sandbox.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", configs.volume_path(number))
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def operator(node: NodeCluster) -> Operator:
    """The operator, every process ready."""
    installed = Operator(node)
    installed.install()
    return installed


@pytest.fixture(scope="module")
def world(operator: Operator) -> Iterator[World]:
    """A governed namespace with lawful data."""
    made = World(operator)
    yield made
    made.close()
