"""Writes the bill of materials of an image as CycloneDX, the same bytes for the same image."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from images.description import LICENSE, PROJECT, Description, ImageSpec
from images.layers import Component, Layer
from images.oci import timestamp

_NAMESPACE: Final = uuid.UUID("6f3b3a52-8d0b-5c2e-9f4e-5a3f5d0c7e11")


def sbom_of(description: Description, image: ImageSpec, layers: Sequence[Layer], digest: str) -> dict[str, Any]:
    """Every Debian package and every distribution of Python in the image, with the sum of the file it came from."""
    entries = [_entry(component, description, layer.name) for layer in layers for component in layer.components]
    entries.sort(key=lambda entry: str(entry["bom-ref"]))
    subject = {
        "bom-ref": digest,
        "type": "container",
        "name": image.name,
        "version": description.version,
        "description": image.description,
        "licenses": [{"license": {"id": LICENSE}}],
        "purl": f"pkg:oci/{image.name}@{quote(digest, safe='')}",
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
    }
    dates = sorted((suite, date) for layer in layers for suite, date in layer.made_from.items())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(description.epoch),
            "component": subject,
            "properties": [{"name": f"mlprivacy:debian:{suite}", "value": date} for suite, date in dates],
        },
        "components": entries,
        "dependencies": [{"ref": digest, "dependsOn": [entry["bom-ref"] for entry in entries]}],
    }


def write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _entry(component: Component, description: Description, layer: str) -> dict[str, Any]:
    purl = package_url(component, description.debian.suite)
    entry: dict[str, Any] = {
        "bom-ref": purl,
        "type": "application" if component.name == PROJECT else "library",
        "name": component.name,
        "version": component.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": component.sha256}],
        "properties": [{"name": "mlprivacy:layer", "value": layer}],
    }
    if component.license:
        entry["licenses"] = [{"expression": component.license}]
    return entry


def package_url(component: Component, suite: str) -> str:
    """A component as a package URL (purl), with Debian's source package where it has another name."""
    version = quote(component.version, safe="")
    if component.kind == "pypi":
        return f"pkg:pypi/{component.name.lower().replace('_', '-')}@{version}"
    qualifiers = f"arch={component.architecture}&distro=debian-{suite}"
    if component.source and component.source != component.name:
        qualifiers += f"&upstream={quote(component.source, safe='')}"
    return f"pkg:deb/debian/{quote(component.name, safe='')}@{version}?{qualifiers}"
