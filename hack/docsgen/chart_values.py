"""docs/reference/chart-values.md: the chart's values with their defaults, from the comments of values.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from docsgen.markdown import code, document, prose, sentence, table
from docsgen.pages import ROOT, DocsError

VALUES: Final = ROOT / "charts" / "mlprivacy" / "values.yaml"
_INTRO = """
Values of the chart `charts/mlprivacy`. `values.schema.json` refuses any other key. Object names are fixed, so there is
one installation per cluster. What a value means for running the operator is in [operations](../operations.md).
"""


def page(path: Path = VALUES) -> str:
    """The page.

    Raises:
        DocsError: when the file is not a map.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise DocsError(f"{path.name} is no map of values.")
    plain: list[tuple[str, str, str]] = []
    sections: list[str] = []
    for key, value in root.value:
        above = _above(lines, key)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            sections += [f"## {key.value}", prose(above), _table(_leaves(value, key.value, lines))]
        else:
            plain.append((key.value, _default(value), above))
    return document("Chart values", _INTRO, "## Top level", _table(iter(plain)), *sections)


def _table(rows: Iterator[tuple[str, str, str]]) -> str:
    return table(("Value", "Default", "What it is"), ((code(n), d, sentence(t)) for n, d, t in rows))


def _leaves(node: yaml.MappingNode, path: str, lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Every value below ``node``; what is said about a map of its own comes as a row without default."""
    for key, value in node.value:
        here, above = f"{path}.{key.value}", _above(lines, key)
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            if above:
                yield here, "", above
            yield from _leaves(value, here, lines)
        else:
            yield here, _default(value), above


def _default(node: yaml.Node) -> str:
    value = yaml.safe_load(yaml.serialize(node))
    if isinstance(value, str):
        return code(value) if value else "empty"
    return code(json.dumps(value, ensure_ascii=False))


def _above(lines: list[str], key: yaml.Node) -> str:
    """The comment lines directly above a key, of the key's own indent."""
    indent = " " * key.start_mark.column + "#"
    found: list[str] = []
    number = key.start_mark.line - 1
    while number >= 0 and lines[number].startswith(indent):
        found.insert(0, lines[number].strip().lstrip("#").strip())
        number -= 1
    return " ".join(found)
