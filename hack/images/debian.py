"""Chooses, downloads and verifies Debian packages with apt, in a folder of its own."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

from images.description import Debian
from images.errors import ImagesError
from images.tree import Tree, read_tar

_KEYRINGS: Final = (
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
)
_PROGRAMS: Final = ("apt-get", "apt-cache", "dpkg-deb", "dpkg")
_SILENT_SECONDS: Final = 180.0
_REMEDY: Final = "Build on Debian 12 or newer, or with the Dockerfile in hack/images."


@dataclass(frozen=True)
class Package:
    """One Debian package as the signed index of the archive describes it, and its file here."""

    name: str
    version: str
    architecture: str
    source: str
    sha256: str
    path: Path


@dataclass(frozen=True)
class Selection:
    """What apt chose, and the dates of the signed indexes it was chosen from."""

    packages: tuple[Package, ...]
    dates: Mapping[str, str]


def architecture() -> str:
    """Debian's word for this machine. Raises ImagesError on a machine without Debian's tools."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise ImagesError(
            f"This machine has no {', '.join(missing)}: the images are made of Debian packages. {_REMEDY}"
        )
    return _run(["dpkg", "--print-architecture"]).strip()


def select(debian: Debian, work: Path, archives: Path) -> Selection:
    """Resolve and download everything that the base layer needs.

    `work` holds the private state of apt and may be thrown away; `archives` keeps downloaded packages, each verified
    again when it is used. Raises ImagesError.
    """
    machine = architecture()
    options = _private_apt(debian, work, archives, machine)
    _run(["apt-get", *options, "-qq", "update"], _network("read the package lists of Debian"), growing=work)
    names = ["apt-get", *options, "-qq", "install", *debian.packages]
    # What is in the folder of archives is not printed, so this asks with an empty one.
    (work / "none" / "partial").mkdir(parents=True, exist_ok=True)
    empty = ["-o", f"Dir::Cache::archives={work / 'none'}"]
    plan = _run(
        [*names, *empty, "--print-uris"], f"apt can not resolve the packages of images.toml for {debian.suite}."
    )
    _run([*names, "--download-only", "--yes"], _network("download Debian packages"), growing=archives)
    files = [line.split()[1] for line in plan.splitlines() if line.startswith("'")]
    wanted = [f"{name}={version}" for name, version in map(_name_and_version, files)]
    shown = _run(["apt-cache", *options, "show", *wanted])
    known = {(entry["Package"], entry["Version"]): entry for entry in _stanzas(shown)}
    packages = [_package(archives / name, known) for name in files]
    return Selection(tuple(sorted(packages, key=lambda package: package.name)), _dates(work / "lists"))


def unpack(package: Package) -> tuple[Tree, str]:
    """The files of a package and its control file. No maintainer script is run."""
    files = _run_raw(["dpkg-deb", "--fsys-tarfile", str(package.path)])
    control = _run(["dpkg-deb", "--field", str(package.path)])
    return read_tar(files, package.name), control


def archive_roots(targets: str, debian: Debian) -> list[tuple[str, str]]:
    """(address, suite) of each archive that this machine's apt reads Debian from, for the suite that is wanted.

    `targets` is `apt-get indextargets` as address, label and suite, one a line. Raises ImagesError.
    """
    roots: dict[tuple[str, str], None] = {}
    for line in targets.splitlines():
        address, label, suite = ([*line.split("|"), "", ""])[:3]
        if label == "Debian":
            roots[address, debian.suite] = None
            roots[address, f"{debian.suite}-updates"] = None
        elif label == "Debian-Security" or (label == "Debian" and suite.endswith("-security")):
            roots[address, f"{debian.suite}-security"] = None
    if not any(suite == debian.suite for _, suite in roots):
        raise ImagesError(
            "This machine's apt reads no Debian archive, or has not read it yet. Run `apt-get update` as root; "
            f"if it then still says so, this is not Debian. {_REMEDY}"
        )
    if not any(suite.endswith("-security") for _, suite in roots):
        raise ImagesError(
            "This machine's apt reads no archive of Debian's security updates, and images without them are not built. "
            "Add it to /etc/apt/sources.list.d and run `apt-get update` as root."
        )
    return list(roots)


def _private_apt(debian: Debian, work: Path, archives: Path, machine: str) -> list[str]:
    """Options that keep apt out of the machine's own state, but for its configuration of the network."""
    keyring = next((path for path in _KEYRINGS if Path(path).is_file()), None)
    if keyring is None:
        raise ImagesError(
            f"There is no {_KEYRINGS[-1]} to check Debian's signatures with. "
            "Install it: apt-get install debian-archive-keyring"
        )
    targets = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(LABEL)|$(SUITE)", "Created-By: Packages"])
    for folder in (work / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={keyring} arch={machine}]"
    lines = [f"deb {signed} {address} {suite} main" for address, suite in archive_roots(targets, debian)]
    (work / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (work / "status").write_text(_pretended(debian.left_out, machine), encoding="utf-8")
    values = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::trusted": "/dev/null",
        "Dir::Etc::trustedparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::State::extended_states": work / "extended_states",
        "Dir::Cache::archives": archives,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Log": work,
        "Acquire::Languages": "none",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "Acquire::Retries": "3",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
        "APT::Get::AllowUnauthenticated": "false",
        "APT::Architecture": machine,
        "APT::Architectures": machine,
        "APT::Default-Release": "",
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Update::Error-Mode": "any",
        # apt's own user can not read a cache below somebody's home; signatures and sums are checked afterwards.
        "APT::Sandbox::User": "",
    }
    return [part for key, value in values.items() for part in ("-o", f"{key}={value}")]


def _pretended(left_out: Mapping[str, str], machine: str) -> str:
    """A dpkg status file that says that the packages left out are installed, in a version that satisfies all."""
    stanzas = []
    for name in sorted(left_out):
        stanza = [f"Package: {name}", "Status: install ok installed", "Version: 99:99", f"Architecture: {machine}"]
        stanza += ["Multi-Arch: foreign", "Maintainer: none", "Description: left out of the images"]
        stanzas.append("\n".join(stanza) + "\n")
    return "\n".join(stanzas)


def _name_and_version(file: str) -> tuple[str, str]:
    """`zlib1g_1%3a1.3_amd64.deb` as its name and version."""
    name, version, _ = file.split("_", 2)
    return name, version.replace("%3a", ":")


def _package(path: Path, known: Mapping[tuple[str, str], Mapping[str, str]]) -> Package:
    """The package in a file, with its sum held against the signed index. Raises ImagesError."""
    name, version = _name_and_version(path.name)
    entry = known.get((name, version))
    if entry is None or not entry.get("SHA256"):
        raise ImagesError(f"Debian's index has no SHA256 for {name} {version}. Try again later.")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["SHA256"]:
        path.unlink(missing_ok=True)
        raise ImagesError(
            f"The file {path.name} is not the one that Debian signed; it was deleted from {path.parent}. Run it again."
        )
    source = entry.get("Source", name).split(" ")[0]
    return Package(name, version, entry["Architecture"], source, entry["SHA256"], path)


def _stanzas(text: str) -> list[Mapping[str, str]]:
    return [dict(HeaderParser().parsestr(part).items()) for part in text.split("\n\n") if part.strip()]


def _dates(lists: Path) -> dict[str, str]:
    """Suite and date of each signed index that was read."""
    dates: dict[str, str] = {}
    for path in sorted(lists.glob("*_InRelease")):
        fields = dict(
            line.split(": ", 1)
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()[:40]
            if ": " in line and not line.startswith(" ")
        )
        if "Codename" in fields:
            dates[fields["Codename"]] = fields.get("Date", "")
    return dates


def _network(doing: str) -> str:
    return f"apt could not {doing}. Is the archive reachable, and `apt-get update` well?"


def _run(argv: Sequence[str], failed: str | None = None, *, growing: Path | None = None) -> str:
    return _run_raw(argv, failed, growing=growing).decode()


def _run_raw(
    argv: Sequence[str], failed: str | None = None, *, growing: Path | None = None, silent: float = _SILENT_SECONDS
) -> bytes:
    """Standard output. Raises ImagesError with what the program said when it fails.

    It also fails, and is ended, when nothing changes below the folder `growing` for `silent` seconds; without such a
    folder, when it takes that long.
    """
    command = ["env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", *argv]
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, process_group=0) as running,
    ):
        try:
            stalled = _stalls(running, growing, silent)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
        output.seek(0)
        errors.seek(0)
        said = "\n".join(errors.read().decode(errors="replace").strip().splitlines()[-5:])
        if stalled:
            where = f" and nothing grew in {growing}" if growing else ""
            raise ImagesError(
                f"`{' '.join(argv[:1])}` had not ended after {silent:.0f} s{where}, so it was ended. "
                f"Is the disk full, or the archive out of reach? {failed or ''} {said}".rstrip()
            )
        if running.returncode != 0:
            raise ImagesError(f"{failed or f'{argv[0]} failed.'} {argv[0]} said:\n{said}")
        return output.read()


def _stalls(running: "subprocess.Popen[bytes]", growing: Path | None, silent: float) -> bool:
    """Wait for its end; true when it was not seen to do anything for `silent` seconds."""
    size, moved = -1, time.monotonic()
    while time.monotonic() < moved + silent:
        try:
            running.wait(min(1.0, silent))
        except subprocess.TimeoutExpired:
            if growing is not None and (now := _bytes_below(growing)) != size:
                size, moved = now, time.monotonic()
        else:
            return False
    return True


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it went in between
            total += path.lstat().st_size
    return total
