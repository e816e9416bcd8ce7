"""Finds the objects in files: reads, expands lists, checks the envelope, parses our kinds, keeps the lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import API_VERSION, GROUP, PACK_KEY
from mlprivacy.manifests import yamlload
from mlprivacy.manifests.yamlload import LoadError, Node
from mlprivacy.policy.fabric.objects import KINDS as FABRIC_KINDS
from mlprivacy.policy.fabric.objects import SHARED_CONFIG
from mlprivacy.policy.lookup import CLUSTER_SCOPED
from mlprivacy.policy.pack_check import is_pack, pack_errors, user_pack
from mlprivacy.policy.packs import Pack
from mlprivacy.policy.packs.reading import PackError, read_pack
from mlprivacy.policy.vocabulary import vocabulary_warnings

SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"
CASE: Final = "case.yaml"  # a folder with such a file is a case of `mlprivacy test`
JOB_KINDS: Final = ("TrainingJob", "InferenceJob")

_TOP_LEVEL: Final = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))
_METADATA: Final = frozenset(
    (
        *("annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers"),
        *("generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences"),
        *("resourceVersion", "selfLink", "uid"),
    )
)
_PLACEHOLDER: Final = "xxxxx"  # what the API server adds to generateName
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Place:
    """Where something stands; ``line`` and ``column`` from 1, 0 where there is none."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class BadInput:
    """Something in the files that can not be read: ``what`` names the object where there is one."""

    place: Place
    message: str
    what: str = ""
    path: str = ""

    def __str__(self) -> str:
        subject = f"{self.what}: " if self.what else ""
        path = f"{self.path} " if self.path else ""
        return f"{self.place}: {subject}{path}{self.message}"


@dataclass(frozen=True)
class Item:
    """One object of a file. ``parsed`` is set for kinds of ours."""

    raw: Mapping[str, Any]
    node: Node
    file: str
    kind: str
    namespace: str | None
    name: str
    parsed: Parsed[Any] | None = None

    @property
    def what(self) -> str:
        """``Kind namespace/name`` for people."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def place(self) -> Place:
        """Where the object begins."""
        return Place(self.file, self.node.line, self.node.column)

    def place_of(self, path: str) -> Place:
        """Where the field at ``path`` stands, or the nearest field above it."""
        node = self.node.at(path)
        return Place(self.file, node.line, node.column)


@dataclass
class Objects:
    """Everything that was found. ``foreign`` counts objects of kinds that no decision rests on."""

    items: list[Item] = field(default_factory=list)
    bad: list[BadInput] = field(default_factory=list)
    odd: list[BadInput] = field(default_factory=list)  # what is no mistake and may not be meant
    foreign: int = 0
    files: int = 0
    packs: dict[str, Pack] = field(default_factory=dict)  # those of files that are a pack themselves
    take_packs: bool = False

    def of(self, *kinds: str) -> list[Item]:
        """The objects of these kinds."""
        return [item for item in self.items if item.kind in kinds]


def read(paths: Iterable[str], *, default_namespace: str = "default", packs: bool = False) -> Objects:
    """Everything in these files and folders; ``-`` is the standard input. Problems are collected, never raised.

    With ``packs`` a file may also hold a pack itself, outside any ConfigMap.
    """
    found = Objects(take_packs=packs)
    for path in dict.fromkeys(paths):
        if path == STDIN:
            _read(found, "stdin", sys.stdin.buffer.read(yamlload.MAX_FILE + 1), default_namespace)
            continue
        try:
            cases = _cases_below(Path(path))
            if cases:
                what = "1 folder below it is a case" if len(cases) == 1 else f"{len(cases)} folders below it are cases"
                found.odd.append(BadInput(Place(path), f"{what} of `mlprivacy test`, and left to it"))
            for file in _files(Path(path), cases):
                with file.open("rb") as handle:
                    _read(found, str(file), handle.read(yamlload.MAX_FILE + 1), default_namespace)
        except OSError as error:
            found.bad.append(BadInput(Place(str(error.filename or path)), f"can not be read: {error.strerror}"))
    _twice(found)
    return found


def _files(path: Path, cases: Collection[Path]) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        in_case = any(parent in cases for parent in file.parents)
        if file.suffix in SUFFIXES and not _hidden(file, path) and not in_case and file.is_file():
            yield file


def _cases_below(path: Path) -> frozenset[Path]:
    """Folders below this one that are cases of tests: each is a world of its own, and belongs to no other."""
    found = path.rglob(CASE) if path.is_dir() else ()
    return frozenset(f.parent for f in found if f.parent != path and not _hidden(f, path) and f.is_file())


def _hidden(file: Path, path: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(path).parts)


def _read(found: Objects, file: str, content: bytes, default_namespace: str) -> None:
    found.files += 1
    try:
        documents = yamlload.load(yamlload.decode(content))
    except LoadError as error:
        found.bad.append(BadInput(Place(file, error.line, error.column), error.message))
        return
    if found.take_packs and len(documents) == 1 and _is_pack(documents[0].value):
        _pack(found, file, yamlload.decode(content))
        return
    for document in documents:
        for node in _expanded(document):
            _object(found, file, node, default_namespace)


def _is_pack(value: Any) -> bool:
    return isinstance(value, dict) and "rules" in value and "kind" not in value and "apiVersion" not in value


def _pack(found: Objects, file: str, text: str) -> None:
    try:
        pack = read_pack(text)
    except PackError as error:
        found.bad.append(BadInput(Place(file, error.line, int(error.line > 0)), error.message, "the pack"))
        return
    found.bad += [BadInput(Place(file), message, f"the pack {pack.name}") for message in pack_errors(pack)]
    if pack.name in found.packs and found.packs[pack.name] != pack:
        found.bad.append(BadInput(Place(file), "is given twice, in two versions; remove one", f"the pack {pack.name}"))
    found.packs[pack.name] = pack


def _expanded(node: Node) -> Iterator[Node]:
    """The items of a ``kind: List``, else the object itself."""
    value = node.value
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(value.get("items"), list):
        for child in node.children["items"].children.values():
            yield from _expanded(child)
    else:
        yield node


def _object(found: Objects, file: str, node: Node, default_namespace: str) -> None:
    raw = node.value
    place = Place(file, node.line, node.column)
    problems: list[tuple[str, str]] = []
    if not isinstance(raw, dict) or not isinstance(raw.get("kind"), str) or not isinstance(raw.get("apiVersion"), str):
        # A file of settings in a folder is no mistake; a half-written object is.
        message = "is no Kubernetes object: apiVersion and kind are needed"
        found.bad.append(BadInput(place, message))
        return
    kind, api_version = raw["kind"], raw["apiVersion"]
    info = kind_named(kind) if api_version.split("/")[0] == GROUP else None
    core = api_version == "v1" and (kind in ("Namespace", "PersistentVolumeClaim") or _labelled_config(raw))
    core = core or _fabric(raw)
    if api_version.split("/")[0] != GROUP and not core:
        found.foreign += 1
        return
    if not core and (info is None or not info.served):
        found.bad.append(BadInput(place, f"the group {GROUP} has no kind {kind[:63]}", path="kind"))
        return
    if not core and api_version != API_VERSION:
        found.bad.append(BadInput(place, f"{api_version[:80]} is not served; write {API_VERSION}", kind, "apiVersion"))
        return
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    namespaced = info.namespaced if info is not None else kind not in CLUSTER_SCOPED
    name, namespace = _name(metadata), _namespace(metadata, namespaced, default_namespace)
    if not name:
        problems.append(("metadata.name", "is missing"))
    problems += _metadata(raw.get("metadata"))
    item = Item(_as_stored(raw, namespace), node, file, kind, namespace, name)
    if info is not None:
        problems += [(key, "is not a field of this kind") for key in raw if key not in _TOP_LEVEL]
        parsed = parse_spec(info, item.raw)
        problems += [(e.path, e.message) for e in (*parsed.errors, *parsed.unknown)]
        item = Item(item.raw, node, file, kind, namespace, name, parsed)
        if parsed.spec is not None:
            odd = vocabulary_warnings(parsed.spec)
            found.odd += [BadInput(item.place_of(e.path), e.message, item.what, e.path) for e in odd]
    found.bad += [BadInput(item.place_of(path), message, item.what, path) for path, message in problems]
    if kind == "ConfigMap" and is_pack(raw):
        try:
            user_pack(item.raw)
        except PackError as error:
            at = item.place_of(f"data[{PACK_KEY}]")
            line = at.line + error.line if error.line else at.line  # its text begins below the key
            found.bad.append(BadInput(Place(file, line, at.column), error.message, item.what, f"data[{PACK_KEY}]"))
    found.items.append(item)


def _fabric(raw: Mapping[str, Any]) -> bool:
    """An object of another project that decides over RDMA devices and further networks; any version of it."""
    group, _, _ = str(raw["apiVersion"]).rpartition("/")
    metadata = raw.get("metadata")
    shared = isinstance(metadata, dict) and metadata.get("name") == SHARED_CONFIG
    return FABRIC_KINDS.get(raw["kind"]) == group and (raw["kind"] != "ConfigMap" or shared)


def _labelled_config(raw: Mapping[str, Any]) -> bool:
    """A ConfigMap with a label of ours: of all others no decision rests on the content."""
    metadata = raw.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    ours = isinstance(labels, dict) and any(str(key).startswith(f"{GROUP}/") for key in labels)
    return raw["kind"] == "ConfigMap" and ours


def _name(metadata: Mapping[str, Any]) -> str:
    name, prefix = metadata.get("name"), metadata.get("generateName")
    if isinstance(name, str) and name:
        return name
    return prefix + _PLACEHOLDER if isinstance(prefix, str) and prefix else ""


def _namespace(metadata: Mapping[str, Any], namespaced: bool, default: str) -> str | None:
    if not namespaced:
        return None
    namespace = metadata.get("namespace")
    return namespace if isinstance(namespace, str) and namespace else default


def _metadata(metadata: Any) -> Iterator[tuple[str, str]]:
    """What the API server refuses in metadata before it looks at the rest."""
    if not isinstance(metadata, dict):
        yield "metadata", "is missing, or is no map"
        return
    for key in metadata:
        if key not in _METADATA:
            yield f"metadata.{key}", "is not a field of metadata"
    for key in ("name", "generateName", "namespace"):
        if key in metadata and not isinstance(metadata[key], str | None):
            yield f"metadata.{key}", f"must be a string; put {metadata[key]!r} in quotes"
    for field_name in ("labels", "annotations"):
        entries = metadata.get(field_name)
        if not isinstance(entries, dict | None):
            yield f"metadata.{field_name}", "must be a map of strings"
            continue
        for key, value in (entries or {}).items():
            path = f"metadata.{field_name}[{key}]"
            if not isinstance(value, str | None):
                yield path, f"must be a string, and YAML reads {value!r} here; put it in quotes"
            elif field_name == "labels" and value is not None and not _LABEL_VALUE.fullmatch(value):
                yield path, f"{value[:70]!r} is no label value: at most 63 of A-Z, a-z, 0-9, '-', '_' and '.'"


def _as_stored(raw: Mapping[str, Any], namespace: str | None) -> dict[str, Any]:
    """The object as the API server would keep it: with its namespace, and without a status unless it came from one."""
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    stored = {**raw, "metadata": {**(metadata or {}), **({"namespace": namespace} if namespace else {})}}
    if not stored["metadata"].get("uid"):
        stored.pop("status", None)
    return stored


def _twice(found: Objects) -> None:
    """The same object in two places: which one is meant is not known, unless they are equal."""
    seen: dict[tuple[str, str | None, str], Item] = {}
    kept: list[Item] = []
    for item in found.items:
        key = (item.kind, item.namespace, item.name)
        first = seen.setdefault(key, item)
        if first is item or not item.name:
            kept.append(item)
        elif first.raw != item.raw:
            message = f"is given twice and differs from the one at {first.place}; remove one"
            found.bad.append(BadInput(item.place, message, item.what))
    found.items = kept
