"""Comments of Python source as reference text: what stands behind a constant, and the headings between groups."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from types import ModuleType

from docsgen.pages import DocsError


@dataclass(frozen=True)
class Constant:
    """One ``NAME = value  # comment`` of a module or class.

    ``group`` is the comment above its group, empty after an empty line.
    """

    name: str
    comment: str
    group: str
    owner: str  # name of the class, empty at module level


def source_of(module: ModuleType) -> str:
    """The text of a module's file.

    Raises:
        DocsError: when it has none.
    """
    if module.__file__ is None:
        raise DocsError(f"The module {module.__name__} has no file to read comments from.")
    with tokenize.open(module.__file__) as file:
        return file.read()


def constants(source: str) -> list[Constant]:
    """Every assignment to a plain name at module level or in a class, in the order of the file."""
    trailing, standing = _comments(source)
    found: list[Constant] = []
    tree = ast.parse(source)
    for owner, body in [("", tree.body), *((n.name, n.body) for n in tree.body if isinstance(n, ast.ClassDef))]:
        group = ""
        previous = body[0].lineno if body else 0
        for node in body:
            above = _block_above(standing, node.lineno, previous)
            if above or node.lineno > previous:
                group = above  # a comment begins a group, an empty line ends one
            previous = (node.end_lineno or node.lineno) + 1
            name = _target(node)
            if name is not None:
                found.append(Constant(name, trailing.get(node.end_lineno or 0, ""), group, owner))
    return found


def _target(node: ast.stmt) -> str | None:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def _comments(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Comments behind code and comments on lines of their own, by line."""
    trailing: dict[int, str] = {}
    standing: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#").strip()
        text = text.split("# noqa")[0].strip()
        if text.startswith("noqa"):
            continue
        (trailing if token.line[: token.start[1]].strip() else standing)[token.start[0]] = text
    return trailing, standing


def _block_above(standing: dict[int, str], line: int, first: int) -> str:
    lines: list[str] = []
    line -= 1
    while line >= first and line in standing:
        lines.insert(0, standing[line])
        line -= 1
    return " ".join(lines)
