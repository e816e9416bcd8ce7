"""Downloads wheels for the image's Python, and lays wheels out as files of a layer."""

import base64
import csv
import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from images.description import Description
from images.errors import ImagesError
from images.tree import Tree, file

# Debian's word for a machine, and Python's.
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# The glibc of trixie is 2.41, so any of these fits.
_MANYLINUX: Final = ("manylinux_2_39", "manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")


@dataclass(frozen=True)
class Wheel:
    """One wheel: the name and version as its metadata has them."""

    name: str
    version: str
    license: str
    sha256: str
    path: Path


def download(description: Description, requirements: Sequence[str], machine: str, target: Path) -> tuple[Wheel, ...]:
    """The wheels of the requirements and of all that they require, in the versions of constraints.txt.

    `machine` is Debian's word for the processor. Raises ImagesError, also for a version that nobody pinned.
    """
    if machine not in _MACHINES:
        known = " and ".join(sorted(_MACHINES))
        raise ImagesError(f"The images are made for {known}; this machine is {machine}. Build on one of those.")
    target.mkdir(parents=True, exist_ok=True)
    version = description.debian.python
    options = ["--python-version", version, "--implementation", "cp", "--only-binary", ":all:"]
    options += [f"--abi={abi}" for abi in (f"cp{version.replace('.', '')}", "abi3", "none")]
    options += [f"--platform={tag}_{_MACHINES[machine]}" for tag in _MANYLINUX]
    _pip(["download", "--dest", str(target), *options, *requirements], description.constraints)
    found = tuple(sorted((read(path) for path in target.glob("*.whl")), key=lambda wheel: wheel.name.lower()))
    pins = read_pins(description.constraints)
    for wheel in found:
        if pins.get(canonical(wheel.name)) != wheel.version:
            raise ImagesError(
                f"{wheel.name} {wheel.version} is not pinned in constraints.txt. "
                f"Add the line {wheel.name}=={wheel.version} there."
            )
    return found


def install_tools(description: Description, target: Path) -> Path:
    """The build tools of the project's own wheel, below `target`. Raises ImagesError."""
    options = ["--target", str(target), "--no-deps", "--no-compile", "--only-binary", ":all:"]
    _pip(["install", *options, *description.tools], description.constraints)
    return target


def read(path: Path) -> Wheel:
    """Name, version, licence and sum of a wheel. Raises ImagesError when it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            info = next(n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/METADATA"))
            fields = HeaderParser().parsestr(archive.read(info).decode())
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise ImagesError(f"{path} is not a wheel: {error!r}. Delete it and run it again.") from error
    licence = fields.get("License-Expression") or ""
    return Wheel(fields["Name"], fields["Version"], licence, hashlib.sha256(path.read_bytes()).hexdigest(), path)


def unpack(wheel: Wheel, site_packages: str) -> Tree:
    """The files of a wheel, each held against the sum in its RECORD. Scripts and headers are not taken.

    Raises ImagesError when a file is not the one that was recorded.
    """
    tree = Tree()
    with zipfile.ZipFile(wheel.path) as archive:
        record = next(n for n in archive.namelist() if n.count("/") == 1 and n.endswith(".dist-info/RECORD"))
        sums = {row[0]: row[1] for row in csv.reader(io.StringIO(archive.read(record).decode())) if len(row) > 1}
        for name in archive.namelist():
            place = _place(name, site_packages)
            if name.endswith("/") or place is None:
                continue
            data = archive.read(name)
            if name != record and sums.get(name) != _record_sum(data) and not name.startswith(record + "."):
                raise ImagesError(f"{name} in {wheel.path.name} is not the file that its RECORD lists. Do not use it.")
            tree.add(place, file(data, owner=wheel.name))
    tree.add(f"{site_packages}/{record.split('/', 1)[0]}/INSTALLER", file("mlprivacy images\n", owner=wheel.name))
    return tree


def read_pins(constraints: str) -> Mapping[str, str]:
    """Version by canonical name."""
    lines = (line.split("#", 1)[0].strip() for line in constraints.splitlines())
    return {canonical(name): version for name, version in (line.split("==", 1) for line in lines if "==" in line)}


def canonical(name: str) -> str:
    """A project's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _place(name: str, site_packages: str) -> str | None:
    """Where a file of a wheel goes, None when it is not taken."""
    head, _, rest = name.partition("/")
    if not head.endswith(".data"):
        return f"{site_packages}/{name}"
    scheme, _, below = rest.partition("/")
    if scheme in ("purelib", "platlib"):
        return f"{site_packages}/{below}"
    return f"usr/local/{below}" if scheme == "data" else None


def _record_sum(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _pip(arguments: Sequence[str], constraints: str) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ImagesError(
            f"This Python ({sys.executable}) has no pip. Use that of `make setup`, or install python3-pip."
        )
    with tempfile.NamedTemporaryFile("w", prefix="constraints-", suffix=".txt") as pins:
        pins.write(constraints)
        pins.flush()
        argv = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", "-c", pins.name]
        done = subprocess.run(
            [*argv, *arguments[1:]], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ImagesError(
            f"pip could not get the wheels of the images. Is the package index reachable, and has every project in "
            f"constraints.txt a wheel for the Python of the images? pip said:\n{said}"
        )
