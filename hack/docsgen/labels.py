"""docs/reference/labels.md: labels, annotations, names and ports, from api/names.py and its comments."""

from __future__ import annotations

import re

from docsgen.comments import Constant, constants, source_of
from docsgen.markdown import code, document, sentence, table
from mlprivacy.api import names

_INTRO = """
Everything the product writes on a Kubernetes object has one of these names. Guard policies in the chart match on the
same names, and a test holds the chart against them.

The labels under *Guarded labels* are put on and taken off by the operator alone. Never put them on an object of your
own: the API server refuses it in a governed namespace.
"""
_OTHER = "Other names"


def page() -> str:
    """The page."""
    parts: list[str] = []
    groups: dict[str, list[Constant]] = {}
    for constant in constants(source_of(names)):
        if not constant.owner and isinstance(getattr(names, constant.name), str | int):
            groups.setdefault(constant.group or ("API" if groups.keys() <= {"API"} else _OTHER), []).append(constant)
    for group in sorted(groups, key=lambda g: g == _OTHER):
        items = groups[group]
        heading, *rest = re.split(r"[:,] ", group.rstrip("."), maxsplit=1)
        parts += [f"## {heading}", *(sentence(text) for text in rest)]
        rows = ((code(str(getattr(names, c.name))), code(c.name), sentence(c.comment)) for c in items)
        parts.append(table(("Value", "Constant", "What it is"), rows))
    return document("Labels, annotations and names", _INTRO, *parts)
