"""A file system in memory: what a layer will hold, without a trace of the machine that it was made on."""

import fnmatch
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from images.errors import ImagesError

# Debian keeps these as links into usr; a path below one of them is a path below usr.
_MERGED: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")


@dataclass(frozen=True)
class Entry:
    """A file, a folder or a symbolic link. `owner` names the component that brought it."""

    mode: int
    data: bytes | None = None
    link: str | None = None
    owner: str = ""

    @property
    def is_folder(self) -> bool:
        return self.data is None and self.link is None

    @property
    def size(self) -> int:
        return len(self.data or b"")


def folder(mode: int = 0o755, owner: str = "") -> Entry:
    return Entry(mode, owner=owner)


def file(data: bytes | str, mode: int = 0o644, owner: str = "") -> Entry:
    return Entry(mode, data=data.encode() if isinstance(data, str) else data, owner=owner)


def symlink(target: str, owner: str = "") -> Entry:
    return Entry(0o777, link=target, owner=owner)


class Tree:
    """Entries by path. Paths are relative and are checked; everything belongs to root."""

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self._entries: dict[str, Entry] = {}
        for path, entry in (entries or {}).items():
            self.add(path, entry)

    def add(self, path: str, entry: Entry) -> None:
        """Raises ImagesError for a path outside the tree, and for a file that two components bring differently."""
        name = clean_path(path)
        if not name:
            return
        before = self._entries.get(name)
        if before is None or (before.is_folder and not before.owner):
            self._entries[name] = entry
        elif not (before.is_folder and entry.is_folder) and (before.data, before.link) != (entry.data, entry.link):
            raise ImagesError(
                f"/{name} comes from {before.owner or 'the builder'} and from {entry.owner or 'the builder'}, "
                "with different content. Leave one of the two out of images.toml."
            )

    def put(self, path: str, entry: Entry) -> None:
        """Like add, and wins over what is there."""
        self._entries.pop(clean_path(path), None)
        self.add(path, entry)

    def update(self, other: "Tree") -> None:
        for path, entry in other:
            self.add(path, entry)

    def prune(self, patterns: Iterable[str]) -> int:
        """Drops what a pattern matches, with all below it; returns how many entries that were.

        Folders that are empty after it go as well.
        """
        wanted = tuple(patterns)
        before = len(self._entries)
        doomed = {path for path in self._entries if any(_matches(path, pattern) for pattern in wanted)}
        parents = {str(parent) for path in doomed for parent in PurePosixPath(path).parents}
        for path in doomed:
            del self._entries[path]
        for path in sorted(parents, key=len, reverse=True):
            entry = self._entries.get(path)
            if entry and entry.is_folder and not any(name.startswith(path + "/") for name in self._entries):
                del self._entries[path]
        return before - len(self._entries)

    def get(self, path: str) -> Entry | None:
        return self._entries.get(clean_path(path))

    def __contains__(self, path: str) -> bool:
        return clean_path(path) in self._entries

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """In the order of the paths, each folder before what is in it, with every folder that is needed."""
        complete = dict(self._entries)
        for path in self._entries:
            for parent in PurePosixPath(path).parents:
                if str(parent) != ".":
                    complete.setdefault(str(parent), folder())
        return iter(sorted(complete.items(), key=lambda item: PurePosixPath(item[0]).parts))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def by_owner(self) -> dict[str, int]:
        """Bytes of files for each component."""
        sizes: dict[str, int] = {}
        for _, entry in self:
            sizes[entry.owner] = sizes.get(entry.owner, 0) + entry.size
        return sizes


def clean_path(path: str) -> str:
    """`./lib/x` as `usr/lib/x`; the root as an empty text. Raises ImagesError for a path that leaves the tree."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImagesError(f"A package brings the path {path!r}, which leaves the image. Do not use that package.")
    if len(parts) > 1 and parts[0] in _MERGED:
        parts.insert(0, "usr")
    return "/".join(parts)


def tar_of(tree: Tree, epoch: int) -> bytes:
    """The layer: sorted, one time, root's, no extended headers unless a path needs them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, entry in tree:
            info = tarfile.TarInfo(path)
            info.mtime, info.mode = epoch, entry.mode
            if entry.link is not None:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
            elif entry.is_folder:
                info.type = tarfile.DIRTYPE
            else:
                info.size = entry.size
            archive.addfile(info, io.BytesIO(entry.data) if entry.data is not None else None)
    return stream.getvalue()


def read_tar(stream: bytes, owner: str) -> Tree:
    """The files of a Debian package. Hard links become files. Raises ImagesError for devices and the like."""
    tree = Tree()
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        for info in archive:
            if info.isdir():
                tree.add(info.name, folder(info.mode & 0o7777, owner))
            elif info.issym():
                tree.add(info.name, symlink(info.linkname, owner))
            elif info.isreg() or info.islnk():
                content = archive.extractfile(info)
                tree.add(info.name, file(content.read() if content else b"", info.mode & 0o1777, owner))
            else:
                raise ImagesError(f"{owner} brings /{clean_path(info.name)}, which is neither file nor link.")
    return tree


def write(tree: Tree, root: Path, *, epoch: int | None = None, exact: bool = False) -> None:
    """Lay the tree out on disk below `root`; `exact` with the modes and the time of the image."""
    root.mkdir(parents=True, exist_ok=True)
    entries = list(tree)
    for path, entry in entries:
        target = root / path
        if entry.link is not None:
            target.unlink(missing_ok=True)
            target.symlink_to(entry.link)
        elif entry.is_folder:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(entry.data or b"")
            target.chmod(entry.mode | 0o200 if not exact else entry.mode)
    if exact:
        for path, entry in reversed(entries):
            if entry.is_folder:
                (root / path).chmod(entry.mode)
            if epoch is not None:
                os.utime(root / path, (epoch, epoch), follow_symlinks=False)


def read_bytecode(root: Path, tree: Tree) -> Tree:
    """The compiled files below `root`, each owned by the owner of its source in `tree`."""
    found = Tree()
    for path in sorted(root.rglob("__pycache__/*.pyc")):
        name = path.relative_to(root)
        source = str(name.parent.parent / (name.name.split(".", 1)[0] + ".py"))
        entry = tree.get(source)
        if entry is not None:
            found.add(name.as_posix(), replace(file(path.read_bytes()), owner=entry.owner))
    return found


def _matches(path: str, pattern: str) -> bool:
    depth = pattern.count("/") + 1
    head = "/".join(path.split("/")[:depth])
    return head.count("/") + 1 == depth and fnmatch.fnmatchcase(head, pattern)
