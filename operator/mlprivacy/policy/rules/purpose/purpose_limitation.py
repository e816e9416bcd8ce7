"""purpose-limitation: the job's purpose is equal to or below one that was granted (dotted prefix)."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.matching import covered_by_any
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The dataset's uses and, across namespaces, the grant both cover purpose and processing."""
    for dataset in case.datasets:
        granted = [use.purpose for use in dataset.spec.uses if use.processing == case.processing]
        if granted and not covered_by_any(granted, case.purpose):
            yield breach(
                "spec.purpose",
                f"the purpose {case.purpose} is not among those of the dataset {dataset.ref} for "
                f"{case.processing.lower()}: {', '.join(sorted(set(granted)))}",
                f"use a purpose that is granted, or leave {dataset.ref} out of spec.datasets",
                private=dataset.foreign,
            )
        if dataset.grant is not None:
            if case.processing not in dataset.grant.processing:
                yield breach(
                    f"{dataset.path}.name",
                    f"the grant of {dataset.ref} does not cover {case.processing.lower()}",
                    "ask its data owner for a DatasetGrant that lists this processing",
                    private=True,
                    boundary=True,
                )
            elif not covered_by_any(dataset.grant.purposes, case.purpose):
                yield breach(
                    "spec.purpose",
                    f"the purpose {case.purpose} is not among those the grant of {dataset.ref} covers: "
                    f"{', '.join(dataset.grant.purposes)}",
                    f"use a purpose that is granted, or ask the data owner for a DatasetGrant for {case.purpose}",
                    private=True,
                    boundary=True,
                )


RULE = Rule(
    id="purpose-limitation",
    family="purpose",
    action=Action.DENY,
    reason="Data is used for the purposes it was granted for and for nothing else.",
    citations=("GDPR 5(1)(b)", "GDPR 6(4)", "CCPA §7002", "AI Act 10(2)(b)"),
    remedy="use a purpose that the dataset grants",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
