"""minimisation: a job asks for columns that exist and are granted, and for no direct identifier."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Each column asked for is one of the dataset's, one of the grant's, and not of a class that is dropped."""
    identifiers = {c.name: c.spec.identifiers for c in case.classes}
    for dataset in case.datasets:
        known = dataset.column_classes()
        for position, column in enumerate(dataset.asked.columns):
            path = f"{dataset.path}.columns[{position}]"
            if column not in known or not dataset.granted(column):
                visible = sorted(set(known) & set(dataset.grant.columns)) if dataset.grant else sorted(known)
                # The same words in both cases: what else a foreign dataset holds is not for this namespace.
                yield breach(
                    path,
                    f"the column {column} is not one of {dataset.ref} that this job may ask for",
                    f"ask for one of {', '.join(visible)}" if visible else "leave the dataset out",
                    private=dataset.foreign,
                    boundary=dataset.foreign,
                )
            elif identifiers.get(known[column]) == "Drop":
                yield breach(
                    path,
                    f"the column {column} is of class {known[column]}, which identifies people directly",
                    "leave the column out",
                    private=dataset.foreign,
                )
        promised = dataset.asked.units_at_least
        if promised is not None and promised > dataset.spec.subjects.at_least:
            yield breach(
                f"{dataset.path}.unitsAtLeast",
                f"{promised} is more than the {dataset.spec.subjects.at_least} persons that {dataset.ref} is known to "
                "hold at least",
                f"set unitsAtLeast to {dataset.spec.subjects.at_least} or less",
                private=dataset.foreign,
            )


RULE = Rule(
    id="minimisation",
    family="data",
    action=Action.DENY,
    reason="A job gets the columns its purpose needs and was granted, and no more.",
    citations=("GDPR 5(1)(c)", "GDPR 25", "HIPAA 164.502(b)", "PIPL 51"),
    remedy="ask for fewer columns",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
