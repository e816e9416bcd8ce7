"""The two images, built twice from nothing in different surroundings: they are the same, and hold what they should."""

import json
import shutil
import stat
import subprocess
from concurrent.futures import Future
from pathlib import Path

import pytest

from images import oci
from images.build import Image, read_image
from images.description import load

NAMES = ["mlprivacy", "mlprivacy-dataplane"]
SHELLS = {"sh", "ash", "bash", "dash", "busybox", "perl", "apt", "apt-get", "dpkg", "pip", "pip3", "su", "mount"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def twice(image_builds: list[Future[Path]]) -> list[dict[str, Image]]:
    """Both images of both builds, which began with the session (conftest)."""
    found = []
    for output in (each.result() for each in image_builds):
        document = json.loads((output / "images.json").read_text(encoding="utf-8"))
        found.append({name: read_image(output, name, entry) for name, entry in document["images"].items()})
    return found


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


def test_custom_rules_are_evaluated_in_the_operators_image(roots: dict[str, Path]) -> None:
    """Their library is compiled code: what it links to has to be in the image."""
    python = f"/usr/bin/python{load().debian.python}"
    argv = ["/usr/sbin/chroot", "--userspec=65532:65532", str(roots["mlprivacy"]), python, "-I", "-m"]
    request = json.dumps({"op": "compile", "texts": ["job.spec.epochs < 3", "job.spec.epochs <"]}) + "\n"
    done = subprocess.run(
        [*argv, "mlprivacy.cel.worker"], env={}, input=request, capture_output=True, text=True, check=False, timeout=60
    )
    *_, good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert good == {"ok": True}, done.stderr
    assert bad["invalid"] is True
