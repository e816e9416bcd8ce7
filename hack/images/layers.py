"""Makes the three layers of an image, each once: Debian, the wheels of others, mlprivacy itself."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from images import debian, wheels
from images.base import base_tree
from images.description import HERE, Description, ImageSpec, code_digest, digest_of
from images.errors import ImagesError
from images.tree import Tree, file, read_bytecode, tar_of, write

# The modules of this package that decide what is in a layer.
CODE: Final = ("base", "debian", "description", "inside", "layers", "tree", "wheels")
BLOB: Final = "layer.tar.gz"
_STAMP: Final = "layer.json"
_ROOT: Final = "root"
_LIBRARIES: Final = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_LOADERS: Final = {"amd64": "usr/lib64/ld-linux-x86-64.so.2", "arm64": "usr/lib/ld-linux-aarch64.so.1"}


@dataclass(frozen=True)
class Component:
    """One package in a layer: `kind` is deb or pypi; `size` counts its files and their bytecode, unpacked."""

    kind: str
    name: str
    version: str
    architecture: str
    source: str
    license: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Layer:
    """A finished layer in the cache. Sizes are bytes; `made_from` says which state of an archive it comes from."""

    name: str
    key: str
    digest: str
    diff_id: str
    compressed: int
    unpacked: int
    components: tuple[Component, ...]
    made_from: Mapping[str, str]
    path: Path

    @classmethod
    def read(cls, folder: Path) -> "Layer | None":
        """The layer in a folder of the cache, None unless it is there and whole."""
        try:
            stamp: dict[str, Any] = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
            components = tuple(Component(**component) for component in stamp.pop("components"))
            layer = cls(**stamp, components=components, path=folder / BLOB)
            return layer if layer.path.stat().st_size == layer.compressed else None
        except (OSError, ValueError, TypeError, KeyError):
            return None


class Workshop:
    """Makes layers in `cache`, or finds them there. The caller holds the lock of that folder."""

    def __init__(self, description: Description, cache: Path, say: Callable[[str], None]) -> None:
        self.description = description
        self.machine = debian.architecture()
        if self.machine not in _LOADERS:
            known = " and ".join(sorted(_LOADERS))
            raise ImagesError(
                f"The images are made for {known}; this machine is {self.machine}. Build on one of those."
            )
        self._cache = cache
        self._say = say
        self._builder = code_digest(CODE)

    def base_key(self) -> str:
        """What the base layer is made from, but for the state of Debian's archive."""
        described = self.description
        settings = [repr(described.debian), repr(described.users), repr(described.epoch)]
        return digest_of(self._builder, self.machine, *settings)[:16]

    def base_layer(self, *, again: bool = False) -> Layer:
        """Debian packages and the bytecode of Python's own modules. Raises ImagesError.

        `again` makes it from the state that Debian's archive has now; the one before stays when that fails.
        """
        return self._made("base", self.base_key(), self._make_base, again=again)

    def wheels_layer(self, image: ImageSpec) -> Layer:
        """The wheels of others. Raises ImagesError."""
        described = self.description
        wanted = [described.constraints, *image.requirements, *described.tools]
        key = digest_of(self._builder, self.base_layer().digest, *wanted)
        return self._made(f"{image.name}-wheels", key[:16], lambda work: self._make_wheels(image, work))

    def app_layer(self, image: ImageSpec) -> Layer:
        """The wheel of mlprivacy and the command that the image runs. Raises ImagesError."""
        key = digest_of(
            self._builder,
            self.base_layer().digest,
            self.description.source_digest(),
            self.description.constraints,
            *self.description.tools,
            *image.entrypoint,
        )
        return self._made(f"{image.name}-app", key[:16], lambda work: self._make_app(image, work))

    def _folder(self, name: str, key: str) -> Path:
        return self._cache / "layers" / f"{name}-{key}"

    def _made(self, name: str, key: str, make: Callable[[Path], "_Draft"], *, again: bool = False) -> Layer:
        """The layer from the cache, or made aside and published with one rename."""
        target = self._folder(name, key)
        if not again and (layer := Layer.read(target)):
            return layer
        staging = self._cache / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=staging))
        self._say(f"making the layer {name}")
        draft = make(work)
        publish = work / "publish"
        publish.mkdir(exist_ok=True)
        archive = tar_of(draft.tree, self.description.epoch)
        (work / "layer.tar").write_bytes(archive)
        self._inside(draft.root, "compress", work / "layer.tar", publish / BLOB)
        blob = (publish / BLOB).read_bytes()
        stamp = {
            "name": name,
            "key": key,
            "digest": f"sha256:{sha256(blob).hexdigest()}",
            "diff_id": f"sha256:{sha256(archive).hexdigest()}",
            "compressed": len(blob),
            "unpacked": sum(entry.size for _, entry in draft.tree),
            "components": [asdict(component) for component in draft.components],
            "made_from": dict(draft.made_from),
        }
        (publish / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        publish.rename(target)
        shutil.rmtree(work, ignore_errors=True)
        if made := Layer.read(target):
            return made
        raise ImagesError(f"The layer in {target} vanished as soon as it was made. Is something cleaning there?")

    def _make_base(self, work: Path) -> "_Draft":
        chosen = debian.select(self.description.debian, work / "apt", self._cache / "downloads" / "debs")
        tree = base_tree(self.description, chosen.packages)
        root = work / "publish" / _ROOT
        write(tree, root)
        self._inside(root, "compile", root)
        tree.update(read_bytecode(root, tree))
        sizes = tree.by_owner()
        components = tuple(
            Component("deb", p.name, p.version, p.architecture, p.source, "", p.sha256, sizes.get(p.name, 0))
            for p in chosen.packages
        )
        return _Draft(tree, root, components, chosen.dates)

    def _make_wheels(self, image: ImageSpec, work: Path) -> "_Draft":
        found = wheels.download(self.description, image.requirements, self.machine, work / "wheels")
        tree = Tree()
        for wheel in found:
            tree.update(wheels.unpack(wheel, self.description.site_packages))
        root = self._base_root
        write(tree, work / "files")
        site = work / "files" / self.description.site_packages
        if lacking := self._inside(root, "check", site, self._tools):
            raise ImagesError(
                f"The wheels of {image.name} do not fit together on the Python of the images:\n{lacking.strip()}\n"
                "Name what is missing in pyproject.toml, or change the pin in constraints.txt."
            )
        return self._compiled(tree, work, found)

    def _make_app(self, image: ImageSpec, work: Path) -> "_Draft":
        wheel = self.project_wheel(work / "wheel")
        tree = wheels.unpack(wheel, self.description.site_packages)
        command = image.entrypoint[0]
        script = _script(self.description.debian.python, self.description.entry_points[command])
        tree.add(f"usr/local/bin/{command}", file(script, 0o755, owner=wheel.name))
        write(tree, work / "files")
        return self._compiled(tree, work, [wheel])

    def project_wheel(self, target: Path) -> wheels.Wheel:
        """The wheel of mlprivacy, built from a clean copy of its sources. Raises ImagesError."""
        copy = target / "source"
        for path, content in self.description.sources.items():
            place = copy / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        name = self._inside(self._base_root, "wheel", copy, self._tools, target).strip().splitlines()[-1]
        return wheels.read(target / name)

    def _compiled(self, tree: Tree, work: Path, found: Sequence[wheels.Wheel]) -> "_Draft":
        self._inside(self._base_root, "compile", work / "files")
        tree.update(read_bytecode(work / "files", tree))
        sizes = tree.by_owner()
        components = tuple(
            Component("pypi", wheel.name, wheel.version, "", "", wheel.license, wheel.sha256, sizes.get(wheel.name, 0))
            for wheel in found
        )
        return _Draft(tree, self._base_root, components, {})

    @property
    def _base_root(self) -> Path:
        return self.base_layer().path.with_name(_ROOT)

    @cached_property
    def _tools(self) -> Path:
        key = digest_of(*self.description.tools, self.description.constraints)[:16]
        target = self._cache / "tools" / key
        if not target.is_dir():
            partial = target.with_name(f"{key}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            wheels.install_tools(self.description, partial)
            partial.rename(target)
        return target

    def _inside(self, root: Path, *arguments: str | Path) -> str:
        """Run inside.py with the Python of the image, by the image's own loader: no chroot, so no root is needed."""
        loader, libraries = root / _LOADERS[self.machine], root / "usr/lib" / _LIBRARIES[self.machine]
        python = root / f"usr/bin/python{self.description.debian.python}"
        argv = [loader, "--library-path", libraries, python, "-I", "-B", HERE / "inside.py", *arguments]
        environment = {
            "LC_ALL": "C.UTF-8",
            "PATH": os.defpath,
            "PYTHONHASHSEED": "0",
            "SOURCE_DATE_EPOCH": str(self.description.epoch),
        }
        done = subprocess.run(
            [str(part) for part in argv],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            said = "\n".join(done.stderr.strip().splitlines()[-8:])
            raise ImagesError(f"The Python of the images failed at `{arguments[0]}`. It said:\n{said}")
        return done.stdout


@dataclass(frozen=True)
class _Draft:
    """A layer before it is packed; `root` is the unpacked base layer whose Python packs it."""

    tree: Tree
    root: Path
    components: tuple[Component, ...]
    made_from: Mapping[str, str]


def _script(python: str, target: str) -> str:
    """What starts a command. The kernel runs it: no shell is needed, and the process is the command's own."""
    module, _, function = target.partition(":")
    return f"#!/usr/bin/python{python}\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
