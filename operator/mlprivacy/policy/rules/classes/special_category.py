"""special-category: data of special category needs a further condition, and an assurance the policy sets."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.base import Assurance
from mlprivacy.policy import assurance
from mlprivacy.policy.case import Case, ClassUse
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Each special class has a condition on the use that covers the job, and the job reaches the minimum."""
    special = tuple(case.special_classes())
    if not special:
        return
    yield from _conditions(case, special)
    minimum = Assurance(case.text("special-category", "minimumAssurance"))
    reached = assurance.achieved(case.processing, case.facts.capabilities)
    if reached.rank < minimum.rank:
        yield breach(
            special[0].path,
            f"{', '.join(c.name for c in special)} is of special category and needs assurance {minimum}, and this job "
            f"reaches {reached}",
            "leave these data out, or ask the privacy office to set special-category.minimumAssurance of the policy "
            f"to {reached}",
        )


def _conditions(case: Case, special: tuple[ClassUse, ...]) -> Iterator[Raised]:
    if case.kind == "InferenceJob":
        if case.inference.consent_scope is None and case.inference.condition is None:
            yield breach(
                "spec.condition",
                f"{', '.join(c.name for c in special)} is of special category, and no further condition is named",
                "set spec.condition to a DPV key such as eu-gdpr:A9-2-h, or spec.consentScope",
            )
        return
    names = {c.name for c in special}
    for dataset in case.datasets:
        known = dataset.column_classes()
        touched = sorted({known[c] for c in dataset.asked.columns if c in known} & names)
        uses = dataset.lawful_uses(case.purpose, case.processing)
        if touched and uses and all(use.condition is None for use in uses):
            yield breach(
                f"{dataset.path}.columns",
                f"{', '.join(touched)} in {dataset.ref} is of special category, and its use states no condition",
                "ask the data owner to set condition in spec.uses of the Dataset, such as eu-gdpr:A9-2-a, or leave "
                "the columns out",
                private=dataset.foreign,
            )


RULE = Rule(
    id="special-category",
    family="classes",
    action=Action.DENY,
    reason="Health, beliefs and the like may be used only under a further condition, and more carefully.",
    citations=("GDPR 9", "PIPL 28-29", "LGPD 11", "CPRA"),
    remedy="state the condition, or leave the data out",
    check=check,
    parameters=(
        Parameter(
            "minimumAssurance",
            "choice",
            "Gated",
            "the weakest assurance a job on data of special category may have.",
            "last",
            choices=tuple(a.value for a in Assurance),
        ),
    ),
)
