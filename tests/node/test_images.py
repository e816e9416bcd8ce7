"""The two images, built twice from nothing in different surroundings: they are the same, and hold what they should."""

import json
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.build import cache_dir
from images import oci
from images.build import Image, read_image
from images.description import SOURCES, load

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["mlprivacy", "mlprivacy-dataplane"]
SHELLS = {"sh", "ash", "bash", "dash", "busybox", "perl", "apt", "apt-get", "dpkg", "pip", "pip3", "su", "mount"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def build(place: Path, umask: int, **surroundings: str) -> dict[str, Image]:
    """Both images, from a copy of the checkout, with work and layers of their own. Downloaded packages are shared."""
    checkout, cache = place / "checkout", place / "cache"
    downloads = cache_dir() / "images" / "downloads"
    if downloads.is_dir():
        shutil.copytree(downloads, cache / "images" / "downloads")
    environment = {**os.environ, "PYTHONPATH": str(checkout / "hack"), "MLPRIVACY_CACHE": str(cache), **surroundings}
    argv = [sys.executable, "-m", "images", "build", "--output", str(place / "output")]
    done = subprocess.run(argv, cwd=checkout, env=environment, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads((place / "output" / "images.json").read_text(encoding="utf-8"))
    return {name: read_image(place / "output", name, entry) for name, entry in document["images"].items()}


def copy_checkout(place: Path) -> None:
    """What decides the images, as it is now: the checkout may change while the builds run."""
    for name in (*SOURCES, "constraints.txt", "hack"):
        source, target = ROOT / name, place / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Image]]:
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("a-longer-name-for-the-other")
    copy_checkout(one)
    shutil.copytree(one / "checkout", other / "checkout")
    strange = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "1"}
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(build, one, 0o022), pool.submit(build, other, 0o077, **strange)
        return [first.result(), second.result()]


@pytest.fixture(scope="module")
def roots(twice: list[dict[str, Image]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of each image."""
    folders = {}
    for name, image in twice[0].items():
        folders[name] = tmp_path_factory.mktemp(name)
        folders[name].chmod(0o755)
        oci.extract(image.archive, folders[name])
    return folders


@pytest.mark.parametrize("name", NAMES)
def test_two_builds_are_the_same_byte_for_byte(name: str, twice: list[dict[str, Image]]) -> None:
    first, second = (images[name] for images in twice)
    assert first.archive != second.archive
    assert [layer.digest for layer in first.layers] == [layer.digest for layer in second.layers]
    assert first.digest == second.digest
    assert first.archive.read_bytes() == second.archive.read_bytes()
    assert first.sbom.read_bytes() == second.sbom.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_shell_and_no_package_manager(name: str, roots: dict[str, Path]) -> None:
    programs = {
        path.name for folder in ("usr/bin", "usr/sbin", "usr/local/bin") for path in (roots[name] / folder).glob("*")
    }
    assert programs & SHELLS == set()
    assert name in programs
    assert not [path for path in roots[name].rglob("pip") if path.is_dir()]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_gives_rights_away(name: str, roots: dict[str, Path]) -> None:
    """No file runs as its owner, and others write nowhere but below the two folders for temporary files."""
    open_to_all = set()
    for path in roots[name].rglob("*"):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            continue
        assert not stat.S_ISREG(status.st_mode) or not status.st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert (status.st_uid, status.st_gid) == (0, 0), path
        if status.st_mode & 0o022:
            open_to_all.add(path.relative_to(roots[name]).as_posix())
    assert open_to_all == {"tmp", "var/tmp"}


@pytest.mark.parametrize(("name", "user"), [("mlprivacy", "65532:65532"), ("mlprivacy-dataplane", "64998:64999")])
def test_it_runs_its_command_without_root(
    name: str, user: str, twice: list[dict[str, Image]], roots: dict[str, Path]
) -> None:
    config = oci.read_config(twice[0][name].archive)["config"]
    assert config["User"] == user
    assert config["Entrypoint"] == [name]
    passwd = (roots[name] / "etc/passwd").read_text(encoding="utf-8")
    uid, gid = user.split(":")
    assert f"{name}:x:{uid}:{gid}:" in passwd

    environment = dict(entry.split("=", 1) for entry in config["Env"])
    argv = [
        shutil.which("chroot") or "/usr/sbin/chroot",
        f"--userspec={user}",
        str(roots[name]),
        f"/usr/local/bin/{name}",
        "--help",
    ]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout


def test_the_data_plane_has_no_client_and_no_framework(roots: dict[str, Path]) -> None:
    site = roots["mlprivacy-dataplane"] / load().site_packages
    there = {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")}
    assert {"mlprivacy", "cryptography"} <= there
    assert there & {"kubernetes", "aiohttp", "pydantic", "yaml", "kopf"} == set()
