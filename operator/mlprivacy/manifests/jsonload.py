"""Reads JSON with the line and column of every value: several objects in a row, as kubectl takes them."""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}


class JsonError(ValueError):
    """What is wrong and where. ``final``: it is JSON, and reading it as YAML would hide the mistake."""

    def __init__(self, message: str, line: int, column: int, *, final: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.final = final


@dataclass(slots=True)
class Item:
    """A value and where it begins, both from 1."""

    value: Any
    line: int
    column: int
    children: dict[str | int, Item] = field(default_factory=dict)


def load(text: str, *, max_depth: int) -> list[Item]:
    """Every object of ``text``. Raises JsonError with a sentence."""
    reader = _Reader(text, max_depth)
    items = []
    while (start := reader.skip(reader.position)) < len(text):
        reader.position = start
        items.append(reader.value(1))
    return items


class _Reader:
    def __init__(self, text: str, max_depth: int) -> None:
        self.text = text
        self.position = 0
        self._max_depth = max_depth
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def skip(self, position: int) -> int:
        found = _SPACE.match(self.text, position)
        return found.end() if found else position

    def place(self, position: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._starts, position)
        return line, position - self._starts[line - 1] + 1

    def fail(self, message: str, position: int, *, final: bool = False) -> JsonError:
        return JsonError(message, *self.place(position), final=final)

    def value(self, depth: int) -> Item:
        """The value at the position, which is moved past it."""
        if depth > self._max_depth:
            raise self.fail(f"it is nested deeper than {self._max_depth} levels", self.position, final=True)
        start = self.position
        item = Item(None, *self.place(start))
        character = self.text[start : start + 1]
        if character == "{":
            self._object(item, depth)
        elif character == "[":
            self._array(item, depth)
        elif character == '"':
            item.value = self._string()
        elif word := next((w for w in _WORDS if self.text.startswith(w, start)), None):
            item.value = _WORDS[word]
            self.position += len(word)
        else:
            item.value = self._number()
        return item

    def _number(self) -> int | float:
        found = _NUMBER.match(self.text, self.position)
        if found is None:
            near = self.text[self.position : self.position + 20].split("\n")[0]
            raise self.fail(f"it is not JSON at {near!r}" if near else "the JSON ends too early", self.position)
        self.position = found.end()
        whole = found[0]
        if found[1] is None and found[2] is None and len(whole) <= 40:
            return int(whole)
        return float(whole)

    def _string(self) -> str:
        try:
            found: tuple[str, int] = scanstring(self.text, self.position + 1, True)
        except json.JSONDecodeError as error:
            raise self.fail(f"it is not JSON: {error.msg}", error.pos) from None
        text, self.position = found
        # Half a surrogate pair becomes the replacement character, as it does in the API server.
        return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _expect(self, wanted: str) -> str:
        self.position = self.skip(self.position)
        character = self.text[self.position : self.position + 1]
        if character not in tuple(wanted):
            said = repr(character) if character else "the end"
            raise self.fail(f"it is not JSON: {' or '.join(wanted)} was expected, not {said}", self.position)
        self.position = self.skip(self.position + 1)
        return character

    def _object(self, item: Item, depth: int) -> None:
        item.value = {}
        self.position = self.skip(self.position + 1)
        if self.text.startswith("}", self.position):
            self.position += 1
            return
        while True:
            start = self.position
            if not self.text.startswith('"', start):
                raise self.fail("it is not JSON: a key in double quotes was expected", start)
            key = self._string()
            if key in item.children:
                raise self.fail(f"the key {key[:80]!r} is given twice; remove one", start, final=True)
            self._expect(":")
            child = self.value(depth + 1)
            item.children[key] = child
            item.value[key] = child.value
            if self._next(",}") == "}":
                return

    def _array(self, item: Item, depth: int) -> None:
        item.value = []
        self.position = self.skip(self.position + 1)
        if self.text.startswith("]", self.position):
            self.position += 1
            return
        while True:
            child = self.value(depth + 1)
            item.children[len(item.value)] = child
            item.value.append(child.value)
            if self._next(",]") == "]":
                return

    def _next(self, wanted: str) -> str:
        """``_expect``, but whitespace after a closing bracket is left, since it may be the end."""
        self.position = self.skip(self.position)
        character = self.text[self.position : self.position + 1]
        if character == wanted[1]:
            self.position += 1
            return character
        return self._expect(wanted)
