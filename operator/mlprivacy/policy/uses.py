"""Which of a dataset's uses can carry a job. Pure."""

from __future__ import annotations

from mlprivacy.api.dataset import Use
from mlprivacy.policy.case import Case, UsedDataset


def carrying(case: Case, dataset: UsedDataset) -> tuple[Use, ...]:
    """The uses that cover purpose and processing; of these, for special categories, those that state a condition.

    One use must carry the job alone: a condition of one and a basis of another are no permission. Where none states a
    condition all are given, since special-category says what is missing.
    """
    found = case.carrying.get(dataset.index)
    if found is None:
        found = case.carrying[dataset.index] = _carrying(case, dataset)
    return found


def _carrying(case: Case, dataset: UsedDataset) -> tuple[Use, ...]:
    uses = dataset.lawful_uses(case.purpose, case.processing)
    known = dataset.column_classes()
    classes = case.classes_of(known[c] for c in dataset.asked.columns if c in known)
    if any(c.spec.special_category for c in classes):
        return tuple(use for use in uses if use.condition is not None) or uses
    return uses
