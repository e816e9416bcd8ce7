"""The node itself: it leaves nothing behind, recovers from a run that was killed, and says what it lacks."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.cgroups import hierarchies
from controlplane.client import Cluster
from controlplane.processes import ControlPlaneError, start_time, wait_until
from node.cluster import NodeCluster, running_in, stop_in, temporary_directory

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def directory() -> Iterator[Path]:
    made = temporary_directory()
    yield made
    stop_in(made)
    shutil.rmtree(made, ignore_errors=True)


def traces() -> dict[str, set[str]]:
    """What a node could leave on a machine. A process in its cgroup keeps the cgroup, so only others are looked for."""
    programs = {"kubelet", "containerd", "containerd-shim-runc-v2", "kube-proxy", "pause", "coredns"}
    processes = set()
    for stat in Path("/proc").glob("[0-9]*/exe"):
        try:
            name = os.readlink(stat).rpartition("/")[2]
            kept = "/mlprivacy-" in (stat.parent / "cgroup").read_text(encoding="utf-8")
        except OSError:
            continue
        if name in programs and not kept:
            pid = int(stat.parent.name)
            processes.add(f"{name} {pid} {start_time(pid)}")
    nft = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    return {
        "cgroups": {str(path) for root in hierarchies() for path in root.iterdir() if path.is_dir()},
        "interfaces": {path.name for path in Path("/sys/class/net").iterdir()},
        "mounts": set(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()),
        "tables": set(nft.stdout.splitlines()),
        "processes": processes,
        "folders": {str(path) for top in ("/run", "/var/lib", "/var/log", "/etc") for path in Path(top).iterdir()},
    }


def left_since(before: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is there now and was not before."""
    return {kind: new for kind, found in traces().items() if (new := found - before[kind])}


def test_it_leaves_nothing_behind(node: Cluster, directory: Path) -> None:
    """`node` only so that a node of the whole session is there before the first look, not between the two."""
    before = traces()
    with NodeCluster(directory) as cluster:
        assert cluster.kubectl("get", "pods", "-A").stdout
        during = traces()
        assert during["cgroups"] > before["cgroups"]
        assert during["interfaces"] > before["interfaces"]
        assert during["tables"] == before["tables"]
        assert during["mounts"] == before["mounts"]
    assert left_since(before) == {}


def test_a_run_that_was_killed_is_cleared_away_by_the_next(node: Cluster, directory: Path) -> None:
    before = traces()
    program = f"""
import os, signal
from pathlib import Path
from node.cluster import NodeCluster
cluster = NodeCluster(Path({str(directory)!r}))
cluster.start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=200)
    assert done.returncode == -signal.SIGKILL
    assert traces()["cgroups"] - before["cgroups"]
    with NodeCluster(directory) as cluster:  # the same folder: what was left is ended first
        assert cluster.kubectl("get", "nodes").stdout
    assert left_since(before) == {}


def test_half_of_it_gone_is_no_running_node(node: Cluster, directory: Path) -> None:
    cluster = NodeCluster(directory)
    cluster.start()
    kubelet = cluster.process("kubelet")
    kubelet.signal(signal.SIGKILL)
    wait_until(lambda: not kubelet.alive(), 10, what="the kubelet's end")
    with pytest.raises(ControlPlaneError, match="kubelet is gone"):
        running_in(directory)
    assert stop_in(directory) > 3


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import os; os.geteuid = lambda: 1000", "A node needs root"),
        ("import shutil; shutil.disk_usage = lambda _: type('U', (), {'free': 1 << 20})", "Free some room"),
        (
            "import node.requirements as r, shutil; r.find = lambda n: None; shutil.which = lambda *a, **k: None",
            "this is no Debian. Install them",
        ),
    ],
    ids=["no root", "no room", "no programs"],
)
def test_what_is_missing_is_said(tmp_path: Path, program: str, sentence: str) -> None:
    code = f"{program}\nimport sys\nfrom node.__main__ import main\nsys.exit(main(['up', '--dir', {str(tmp_path)!r}]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=60
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
