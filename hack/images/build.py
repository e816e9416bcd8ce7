"""Builds both images into the cache outside the checkout, and finds them there again."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from controlplane.build import Progress, cache_dir
from images import oci, sbom
from images.debian import architecture
from images.description import Description, ImageSpec, code_digest, digest_of, load
from images.errors import ImagesError
from images.layers import CODE, Layer, Workshop

PREFIX: Final = "mlprivacy.local"
_KEEP: Final = 4
_FREE_BYTES: Final = 1 << 30  # a first build takes about half of that
_YOUNGER: Final = 3600.0
_PREFIX_FORM: Final = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*")


class Saying(Protocol):
    """What progress is told to: controlplane.build.Progress, or anything alike."""

    def say(self, text: str) -> None: ...

    def tick(self, text: str) -> None: ...


@dataclass(frozen=True)
class BuiltLayer:
    """One layer of a built image. Sizes are bytes; `parts` are the components by unpacked size, largest first;
    `folder` is where the cache has it."""

    name: str
    digest: str
    compressed: int
    unpacked: int
    parts: tuple[tuple[str, int], ...]
    folder: str


@dataclass(frozen=True)
class Image:
    """One built image: its archive and its software bill of materials here, its names anywhere."""

    name: str
    repository: str
    tag: str
    digest: str
    archive: Path
    sbom: Path
    layers: tuple[BuiltLayer, ...]

    @property
    def reference(self) -> str:
        """The name that can not be moved to other code."""
        return f"{self.repository}@{self.digest}"

    @property
    def tagged(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def compressed(self) -> int:
        return sum(layer.compressed for layer in self.layers)

    @property
    def unpacked(self) -> int:
        return sum(layer.unpacked for layer in self.layers)


@dataclass(frozen=True)
class Images:
    """Both images, and which state of Debian's archive they come from (date of each signed index)."""

    mlprivacy: Image
    dataplane: Image
    debian: Mapping[str, str]

    @classmethod
    def of(cls, images: Iterable[Image], debian: Mapping[str, str]) -> "Images":
        """Raises KeyError when one of the two is missing."""
        by_name = {image.name: image for image in images}
        return cls(by_name["mlprivacy"], by_name["mlprivacy-dataplane"], dict(debian))

    def __iter__(self) -> Iterator[Image]:
        return iter((self.mlprivacy, self.dataplane))

    def helm_values(self) -> list[str]:
        """The three --set of the chart that name these images."""
        operator = self.mlprivacy
        values = {
            "image.repository": operator.repository,
            "image.digest": operator.digest,
            "dataplane.image": self.dataplane.reference,
        }
        return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def ensure_images(
    progress: Saying | None = None,
    *,
    cache: Path | None = None,
    prefix: str = PREFIX,
    fresh: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Images:
    """Both images, after building what is missing.

    They are kept by content: description, pins, sources, builder, machine and names. `fresh` looks at Debian's
    archive again; otherwise the base layer of the first build is kept. Two runs never build at once, and a killed
    build leaves nothing that a later one takes for whole. Raises ImagesError.
    """
    if not _PREFIX_FORM.fullmatch(prefix):
        raise ImagesError(f"{prefix!r} can not begin the name of an image. Give it like registry.example/team.")
    root = (cache or cache_dir(environ)) / "images"
    description = load()
    key = set_key(description, prefix)
    if not fresh and (found := read_set(root, key)):
        return found
    said = progress or Progress(sys.stderr)
    with lock(root, said):
        if not fresh and (found := read_set(root, key)):
            return found
        _build(description, root, key, prefix, said, fresh=fresh)
        found = read_set(root, key)
    if found is None:
        raise ImagesError(f"The images vanished from {root} right after the build. Is something cleaning that folder?")
    return found


def set_key(description: Description, prefix: str) -> str:
    """Under what the two images are found again: everything that decides them, but Debian's archive."""
    return digest_of(
        code_digest((*CODE, "build", "oci", "sbom")),
        architecture(),
        prefix,
        repr(description.epoch),
        repr(description.debian),
        repr(description.users),
        repr(description.tools),
        repr(sorted(description.environment.items())),
        repr(description.images),
        description.constraints,
        description.source_digest(),
    )[:16]


def read_set(root: Path, key: str) -> Images | None:
    """The images under a key, None unless both archives are there and whole."""
    try:
        document: dict[str, Any] = json.loads((root / "sets" / f"{key}.json").read_text(encoding="utf-8"))
        made = [read_image(root, name, entry) for name, entry in sorted(document["images"].items())]
        sizes = {name: int(entry["archiveBytes"]) for name, entry in document["images"].items()}
        if any(image.archive.stat().st_size != sizes[image.name] or not image.sbom.is_file() for image in made):
            return None
        (root / "sets" / f"{key}.json").touch()  # what is used is not old
        return Images.of(made, document["debian"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_image(root: Path, name: str, entry: Mapping[str, Any]) -> Image:
    """One image as images.json has it, with paths relative to `root`."""
    layers = tuple(
        BuiltLayer(**{**layer, "parts": tuple((part[0], part[1]) for part in layer["parts"])})
        for layer in entry["layers"]
    )
    archive, bill = root / entry["archive"], root / entry["sbom"]
    return Image(name, entry["repository"], entry["tag"], entry["digest"], archive, bill, layers)


def document_of(images: Images, base: Path) -> dict[str, Any]:
    """What images.json says; paths are relative to `base`, sizes in bytes."""
    return {"debian": dict(images.debian), "images": {image.name: _entry(image, base) for image in images}}


def export(images: Images, output: Path) -> Images:
    """Copy archives and bills of materials to a folder, with an images.json beside them. Raises ImagesError."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        copies = []
        for image in images:
            archive, bill = output / f"{image.name}.tar", output / f"{image.name}.cdx.json"
            oci.copy(image.archive, archive)
            oci.copy(image.sbom, bill)
            copies.append(replace(image, archive=archive, sbom=bill))
        moved = Images.of(copies, images.debian)
        _write_json(output / "images.json", document_of(moved, output))
    except OSError as error:
        raise ImagesError(f"The images can not be written to {output}: {error}. Name another folder.") from error
    return moved


def drop_old(root: Path, keep: int = _KEEP, younger: float = _YOUNGER) -> list[str]:
    """Delete all but the newest sets with what only they use; returns the names. The caller holds the lock.

    What was made in the last hour stays as well: a test run that is under way may be using it.
    """
    sets = sorted((root / "sets").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    limit = time.time() - younger
    used: set[str] = set()
    for path in [path for number, path in enumerate(sets) if number < keep or path.stat().st_mtime > limit]:
        used.add(path.name)
        with contextlib.suppress(ValueError, KeyError, TypeError):
            for entry in json.loads(path.read_text(encoding="utf-8"))["images"].values():
                used |= {Path(entry["archive"]).name, Path(entry["sbom"]).name}
                used |= {layer["folder"] for layer in entry["layers"]}
    removed = []
    for path in sorted(path for part in ("sets", "archives", "layers") for path in (root / part).glob("*")):
        if path.name not in used and (path.stat().st_mtime <= limit or path in sets):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed.append(path.name)
    return removed


def trim(cache: Path | None = None) -> list[str]:
    """Delete every set but the newest, with what only they use; returns the names. Raises ImagesError."""
    root = (cache or cache_dir()) / "images"
    with lock(root, Progress(sys.stderr)):
        return drop_old(root, keep=1, younger=0)


@contextlib.contextmanager
def lock(root: Path, progress: Saying) -> Iterator[None]:
    """One builder per cache. The kernel drops the lock with its holder, so a killed build blocks nobody."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = (root / "build.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise ImagesError(
            f"The cache folder {root} cannot be written: {error}. Set MLPRIVACY_CACHE to another."
        ) from error
    with stream:
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                progress.tick(f"another run is building images in {root}; waiting, {time.monotonic() - begun:.0f} s")
                time.sleep(0.5)
        yield


def _build(description: Description, root: Path, key: str, prefix: str, progress: Saying, *, fresh: bool) -> None:
    staging = root / "staging"
    shutil.rmtree(staging, ignore_errors=True)  # what a killed build left; we hold the lock
    _need_room(root)
    begun = time.monotonic()
    progress.say(f"Building the two images into {root}; about two minutes the first time.")
    try:
        staging.mkdir(parents=True)
        workshop = Workshop(description, root, progress.say)
        if fresh:
            workshop.base_layer(again=True)
        made = [_make(workshop, image, root, prefix) for image in description.images]
        dates = workshop.base_layer().made_from
        _write_json(root / "sets" / f"{key}.json", document_of(Images.of(made, dates), root))
        drop_old(root)
    except OSError as error:
        raise ImagesError(
            f"The images can not be written to {root}: {error}. Free some room, or set MLPRIVACY_CACHE to another."
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    progress.say(f"Built the two images in {time.monotonic() - begun:.0f} s.")


def _need_room(root: Path) -> None:
    """Raises ImagesError before a full disk stops a build half-way."""
    free = shutil.disk_usage(root).free
    if free < _FREE_BYTES:
        raise ImagesError(
            f"Only {free >> 20} MiB are free where {root} lies; building the images needs {_FREE_BYTES >> 20}. "
            "Free some room, or set MLPRIVACY_CACHE to a folder that has it."
        )


def _make(workshop: Workshop, image: ImageSpec, root: Path, prefix: str) -> Image:
    """Put one image together from its layers. Files are named by digest and published whole."""
    description = workshop.description
    layers = [workshop.base_layer(), workshop.wheels_layer(image), workshop.app_layer(image)]
    manifest = oci.manifest_of(description, image, layers, workshop.machine)
    repository = f"{prefix}/{image.name}"
    index = oci.index_of(manifest, repository, description.version, workshop.machine)
    name = f"{image.name}-{digest_of(manifest.digest, repository)[:16]}"
    archives = root / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    archive, bill = archives / f"{name}.tar", archives / f"{name}.cdx.json"
    partial = root / "staging" / archive.name
    oci.write_archive(partial, manifest, index, layers, description.epoch)
    partial.rename(archive)
    partial = root / "staging" / bill.name
    sbom.write(partial, sbom.sbom_of(description, image, layers, manifest.digest))
    partial.rename(bill)
    built = tuple(BuiltLayer(x.name, x.digest, x.compressed, x.unpacked, _parts(x), x.path.parent.name) for x in layers)
    return Image(image.name, repository, description.version, manifest.digest, archive, bill, built)


def _parts(layer: Layer) -> tuple[tuple[str, int], ...]:
    sizes = [(f"{component.name} {component.version}", component.size) for component in layer.components]
    return tuple(sorted(sizes, key=lambda part: (-part[1], part[0])))


def _entry(image: Image, base: Path) -> dict[str, Any]:
    return {
        "reference": image.reference,
        "repository": image.repository,
        "tag": image.tag,
        "digest": image.digest,
        "archive": os.path.relpath(image.archive, base),
        "archiveBytes": image.archive.stat().st_size,
        "sbom": os.path.relpath(image.sbom, base),
        "compressedBytes": image.compressed,
        "unpackedBytes": image.unpacked,
        "layers": [
            {
                "name": layer.name,
                "digest": layer.digest,
                "compressed": layer.compressed,
                "unpacked": layer.unpacked,
                "parts": [list(part) for part in layer.parts],
                "folder": layer.folder,
            }
            for layer in image.layers
        ],
    }


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.rename(path)
