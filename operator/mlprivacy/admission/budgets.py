"""PrivacyBudgets and Datasets under review: what of them does not go together with the others that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlprivacy.admission.review import Review
from mlprivacy.api.base import FieldError, Parsed, parse_spec
from mlprivacy.api.dataset import KIND as DATASET
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.privacy_budget import KIND as PRIVACY_BUDGET
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.admissible import Held, budget_problems, dataset_problems


def data_errors(review: Review, parsed: Parsed[Any], held: Callable[[], Held], *, trusted: bool) -> list[FieldError]:
    """What refuses this PrivacyBudget or Dataset; nothing for any other kind.

    A change is judged, not the state before it: what was wrong already does not keep the rest from being mended.
    """
    if isinstance(parsed.spec, PrivacyBudgetSpec):
        before = None if review.old is None else parse_spec(PRIVACY_BUDGET, review.old).spec
        return budget_problems(review.name, parsed.spec, held(), before=before, trusted=trusted)
    if isinstance(parsed.spec, DatasetSpec):
        was = None if review.old is None else parse_spec(DATASET, review.old).spec
        return dataset_problems(review.namespace, review.name, parsed.spec, held(), before=was, trusted=trusted)
    return []


def budget_warnings(review: Review, spec: PrivacyBudgetSpec, held: Held, *, trusted: bool) -> list[FieldError]:
    """What lets the budget be made and is worth a word: identities without data, a promise that waits for approval."""
    found = []
    if trusted:
        there = {holding.identity for holding in held.holdings}
        found += [
            FieldError(f"spec.identities[{index}]", f"no Dataset has the identity {identity} (yet)")
            for index, identity in enumerate(spec.identities)
            if identity not in there
        ]
    if review.old is not None and _larger(spec, review.old.get("spec")) and spec.approval is None:
        found.append(
            FieldError(
                "spec.epsilon",
                "a larger promise holds once another person approves it, by setting spec.approval to its epsilon, "
                "delta and noticeVersion; until then the one before stays",
            )
        )
    return found


def _larger(spec: PrivacyBudgetSpec, before: Any) -> bool:
    if not isinstance(before, Mapping):
        return False
    pairs = ((spec.epsilon, before.get("epsilon")), (spec.delta, before.get("delta")))
    return any(isinstance(was, int | float) and now > was for now, was in pairs)
