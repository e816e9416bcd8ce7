"""What people change of a budget by a command: approve a larger promise, retire blocks. What is shown is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from mlprivacy.api.names import ANNOTATION_PROMISED_BY
from mlprivacy.api.promisers import asked_by_people, people
from mlprivacy.budget.ledger.blocks import BlockError, Cut
from mlprivacy.cli import style
from mlprivacy.cli.budgets.model import Budget
from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.resources import PRIVACYBUDGETS

RETIRED_MAX: Final = 256  # as the schema of PrivacyBudget has it
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
    """The labels that are asked for and not retired yet, and those that are, each as the budget calls its blocks.

    ``A..B`` stands for all from A to B. Nothing is asked for of the future: no data lies there.

    Raises:
        CliError: when one is no block, lies in the future, or there would be more than the API takes.
    """
    cut, keys = budget.cut, dict[int, None]()
    for text in given:
        first, dots, last = text.partition("..")
        try:
            low, high = cut.key_of(first.strip()), cut.key_of((last if dots else first).strip())
        except BlockError as error:
            raise CliError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        if high < low or high - low >= RETIRED_MAX:
            raise CliError(f"{text} is no range of at most {RETIRED_MAX} blocks; write the older one first.")
        keys |= dict.fromkeys(range(low, high + 1))
    _check_exists(cut, keys, now)
    labels = [cut.label(key) for key in keys]
    known = set(budget.retired)
    new = [label for label in labels if label not in known]
    if len(known) + len(new) > RETIRED_MAX:
        raise CliError(
            f"That would be {len(known) + len(new)} retired blocks; spec.retired holds at most {RETIRED_MAX}."
        )
    return new, [label for label in labels if label in known]


def _check_exists(cut: Cut, keys: Sequence[int] | dict[int, None], now: datetime) -> None:
    last = cut.key_at(now) if cut.period is not None else (cut.buckets or 1) - 1
    for key in keys:
        if key > last:
            why = "lies in the future" if cut.period is not None else f"is none: the last is {cut.label(last)}"
            raise CliError(f"{cut.label(key)} {why}.")


def retire_lines(budget: Budget, new: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """What retiring does, for people."""
    uses = {use.name: use for use in budget.fullest}
    whose = f"PrivacyBudget {style.printable(budget.name)} ({style.printable(budget.domain)})"
    yield f"{whose}: these blocks take no job any more, for good"
    for label in new:
        use = uses.get(label)
        said = (
            "not among the fullest"
            if use is None
            else f"{use.used:.3g} % used, {use.reserved:.3g} % of it by running jobs"
        )
        yield f"  {style.printable(label)}  {said}"
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
