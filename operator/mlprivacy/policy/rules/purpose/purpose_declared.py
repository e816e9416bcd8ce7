"""purpose-declared: data is used only where its owner declared a purpose and a legal basis for this processing."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.base import Sensitivity
from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Training: the dataset lists a use for training. Inference: the job names a consent scope or a legal basis."""
    for dataset in case.datasets:
        if not any(use.processing == case.processing for use in dataset.spec.uses):
            yield breach(
                f"{dataset.path}.name",
                f"the dataset {dataset.ref} declares no lawful use for {case.processing.lower()}",
                f"ask its data owner to add an entry to spec.uses with processing {case.processing} and a legalBasis, "
                "or leave the dataset out",
                private=dataset.foreign,
            )
    if case.kind == "InferenceJob":
        personal = [c.name for c in case.classes if c.spec.sensitivity is not Sensitivity.PUBLIC]
        if personal and case.inference.consent_scope is None and case.inference.legal_basis is None:
            yield breach(
                "spec.legalBasis",
                f"clients send {', '.join(personal)}, and neither a consent scope nor a legal basis is named",
                "set spec.consentScope, or spec.legalBasis to a DPV key such as eu-gdpr:A6-1-b",
            )


RULE = Rule(
    id="purpose-declared",
    family="purpose",
    action=Action.DENY,
    reason="Personal data needs a declared purpose and legal basis for this processing.",
    citations=("GDPR 5(1)(b)", "GDPR 6(1)", "LGPD 7", "PIPL 13"),
    remedy="declare the use on the Dataset, or leave the dataset out",
    check=check,
)
