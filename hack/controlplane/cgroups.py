"""A cgroup that holds every process of one test node, whatever started it: so that all of them are found and ended."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from controlplane.processes import ControlPlaneError

ROOT: Final = Path("/sys/fs/cgroup")
_END_SECONDS: Final = 20.0
# The hierarchies of version 1 in which our processes are put; the kubelet wants the first two to agree.
_V1: Final = ("cpu", "memory", "cpuacct", "pids", "systemd")


def unified() -> bool:
    """Whether the machine has cgroup version 2 alone."""
    return (ROOT / "cgroup.controllers").is_file()


def hierarchies() -> list[Path]:
    """Root folders of all mounted hierarchies. Raises ControlPlaneError when there is none."""
    if unified():
        return [ROOT]
    found = [path for path in sorted(ROOT.iterdir()) if (path / "cgroup.procs").is_file()] if ROOT.is_dir() else []
    if not found:
        raise ControlPlaneError(f"There is no cgroup hierarchy below {ROOT}; the kubelet needs one.")
    return found


class ControlGroup:
    """One cgroup by name, in every hierarchy. Processes started through `entering` are in `NAME/system`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        """Raises ControlPlaneError when the kernel does not let us."""
        try:
            for root in hierarchies():
                (root / self.name / "system").mkdir(parents=True, exist_ok=True)
                if root.name == "cpuset":
                    self._fill_cpuset(root)
            if unified():
                wanted = " ".join(f"+{name}" for name in (ROOT / "cgroup.controllers").read_text().split())
                for folder in (ROOT, ROOT / self.name):
                    (folder / "cgroup.subtree_control").write_text(wanted)
        except OSError as error:
            raise ControlPlaneError(
                f"The cgroup {self.name} can not be made: {error}. The node needs root and a writable {ROOT}."
            ) from error

    def entering(self, argv: list[str]) -> list[str]:
        """The command line that runs `argv` in this group, under the same pid."""
        roots = [ROOT] if unified() else [root for root in hierarchies() if root.name in _V1]
        files = [str(root / self.name / "system" / "cgroup.procs") for root in roots]
        script = "; ".join([*(f"echo $$ > {file}" for file in files), 'exec "$@"'])
        return ["/bin/sh", "-ec", script, "sh", *argv]

    def pids(self) -> set[int]:
        """Every process in the group and below it."""
        found: set[int] = set()
        for folder in self._folders():
            try:
                found |= {int(line) for line in (folder / "cgroup.procs").read_text().split()}
            except OSError:
                continue  # it went in between
        return found - {0, os.getpid()}

    def memory_bytes(self) -> int:
        """Memory that the group holds and that is not page cache."""
        root = ROOT if unified() else ROOT / "memory"
        stat = (root / self.name / "memory.stat").read_text().split("\n")
        values = {key: int(value) for key, _, value in (line.partition(" ") for line in stat) if value}
        return values["anon"] if unified() else values["total_rss"]

    def exists(self) -> bool:
        return any((root / self.name).is_dir() for root in hierarchies())

    def destroy(self) -> int:
        """End every process in it and remove it; returns how many there were.

        Raises ControlPlaneError when some stay.
        """
        ended: set[int] = set()
        deadline = time.monotonic() + _END_SECONDS
        while left := self.pids():
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"Processes of the cgroup {self.name} do not end: {sorted(left)}.")
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue
                except PermissionError as error:
                    raise ControlPlaneError(
                        f"The process {pid} of the cgroup {self.name} belongs to another user. "
                        "Stop it as the user who started it, root for a node."
                    ) from error
            ended |= left
            time.sleep(0.05)
        while self.exists():
            for folder in sorted(self._folders(), key=lambda path: len(path.parts), reverse=True):
                try:
                    folder.rmdir()
                except OSError:
                    continue  # busy for a moment after its last process
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"The cgroup {self.name} could not be removed; see below {ROOT}.")
            time.sleep(0.02)
        return len(ended)

    def _folders(self) -> Iterator[Path]:
        for root in hierarchies():
            if (root / self.name).is_dir():
                yield from (Path(folder) for folder, _, _ in os.walk(root / self.name))

    def _fill_cpuset(self, root: Path) -> None:
        """A cpuset takes no process before it has processors and memory nodes."""
        for name in ("cpuset.cpus", "cpuset.mems"):
            value = (root / name).read_text()
            for folder in (root / self.name, root / self.name / "system"):
                (folder / name).write_text(value)
