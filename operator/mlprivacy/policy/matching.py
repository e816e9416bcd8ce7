"""Matching of dotted keys: a grant covers itself and everything below it, and nothing that merely begins alike.

Keys are compared as they are written. What grants is never normalised: no case and no Unicode form of a letter makes
another key into a granted one. What forbids is (``folded``), so that no other way of writing it escapes a prohibition.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

_WORD: Final = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
_KEY: Final = re.compile(rf"{_WORD}(\.{_WORD})*")
_BETWEEN_WORDS: Final = re.compile(r"[\s_-]+")


def covers(granted: str, asked: str) -> bool:
    """True when ``asked`` is ``granted`` or lies below it: ``a.b`` covers ``a.b.c``, never ``a.bX`` or ``a``."""
    if asked == granted:
        return granted != ""
    return asked.startswith(granted + ".") and is_key(asked)


def covered_by_any(granted: Iterable[str], asked: str) -> bool:
    """True when one of ``granted`` covers ``asked``."""
    for item in granted:  # noqa: SIM110 - a loop is faster, and this is asked often
        if covers(item, asked):
            return True
    return False


@lru_cache(maxsize=4096)
def is_key(text: str) -> bool:
    """True for a well-formed dotted key: lower-case ASCII words, as the schema has it."""
    return _KEY.fullmatch(text) is not None


def folded(text: str) -> str:
    """The key that somebody means who writes ``Social Scoring`` or a full-width letter, for lists that forbid."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    visible = "".join(c for c in plain if unicodedata.category(c) != "Cf")
    return ".".join(_BETWEEN_WORDS.sub("_", word.strip(" \t\r\n_-")) for word in visible.split("."))


def squeezed(text: str) -> tuple[str, ...]:
    """The segments of the folded key without what stands between words, so that ``social__scoring`` is one word."""
    return tuple(_BETWEEN_WORDS.sub("", segment) for segment in folded(text).split("."))
