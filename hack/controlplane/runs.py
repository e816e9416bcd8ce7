"""Remembers which control planes run and who started them, so that what a killed run left behind is found and ended."""

import contextlib
import fcntl
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controlplane.cgroups import ControlGroup
from controlplane.flags import Layout
from controlplane.kubeconfigs import write_document
from controlplane.processes import ControlPlaneError, Process, start_time, stop_all


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it goes with its holder, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def run_of(state: Path) -> str | None:
    """The run that wrote a state file, or None when there is none that can be read."""
    try:
        return str(json.loads(state.read_text(encoding="utf-8"))["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_processes(state: Path) -> list[Process]:
    """The processes that a state file lists, none when there is no such file. Raises ControlPlaneError."""
    try:
        document = json.loads(state.read_text(encoding="utf-8"))
        return [Process.from_dict(entry) for entry in document["processes"]]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ControlPlaneError(
            f"The state file {state} can not be read: {error.strerror}. Ask as the user who started what runs there."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ControlPlaneError(
            f"The state file {state} cannot be read ({error!r}). End its processes by hand, then delete that folder."
        ) from error


def end_all(state: Path) -> None:
    """End what a state file lists, and what runs in the cgroup it names: containers of a test node are no children.

    The node's link is taken down as well: a busy kernel takes a minute for that after the namespace's last process.
    Raises ControlPlaneError when the file can not be read or something does not end.
    """
    stop_all(read_processes(state), grace=2)
    document = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    name, link = document.get("group"), document.get("link")
    if name and ControlGroup(name).exists():  # else another node may have the link's name by now
        ControlGroup(name).destroy()
        if link and Path("/sys/class/net", link).exists():
            subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)


@dataclass(frozen=True)
class Run:
    """One entry: the folder of a control plane, and the process that owns it (none for a detached one)."""

    entry: Path
    directory: Path
    owner_pid: int | None
    owner_started: str
    temporary: bool

    def abandoned(self) -> bool:
        """Its owner is gone without having stopped it."""
        return self.owner_pid is not None and start_time(self.owner_pid) != self.owner_started


def register(cache: Path, directory: Path, owner: int | None, *, temporary: bool) -> Path:
    """Write down that the process `owner` (None: nobody) owns the control plane in `directory`; returns the entry.

    Raises ControlPlaneError when another program that still runs owns it.
    """
    for run in list_runs(cache):
        if run.directory != directory:
            continue
        if run.owner_pid not in (None, owner) and not run.abandoned():
            raise ControlPlaneError(
                f"The control plane in {directory} belongs to the process {run.owner_pid}, which still runs. "
                "Wait for its end, or use another folder."
            )
        run.entry.unlink(missing_ok=True)
    document = {
        "directory": str(directory),
        "owner": owner,
        "ownerStarted": (start_time(owner) or "") if owner else "",
        "temporary": temporary,
    }
    return write_document(cache / "runs" / f"{uuid.uuid4().hex}.json", document)


def list_runs(cache: Path) -> list[Run]:
    runs = []
    for entry in sorted((cache / "runs").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):
            document = json.loads(entry.read_text(encoding="utf-8"))
            runs.append(
                Run(
                    entry,
                    Path(document["directory"]),
                    document["owner"],
                    document["ownerStarted"],
                    bool(document["temporary"]),
                )
            )
    return runs


def sweep(cache: Path) -> list[Path]:
    """End the processes of every abandoned run; returns their folders. Runs whose owner lives are left alone."""
    swept = []
    with locked(cache / "runs" / "lock"):
        for run in list_runs(cache):
            if not run.abandoned():
                continue
            state = Layout(run.directory).state
            # The folder may have been taken over by a later run, whose processes are not ours to end.
            if run_of(state) == run.entry.stem:
                end_all(state)
                if run.temporary:
                    shutil.rmtree(run.directory, ignore_errors=True)
            run.entry.unlink(missing_ok=True)
            swept.append(run.directory)
    return swept
