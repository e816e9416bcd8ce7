"""Writes one OCI archive: manifest, configuration and layers, named so that containerd finds it by tag and digest."""

import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from images.description import LICENSE, Description, ImageSpec
from images.layers import Layer

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Manifest:
    """The two documents that make layers an image; `digest` is the image's name for good."""

    manifest: bytes
    config: bytes

    @property
    def digest(self) -> str:
        return _digest(self.manifest)


def manifest_of(description: Description, image: ImageSpec, layers: Sequence[Layer], machine: str) -> Manifest:
    """Manifest and configuration of an image for this machine. `machine` is a word of both Debian and OCI."""
    created = timestamp(description.epoch)
    user = image.user
    config = {
        "architecture": machine,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{user.uid}:{user.gid}",
            "Env": [f"{key}={value}" for key, value in description.environment.items()],
            "Entrypoint": list(image.entrypoint),
            "WorkingDir": "/",
            "Labels": labels(description, image),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created, "created_by": f"python -m images: {layer.name}"} for layer in layers],
    }
    raw = _json(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": _digest(raw), "size": len(raw)},
        "layers": [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.compressed} for layer in layers],
    }
    return Manifest(_json(manifest), raw)


def labels(description: Description, image: ImageSpec) -> dict[str, str]:
    """The labels of an image, sorted."""
    return {
        "org.opencontainers.image.description": image.description,
        "org.opencontainers.image.licenses": LICENSE,
        "org.opencontainers.image.title": image.name,
        "org.opencontainers.image.version": description.version,
    }


def index_of(manifest: Manifest, repository: str, tag: str, machine: str) -> dict[str, Any]:
    """The index of the archive: the same manifest twice, so that an import makes both names.

    containerd takes the name of each entry from io.containerd.image.name as it stands (client/import.go, imageName;
    core/transfer/image/imagestore.go, Store); the kubelet asks for the name with the digest. Tools that read the
    OCI form alone find the tag.
    """
    platform = {"architecture": machine, "os": "linux"}
    entry = {"mediaType": _MANIFEST, "digest": manifest.digest, "size": len(manifest.manifest), "platform": platform}
    names = {"io.containerd.image.name": f"{repository}:{tag}", "org.opencontainers.image.ref.name": tag}
    by_digest = {"io.containerd.image.name": f"{repository}@{manifest.digest}"}
    return {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "manifests": [{**entry, "annotations": names}, {**entry, "annotations": by_digest}],
    }


def write_archive(
    path: Path, manifest: Manifest, index: Mapping[str, Any], layers: Sequence[Layer], epoch: int
) -> None:
    """Write the archive. Two archives of the same image are the same byte for byte."""
    blobs: dict[str, bytes | Path] = {manifest.digest: manifest.manifest, _digest(manifest.config): manifest.config}
    blobs.update({layer.digest: layer.path for layer in layers})
    with path.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("blobs", "blobs/sha256"):
            archive.addfile(_info(name, epoch, kind=tarfile.DIRTYPE))
        for digest in sorted(blobs):
            _add(archive, _blob(digest), blobs[digest], epoch)
        _add(archive, "index.json", _json(index), epoch)
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}), epoch)


def extract(archive: Path, folder: Path) -> None:
    """Lay the files of an image out in a folder, layer over layer, with modes and times; owners when run as root."""
    with tarfile.open(archive) as outer:
        for name in _layer_blobs(outer):
            with tarfile.open(fileobj=outer.extractfile(name), mode="r:gz") as layer:
                layer.extractall(folder, filter="fully_trusted")  # noqa: S202 - an archive of ours


def read_config(archive: Path) -> dict[str, Any]:
    """The configuration of the image in an archive."""
    with tarfile.open(archive) as outer:
        return _read(outer, _blob(_read_manifest(outer)["config"]["digest"]))


def _layer_blobs(outer: tarfile.TarFile) -> list[str]:
    return [_blob(layer["digest"]) for layer in _read_manifest(outer)["layers"]]


def _read_manifest(outer: tarfile.TarFile) -> dict[str, Any]:
    return _read(outer, _blob(_read(outer, "index.json")["manifests"][0]["digest"]))


def _read(outer: tarfile.TarFile, name: str) -> dict[str, Any]:
    stream = outer.extractfile(name)
    return dict(json.load(stream)) if stream else {}


def _blob(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def timestamp(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _add(archive: tarfile.TarFile, name: str, content: bytes | Path, epoch: int) -> None:
    info = _info(name, epoch)
    if isinstance(content, bytes):
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
        return
    info.size = content.stat().st_size
    with content.open("rb") as stream:
        archive.addfile(info, stream)


def _info(name: str, epoch: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime, info.type, info.mode = epoch, kind, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(raw: bytes) -> str:
    return f"sha256:{sha256(raw).hexdigest()}"


def copy(source: Path, target: Path) -> None:
    """Copy a finished file so that it is whole or not there."""
    partial = target.with_name(target.name + ".partial")
    shutil.copyfile(source, partial)
    partial.rename(target)
