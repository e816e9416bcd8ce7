"""Every job of a cluster with the operator's decision and with what it would be where nothing is softened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mlprivacy.api.base import Parsed
from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.cli import offline, style
from mlprivacy.cli.errors import EXIT_ALLOWED, EXIT_HELD
from mlprivacy.cli.objects import JOB_KINDS
from mlprivacy.cli.policydiff import Live
from mlprivacy.cli.stored import Stored
from mlprivacy.policy.engine import evaluate
from mlprivacy.policy.model import Decision


class Unsoftened(offline.FileLookup):
    """The same objects, with every governed namespace under the label ``enforce`` and every policy in mode Enforce."""

    _hard: tuple[Parsed[PrivacyPolicySpec], ...] | None = None

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace; one that is not governed stays so."""
        found = super().namespace_labels(name)
        return {**found, LABEL_ENFORCE: "enforce"} if found and LABEL_ENFORCE in found else found

    def policies(self) -> Sequence[Parsed[PrivacyPolicySpec]]:
        """The policies, the same objects each time."""
        if self._hard is None:
            self._hard = tuple(
                p if p.spec is None else replace(p, spec=p.spec.model_copy(update={"mode": "Enforce"}))
                for p in super().policies()
            )
        return self._hard


@dataclass(frozen=True)
class Row:
    """One job. ``stored`` is None where the operator has not decided, ``hard`` where that can not be known here."""

    kind: str
    namespace: str
    name: str
    stored: Stored | None
    hard: Decision | None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        stored, hard = self.stored, self.hard
        return {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "verdict": stored.verdict.value if stored else None,
            "mode": stored.mode if stored else None,
            "findings": [f.as_dict() for f in stored.findings] if stored else [],
            "underEnforce": None
            if hard is None
            else {"verdict": hard.verdict.value, "findings": [f.as_dict() for f in hard.findings]},
        }

    def cells(self) -> tuple[str, ...]:
        """For people, in the order of the table's head."""
        stored, hard = self.stored, self.hard
        shown = [f for f in stored.findings if not style.only_recorded(f, stored.mode)] if stored else []
        return (
            f"{self.kind} {self.namespace}/{self.name}",
            style.word_of(stored.verdict, stored.findings) if stored else "UNDECIDED",
            (stored.mode or "none") if stored else "-",
            _rules(f.rule for f in shown),
            "not known" if hard is None else style.verdict_word(hard),
            "-" if hard is None else _rules(f.rule for f in hard.blocking),
        )


@dataclass(frozen=True)
class Scan:
    """Every job that was found; ``unread`` says why what Enforce would do is not known."""

    rows: tuple[Row, ...]
    unread: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """3 where something could not be read, else 0."""
        return EXIT_HELD if self.unread else EXIT_ALLOWED

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"exitCode": self.exit_code, "jobs": [row.as_json() for row in self.rows], "unread": list(self.unread)}

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.unread:
            more = f", and {len(self.unread) - 1} more (-o json lists them)" if len(self.unread) > 1 else ""
            text = f"INCOMPLETE  {self.unread[0]}{more}: what Enforce would do is not known for every job."
            yield from style.paragraph(text, "", "     ")
        head = ("JOB", "DECIDED", "MODE", "RULES", "UNDER ENFORCE", "BY")
        table = [head, *(tuple(map(style.printable, row.cells())) for row in self.rows)]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        for row in table:
            yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        counts = [row.hard for row in self.rows if row.hard is not None and row.hard.blocking]
        stopped = [row for row in self.rows if row.hard in counts and row.stored and row.stored.verdict == "Allow"]
        total = f"{len(self.rows)} job{'' if len(self.rows) == 1 else 's'}"
        yield f"{total}; under Enforce {len(counts)} would not run, {len(stopped)} of them allowed today."


def scan(live: Live, operator_namespace: str, now: datetime | None = None) -> Scan:
    """The rows of every job among what was read."""
    settings = offline.Settings(
        now or datetime.now(UTC),
        audit_retention_days=live.audit_retention_days,
        operator_namespace=operator_namespace,
    )
    lookup = Unsoftened(live.objects, settings, complete=live.complete)
    rows = []
    unread = dict.fromkeys(live.unread)
    with offline.custom_rules() as custom:
        for raw in live.objects:
            if raw.get("kind") not in JOB_KINDS:
                continue
            hard: Decision | None = None
            if not live.unread:
                hard = evaluate(raw, offline.facts_of(raw, lookup, settings.now, custom=custom))
                hidden = [live.unread_of[d.kind] for d in hard.dependencies if d.kind in live.unread_of]
                unread |= dict.fromkeys(hidden)
                hard = None if hidden else hard
            metadata = raw["metadata"]
            rows.append(
                Row(str(raw["kind"]), metadata["namespace"], metadata["name"], Stored.of(raw.get("status") or {}), hard)
            )
    rows.sort(key=lambda row: (row.namespace, row.kind, row.name))
    return Scan(tuple(rows), tuple(unread))


def _rules(names: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "-"
