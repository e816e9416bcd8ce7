"""opt-out: rows of people who said do not sell, share or train are not in what the job gets.

An organisation default: the owner's own tag must never be passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.case import Case, UsedDataset
from mlprivacy.policy.facts import Capability
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, missing


def check(case: Case) -> Iterator[Raised | Obligation]:
    """DoNotTrain concerns training; DoNotSell and DoNotShare concern data that another namespace uses.

    Rows that are out of the source pass. Rows that a column marks wait for the data gate, which can filter them.
    """
    if Capability.DATA_GATE in case.facts.capabilities:
        return
    for dataset in case.datasets:
        waiting = [o for o in dataset.spec.opt_outs if not o.excluded and _concerns(case, dataset, o.right)]
        if waiting:
            shown = ", ".join(f"{o.right} (column {o.column})" for o in waiting)
            yield missing(
                f"{dataset.path}.name",
                f"{dataset.ref} holds rows of people who opted out: {shown}; filtering rows is not enforced here yet",
                "ask its data owner to leave these rows out of the source and to set excluded: true",
                reason=Reason.NOT_ENFORCED_HERE,
                private=dataset.foreign,
            )


def _concerns(case: Case, dataset: UsedDataset, right: str) -> bool:
    return case.processing == "Training" if right == "DoNotTrain" else dataset.foreign


RULE = Rule(
    id="opt-out",
    family="consent",
    action=Action.DENY,
    reason="Who said no to a use is not in it.",
    citations=("CCPA 1798.120/.121",),
    remedy="use data without the rows of people who opted out",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
