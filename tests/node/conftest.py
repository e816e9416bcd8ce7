"""Fixtures of the tests on real pods: a node with a kubelet, the operator from its images, and a lawful world on it.

The node is the one of `make node-up` where it runs, else one of the tests' own; with USE_EXISTING_CLUSTER it is the
cluster of KUBECONFIG (kind, for instance), and tests that need hold of the node's processes are left out there.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from controlplane.client import Cluster
from controlplane.existing import ExistingCluster, use_existing_cluster
from controlplane.processes import ControlPlaneError
from images import twice
from node.cluster import NodeCluster, running_in, temporary_directory
from node.operator import Operator
from node.world import World

ROOT = Path(__file__).resolve().parents[2]
# Short, so that the tests that wait for its end do not wait long; long enough for a busy machine to enforce a policy.
VALUES: dict[str, object] = {
    "controller": {
        "seal": {"deadlineSeconds": 20, "retrySeconds": 5},
        "sidecars": {"silentAfterSeconds": 30, "stopAfterSeconds": 60},
        "gracePeriodSeconds": 10,
    }
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The images come last, since they are built while the others run. On a cluster that is not ours, what takes hold
    of the node itself is deselected.
    """
    items.sort(key=_needs_images)
    if not use_existing_cluster():
        return
    out = [item for item in items if "own_node" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


def _needs_images(item: pytest.Item) -> bool:
    return "image_builds" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def _building(request: pytest.FixtureRequest) -> None:
    """Begins the builds with the session, where a test of it wants them."""
    if any(_needs_images(item) for item in request.session.items):
        request.getfixturevalue("image_builds")


@pytest.fixture(scope="session")
def image_builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Future[Path]]]:
    """Both images, built twice in different surroundings: two folders, when they are asked for."""
    pool, builds = twice.begin(tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("a-longer-name-for-the-other"))
    yield builds
    pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def node() -> Iterator[Cluster]:
    """A cluster whose pods are real."""
    if use_existing_cluster():
        yield ExistingCluster()
        return
    with contextlib.suppress(ControlPlaneError):
        yield running_in(ROOT / "build" / "node")
        return
    directory = temporary_directory()
    try:
        with NodeCluster(directory) as cluster:
            yield cluster
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def operator(node: Cluster) -> Operator:
    """The operator in its pods, every process ready."""
    installed = Operator(node, VALUES)
    installed.install()
    return installed


@pytest.fixture
def own_node(node: Cluster) -> NodeCluster:
    """The node, for tests that take hold of its processes."""
    assert isinstance(node, NodeCluster)
    return node


@pytest.fixture
def worlds(operator: Operator) -> Iterator[Callable[..., World]]:
    """Makes governed namespaces with lawful data; they are deleted after the test."""
    made: list[World] = []

    def make(ceiling: str | None = "enforce") -> World:
        made.append(World(operator, ceiling))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    """One in an enforcing namespace."""
    return worlds()


@pytest.fixture
def street(worlds: Callable[..., World]) -> World:
    """An ungoverned namespace: what happens there is the control of every experiment."""
    return worlds(None)
