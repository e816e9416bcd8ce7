"""What `python -m node` and the images say when they can not: sentences, before anything is built or mounted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane import cgroups, runs
from controlplane.processes import ControlPlaneError
from images import build, debian
from images.errors import ImagesError
from node import __main__ as command
from node import requirements
from node.sandbox import _SCRIPT


@pytest.fixture(autouse=True)
def _a_machine_that_could(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "unsupported", lambda: None)


@pytest.mark.parametrize("name", ["with,comma", "with:colon", 'with"quote', "with\\backslash", "with\nnewline"])
def test_a_folder_that_mount_options_can_not_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ControlPlaneError, match=r"mount options can not hold\. Choose another folder with --dir"):
        requirements.usable(tmp_path / name)


def test_blanks_and_dollars_are_no_reason_to_refuse(tmp_path: Path) -> None:
    requirements.usable(tmp_path / "my $(touch x) folder")
    assert (tmp_path / "my $(touch x) folder").is_dir()


def test_the_script_of_the_sandbox_takes_the_folder_as_it_is(tmp_path: Path) -> None:
    """Every program in it is one that prints its arguments."""
    for name in ("mount", "mkdir"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s|" "$0" "$@"; echo\n', encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    folder = tmp_path / "a $(touch x) b"
    (folder / "state").mkdir(parents=True)
    argv = ["/bin/sh", "-c", _SCRIPT, "sh", str(folder), "/inside", "/bin/true"]
    done = subprocess.run(argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert f"|lowerdir=/var,upperdir={folder}/var,workdir={folder}/var.work|" in done.stdout
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("verb", ["up", "install", "down", "status"])
def test_a_file_in_place_of_the_folder_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    (tmp_path / "node").write_text("", encoding="utf-8")
    assert command.main([verb, "--dir", str(tmp_path / "node")]) in (0, 1, 2)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if verb == "up":
        assert "is a file, and no folder can be made there. Choose another folder" in said.err


def test_a_read_only_disk_gets_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(requirements.tempfile, "TemporaryFile", read_only)
    with pytest.raises(ControlPlaneError, match="Read-only file system"):
        requirements.usable(tmp_path)


def test_prepare_asks_for_root_before_it_builds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "unsupported", lambda: "A node needs root.")
    monkeypatch.setattr(command, "ensure_binaries", lambda **_: pytest.fail("it built"))
    monkeypatch.setattr(command, "use_existing_cluster", lambda: False)
    assert command.main(["prepare"]) == 2
    assert capsys.readouterr().err == "node: A node needs root.\n"


def test_install_without_a_node_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["install", "--dir", str(tmp_path)]) == 2
    assert "make node-up" in capsys.readouterr().err


def test_a_node_of_root_is_not_stopped_by_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = runs.Process("kubelet", ["true"], tmp_path / "log")
    monkeypatch.setattr(runs.Process, "alive", lambda self: True)
    monkeypatch.setattr(command.NodeCluster, "processes_in", staticmethod(lambda _: [running]))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert command.main(["down", "--dir", str(tmp_path)]) == 2
    assert "runs as root. Stop it as root." in capsys.readouterr().err


def test_what_is_left_of_a_node_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ["etcd", "kubelet", "enforcer"]
    listed = [runs.Process(name, ["true"], tmp_path / "log") for name in names]
    monkeypatch.setattr(command.NodeCluster, "processes_in", staticmethod(lambda _: listed))
    monkeypatch.setattr(runs.Process, "alive", lambda self: self.name == "etcd")
    assert command._gone(tmp_path) == "gone: kubelet, enforcer"


def test_a_process_of_another_user_in_the_cgroup_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(cgroups.ControlGroup, "pids", lambda self: {4711})
    monkeypatch.setattr(cgroups.os, "kill", forbidden)
    with pytest.raises(ControlPlaneError, match="4711 of the cgroup mine belongs to another user"):
        cgroups.ControlGroup("mine").destroy()


# --- the images ---------------------------------------------------------------------------------------------------


def test_images_are_not_begun_on_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 << 30, 10 << 30, 5 << 20))
    with pytest.raises(ImagesError, match="Only 5 MiB are free"):
        build._need_room(tmp_path)


def test_a_program_that_stalls_is_ended_with_a_sentence(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(ImagesError, match=r"nothing grew in .* so it was ended\. Is the disk full"):
        debian._run_raw(argv, growing=tmp_path, silent=0.2)


def test_one_that_goes_on_is_waited_for(tmp_path: Path) -> None:
    program = f"import time\nfor n in range(5):\n  open({str(tmp_path)!r} + f'/{{n}}', 'w').write('x'); time.sleep(.1)"
    assert (
        debian._run_raw([sys.executable, "-c", f"{program}\nprint('done')"], growing=tmp_path, silent=0.4) == b"done\n"
    )
