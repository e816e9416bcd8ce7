"""Child processes never confused with a stranger's: each in its own group, stopped by pid and start time."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

# Below the range from which kernels take the local ports of outgoing connections, so that a port which is free now
# is still free when the API server is restarted on it.
_PORTS: Final = range(20000, 30000)
_TAIL_LINES: Final = 25


class ControlPlaneError(RuntimeError):
    """The control plane could not be started, found or used; the message is a sentence with a remedy."""


def start_time(pid: int) -> str | None:
    """An opaque mark of when this pid was started, or None when no such process runs (a zombie counts as gone).

    A pid is reused by the kernel; a pid together with its start time is not.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = done.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log file; a sentence when there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 64 * 1024))
            text = stream.read().decode(errors="replace")
    except OSError:
        return f"(no log at {log})"
    return "\n".join(text.splitlines()[-lines:])


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports on 127.0.0.1 that nothing listens on now. Raises ControlPlaneError when there are too few."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ControlPlaneError(f"Fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1.")


def wait_until(
    condition: Callable[[], bool], timeout: float, *, what: str, watch: Iterable["Process"] = (), interval: float = 0.05
) -> None:
    """Wait until `condition()` is true, at most `timeout` seconds.

    Raises ControlPlaneError with the tail of the log when one of the watched processes ends, or when time is up.
    """
    watched = list(watch)
    deadline = time.monotonic() + timeout
    while not condition():
        for process in watched:
            if not process.alive():
                raise ControlPlaneError(f"{process.name} ended while waiting for {what}.\n{process.report()}")
        if time.monotonic() > deadline:
            reports = "\n".join(process.report() for process in watched)
            raise ControlPlaneError(f"Waited {timeout:.0f} s for {what} in vain.\n{reports}".rstrip())
        time.sleep(interval)


@dataclass
class Process:
    """One child, as it is written down in the state file. `started` tells it from a later process with the same pid."""

    name: str
    argv: list[str]
    log: Path
    pid: int = 0
    started: str = ""
    _popen: "subprocess.Popen[bytes] | None" = field(default=None, repr=False, compare=False)

    def start(self, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        """Start it in a process group of its own, with its output appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd,
                env=None if environ is None else dict(environ),
            )
        self.pid = self._popen.pid
        self.started = start_time(self.pid) or ""

    def alive(self) -> bool:
        """Whether this very process still runs (not another one that got its pid)."""
        if self._popen is not None:
            # A child's pid is not given away before it is reaped. /proc must not be asked: the first thread of a
            # process is shown as gone while its others still end, and only after those is there an exit code.
            return self._popen.poll() is None
        return bool(self.pid and self.started) and start_time(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group; nothing happens when it is gone."""
        if self.alive():
            # It leads its session (start_new_session), hence its pid is the id of its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def stop(self, grace: float = 5.0) -> None:
        stop_all([self], grace)

    def exit_code(self) -> int | None:
        """The exit code of a child of this very program; None while it runs, or when another program started it."""
        return self._popen.poll() if self._popen is not None else None

    def report(self) -> str:
        """What a person needs when it failed: the command's name, where the log is, how it ends."""
        code = self.exit_code()
        ended = f" (exit code {code})" if code is not None else ""
        return f"--- {self.name}{ended}, end of {self.log}:\n{tail(self.log)}"

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "argv": self.argv, "log": str(self.log), "pid": self.pid, "started": self.started}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Process":
        return cls(data["name"], list(data["argv"]), Path(data["log"]), int(data["pid"]), str(data["started"]))


def stop_all(processes: Sequence[Process], grace: float = 5.0) -> None:
    """Stop these processes together: SIGTERM, at most `grace` seconds, then SIGKILL. Suspended ones are woken first."""
    for process in processes:
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)
    deadline = time.monotonic() + grace
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in processes:
        process.signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
