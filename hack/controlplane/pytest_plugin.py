"""Fixtures for tests against a real API server: `cluster`, `private_cluster`, `namespace`.

A conftest imports the names in `__all__`. Binaries are built after collection, outside any test's time limit.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from controlplane.build import ensure_binaries
from controlplane.client import Cluster
from controlplane.cluster import ControlPlane
from controlplane.existing import ExistingCluster, use_existing_cluster
from controlplane.shared import shared_control_plane

__all__ = [
    "NamespaceFactory",
    "cluster",
    "namespace",
    "private_cluster",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
]

_FIXTURES = {"cluster", "private_cluster"}


class NamespaceFactory(Protocol):
    """Makes namespaces with unique names; they are deleted after the test."""

    def __call__(self, labels: Mapping[str, str] | None = None, prefix: str = "test") -> str:
        """Create one with these labels; returns its name once pods can be created in it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a cluster carries the marker `cluster`, so that `-m "not cluster"` is always right."""
    for item in items:
        if _FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing with its progress on the screen, when the tests to be run need it."""
    wanted = any(item.get_closest_marker("cluster") for item in session.items)
    if not wanted or session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        ensure_binaries()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster of this run: KUBECONFIG's when USE_EXISTING_CLUSTER is set, else one control plane of our own.

    pytest-xdist workers share it, so a test may neither stop its API server nor touch objects it did not make.
    """
    if use_existing_cluster():
        existing = ExistingCluster()
        yield existing
        existing.close()
    elif "PYTEST_XDIST_WORKER" in os.environ:
        directory = tmp_path_factory.getbasetemp().parent / "controlplane"
        with shared_control_plane(directory, owner=os.getppid()) as shared:
            yield shared
    else:
        with ControlPlane(tmp_path_factory.mktemp("controlplane")) as own:
            yield own


@pytest.fixture(scope="module")
def private_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for the tests of one module alone: for those that stop its API server."""
    directory: Path = tmp_path_factory.mktemp("private-controlplane")
    with ControlPlane(directory) as own:
        yield own


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[NamespaceFactory]:
    made: list[str] = []

    def create(labels: Mapping[str, str] | None = None, prefix: str = "test") -> str:
        name = f"{prefix}-{uuid.uuid4().hex[:10]}"
        made.append(name)
        cluster.create_namespace(name, labels)
        return name

    yield create
    for name in made:
        cluster.delete_namespace(name)
