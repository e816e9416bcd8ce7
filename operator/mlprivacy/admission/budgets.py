"""PrivacyBudgets and Datasets under review: what of them does not go together with the others that there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlprivacy.admission.review import Review
from mlprivacy.api.base import FieldError, Parsed, parse_spec
from mlprivacy.api.dataset import KIND as DATASET
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.privacy_budget import KIND as PRIVACY_BUDGET
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.admissible import Held, budget_problems, budget_warnings, dataset_problems


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


def warnings_of(review: Review, spec: PrivacyBudgetSpec, held: Held, *, trusted: bool) -> list[FieldError]:
    """What lets the budget be made and is worth a word."""
    promised = None if review.old is None else _promised(review.old.get("spec"))
    return budget_warnings(spec, held, promised=promised, trusted=trusted)


def _promised(spec: Any) -> tuple[float, float] | None:
    """ε and δ of a raw spec; what can not be read is no bound that could be raised."""
    if not isinstance(spec, Mapping):
        return None
    epsilon, delta = (
        float(value) if isinstance(value, int | float) else math.inf for value in map(spec.get, ("epsilon", "delta"))
    )
    return epsilon, delta
