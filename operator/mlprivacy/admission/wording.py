"""Texts of refusals and warnings: a few lines with rule, path and remedy, and nothing a stranger may not know."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from mlprivacy.api.base import FieldError
from mlprivacy.api.text import printable
from mlprivacy.policy.custom import PREFIX
from mlprivacy.policy.model import WOULD, Finding
from mlprivacy.policy.rules import rules_by_id

MAX_LINES: Final = 5
MAX_LINE: Final = 600  # characters
MAX_WARNINGS: Final = 5  # sentences; one that is long takes several warnings
MAX_WARNING: Final = 250  # characters; the API server cuts all to 256 when there are more than 4096 in the answer
MAX_TOTAL: Final = 3000  # characters of all, so that there is room for what others warn about

# What these say comes from the job alone, so it tells its sender nothing new.
_OF_THE_JOB_ALONE: Final = frozenset({"schema", "pod-hardening", "not-enforced-here"})
_REFERENCE: Final = "a name that it refers to does not resolve (yet) or is not granted to this namespace"
_MORE: Final = "`mlprivacy check` on the files says more"
_SHOWS_ALL: Final = "`mlprivacy check FILE` shows all"
MORE_OF_JOB: Final = f"the job's status has all, and {_SHOWS_ALL}"
_FIX: Final = " To fix it: "
_CUSTOM: Final = "a rule of the privacy office's own is not met, or gave no answer. To fix it: ask the privacy office"


def refusal(findings: Sequence[Finding], *, trusted: bool) -> str:
    """The text of a refusal: one line for each finding, at most MAX_LINES, and how many more there are."""
    return lines([finding_line(f, trusted=trusted) for f in findings], more=_SHOWS_ALL)


def held_afterwards(findings: Sequence[Finding]) -> str:
    """One line on the holds that come after a refusal; empty where there is none."""
    waiting = list(dict.fromkeys(f"{f.rule} ({f.path})" for f in findings))
    shown, rest = waiting[:MAX_LINES], len(waiting) - MAX_LINES
    more = f", and {rest} more" if rest > 0 else ""
    return clean(f"It would then be held: {', '.join(shown)}{more}; {_SHOWS_ALL}", MAX_LINE) if waiting else ""


def lines(sentences: Iterable[str], *, more: str = "") -> str:
    """At most MAX_LINES different sentences, one a line, and how many more there are, with where they are shown."""
    different = list(dict.fromkeys(sentences))
    shown = [_line(s) for s in different[:MAX_LINES]]
    rest = len(different) - len(shown)
    return "\n".join(shown + ([f"and {rest} more{f'; {more}' if more else ''}"] if rest else []))


def bounded(sentences: Iterable[str], *, more: str = "the status says more") -> tuple[str, ...]:
    """At most MAX_WARNINGS different sentences, as warnings of at most MAX_WARNING characters each.

    A long one keeps its remedy whole, since that is what is copied: it has warnings of its own, and the message is cut.
    """
    different = list(dict.fromkeys(sentences))
    found: list[str] = []
    shown = 0
    for sentence in different[:MAX_WARNINGS]:
        pieces = _pieces(clean(sentence, MAX_TOTAL))
        if found and sum(map(len, (*found, *pieces))) > MAX_TOTAL:
            break
        found += pieces
        shown += 1
    rest = len(different) - shown
    return (*found, f"and {rest} more; {more}") if rest else tuple(found)


def _pieces(sentence: str) -> list[str]:
    """A sentence as one warning, or what is wrong and what to do about it as several."""
    if len(sentence) <= MAX_WARNING:
        return [sentence]
    message, mark, remedy = sentence.partition(_FIX)
    if not mark:
        return _wrapped(sentence)
    where = ": ".join(message.split(": ", 2)[:2])  # rule and field, so that it is seen what the remedy is for
    would = next((text for text in WOULD.values() if message.endswith(text)), "")
    said = clean(message.removesuffix(would), MAX_WARNING - len(would)) + would
    return [said, *_wrapped(f"{clean(where, 80)}:{mark}{remedy}")]


def _line(sentence: str) -> str:
    """A sentence within MAX_LINE characters; what is wrong is cut before what to do about it."""
    plain = clean(sentence, MAX_TOTAL)
    message, mark, remedy = plain.partition(_FIX)
    room = MAX_LINE - len(mark) - len(remedy)
    if mark and room >= MAX_LINE // 4:
        return clean(message, room) + mark + remedy
    return clean(plain, MAX_LINE)


def _wrapped(text: str) -> list[str]:
    """The text in lines of at most MAX_WARNING characters, cut between words alone where that can be."""
    return textwrap.wrap(text, MAX_WARNING, subsequent_indent="… ", break_on_hyphens=False)


def finding_line(finding: Finding, *, trusted: bool) -> str:
    """One finding as a line. Unless the API server is known to ask, what other objects say is left out."""
    if trusted or (finding.rule in _OF_THE_JOB_ALONE and not finding.private):
        return finding.sentence()
    if finding.rule.startswith(PREFIX):
        return f"{finding.rule}: {finding.path}: {_CUSTOM}; {_MORE}"
    rule = rules_by_id().get(finding.rule)
    message = rule.reason.rstrip(".") if rule else _REFERENCE
    remedy = rule.remedy if rule else "correct the name, or ask its owner for a DatasetGrant"
    return f"{finding.rule}: {finding.path}: {message}. To fix it: {remedy}; {_MORE}"


def field_lines(errors: Iterable[FieldError]) -> list[str]:
    """Problems of fields, one line each."""
    return [f"{error.path}: {error.sentence}" for error in errors]


def clean(text: str, limit: int) -> str:
    """`text` on one line, without control characters, cut to `limit` characters."""
    plain = printable(text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
