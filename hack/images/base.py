"""Makes the base layer: Debian's files, what maintainer scripts would have written, and compiled modules."""

from collections.abc import Sequence
from typing import Final

from images.debian import Package, unpack
from images.description import Description, User
from images.tree import Entry, Tree, file, folder, symlink

_NOBODY: Final = User("nobody", 65534, 65534)
_ROOT: Final = User("root", 0, 0)
_NSSWITCH: Final = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"


def base_tree(description: Description, packages: Sequence[Package]) -> Tree:
    """Everything in the base layer but bytecode. Raises ImagesError."""
    tree = Tree()
    for package in packages:
        files, control = unpack(package)
        files.prune(description.debian.pruned)
        files.prune(_DOCUMENTATION)
        tree.update(files)
        # Where scanners look for the packages of an image without a package manager.
        tree.add(f"var/lib/dpkg/status.d/{package.name}", file(control, owner=package.name))
    for path, entry in _written(description, tree).items():
        tree.put(path, entry)
    return tree


# Licences stay; other documentation does not.
_DOCUMENTATION: Final = (
    "usr/share/doc/*/[!c]*",
    "usr/share/doc/*/c[!o]*",
    "usr/share/doc/*/copyright?*",
)


def _written(description: Description, tree: Tree) -> dict[str, Entry]:
    """What no package holds as a file."""
    python = f"python{description.debian.python}"
    people = (_ROOT, *sorted(description.users, key=lambda user: user.uid), _NOBODY)
    return {
        "etc/passwd": file("".join(_passwd(user) for user in people)),
        "etc/group": file("".join(f"{user.name}:x:{user.gid}:\n" for user in people)),
        "etc/nsswitch.conf": file(_NSSWITCH),
        "etc/localtime": symlink("/usr/share/zoneinfo/Etc/UTC"),
        "tmp": folder(0o1777),
        "var/tmp": folder(0o1777),
        "usr/bin/python3": symlink(python),
        "usr/bin/python": symlink(python),
        "etc/ssl/certs/ca-certificates.crt": file(_authorities(tree), owner="ca-certificates"),
        "usr/lib/ssl/certs": symlink("/etc/ssl/certs"),
        "usr/lib/ssl/cert.pem": symlink("/etc/ssl/certs/ca-certificates.crt"),
    }


def _passwd(user: User) -> str:
    return f"{user.name}:x:{user.uid}:{user.gid}:{user.name}:/:/nonexistent\n"


def _authorities(tree: Tree) -> bytes:
    """The certificates of ca-certificates in one file, as its maintainer script makes it."""
    parts = [
        entry.data.strip() + b"\n"
        for path, entry in tree
        if path.startswith("usr/share/ca-certificates/") and path.endswith(".crt") and entry.data
    ]
    return b"".join(parts)
