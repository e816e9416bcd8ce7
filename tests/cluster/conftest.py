"""Fixtures of the tests that need a real API server."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane import ControlPlane
from controlplane.pytest_plugin import (
    cluster,
    namespace,
    private_cluster,
    pytest_collection_finish,
    pytest_collection_modifyitems,
)
from controlplane.runs import locked
from devstack import DevStack

__all__ = [
    "cluster",
    "namespace",
    "private_cluster",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "stack",
]


_EXTRA = {"collector": ["--simulated-nodes"]}  # simulated pods have no accountant to pull from


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """The whole operator on a control plane of its own: the chart by helm, three processes under its accounts.

    pytest-xdist workers share it, so a test may neither end its processes nor stop its API server. Tests that use it
    carry the marker `cluster`.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        with _shared_stack(tmp_path_factory.getbasetemp().parent / "stack") as shared:
            yield shared
    else:
        directory = tmp_path_factory.mktemp("stack")
        with (
            ControlPlane(directory / "cluster") as control_plane,
            DevStack(control_plane, directory / "operator", extra=_EXTRA) as own,
        ):
            yield own


@contextlib.contextmanager
def _shared_stack(directory: Path) -> Iterator[DevStack]:
    """The first worker starts it, the last one ends it."""
    users, lock = directory / "users", directory / "lock"
    mine = users / str(os.getpid())
    place = directory / "operator"
    with locked(lock):
        users.mkdir(exist_ok=True)
        if any(users.iterdir()):
            joined = DevStack(ControlPlane.attach(directory / "cluster"), place)
            joined.ports = json.loads((place / "stack.json").read_text(encoding="utf-8"))["ports"]
        else:
            control_plane = ControlPlane(directory / "cluster", owner=os.getppid())
            control_plane.start()
            joined = DevStack(control_plane, place, extra=_EXTRA)
            joined.start()
        mine.touch()
    try:
        yield joined
    finally:
        with locked(lock):
            mine.unlink()
            if not any(users.iterdir()):
                DevStack.stop_in(place)
                ControlPlane.stop_in(directory / "cluster")
