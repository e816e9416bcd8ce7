"""What a machine must have for a test node; as root on Debian what is missing is installed, else it is said."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from controlplane.cgroups import hierarchies
from controlplane.processes import ControlPlaneError

# Program: the Debian package that holds it.
PROGRAMS: Final = {
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
_FREE_BYTES: Final = 2 << 30
# Options of an overlay are separated by commas, its folders by colons; mount takes off quotes and backslashes.
_MEANT_BY_MOUNT: Final = ",:\\\"'"


def find(name: str) -> str | None:
    """Path of a program, also where only root has it on the path."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")


def unsupported() -> str | None:
    """Why no node can run on this machine at all, as a sentence; None when one can."""
    if sys.platform != "linux":
        return "A node runs on Linux only."
    if os.geteuid() != 0:
        return "A node needs root: it makes namespaces, mounts and a cgroup. Run it as root."
    try:
        hierarchies()
    except ControlPlaneError as error:
        return str(error)
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="utf-8"):
        return "The kernel has no overlayfs (`modprobe overlay`), which containers need."
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return f"The kernel does not let this user make network and mount namespaces: {done.stderr.strip()}"
    return None


def usable(directory: Path) -> None:
    """See that `directory` can hold the state of a node; it is made where it is missing. Raises ControlPlaneError."""
    path = directory.expanduser().resolve()
    other = "Choose another folder with --dir (make: NODE_DIR=…)."
    if bad := sorted({mark for mark in str(path) if mark in _MEANT_BY_MOUNT or not mark.isprintable()}):
        raise ControlPlaneError(
            f"The path {str(path)!r} has {' '.join(map(repr, bad))}, which mount options can not hold. {other}"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise ControlPlaneError(f"{error.filename} is a file, and no folder can be made there. {other}") from error
    except OSError as error:
        raise ControlPlaneError(f"{path} can not hold the node's state: {error.strerror}. {other}") from error


def prepare(directory: Path, say: Callable[[str], None]) -> None:
    """See that a node can run with its state in `directory`; install what Debian has. Raises ControlPlaneError."""
    if why := unsupported():
        raise ControlPlaneError(why)
    missing = sorted({package for program, package in PROGRAMS.items() if find(program) is None})
    if missing:
        _install(missing, say)
    usable(directory)
    free = shutil.disk_usage(directory).free
    if free < _FREE_BYTES:
        raise ControlPlaneError(
            f"Only {free >> 20} MiB are free where {directory} lies; a node needs {_FREE_BYTES >> 20}. Free some room."
        )
    _try_overlay(directory)


def _install(packages: list[str], say: Callable[[str], None]) -> None:
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise ControlPlaneError(f"The node needs the programs of {names}, and this is no Debian. Install them.")
    say(f"installing {names} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:  # the lists may be old or absent
        subprocess.run(["apt-get", "update"], capture_output=True, check=False, env=environment)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        lines = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ControlPlaneError(f"apt-get could not install {names}, which the node needs. It said:\n{lines}")


def _try_overlay(directory: Path) -> None:
    """Raises ControlPlaneError when no overlay can be mounted with its files in this folder."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="overlay-") as place:
        for name in ("lower", "upper", "work", "merged"):
            (Path(place) / name).mkdir()
        options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "mount",
                "-t",
                "overlay",
                "-o",
                options,
                "overlay",
                f"{place}/merged",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        # The kernel leaves a folder of its own below `work`.
        shutil.rmtree(f"{place}/work", ignore_errors=True)
        if done.returncode != 0:
            raise ControlPlaneError(
                f"No overlay can be mounted with its files in {directory} ({done.stderr.strip()}). "
                "Choose a folder on a disk file system, or a tmpfs, with --dir."
            )
