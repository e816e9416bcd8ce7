"""Nobody else's process is ever ended, and what a killed run left behind is: pids, run entries, state files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.flags import Layout
from controlplane.processes import ControlPlaneError, Process, free_ports, start_time, stop_all, tail, wait_until
from controlplane.runs import list_runs, read_processes, register, sweep

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = Process("sleeper", SLEEP, tmp_path / "sleeper.log")
    process.start()
    yield process
    process.signal(signal.SIGKILL)


@pytest.fixture
def dead_owner() -> int:
    """The pid of a program that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def write_state(directory: Path, run: str, *processes: Process) -> None:
    state = Layout(directory).state
    state.parent.mkdir(parents=True, exist_ok=True)
    document = {"run": run, "processes": [process.as_dict() for process in processes]}
    state.write_text(json.dumps(document), encoding="utf-8")


def abandon(entry: Path, pid: int) -> None:
    """Make a run entry say that its owner was this pid, started at some other time."""
    document = json.loads(entry.read_text(encoding="utf-8"))
    entry.write_text(json.dumps(document | {"owner": pid, "ownerStarted": "long ago"}), encoding="utf-8")


# --- one process ----------------------------------------------------------------------------------------------------


def test_a_process_has_a_group_of_its_own_and_is_stopped(sleeper: Process) -> None:
    assert os.getpgid(sleeper.pid) == sleeper.pid

    sleeper.stop()

    assert not sleeper.alive()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    stubborn = Process("stubborn", STUBBORN, tmp_path / "log")
    stubborn.start()
    wait_until(lambda: "up" in tail(stubborn.log), 30, what="the process to ignore SIGTERM", watch=[stubborn])

    stubborn.stop(grace=0.2)

    assert not stubborn.alive()


def test_a_suspended_process_is_stopped(sleeper: Process) -> None:
    sleeper.signal(signal.SIGSTOP)

    sleeper.stop()

    assert not sleeper.alive()


def test_a_reused_pid_is_never_signalled(sleeper: Process) -> None:
    stranger = Process("ours, long ago", SLEEP, sleeper.log, pid=sleeper.pid, started="another time")

    stop_all([stranger], grace=0.2)

    assert not stranger.alive()
    assert sleeper.alive()


def test_a_process_is_recognised_by_another_program(sleeper: Process) -> None:
    read_back = Process.from_dict(json.loads(json.dumps(sleeper.as_dict())))

    assert read_back.alive()
    read_back.stop()
    assert not sleeper.alive()


def test_a_process_that_ended_while_waited_for_shows_its_log(tmp_path: Path) -> None:
    broken = Process("etcd", [sys.executable, "-c", "print('bind: address already in use')"], tmp_path / "etcd.log")
    broken.start()

    with pytest.raises(ControlPlaneError, match=r"(?s)etcd ended while waiting for its port.*address already in use"):
        wait_until(lambda: False, 30, what="its port", watch=[broken])


def test_waiting_ends_with_a_sentence(sleeper: Process) -> None:
    with pytest.raises(ControlPlaneError, match="Waited 0 s for the moon in vain"):
        wait_until(lambda: False, 0.1, what="the moon", watch=[sleeper])


def test_free_ports_are_distinct_and_not_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = free_ports(50)

    assert len(set(ports)) == 50
    for port in ports[:3]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


# --- runs that were killed ------------------------------------------------------------------------------------------


def test_what_a_killed_run_left_is_ended_and_its_folder_goes(tmp_path: Path, sleeper: Process, dead_owner: int) -> None:
    left = tmp_path / "left"
    entry = register(tmp_path / "cache", left, os.getpid(), temporary=True)
    write_state(left, entry.stem, sleeper)
    abandon(entry, dead_owner)

    assert sweep(tmp_path / "cache") == [left]
    assert not sleeper.alive()
    assert not left.exists()
    assert list_runs(tmp_path / "cache") == []


def test_a_run_whose_owner_lives_is_left_alone(tmp_path: Path, sleeper: Process) -> None:
    entry = register(tmp_path / "cache", tmp_path / "mine", os.getpid(), temporary=False)
    write_state(tmp_path / "mine", entry.stem, sleeper)

    assert sweep(tmp_path / "cache") == []
    assert sleeper.alive()


def test_a_detached_run_is_left_alone(tmp_path: Path, sleeper: Process) -> None:
    entry = register(tmp_path / "cache", tmp_path / "dev", None, temporary=False)
    write_state(tmp_path / "dev", entry.stem, sleeper)

    assert sweep(tmp_path / "cache") == []
    assert sleeper.alive()


def test_a_pid_that_was_reused_does_not_keep_a_dead_owner_alive(tmp_path: Path, sleeper: Process) -> None:
    entry = register(tmp_path / "cache", tmp_path / "left", os.getpid(), temporary=False)
    write_state(tmp_path / "left", entry.stem, sleeper)
    abandon(entry, os.getpid())

    assert sweep(tmp_path / "cache") == [tmp_path / "left"]
    assert not sleeper.alive()


def test_a_folder_that_a_later_run_took_over_is_left_alone(tmp_path: Path, sleeper: Process, dead_owner: int) -> None:
    entry = register(tmp_path / "cache", tmp_path / "dev", os.getpid(), temporary=False)
    abandon(entry, dead_owner)
    write_state(tmp_path / "dev", "a-later-run", sleeper)

    sweep(tmp_path / "cache")

    assert sleeper.alive()
    assert list_runs(tmp_path / "cache") == []


def test_a_folder_is_not_taken_from_a_run_that_still_owns_it(tmp_path: Path, sleeper: Process) -> None:
    register(tmp_path / "cache", tmp_path / "mine", sleeper.pid, temporary=False)

    with pytest.raises(ControlPlaneError, match=f"belongs to the process {sleeper.pid}, which still runs"):
        register(tmp_path / "cache", tmp_path / "mine", os.getpid(), temporary=False)


def test_a_folder_that_is_used_again_has_one_entry(tmp_path: Path) -> None:
    register(tmp_path / "cache", tmp_path / "dev", None, temporary=False)
    again = register(tmp_path / "cache", tmp_path / "dev", None, temporary=False)

    assert [run.entry for run in list_runs(tmp_path / "cache")] == [again]


def test_a_broken_state_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"processes": [{"pid"', encoding="utf-8")

    with pytest.raises(ControlPlaneError, match="cannot be read"):
        read_processes(tmp_path / "state.json")


def test_an_ended_process_has_no_start_time(dead_owner: int) -> None:
    assert start_time(dead_owner) is None
    assert start_time(os.getpid()) == start_time(os.getpid())


def test_a_zombie_counts_as_gone() -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 30
    while start_time(zombie.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)

    assert start_time(zombie.pid) is None
    zombie.wait()
