"""How a decision looks on a terminal: words, indentation and colour. Colour only where a person reads it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator

import click

from mlprivacy.policy.model import Action, Decision, Finding, Verdict

WIDTH = 100
VERDICT_COLOUR = {Verdict.ALLOW: "green", Verdict.HOLD: "yellow", Verdict.DENY: "red"}
ACTION_COLOUR = {Action.DENY: "red", Action.HOLD: "yellow", Action.WARN: "yellow", Action.EVIDENCE: "blue"}
_ACTION_WORD = {Action.DENY: "refused", Action.HOLD: "held", Action.WARN: "warning", Action.EVIDENCE: "recorded"}


def verdict_word(decision: Decision) -> str:
    """ALLOWED, WARNED, HELD or REFUSED."""
    if decision.verdict is Verdict.ALLOW:
        return "WARNED" if decision.warnings else "ALLOWED"
    return "HELD" if decision.verdict is Verdict.HOLD else "REFUSED"


def coloured(text: str, colour: str | None, *, bold: bool = False) -> str:
    """The text in a colour, unless NO_COLOR is set. click drops colours where the output is no terminal."""
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=colour, bold=bold)


def heading(decision: Decision) -> str:
    """The verdict as a coloured word of fixed width."""
    colour = "yellow" if decision.verdict is Verdict.ALLOW and decision.warnings else VERDICT_COLOUR[decision.verdict]
    return coloured(f"{verdict_word(decision):<8}", colour, bold=True)


def finding_lines(finding: Finding, where: str = "") -> Iterator[str]:
    """A finding as a few indented lines: what, where, by which law, what to do."""
    word = coloured(f"{_ACTION_WORD[finding.action]:<8}", ACTION_COLOUR[finding.action])
    place = f"  {coloured(where, None)}" if where else ""
    yield f"  {word} {coloured(finding.rule, None, bold=True)}  {finding.path}{place}"
    yield from paragraph(finding.message, "           ")
    if finding.softened:
        yield from paragraph(finding.would, "           ")
    if finding.exception:
        yield from paragraph(f"Accepted for a while by the PolicyException {finding.exception}.", "           ")
    if finding.remedy:
        yield from paragraph(f"To fix it: {finding.remedy}", "           ", "             ")
    if finding.citations:
        source = f" (pack {finding.pack})" if finding.pack and finding.pack != "baseline" else ""
        yield from paragraph(f"Law: {', '.join(finding.citations)}{source}", "           ", "             ")


def paragraph(text: str, indent: str, following: str | None = None) -> Iterator[str]:
    """The text in lines of at most ``WIDTH`` characters."""
    yield from textwrap.wrap(
        printable(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if following is None else following,
        break_on_hyphens=False,
        break_long_words=False,
    ) or [indent]


def printable(text: str) -> str:
    """The text without control characters: what stands in a file must not steer a terminal."""
    return "".join(c if c.isprintable() or c == " " else "�" for c in text)
