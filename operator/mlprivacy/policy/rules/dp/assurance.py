"""assurance: the privacy claim can be believed as far as the data demands."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy import assurance
from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The assurance that the controls in force achieve is at least that of every class and of the requester."""
    reached = assurance.achieved(case.processing, case.facts.capabilities)
    training = case.processing == "Training"
    demands = [
        (
            item.path,
            f"the data class {item.name} demands",
            item.spec.minimum_assurance.training if training else item.spec.minimum_assurance.inference,
            f"leave the data out, or ask the privacy office whether {item.name} may demand less",
        )
        for item in case.classes
    ]
    demands.append(
        ("spec.assurance", "the job asks for", case.spec.assurance, f"set spec.assurance to {reached.value}")
    )
    for path, who, wanted, remedy in demands:
        if wanted.rank > reached.rank:
            lacking = ", ".join(assurance.lacking(case.processing, wanted, case.facts.capabilities))
            yield breach(
                path,
                f"{who} assurance {wanted.value}, and this job reaches {reached.value}; not in force here: {lacking}",
                remedy,
            )


RULE = Rule(
    id="assurance",
    family="dp",
    action=Action.DENY,
    reason="A promise that nobody can check is worth what its author's word is worth.",
    citations=("GDPR 25", "GDPR 32"),
    remedy="run the job with the controls that the data demands",
    check=check,
)
