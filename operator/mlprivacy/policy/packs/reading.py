"""Reads the YAML of a pack, strictly: what people write there is law to jobs, so nothing is guessed."""

from __future__ import annotations

from typing import Any, Final

from pydantic import ValidationError

from mlprivacy.api.base import dotted
from mlprivacy.manifests.yamlload import LoadError, Node, load
from mlprivacy.policy.packs import Pack

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8
_SHOWN: Final = 4  # problems told at once


class PackError(ValueError):
    """A pack that can not be read: a sentence, and the line from 1 (0 where there is none)."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.message = message
        self.line = line


def read_pack(text: str) -> Pack:
    """The pack in ``text``. Its rules are not looked up; see ``mlprivacy.policy.pack_check``.

    Raises:
        PackError: with a sentence and the line.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise PackError("there is half of a surrogate pair in it, which is no character") from None
    if size > MAX_BYTES:
        raise PackError(f"the pack is {size // 1024} KiB, and {MAX_BYTES // 1024} KiB is the most; split it")
    try:
        documents = load(text, plain=True, max_depth=MAX_DEPTH)
    except LoadError as error:
        raise PackError(error.message, error.line) from None
    if len(documents) != 1:
        raise PackError(f"there are {len(documents)} documents, and a pack is one")
    return pack_of(documents[0])


def pack_of(node: Node) -> Pack:
    """The pack in a document that was read already.

    Raises:
        PackError: with a sentence and the line.
    """
    if not isinstance(node.value, dict):
        raise PackError("a pack is a map with name, version, title, notice and rules", node.line)
    try:
        pack = Pack.model_validate(node.value, by_alias=True, by_name=False)
    except ValidationError as problem:
        raise _first(problem, node) from None
    seen: set[str] = set()
    for index, line in enumerate(pack.rules):
        if line.id in seen:
            raise PackError(f"rules[{index}].id: {line.id} has a line already", node.at(f"rules[{index}].id").line)
        seen.add(line.id)
    return pack


def _first(problem: ValidationError, node: Node) -> PackError:
    errors: list[Any] = problem.errors(include_url=False)
    told = []
    for item in errors[:_SHOWN]:
        loc = tuple("from" if part == "from_" else part for part in item["loc"])
        path = dotted(loc, root="").lstrip(".") or "the pack"
        said = "is no field of a pack" if item["type"] == "extra_forbidden" else _plain(item)
        told.append((node.at(path).line, f"{path[:120]}: {said}"))
    more = f"; and {len(errors) - _SHOWN} more" if len(errors) > _SHOWN else ""
    return PackError("; ".join(text for _, text in told) + more, told[0][0])


def _plain(item: Any) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "string_type":
        return f"must be a string, and YAML reads {str(item['input'])[:40]} as something else here; put it in quotes"
    return message[:1].lower() + message[1:]
