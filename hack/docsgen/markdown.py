"""Markdown by small functions: prose of a readable width, tables, code."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 110


def document(title: str, intro: str, *parts: str) -> str:
    """A whole generated page; a note says where it comes from."""
    note = "<!-- Made from the code by `python -m docsgen` (hack/docsgen). Change the code, not this file. -->"
    return "\n\n".join([note, f"# {title}", prose(intro), *(part for part in parts if part)]) + "\n"


def prose(text: str) -> str:
    """Paragraphs (separated by an empty line) filled to a readable width; words are never broken."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "\n\n".join(
        textwrap.fill(part, WIDTH, break_long_words=False, break_on_hyphens=False) for part in paragraphs if part
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty when it would have no row."""
    body = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|", *body])


def bullets(items: Iterable[str]) -> str:
    """A list; each item on one line."""
    return "\n".join(f"- {' '.join(item.split())}" for item in items)


def code(text: str) -> str:
    """``text`` in backticks, also when it holds some."""
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def block(text: str, language: str = "") -> str:
    """A fenced block."""
    return f"```{language}\n{text.rstrip()}\n```"


def sentence(text: str) -> str:
    """``text`` with a capital at its begin and a full stop at its end."""
    text = " ".join(text.split())
    if not text:
        return ""
    first = text.split(" ", 1)[0].rstrip(".,:;")
    if first.isalpha() and first.islower():  # names of fields and of programs keep their form
        text = f"{text[:1].upper()}{text[1:]}"
    return text + ("" if text.endswith((".", "!", "?", ":")) else ".")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
