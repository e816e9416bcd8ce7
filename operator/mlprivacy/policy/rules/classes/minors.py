"""minors: data about children needs a record of verifiable consent, and no profile is made from it.

Switched on by a pack or a policy. Fideslang (3.1) has the data category ``user.childrens`` and no data subject for
children, so a subject kind such as ``child`` is this product's own word (parameter ``childSubjects``).
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case, UsedDataset
from mlprivacy.policy.matching import covered_by_any, covers
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach

CHILDREN = "user.childrens"  # Fideslang: data relating to children


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Where children are among the subjects: verifiable consent is on record, and the purpose is no profiling."""
    of_children = {c.name for c in case.classes if any(covers(CHILDREN, category) for category in c.spec.categories)}
    concerned = False
    for dataset in case.datasets:
        if not _about_children(case, dataset, of_children):
            continue
        concerned = True
        children = dataset.spec.subjects.children
        if children is None or children.verifiable_consent is None:
            yield breach(
                f"{dataset.path}.name",
                f"the dataset {dataset.ref} is about children, and no record of verifiable consent is named",
                "ask its data owner to set spec.subjects.children.verifiableConsent of the Dataset, or leave it out",
                private=dataset.foreign,
            )
    if case.kind == "InferenceJob":
        children = case.inference.children
        concerned = children is not None or bool(of_children)
        if concerned and (children is None or children.verifiable_consent is None):
            yield breach(
                "spec.children",
                "children are among those whom the model serves, and no record of verifiable consent is named",
                "set spec.children.verifiableConsent to the address of that record, or leave the children's data out",
            )
    if not concerned:
        return
    # A purpose that is wider than profiling, such as marketing, would allow the profiling below it.
    found = [p for p in case.words("minors", "profilingPurposes") if covers(p, case.purpose) or covers(case.purpose, p)]
    if found:
        yield breach(
            "spec.purpose",
            f"the purpose {case.purpose} is profiling, or wide enough to allow it ({found[0]}), and the data is about "
            "children",
            "choose a purpose that is no profiling, or leave the children's data out",
        )


def _about_children(case: Case, dataset: UsedDataset, of_children: set[str]) -> bool:
    """The dataset says so, its kind of subject does, or a column asked for is of a class of children's data."""
    known = dataset.column_classes()
    return (
        dataset.spec.subjects.children is not None
        or covered_by_any(case.words("minors", "childSubjects"), dataset.spec.subjects.kind)
        or any(known.get(column) in of_children for column in dataset.asked.columns)
    )


RULE = Rule(
    id="minors",
    family="classes",
    action=Action.DENY,
    reason="Children can not consent for themselves, and nobody makes profiles of them.",
    citations=("DPDP 9", "DPDP r.10", "GDPR 8", "PIPL 31"),
    remedy="name the record of verifiable consent, or leave the children's data out",
    check=check,
    parameters=(
        Parameter(
            "profilingPurposes",
            "list",
            (
                "personalize",
                "marketing.advertising.profiling",
                "marketing.advertising.first_party.targeted",
                "marketing.advertising.third_party.targeted",
            ),
            "Fideslang uses that are profiling, each with everything below it; no job on children's data has one.",
            "union",
        ),
        Parameter(
            "childSubjects",
            "list",
            ("child", "children", "minor"),
            "kinds of data subjects that are children; Fideslang has none, so these are names of this product.",
            "union",
        ),
    ),
    baseline=False,
)
