"""How a decision looks on a terminal: words, indentation and colour. Colour only where a person reads it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping

import click

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Decision, Finding, Verdict
from mlprivacy.policy.packs import BASELINE, Pack, built_in_packs

WIDTH = 100
VERDICT_COLOUR = {Verdict.ALLOW: "green", Verdict.HOLD: "yellow", Verdict.DENY: "red"}
ACTION_COLOUR = {Action.DENY: "red", Action.HOLD: "yellow", Action.WARN: "yellow", Action.EVIDENCE: "blue"}
_ACTION_WORD = {Action.DENY: "refused", Action.HOLD: "held", Action.WARN: "warning", Action.EVIDENCE: "recorded"}


def verdict_word(decision: Decision) -> str:
    """ALLOWED, WARNED, HELD or REFUSED."""
    return word_of(decision.verdict, decision.findings)


def word_of(verdict: Verdict, findings: Iterable[Finding]) -> str:
    """ALLOWED, WARNED, HELD or REFUSED, for a decision of which only this is known."""
    if verdict is Verdict.ALLOW:
        return "WARNED" if any(f.action is Action.WARN for f in findings) else "ALLOWED"
    return "HELD" if verdict is Verdict.HOLD else "REFUSED"


def coloured(text: str, colour: str | None, *, bold: bool = False) -> str:
    """The text in a colour, unless NO_COLOR is set. click drops colours where the output is no terminal."""
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=colour, bold=bold)


def heading(decision: Decision) -> str:
    """The verdict as a coloured word of fixed width."""
    return heading_of(decision.verdict, decision.findings)


def heading_of(verdict: Verdict, findings: Iterable[Finding]) -> str:
    """As :func:`heading`, for a decision of which only this is known."""
    word = word_of(verdict, findings)
    return coloured(f"{word:<8}", "yellow" if word == "WARNED" else VERDICT_COLOUR[verdict], bold=True)


def only_recorded(finding: Finding, mode: str | None) -> bool:
    """Whether a finding is evidence by itself. Under Audit a breach is evidence too, and that people must see."""
    return finding.reason is Reason.RECORDED or (finding.action is Action.EVIDENCE and mode != "Audit")


def findings_lines(
    findings: Iterable[Finding],
    mode: str | None,
    *,
    verbose: bool = True,
    where: Callable[[Finding], str] = lambda _: "",
    packs: Mapping[str, Pack] | None = None,
) -> Iterator[str]:
    """The findings of a decision; what is only recorded in one line, unless ``verbose``."""
    recorded: dict[str, int] = {}
    for finding in findings:
        if not verbose and only_recorded(finding, mode):
            recorded[finding.rule] = recorded.get(finding.rule, 0) + 1
        else:
            yield from finding_lines(finding, where(finding), packs)
    if recorded:
        names = ", ".join(f"{rule} ({count})" if count > 1 else rule for rule, count in recorded.items())
        yield from paragraph(f"recorded only, -v shows it: {names}", "  ", "           ")


def finding_lines(finding: Finding, where: str = "", packs: Mapping[str, Pack] | None = None) -> Iterator[str]:
    """A finding as a few indented lines: what, where, who asks, by which law, what to do.

    ``packs`` are those that there are, so that each citation stands with the pack that gives it.
    """
    word = coloured(f"{_ACTION_WORD[finding.action]:<8}", ACTION_COLOUR[finding.action])
    place = f"  {coloured(where, None)}" if where else ""
    yield f"  {word} {coloured(finding.rule, None, bold=True)}  {printable(finding.path)}{place}{asked_by(finding)}"
    yield from paragraph(finding.message, "           ")
    if finding.softened:
        yield from paragraph(finding.would, "           ")
    if finding.exception:
        yield from paragraph(f"Accepted for a while by the PolicyException {finding.exception}.", "           ")
    if finding.remedy:
        yield from paragraph(f"To fix it: {finding.remedy}", "           ", "             ")
    if finding.citations:
        law = "; ".join(citing(finding, built_in_packs() if packs is None else packs))
        yield from paragraph(f"Law: {law}", "           ", "             ")


def asked_by(finding: Finding) -> str:
    """``  (packs acme, us-hipaa)``: all packs that ask for the rule but the baseline, the strictest first."""
    names = [name for name in finding.packs or (finding.pack,) if name and name != BASELINE]
    return f"  ({'pack' if len(names) == 1 else 'packs'} {', '.join(map(printable, names))})" if names else ""


def citing(finding: Finding, packs: Mapping[str, Pack]) -> Iterator[str]:
    """The citations, those of each pack with its name; those that no known pack gives stand alone."""
    left = dict.fromkeys(finding.citations)
    several = len({*finding.packs, *filter(None, (finding.pack,))} - {BASELINE}) > 0
    for name in finding.packs or (finding.pack,):
        line = packs[name].line(finding.rule) if name is not None and name in packs else None
        given = [c for c in line.citations if c in finding.citations] if line is not None else []
        if given:
            yield ", ".join(given) + (f" ({name})" if several else "")
            left = {c: None for c in left if c not in given}
    if left:
        yield ", ".join(left)


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
