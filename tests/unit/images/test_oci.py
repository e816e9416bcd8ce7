"""The archive of an image: an OCI layout whose index names the image by tag and by digest; and its SBOM."""

import gzip
import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from images import oci, sbom
from images.description import Description, load
from images.layers import BLOB, Component, Layer
from images.tree import Tree, file, tar_of

REPOSITORY = "registry.example/team/mlprivacy"
DEBIAN = Component("deb", "libssl3t64", "3.5.9-1~deb13u1", "amd64", "openssl", "", "ab" * 32, 7)
WHEEL = Component("pypi", "Pydantic_core", "2.50.4", "", "", "MIT", "cd" * 32, 9)


@pytest.fixture(scope="module")
def description() -> Description:
    return load()


@pytest.fixture
def layers(tmp_path: Path, description: Description) -> list[Layer]:
    """Two small layers; the second brings a file that the first has not."""
    made = []
    for name, path, component in (("base", "etc/hostname", DEBIAN), ("mlprivacy-wheels", "usr/local/x", WHEEL)):
        raw = tar_of(Tree({path: file(name)}), description.epoch)
        blob = gzip.compress(raw, mtime=0)
        place = tmp_path / f"{name}-key"
        place.mkdir()
        (place / BLOB).write_bytes(blob)
        stamp = {
            "name": name,
            "key": "key",
            "digest": f"sha256:{sha256(blob).hexdigest()}",
            "diff_id": f"sha256:{sha256(raw).hexdigest()}",
            "compressed": len(blob),
            "unpacked": len(name),
            "components": [vars(component)],
            "made_from": {"trixie": "Sat, 21 Nov 2026 09:15:44 UTC"} if name == "base" else {},
        }
        (place / "layer.json").write_text(json.dumps(stamp), encoding="utf-8")
        layer = Layer.read(place)
        assert layer is not None
        made.append(layer)
    return made


def written(path: Path, description: Description, layers: list[Layer]) -> oci.Manifest:
    manifest = oci.manifest_of(description, description.images[0], layers, "amd64")
    index = oci.index_of(manifest, REPOSITORY, "0.1.0", "amd64")
    oci.write_archive(path, manifest, index, layers, description.epoch)
    return manifest


def read(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]


def test_every_blob_is_named_by_its_content_and_all_that_is_named_is_there(
    tmp_path: Path, description: Description, layers: list[Layer]
) -> None:
    written(tmp_path / "image.tar", description, layers)
    files = read(tmp_path / "image.tar")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    blobs = {name.rpartition("/")[2]: raw for name, raw in files.items() if name.startswith("blobs/sha256/")}
    assert all(sha256(raw).hexdigest() == name for name, raw in blobs.items())

    def named(entry: dict[str, Any]) -> bytes:
        raw = blobs[entry["digest"].removeprefix("sha256:")]
        assert len(raw) == entry["size"]
        return raw

    manifest = json.loads(named(json.loads(files["index.json"])["manifests"][0]))
    config = json.loads(named(manifest["config"]))
    unpacked = [gzip.decompress(named(layer)) for layer in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{sha256(raw).hexdigest()}" for raw in unpacked]
    assert len(blobs) == 2 + len(layers)


def test_the_index_names_the_image_by_tag_and_by_digest(description: Description, layers: list[Layer]) -> None:
    manifest = oci.manifest_of(description, description.images[0], layers, "amd64")
    by_tag, by_digest = oci.index_of(manifest, REPOSITORY, "0.1.0", "amd64")["manifests"]
    assert by_tag["annotations"] == {
        "io.containerd.image.name": f"{REPOSITORY}:0.1.0",
        "org.opencontainers.image.ref.name": "0.1.0",
    }
    assert by_digest["annotations"] == {"io.containerd.image.name": f"{REPOSITORY}@{manifest.digest}"}
    assert by_tag["digest"] == by_digest["digest"] == manifest.digest


def test_how_the_image_runs(tmp_path: Path, description: Description, layers: list[Layer]) -> None:
    written(tmp_path / "image.tar", description, layers)
    document = oci.read_config(tmp_path / "image.tar")
    assert document["created"] == "2026-01-01T00:00:00Z"
    assert (document["os"], document["architecture"]) == ("linux", "amd64")
    config = document["config"]
    assert (config["User"], config["Entrypoint"], config["WorkingDir"]) == ("65532:65532", ["mlprivacy"], "/")
    assert "PATH=/usr/local/bin:/usr/bin" in config["Env"]
    assert config["Labels"]["org.opencontainers.image.version"] == description.version


def test_the_same_image_is_the_same_archive(tmp_path: Path, description: Description, layers: list[Layer]) -> None:
    first = written(tmp_path / "one.tar", description, layers)
    assert written(tmp_path / "two.tar", description, layers) == first
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert oci.manifest_of(description, description.images[0], layers[:1], "amd64").digest != first.digest


def test_laid_out_in_a_folder(tmp_path: Path, description: Description, layers: list[Layer]) -> None:
    written(tmp_path / "image.tar", description, layers)
    oci.extract(tmp_path / "image.tar", tmp_path / "root")
    files = {p.relative_to(tmp_path / "root").as_posix() for p in (tmp_path / "root").rglob("*") if p.is_file()}
    assert files == {"etc/hostname", "usr/local/x"}


def test_a_layer_whose_stamp_is_missing_or_broken_is_not_there(tmp_path: Path, layers: list[Layer]) -> None:
    place = layers[0].path.parent
    (place / "layer.json").write_text("{", encoding="utf-8")
    assert Layer.read(place) is None
    assert Layer.read(tmp_path / "nowhere") is None


def test_the_bill_of_materials(description: Description, layers: list[Layer]) -> None:
    digest = f"sha256:{'1' * 64}"
    bill = sbom.sbom_of(description, description.images[0], layers, digest)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [component["purl"] for component in bill["components"]] == [
        "pkg:deb/debian/libssl3t64@3.5.9-1~deb13u1?arch=amd64&distro=debian-trixie&upstream=openssl",
        "pkg:pypi/pydantic-core@2.50.4",
    ]
    assert bill["components"][1]["licenses"] == [{"expression": "MIT"}]
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "1" * 64}]
    assert bill["metadata"]["properties"] == [
        {"name": "mlprivacy:debian:trixie", "value": "Sat, 21 Nov 2026 09:15:44 UTC"}
    ]
    assert bill["dependencies"][0]["dependsOn"] == [component["bom-ref"] for component in bill["components"]]


def test_the_bill_of_the_same_image_is_the_same_bytes(
    tmp_path: Path, description: Description, layers: list[Layer]
) -> None:
    def bill(name: str, digest: str) -> bytes:
        sbom.write(tmp_path / name, sbom.sbom_of(description, description.images[0], layers, digest))
        return (tmp_path / name).read_bytes()

    assert bill("one", "sha256:11") == bill("two", "sha256:11")
    assert json.loads(bill("one", "sha256:11"))["serialNumber"] != json.loads(bill("two", "sha256:22"))["serialNumber"]


def test_streams_are_not_needed_to_read_back(description: Description, layers: list[Layer], tmp_path: Path) -> None:
    """Nothing in the archive is compressed twice or needs an extended header."""
    written(tmp_path / "image.tar", description, layers)
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "image.tar").read_bytes())) as archive:
        assert not any(member.pax_headers for member in archive)
