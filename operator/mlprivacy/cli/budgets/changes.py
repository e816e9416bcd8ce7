"""What people change of a budget by a command: approve a larger promise, retire blocks. What is shown is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from mlprivacy.api.names import ANNOTATION_PROMISED_BY
from mlprivacy.api.promisers import asked_by_people, people
from mlprivacy.budget.ledger.blocks import BlockError, Cut, Range
from mlprivacy.cli import style
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.resources import PRIVACYBUDGETS

RETIRED_MAX: Final = 256  # entries, as the schema of PrivacyBudget has it
_LABEL: Final = 12


def approval_of(budget: Budget) -> dict[str, Any]:
    """What approving writes: the numbers of spec, as they stand there, so that nothing else is approved by it.

    ``uid`` makes the API server refuse it for a budget that was made anew under the name since.
    """
    spec = budget.spec
    approval = {"epsilon": spec["epsilon"], "delta": spec["delta"], "noticeVersion": spec.get("noticeVersion")}
    return {"metadata": {"uid": budget.uid}, "spec": {"approval": approval}}


def nothing_waits(budget: Budget) -> str | None:
    """Why there is nothing to approve; None when there is."""
    if budget.promise is None:
        return (
            f"Nothing is promised by {budget.name} yet. The first promise needs no second person; the controller "
            "writes it once it can (`mlprivacy budget status` says what it waits for)."
        )
    if not budget.waits_for_approval:
        return (
            f"Nothing waits for approval: {budget.name} asks for {budget.asked}, which is not more than the "
            f"{budget.promise} that is promised."
        )
    if budget.approved:
        return f"{budget.asked} is approved already; the controller writes the promise. Nothing is sent."
    return None


def approval_lines(budget: Budget) -> Iterator[str]:
    """All that is approved, for people."""
    promise, asked = budget.promise, budget.asked
    if promise is None:
        raise ValueError("nothing is promised, so nothing can be made larger")
    promisers = budget.annotations.get(ANNOTATION_PROMISED_BY, "")
    who = people(promisers)
    yield f"PrivacyBudget {style.printable(budget.name)}: the promise to {style.printable(budget.domain)}"
    unit = budget.spec.get("unit") or "unit"
    for word, text in (
        ("promised", f"{promise} for each {unit} (revision {promise.revision})"),
        ("asked for", str(asked)),
        ("asked by", who),
        ("datasets", ", ".join(str(one) for one in budget.spec.get("identities") or ())),
        ("blocks", _counts(budget)),
        ("spent", _worst(budget)),
    ):
        yield from style.paragraph(f"{word:<{_LABEL}}{text}", "  ", " " * (_LABEL + 2))
    yield from style.paragraph(
        "A larger promise is less protection, for everybody whose data is in a block, what was trained before "
        "included. It can be made smaller later; what was spent by then stays spent.",
        "",
    )
    if asked.notice is None or asked.notice == promise.notice:
        yield from style.paragraph(
            "Note: no new notice is named (spec.noticeVersion), so the ledger will not take this promise.", ""
        )
    if not asked_by_people(promisers):
        yield from style.paragraph(
            "Note: not all who asked are people who are known, so the API server will refuse an approval. Set epsilon "
            "and delta back to what is promised, and have one person ask anew.",
            "",
        )


def _counts(budget: Budget) -> str:
    return ", ".join(f"{budget.count(which) or 0} {which}" for which in ("open", "exhausted", "retired", "tainted"))


def _worst(budget: Budget) -> str:
    worst = budget.worst_epsilon
    return (
        "no bound for the worst case of a person"
        if worst is None
        else f"epsilon {worst:.4g} by the worst case of a person"
    )


def wanted_blocks(budget: Budget, given: Sequence[str], now: datetime) -> tuple[list[str], list[str]]:
    """The entries that spec.retired needs for it, and what of it is retired already, as the budget calls its blocks.

    ``A..B`` stands for all from A to B and stays one entry, also where some of them are retired already. Nothing is
    asked for of the future: no data lies there, and a slip of the pen could not be taken back.

    Raises:
        CliError: when one is no block that there is, or there would be more entries than the API takes.
    """
    cut, there = budget.cut, _there(budget, now)
    wanted = _merged(_span(text, cut, there) for text in given)
    known = _merged(_retired(budget))
    new = [one for one in wanted if not any(old.first <= one.first and one.last <= old.last for old in known)]
    both = (Range(max(one.first, old.first), min(one.last, old.last)) for one in wanted for old in known)
    if len(budget.retired) + len(new) > RETIRED_MAX:
        raise CliError(
            f"spec.retired has {len(budget.retired)} entries and takes {RETIRED_MAX}: {len(new)} more are too many. "
            "Name ranges, FROM..TO: each is one entry, and may hold blocks that are retired already."
        )
    return [cut.name(one) for one in new], [cut.name(one) for one in both if one.first <= one.last]


def how_many(budget: Budget, entries: Sequence[str]) -> int:
    """How many blocks these entries retire that are not retired yet."""
    known = _merged(_retired(budget))
    wanted = _merged(budget.cut.span_of(text) for text in entries)
    both = ((max(one.first, old.first), min(one.last, old.last)) for one in wanted for old in known)
    return sum(one.count for one in wanted) - sum(max(0, last - first + 1) for first, last in both)


def _span(text: str, cut: Cut, there: Range) -> Range:
    """The blocks that are named. Raises CliError for any that is not among those that there are."""
    known = f"There are {cut.label(there.first)} to {cut.label(there.last)}."
    if there.first == there.last:
        known = f"There is {cut.label(there.first)} alone."
    try:
        span = cut.span_of("..".join(part.strip() for part in text.split("..")))
    except BlockError as error:
        raise CliError(f"{str(error)[:1].upper()}{str(error)[1:]}. {known}") from None
    if span.first < there.first:
        raise CliError(f"{cut.label(span.first)} is before the first block, which holds all that is older. {known}")
    if span.last > there.last:
        raise CliError(f"{cut.label(span.last)} is not there yet. {known}")
    return span


def _there(budget: Budget, now: datetime) -> Range:
    """The blocks that there are, by the status; by spec and the clock where the status does not name them.

    Raises:
        CliError: when there is none.
    """
    cut, status = budget.cut, budget.status
    if (first := status.get("firstBlock")) and (last := status.get("lastBlock")):
        return Range(cut.key_of(str(first)), cut.key_of(str(last)))
    if not budget.count("open") and not budget.count("retired"):
        raise CliError(
            f"{budget.name} has no block yet, so there is none to retire; `mlprivacy budget status {budget.name}` says "
            "what it waits for."
        )
    if cut.period is None:
        return Range(0, (cut.buckets or 1) - 1)
    since = (budget.spec.get("blocks") or {}).get("since")
    begin = cut.key_at(datetime.fromisoformat(f"{since}T00:00:00+00:00")) if since else 0
    return Range(begin, cut.key_at(now))


def _retired(budget: Budget) -> Iterator[Range]:
    """What spec retires; an entry that is none retires nothing."""
    for text in budget.retired:
        with suppress(BlockError):
            yield budget.cut.span_of(text)


def _merged(spans: Iterable[Range]) -> list[Range]:
    """The same blocks, ascending, none overlapping or touching another."""
    found: list[Range] = []
    for one in sorted(spans):
        if found and one.first <= found[-1].last + 1:
            found[-1] = Range(found[-1].first, max(found[-1].last, one.last))
        else:
            found.append(one)
    return found


def retire_lines(budget: Budget, new: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """What retiring does, for people."""
    uses = {budget.cut.key_of(use.name): use for use in budget.fullest}
    whose = f"PrivacyBudget {style.printable(budget.name)} ({style.printable(budget.domain)})"
    yield f"{whose}: these blocks take no job any more, for good"
    for entry in new:
        span = budget.cut.span_of(entry)
        inside = [use for key, use in uses.items() if span.first <= key <= span.last]
        use = max(inside, key=lambda one: one.used, default=None)
        said = "not among those of which the status tells the use"
        if use is not None:
            said = f"{use.used:.3g} % used, {use.reserved:.3g} % of it by running jobs"
            said = said if span.count == 1 else f"the fullest is {style.printable(use.name)}, {said}"
        many = "" if span.count == 1 else f"{span.count} blocks, "
        yield f"  {style.printable(entry)}  {many}{said}"
    if known:
        yield f"Retired already: {', '.join(map(style.printable, known))}"
    yield from style.paragraph(
        "Jobs that hold a reservation there go on and spend it. The data is not deleted, and its promise goes on.",
        "",
    )


def retirement_of(budget: Budget, new: Sequence[str]) -> dict[str, Any]:
    """What retiring writes. Should somebody else retire a block at the same time, the API server refuses the second."""
    return {"metadata": {"uid": budget.uid}, "spec": {"retired": [*budget.retired, *new]}}


async def send(client: KubeClient, budget: Budget, patch: dict[str, Any]) -> None:
    """Change the budget as was shown.

    Raises:
        ApiError: when it was changed or made anew since, or the caller may not.
    """
    await client.merge_patch(PRIVACYBUDGETS, budget.name, patch)
