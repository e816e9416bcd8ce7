"""All budgets in a table: what is promised, how much is used, what is wrong. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlprivacy.cli import style
from mlprivacy.cli.budgets.model import Budget, JobUse
from mlprivacy.cli.budgets.reading import Chain, Seen

COLUMNS: Final = (
    "name",
    "subjectDomain",
    "state",
    "epsilon",
    "delta",
    "revision",
    "blocksOpen",
    "blocksExhausted",
    "blocksRetired",
    "blocksTainted",
    "usedPercent",
    "worstCaseEpsilon",
    "weakestAssurance",
    "guaranteeHolds",
    "reservations",
    "waitingJobs",
    "waitsForApproval",
    "ledgerHead",
    "ledgerEntries",
)
_NOT_SAID: Final = "-"


@dataclass(frozen=True)
class Row:
    """One budget, its ledger (None: it may not be read) and the jobs that were read and use it."""

    budget: Budget
    chain: Chain | None
    jobs: tuple[JobUse, ...]
    where: str | None = None  # the namespace of the jobs; None: all of them

    @property
    def waiting(self) -> int | None:
        """How many jobs wait for it: of all namespaces, or where the status does not say so those that were read."""
        said = self.budget.status.get("waiting")
        if said is not None:
            return int(said)
        uses = (job.of_budget(self.budget) for job in self.jobs)
        return sum(1 for use in uses if use is not None and use.standing == "WAITS") or None

    @property
    def waiting_text(self) -> str | None:
        """The same for people."""
        if self.waiting is None:
            return None
        return f"{'' if 'waiting' in self.budget.status else 'at least '}{self.waiting}"

    @property
    def state(self) -> str:
        """In a few words whether the promise is kept and what people have to do."""
        budget = self.budget
        ready = budget.conditions.get("Ready")
        if budget.waits_for_approval:
            return "approved, to be written" if budget.approved else "waits for approval"
        if ready is not None and ready.status != "True":
            return ready.reason or "not ready"
        if budget.promise is None:
            return "no promise yet"
        return "in force"

    def as_json(self) -> dict[str, Any]:
        """For programs: the columns."""
        budget, chain = self.budget, self.chain
        promise = budget.promise
        values = (
            budget.name,
            budget.domain,
            self.state,
            promise.epsilon if promise else None,
            promise.delta if promise else None,
            promise.revision if promise else None,
            *(budget.count(which) for which in ("open", "exhausted", "retired", "tainted")),
            budget.status.get("usedPercent"),
            budget.worst_epsilon,
            budget.status.get("weakestAssurance"),
            budget.guarantee,
            budget.status.get("reservations"),
            self.waiting,
            budget.waits_for_approval and not budget.approved,
            chain.head if chain else budget.head or None,
            chain.entries if chain else None,
        )
        return dict(zip(COLUMNS, values, strict=True))


HEAD: Final = (
    "NAME", "DOMAIN", "PROMISE", "OPEN", "FULL", "RETIRED", "TAINTED", "USED", "WORST CASE", "WEAKEST", "GUARANTEE",
    "HELD", "WAITING", "LEDGER", "STATE",
)  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    found, promise = row.as_json(), row.budget.promise
    used, worst = found["usedPercent"], found["worstCaseEpsilon"]
    holds = found["guaranteeHolds"]
    return (
        row.budget.name,
        row.budget.domain,
        f"{promise.epsilon:g}, {promise.delta:g}" if promise else _NOT_SAID,
        *(_text(found[f"blocks{which}"]) for which in ("Open", "Exhausted", "Retired", "Tainted")),
        _NOT_SAID if used is None else percent(float(used)),
        _NOT_SAID if not promise else "no bound" if worst is None else f"{worst:.4g}",
        _text(found["weakestAssurance"]),
        _NOT_SAID if holds is None else "holds" if holds else "BROKEN",
        _text(found["reservations"]),
        row.waiting_text or _NOT_SAID,
        _ledger(row),
        row.state,
    )


def _ledger(row: Row) -> str:
    if row.chain is None:
        return f"at {row.budget.head}" if row.budget.head else _NOT_SAID
    return f"at {row.chain.head}" if row.chain.head else "empty"


def rows_of(seen: Seen) -> list[Row]:
    """A row for each budget."""
    return [
        Row(
            budget,
            seen.chains.get(budget.domain),
            tuple(job for job in seen.jobs if job.of_budget(budget) is not None),
            seen.where,
        )
        for budget in seen.budgets
    ]


def overview_lines(seen: Seen) -> Iterator[str]:
    """The table, what is behind what was read, and what could not be read."""
    rows = rows_of(seen)
    yield from unread_lines(seen)
    if rows:
        yield from table([HEAD, *(_cells(row) for row in rows)])
        for row in rows:
            yield from _remarks(row)
        where = f"in the namespace {seen.where}" if seen.where else "in all namespaces"
        using = f"{_many(len(seen.jobs), 'job')} {where} use{'s' if len(seen.jobs) == 1 else ''} them"
        yield f"{_many(len(rows), 'budget')}; {using}."
        yield "One of them in full: mlprivacy budget status NAME"
    elif not seen.unread:
        yield "There is no PrivacyBudget. docs/privacy-budget.md says how to declare one."


def _remarks(row: Row) -> Iterator[str]:
    budget = row.budget
    if budget.waits_for_approval and not budget.approved:
        how = f"`mlprivacy budget approve {budget.name}` shows and approves it"
        text = f"{budget.name}: {budget.asked} is asked for. {how}."
        yield from style.paragraph(text, "  ", "    ")
    if behind := behind_of(row):
        yield from style.paragraph(f"{budget.name}: {behind}", "  ", "    ")


def behind_of(row: Row) -> str | None:
    """What the ledger in the cluster says against the status; None when they agree, or it may not be read."""
    chain, head = row.chain, row.budget.head
    if chain is None or chain.head == head:
        return None
    if chain.head < head:
        return (
            f"the status is of entry {head}, and the ledger in the cluster ends with {chain.head}: entries are "
            "missing. Nobody should spend until people have looked."
        )
    return f"the status is of entry {head}, and the ledger has {chain.head} by now." if head else None


def unread_lines(seen: Seen) -> Iterator[str]:
    """What could not be read, first things first."""
    for sentence in seen.unread:
        yield from style.paragraph(f"INCOMPLETE  {sentence}.", "", "     ")


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of equal length in columns."""
    shown = [tuple(style.printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[i]) for row in shown) for i in range(len(shown[0]))]
    for row in shown:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def percent(value: float) -> str:
    """A use for people: what is not quite full is not called 100 %, and a little is not called nothing."""
    if value <= 0:
        return "0 %"
    if value < 1:
        return f"{value:.2g} %"
    return f"{min(value, 99.9):.1f} %" if value < 100 else f"{value:.0f} %"


def csv_text(rows: Sequence[Row]) -> str:
    """The columns as CSV, with a head."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe(value) for key, value in row.as_json().items()} for row in rows)
    return out.getvalue()


def _safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _text(value: Any) -> str:
    return _NOT_SAID if value is None else str(value)


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def job_lines(seen: Seen) -> Iterator[str]:
    """The jobs that wait; and where budgets may not be read, all that use them."""
    told = [
        (job, use)
        for job in seen.jobs
        for use in job.uses
        if use.standing in ("WAITS", "REFUSED") or (seen.unread and not seen.budgets)
    ]
    if not told:
        return
    yield ""
    rows = [
        (job.ref, use.budget, use.standing, "-" if use.share is None else percent(100 * use.share), _why(job))
        for job, use in told
    ]
    yield from table([("JOB", "BUDGET", "STATE", "TAKES", "WHY"), *rows])


def _why(job: JobUse) -> str:
    return job.waits.reason if job.waits is not None else _NOT_SAID
