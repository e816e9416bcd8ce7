"""Texts of refusals and warnings: a few lines with rule, path and remedy, and nothing a stranger may not know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mlprivacy.api.base import FieldError
from mlprivacy.api.text import printable
from mlprivacy.policy.custom import PREFIX
from mlprivacy.policy.model import Finding
from mlprivacy.policy.rules import rules_by_id

MAX_LINES: Final = 5
MAX_LINE: Final = 600  # characters
MAX_WARNINGS: Final = 5
MAX_WARNING: Final = 250  # characters; the API server cuts what is longer than 256 when there are many

# What these say comes from the job alone, so it tells its sender nothing new.
_OF_THE_JOB_ALONE: Final = frozenset({"schema", "pod-hardening", "not-enforced-here"})
_REFERENCE: Final = "a name that it refers to does not resolve (yet) or is not granted to this namespace"
_MORE: Final = "`mlprivacy check` on the files says more"
_CUSTOM: Final = "a rule of the privacy office's own is not met, or gave no answer. To fix it: ask the privacy office"


def refusal(findings: Sequence[Finding], *, trusted: bool) -> str:
    """The text of a refusal: one line for each finding, at most MAX_LINES, and how many more there are."""
    return lines([finding_line(f, trusted=trusted) for f in findings])


def lines(sentences: Iterable[str]) -> str:
    """At most MAX_LINES different sentences, one a line, and how many more there are."""
    different = list(dict.fromkeys(sentences))
    shown = [clean(s, MAX_LINE) for s in different[:MAX_LINES]]
    rest = len(different) - len(shown)
    return "\n".join(shown + ([f"and {rest} more"] if rest else []))


def warnings(findings: Iterable[Finding], *, trusted: bool) -> tuple[str, ...]:
    """The warnings about findings that do not refuse, within the bounds of the API server."""
    return bounded(finding_line(f, trusted=trusted) for f in findings)


def bounded(sentences: Iterable[str]) -> tuple[str, ...]:
    """At most MAX_WARNINGS different sentences, each within MAX_WARNING characters."""
    different = list(dict.fromkeys(sentences))
    shown = tuple(clean(s, MAX_WARNING) for s in different[:MAX_WARNINGS])
    rest = len(different) - len(shown)
    return (*shown, f"and {rest} more; the job's status, or {_MORE}") if rest else shown


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
    return [f"{error.path}: {error.message}" for error in errors]


def clean(text: str, limit: int) -> str:
    """`text` on one line, without control characters, cut to `limit` characters."""
    plain = printable(text)
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"
