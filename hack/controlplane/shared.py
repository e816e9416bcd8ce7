"""One control plane for several processes: the first to come starts it, the last to go ends it (pytest-xdist)."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from controlplane.cluster import ControlPlane
from controlplane.kubeconfigs import write_document
from controlplane.processes import ControlPlaneError, start_time
from controlplane.runs import locked


@contextlib.contextmanager
def shared_control_plane(directory: Path, owner: int) -> Iterator[ControlPlane]:
    """The control plane with its state in `directory`, started if need be.

    `owner` is the process that outlives all users; when it is killed, the next control plane to start ends this one.
    """
    lock, users = directory / "users.lock", directory / "users.json"
    with locked(lock):
        try:
            cluster = ControlPlane.attach(directory)
        except ControlPlaneError:
            cluster = ControlPlane(directory, owner=owner)
            cluster.start()
        write_document(users, _living(users) | {str(os.getpid()): start_time(os.getpid())})
    try:
        yield cluster
    finally:
        with locked(lock):
            others = {pid: mark for pid, mark in _living(users).items() if pid != str(os.getpid())}
            write_document(users, others)
            if not others:
                ControlPlane.stop_in(directory)


def _living(users: Path) -> dict[str, str | None]:
    """Users by pid that still run; a worker that was killed counts no more."""
    if not users.is_file():
        return {}
    written: dict[str, str] = json.loads(users.read_text(encoding="utf-8"))
    return {pid: mark for pid, mark in written.items() if start_time(int(pid)) == mark}
