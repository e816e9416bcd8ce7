"""Fixtures of the tests that need a real API server."""

import os
from collections.abc import Iterator

import pytest
from controlplane.client import Cluster
from controlplane.cluster import ControlPlane
from controlplane.pytest_plugin import (
    cluster,
    namespace,
    private_cluster,
    pytest_collection_finish,
    pytest_collection_modifyitems,
)
from devstack.stack import DevStack

__all__ = [
    "cluster",
    "namespace",
    "private_cluster",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "stack",
]


@pytest.fixture(scope="session")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """The whole operator on the cluster of this run, for every test that neither ends its processes nor changes its chart.

    Simulated pods answer no collector. Workers of pytest-xdist share the cluster but can not share processes, so each
    has a control plane of its own here.
    """
    folder, extra = tmp_path_factory.mktemp("stack"), {"collector": ["--simulated-nodes"]}
    if "PYTEST_XDIST_WORKER" in os.environ and isinstance(cluster, ControlPlane):
        with ControlPlane(folder / "controlplane") as own, DevStack(own, folder / "own", extra=extra) as running:
            yield running
        return
    running = DevStack(cluster, folder, extra=extra, install=False)
    # Tests of the API may have applied the definitions to this cluster before.
    running.install("--take-ownership")
    running.start()
    try:
        yield running
    finally:
        running.stop()
