"""training-summary: a general-purpose model names the summary of what it was trained on.

Switched on by a pack or a policy.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Where there is a spec.generalPurpose, it has its trainingSummary."""
    flagged = case.spec.general_purpose
    if flagged is not None and flagged.training_summary is None:
        yield breach(
            "spec.generalPurpose.trainingSummary",
            "the model is flagged general-purpose, and names no summary of its training content",
            "set spec.generalPurpose.trainingSummary to the address of the summary",
        )


RULE = Rule(
    id="training-summary",
    family="accountability",
    action=Action.WARN,
    reason="The public learns what a general-purpose model was made from.",
    citations=("AI Act 53(1)(d)",),
    remedy="set spec.generalPurpose.trainingSummary",
    check=check,
    baseline=False,
)
