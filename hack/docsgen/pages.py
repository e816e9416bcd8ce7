"""Which page is made by which module, and comparing or writing them all."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"

# Page (below docs/) -> module of this package whose ``page()`` returns its text.
PAGES: Final[Mapping[str, str]] = {
    "reference/kinds.md": "kinds",
    "reference/rules.md": "rules",
    "reference/template-fields.md": "template_fields",
    "reference/conditions.md": "conditions",
    "reference/metrics.md": "metrics",
    "reference/commands.md": "commands",
    "reference/labels.md": "labels",
    "reference/chart-values.md": "chart_values",
    "reference/audit-records.md": "audit_records",
    "images/job-path.svg": "picture",
}


class DocsError(Exception):
    """A page can not be made from the code as it is; the message is a sentence that says what to do."""


def generated() -> dict[str, str]:
    """The text of every page by its path below docs/.

    Raises:
        DocsError: when the code holds something that a page does not know how to show.
    """
    return {name: importlib.import_module(f"docsgen.{module}").page() for name, module in PAGES.items()}


def differences(files: Mapping[str, str], docs: Path = DOCS) -> list[str]:
    """Pages that are missing or stale, and files beside them that nothing makes."""
    stale = [name for name, text in files.items() if not _same(docs / name, text)]
    left = [
        f"reference/{path.name}"
        for path in sorted((docs / "reference").glob("*.md"))
        if f"reference/{path.name}" not in files
    ]
    return stale + left


def write(files: Mapping[str, str], docs: Path = DOCS) -> list[str]:
    """Bring docs/ up to date; returns the pages that were changed or deleted."""
    changed = differences(files, docs)
    for name in changed:
        path = docs / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8")
        else:
            path.unlink()
    return changed


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
