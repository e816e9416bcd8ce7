"""Judges the PrivacyBudgets and Datasets in files as admission does, one after the other, as they would be applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from mlprivacy.api.base import FieldError
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.admissible import (
    Held,
    Holding,
    budget_problems,
    budget_warnings,
    dataset_problems,
    holding_of,
)
from mlprivacy.budget.ledger.promise import budget_errors
from mlprivacy.cli.objects import Item, Objects
from mlprivacy.policy.model import Action, Finding, Verdict

RULE: Final = "one-budget"  # of the findings; admission names the field alone
KINDS: Final = ("PrivacyBudget", "Dataset")


@dataclass(frozen=True)
class Examined:
    """A PrivacyBudget or a Dataset, and what was found of it."""

    item: Item
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Refused, or let in."""
        return Verdict.DENY if any(f.action is Action.DENY for f in self.findings) else Verdict.ALLOW


def examine(objects: Objects) -> tuple[Examined, ...]:
    """What admission would say of each that can be read, in the order of the files.

    What is refused is not there for those after it, as when the files are applied. How many people there are, and which
    identities have data, is taken from all files: a budget is made before its data.
    """
    every = [held for item in objects.of("Dataset") if (held := _holding(item)) is not None]
    there = Held()
    found = []
    for item in objects.of(*KINDS):
        examined = Examined(item, tuple(_findings(item, there, every)))
        found.append(examined)
        if examined.verdict is Verdict.ALLOW:
            there = _with(there, item)
    return tuple(found)


def _findings(item: Item, there: Held, every: list[Holding]) -> Iterator[Finding]:
    spec = item.parsed.spec if item.parsed is not None else None
    if isinstance(spec, DatasetSpec):
        yield from _all(Action.DENY, dataset_problems(item.namespace or "", item.name, spec, there))
    elif isinstance(spec, PrivacyBudgetSpec):
        wrong = budget_problems(item.name, spec, there)
        if _stored(item):  # it was made without one, and approved since
            wrong = [error for error in wrong if error.path != "spec.approval"]
        mine = frozenset(spec.identities)
        people = max((one.at_least for one in every if one.identity in mine), default=None)
        wrong += [error for error in budget_errors(spec, people) if error.path not in {one.path for one in wrong}]
        yield from _all(Action.DENY, wrong)
        if not wrong:
            yield from _all(
                Action.WARN, budget_warnings(spec, replace(there, holdings=every), promised=_promised(item))
            )


def _all(action: Action, errors: list[FieldError]) -> Iterator[Finding]:
    for error in errors:
        yield Finding(RULE, action, Reason.BREACH, error.path, error.message, error.remedy)


def _with(there: Held, item: Item) -> Held:
    """What there is once this is applied, too."""
    if item.kind == "PrivacyBudget":
        return replace(there, budgets=(*there.budgets, item.parsed)) if item.parsed is not None else there
    holding = _holding(item)
    return there if holding is None else replace(there, holdings=(*there.holdings, holding))


def _holding(item: Item) -> Holding | None:
    return holding_of(item.raw) if item.name and item.parsed is not None and item.parsed.spec is not None else None


def _stored(item: Item) -> bool:
    return bool(item.raw["metadata"].get("uid"))


def _promised(item: Item) -> tuple[float, float] | None:
    """The promise in force of a budget that was read from a cluster; None where the file does not say it."""
    status: Any = item.raw.get("status")
    promise = status.get("promise") if isinstance(status, Mapping) else None
    told = [promise.get(name) for name in ("epsilon", "delta")] if isinstance(promise, Mapping) else []
    numbers = [float(number) for number in told if isinstance(number, int | float)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None
