"""Reads YAML and JSON manifests by kubectl's rules and keeps the line of every value.

Where kubectl reads something that people do not mean (a key given twice, a second document after ``...``, a foreign
tag), this refuses with a sentence. What is accepted has the value that kubectl would send.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from mlprivacy.manifests import jsonload, scalars

MAX_FILE: Final = 16 * 1024 * 1024  # bytes read of one file
MAX_EXPANDED: Final = 3 * 1024 * 1024  # bytes of one document after its aliases; the API server's limit of a request
MAX_DEPTH: Final = 100  # levels of nesting, aliases included
_NODE_BYTES: Final = 4  # what a node costs in JSON besides its text

# libyaml where it was built in: the same scanner, many times faster.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_AFTER_DOTS: Final = "a second document stands after '...', which kubectl would ignore; separate documents by '---'"
_TAG_PREFIX: Final = "tag:yaml.org,2002:"


class LoadError(ValueError):
    """A file that can not be read: a sentence, the line and the column, both from 1 (0 where there is none)."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(slots=True)
class Node:
    """A value and where it stands. ``children`` are those of a map by key, of a list by index."""

    value: Any
    line: int
    column: int
    children: dict[str | int, Node] = field(default_factory=dict)
    weight: int = _NODE_BYTES  # bytes after expansion
    depth: int = 1

    def at(self, path: str) -> Node:
        """The node at a path such as ``spec.datasets[0].name``, or the deepest one above it that exists."""
        node = self
        for part in split_path(path):
            below = node.children.get(part)
            if below is None:
                break
            node = below
        return node


def split_path(path: str) -> Iterator[str | int]:
    """``spec.datasets[0].name`` -> ``spec``, ``datasets``, 0, ``name``; ``[a/b]`` is the key ``a/b``."""
    for name, index in re.findall(r"([^.\[\]]+)|\[([^\]]*)\]", path):
        yield int(index) if index.isdecimal() and len(index) < 10 else name or index


def load(text: str, *, plain: bool = False, max_depth: int = MAX_DEPTH) -> list[Node]:
    """The documents of a file; empty ones are left out.

    Args:
        text: YAML or JSON.
        plain: refuse what a text needs no more than a bomb does: anchors, aliases, merge keys and tags.
        max_depth: levels of nesting, aliases included.

    Raises:
        LoadError: with a sentence and the place.
    """
    documents = []
    for chunk, offset in _chunks(text):
        documents += _document(chunk, offset, plain=plain, max_depth=max_depth)
    return documents


def decode(raw: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte order mark.

    Raises:
        LoadError: when it is something else, or longer than ``MAX_FILE``.
    """
    if len(raw) > MAX_FILE:
        raise LoadError(f"the file is larger than {MAX_FILE // 1024 // 1024} MiB; split it")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise LoadError("the file is UTF-16; save it as UTF-8", 1, 1)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LoadError(f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8", line, 1) from None


def _chunks(text: str) -> Iterator[tuple[str, int]]:
    """The text between separator lines, and the number of lines before it: kubectl splits before it parses."""
    lines: list[str] = []
    offset = 0
    for number, raw in enumerate(text.split("\n")):
        line = raw.removesuffix("\r")
        if not line.startswith("---"):
            lines.append(line)
            continue
        rest = line[3:].strip()
        if rest and not rest.startswith("#"):
            raise LoadError(
                f"{line.strip()[:40]!r} begins with '---', which separates documents here, even inside a text block; "
                "write the separator alone on its line, or indent the text",
                number + 1,
                1,
            )
        yield "\n".join([*lines, ""]), offset
        lines, offset = [], number + 1
    yield "\n".join([*lines, ""]), offset


def _document(chunk: str, offset: int, *, plain: bool, max_depth: int) -> list[Node]:
    stripped = chunk.removeprefix("\ufeff")
    if stripped.lstrip().startswith("{"):
        try:
            return [_of_json(item, offset) for item in jsonload.load(stripped, max_depth=max_depth)]
        except jsonload.JsonError as problem:
            if problem.final:
                raise LoadError(problem.message, problem.line + offset, problem.column) from None
            try:
                return _yaml(stripped, offset, plain=plain, max_depth=max_depth)  # flow style YAML begins alike
            except LoadError as second:
                error = second if second.line - offset > problem.line else None
                if error is not None:
                    raise
                raise LoadError(problem.message, problem.line + offset, problem.column) from None
    return _yaml(stripped, offset, plain=plain, max_depth=max_depth)


def _of_json(item: jsonload.Item, offset: int) -> Node:
    children = {key: _of_json(child, offset) for key, child in item.children.items()}
    node = Node(item.value, item.line + offset, item.column, children)
    if isinstance(item.value, (dict, list)):
        # Rebuilt, so that a number deep inside is the one that was checked here.
        node.value = (
            [child.value for child in children.values()]
            if isinstance(item.value, list)
            else {key: child.value for key, child in children.items()}
        )
    elif isinstance(item.value, (int, float)) and not isinstance(item.value, bool):
        if math.isinf(item.value) or abs(item.value) >= 10**400:
            raise LoadError("the number is too large", node.line, node.column)
        node.value = scalars.as_json_number(item.value)
    return node


def _yaml(chunk: str, offset: int, *, plain: bool, max_depth: int) -> list[Node]:
    try:
        return _Builder(offset, plain=plain, max_depth=max_depth).build(yaml.parse(chunk, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        raise _syntax(error, chunk, offset) from None
    except yaml.YAMLError as error:  # a character that YAML does not have
        position = getattr(error, "position", None)
        line = chunk.encode()[:position].count(b"\n") + 1 + offset if isinstance(position, int) else offset + 1
        raise LoadError("a character here is not one that YAML may hold; remove it", line, 1) from None


def _syntax(error: yaml.MarkedYAMLError, chunk: str, offset: int) -> LoadError:
    lines = chunk.split("\n")
    mark = error.problem_mark or error.context_mark
    if mark is not None and mark.line >= len(lines) - 1 and error.context_mark is not None:
        mark = error.context_mark  # what was never closed, not the end of the file
    line = mark.line if mark else 0
    column = mark.column + 1 if mark else 1
    near = lines[line] if line < len(lines) else ""
    if near.startswith("\t") or (re.match(r"\s*\t", near) and "token" in str(error.problem)):
        return LoadError("the line is indented with a tab, and YAML takes spaces only", line + offset + 1, column)
    if "expected <document start>" in str(error.problem) and any(text.startswith("...") for text in lines[:line]):
        return LoadError(_AFTER_DOTS, line + offset + 1, column)
    what = str(error.problem or error.context or "it is not YAML")
    context = f" {error.context}" if error.context and error.problem else ""
    return LoadError(f"it is not YAML{context}: {what}", line + offset + 1, column)


@dataclass(slots=True)
class _Open:
    """A map or list whose end was not seen yet."""

    node: Node
    anchor: str | None
    key: tuple[str, Node] | None = None  # of a map: the key whose value comes next
    merging: bool = False
    explicit: dict[str, int] = field(default_factory=dict)  # key -> line, for keys written out


class _Builder:
    """Makes nodes from events without recursion, so that nesting is bounded by a count and not by the stack."""

    def __init__(self, offset: int, *, plain: bool, max_depth: int) -> None:
        self._offset = offset
        self._plain = plain
        self._max_depth = max_depth
        self._anchors: dict[str, Node | None] = {}
        self._stack: list[_Open] = []
        self._roots: list[Node] = []
        self._ended = False
        self._weight = 0

    def build(self, events: Iterator[Event]) -> list[Node]:
        for event in events:
            if isinstance(event, NodeEvent):
                self._node(event)
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                self._close()
            elif isinstance(event, DocumentEndEvent):
                self._ended = True
        return [root for root in self._roots if root.value is not None]

    def _place(self, event: Event) -> tuple[int, int]:
        mark = event.start_mark
        return (mark.line + 1 + self._offset, mark.column + 1) if mark else (self._offset + 1, 1)

    def _fail(self, message: str, event: Event) -> LoadError:
        return LoadError(message, *self._place(event))

    def _node(self, event: NodeEvent) -> None:
        if self._ended and not self._stack:
            raise self._fail(_AFTER_DOTS, event)
        if self._plain and (event.anchor is not None or getattr(event, "tag", None)):
            what = "anchors and aliases are" if event.anchor is not None else "tags are"
            raise self._fail(f"{what} not accepted here; write the value out", event)
        if isinstance(event, AliasEvent):
            self._add(self._aliased(event), event, alias=True)
        elif isinstance(event, ScalarEvent):
            node = self._scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = node
            self._add(node, event)
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            kind = "map" if isinstance(event, MappingStartEvent) else "seq"
            tag = _short(event.tag)
            if tag not in ("", f"!!{kind}"):
                raise self._fail(f"the tag {tag[:40]} is not accepted; write plain maps and lists", event)
            if self._awaits_key():
                raise self._fail("a map or a list can not be a key", event)
            if len(self._stack) >= self._max_depth:
                raise self._fail(f"it is nested deeper than {self._max_depth} levels", event)
            if event.anchor:
                self._anchors[event.anchor] = None
            value: Any = {} if kind == "map" else []
            self._stack.append(_Open(Node(value, *self._place(event)), event.anchor))

    def _aliased(self, event: AliasEvent) -> Node:
        name = str(event.anchor)
        if name not in self._anchors:
            raise self._fail(f"there is no anchor &{name} above", event)
        node = self._anchors[name]
        if node is None:
            raise self._fail(f"the anchor &{name} contains itself", event)
        return node

    def _scalar(self, event: ScalarEvent) -> Node:
        line, column = self._place(event)
        tag = _short(event.tag)
        try:
            if tag:
                value = scalars.tagged(tag, event.value)
            else:
                value = scalars.resolve(event.value) if event.implicit[0] else event.value
        except ValueError as problem:
            raise LoadError(str(problem), line, column) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise LoadError(
                f"{event.value} is no number that Kubernetes can hold; write a finite number, or quote it", line, column
            )
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise LoadError("half of a surrogate pair is no character; mend the escape", line, column)
        return Node(value, line, column, weight=_NODE_BYTES + len(event.value))

    def _awaits_key(self) -> bool:
        top = self._stack[-1] if self._stack else None
        return top is not None and isinstance(top.node.value, dict) and top.key is None and not top.merging

    def _close(self) -> None:
        top = self._stack.pop()
        if top.anchor:
            self._anchors[top.anchor] = top.node
        self._add(top.node, None)

    def _add(self, node: Node, event: Event | None, *, alias: bool = False) -> None:
        """Put a finished node where it belongs: in the open map or list, or as the document."""
        if not self._stack:
            self._roots.append(node)
            return
        top = self._stack[-1]
        if self._awaits_key():
            merge = isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0] and not alias
            if merge and self._plain:
                raise LoadError("the key '<<' is not accepted here; write the values out", node.line, node.column)
            if merge:
                top.merging = True
            else:
                top.key = self._key(node), node
            return
        if isinstance(top.node.value, list):
            index = len(top.node.value)
            top.node.value.append(node.value)
            top.node.children[index] = node
        elif top.merging:
            top.merging = False
            self._merge(top, node)
        elif top.key is not None:
            (key, where), top.key = top.key, None
            if key in top.explicit:
                raise LoadError(
                    f"the key {key[:80]!r} is given twice (first on line {top.explicit[key]}); kubectl would take the "
                    "last one without a word; remove one",
                    where.line,
                    where.column,
                )
            top.explicit[key] = where.line
            self._set(top.node, key, node)
        self._grow(top.node, node)

    def _key(self, node: Node) -> str:
        value = node.value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (str, int)):
            return str(value)
        what = "null" if value is None else f"the number {value}"
        raise LoadError(f"{what} can not be a key; put it in quotes", node.line, node.column)

    def _merge(self, top: _Open, node: Node) -> None:
        sources = [node] if isinstance(node.value, dict) else list(node.children.values())
        if not all(isinstance(source.value, dict) for source in sources) or not isinstance(node.value, (dict, list)):
            raise LoadError("'<<' takes a map, or a list of maps", node.line, node.column)
        for source in reversed(sources):  # the first of a list wins
            for key, child in source.children.items():
                if str(key) in top.explicit:
                    raise LoadError(
                        f"'<<' below the key {str(key)[:80]!r} would overwrite it in kubectl; put '<<' first",
                        top.explicit[str(key)],
                        1,
                    )
                self._set(top.node, str(key), child)

    @staticmethod
    def _set(target: Node, key: str, child: Node) -> None:
        target.value[key] = child.value
        target.children[key] = child
        target.weight += len(key) + _NODE_BYTES

    @staticmethod
    def _grow(parent: Node, child: Node) -> None:
        parent.weight += child.weight
        parent.depth = max(parent.depth, child.depth + 1)
        if parent.weight > MAX_EXPANDED:
            raise LoadError(
                f"the document is larger than {MAX_EXPANDED // 1024 // 1024} MiB once its aliases are filled in, which "
                "no API server takes",
                parent.line,
                parent.column,
            )
        if parent.depth > MAX_DEPTH:
            raise LoadError(f"it is nested deeper than {MAX_DEPTH} levels once its aliases are filled in", parent.line)


def _short(tag: str | None) -> str:
    if not tag:
        return ""
    return "!!" + tag.removeprefix(_TAG_PREFIX) if tag.startswith(_TAG_PREFIX) else tag
