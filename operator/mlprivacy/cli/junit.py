"""Results of ``mlprivacy test`` as JUnit XML, for CI systems."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from mlprivacy.cli.cases import Result


def report(results: Sequence[Result]) -> str:
    """One test suite with a test case for each case; what XML can not hold is replaced."""
    counts = {word: sum(r.outcome == word for r in results) for word in ("failed", "error")}
    seconds = sum(r.seconds for r in results)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites tests="{len(results)}" failures="{counts["failed"]}" errors="{counts["error"]}" '
        f'time="{seconds:.3f}">',
        f'<testsuite name="mlprivacy" tests="{len(results)}" failures="{counts["failed"]}" '
        f'errors="{counts["error"]}" skipped="0" time="{seconds:.3f}">',
    ]
    for result in results:
        where = _attribute(".".join(p for p in result.folder.parent.parts if p not in ("/", "..", ".")) or "cases")
        name = _attribute(f"{result.folder.name}: {result.name}")
        head = f'<testcase classname={where} name={name} time="{result.seconds:.3f}"'
        if result.outcome == "passed":
            lines.append(f"{head}/>")
            continue
        word = "error" if result.problems else "failure"
        said = result.problems or [f"{d.what}: expected {d.expected}; found {d.found}" for d in result.differences]
        text = escape(_clean("\n".join(said)))
        lines.append(f"{head}><{word} message={_attribute(said[0])}>{text}</{word}></testcase>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>", ""])


def _attribute(text: str) -> str:
    return quoteattr(_clean(text).replace("\n", " "))


def _clean(text: str) -> str:
    """The text without what XML 1.0 forbids."""
    return "".join(
        c if c in "\n\t" or (c >= " " and not 0xD800 <= ord(c) <= 0xDFFF and c < "\ufffe") else "�" for c in text
    )
