"""The file system of a layer: one form of every path, no surprises between components, the same archive every time."""

import io
import stat
import tarfile
from pathlib import Path

import pytest

from images.errors import ImagesError
from images.tree import Tree, clean_path, file, folder, read_tar, symlink, tar_of, write

EPOCH = 1767225600
FILES = {
    "usr/bin/python3": symlink("python3.13"),
    "usr/bin/python3.13": file(b"\x7fELF", 0o755, owner="python3.13-minimal"),
    "etc/passwd": file("root:x:0:0::/:\n"),
    "tmp": folder(0o1777),
    "usr/share/doc/" + "long/" * 30 + "copyright": file("ours"),
}


@pytest.mark.parametrize(
    ("given", "clean"),
    [("./usr/bin/x", "usr/bin/x"), ("lib/x.so", "usr/lib/x.so"), ("/lib64/ld.so", "usr/lib64/ld.so"), ("./", "")],
)
def test_paths_have_one_form(given: str, clean: str) -> None:
    assert clean_path(given) == clean


def test_a_path_out_of_the_image_is_refused() -> None:
    with pytest.raises(ImagesError, match="leaves the image"):
        clean_path("usr/../../etc/shadow")


def test_the_archive_does_not_depend_on_the_order() -> None:
    assert tar_of(Tree(FILES), EPOCH) == tar_of(Tree(dict(reversed(FILES.items()))), EPOCH)


def test_the_archive_holds_no_trace_of_who_made_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(Tree(FILES), EPOCH))) as archive:
        members = archive.getmembers()
    names = [member.name for member in members]
    assert names.index("usr") < names.index("usr/bin") < names.index("usr/bin/python3")
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", EPOCH)}
    modes = {member.name: member.mode for member in members}
    assert (modes["usr/bin/python3.13"], modes["etc/passwd"], modes["tmp"], modes["etc"]) == (
        0o755,
        0o644,
        0o1777,
        0o755,
    )


def test_written_and_read_again_it_is_the_same() -> None:
    again = read_tar(tar_of(Tree(FILES), EPOCH), owner="x")
    assert tar_of(again, EPOCH) == tar_of(Tree(FILES), EPOCH)


def test_two_components_may_bring_the_same_file_but_not_different_ones() -> None:
    tree = Tree({"etc/a": file("same", owner="one")})
    tree.add("etc/a", file("same", owner="two"))
    with pytest.raises(ImagesError, match="/etc/a comes from one and from two"):
        tree.add("etc/a", file("other", owner="two"))
    tree.put("etc/a", file("ours"))
    assert tree.get("etc/a") == file("ours")


def test_devices_are_refused() -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("dev/null")
        info.type = tarfile.CHRTYPE
        archive.addfile(info)
    with pytest.raises(ImagesError, match="neither file nor link"):
        read_tar(stream.getvalue(), owner="bad")


def test_a_file_that_runs_as_its_owner_loses_that() -> None:
    tree = read_tar(tar_of(Tree({"usr/bin/su": file(b"", 0o4755)}), EPOCH), owner="login")
    entry = tree.get("usr/bin/su")
    assert entry is not None
    assert entry.mode == 0o755


def test_pruning_takes_what_is_below_and_folders_that_are_empty_then() -> None:
    tree = Tree({"usr/share/man/man1/x.1": file(""), "usr/share/x": file(""), "usr/sbin/y": file("")})
    tree.prune(["usr/share/man", "usr/sbin/*"])
    assert [path for path, _ in tree] == ["usr", "usr/share", "usr/share/x"]


def test_a_pattern_does_not_reach_over_folders() -> None:
    tree = Tree({"usr/share/doc/a/copyright": file(""), "usr/share/doc/a/changelog": file("")})
    tree.prune(["usr/*/changelog"])
    assert "usr/share/doc/a/changelog" in tree


def test_on_disk_with_modes_and_times(tmp_path: Path) -> None:
    write(Tree(FILES), tmp_path / "root", epoch=EPOCH, exact=True)
    status = (tmp_path / "root/usr/bin/python3.13").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o755, EPOCH)
    assert stat.S_IMODE((tmp_path / "root/tmp").stat().st_mode) == 0o1777
