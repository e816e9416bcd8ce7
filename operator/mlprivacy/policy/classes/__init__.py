"""The DataClasses that ship: the usual kinds of data, and what an organisation may well demand for each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from mlprivacy.api.base import parse_spec
from mlprivacy.api.data_class import KIND
from mlprivacy.api.names import ANNOTATION_DEFAULT, API_VERSION
from mlprivacy.manifests.yamlload import load
from mlprivacy.policy.model import canonical_digest

FILE: Final = "classes.yaml"


@cache
def default_classes() -> tuple[Mapping[str, Any], ...]:
    """Every class that ships, as it is to be stored, by name. Not to be changed.

    Raises:
        LoadError: when the file can not be read.
    """
    text = files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return tuple(sorted((_object(node.value) for node in load(text, plain=True)), key=lambda o: o["metadata"]["name"]))


def _object(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    raw: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND.kind,
        "metadata": {"name": entry["name"]},
        "spec": entry["spec"],
    }
    raw["metadata"]["annotations"] = {ANNOTATION_DEFAULT: spec_digest(raw)}
    return raw


def spec_digest(raw: Mapping[str, Any]) -> str:
    """``sha256:`` over what the spec of a DataClass says beyond its defaults, or an empty string if it can not be read.

    The API server writes defaults into what it stores, and a later version may have more of them: neither counts.
    """
    parsed = parse_spec(KIND, raw)
    if parsed.spec is None or parsed.unknown:
        return ""
    return canonical_digest(parsed.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True))


def still_ours(stored: Mapping[str, Any]) -> bool:
    """True for a class that shipped and whose spec nobody has changed since."""
    metadata = stored.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    written = annotations.get(ANNOTATION_DEFAULT) if isinstance(annotations, Mapping) else None
    return isinstance(written, str) and written != "" and written == spec_digest(stored)
