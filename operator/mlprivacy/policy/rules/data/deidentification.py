"""deidentification: health data is trained on without the 18 safe-harbour identifiers, or under an expert's word.

For the pack us-hipaa. The identifiers are those of 45 CFR 164.514(b)(2)(i). A class shows an identifier by its
Fideslang category, and Fideslang (3.1) has no key for some of them (``WITHOUT_A_KEY``): whether those are absent only
the data owner can say, by ``deidentification.method: SafeHarbor`` on the Dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.policy.case import Case, UsedDataset
from mlprivacy.policy.durations import end_at
from mlprivacy.policy.matching import covered_by_any, covers
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, owed

HEALTH = "user.health_and_medical"

# (A) to (R) are the paragraphs of 164.514(b)(2)(i).
IDENTIFIERS: Mapping[str, tuple[str, ...]] = {
    "A names": ("user.name",),
    "B places smaller than a State": (
        "user.contact.address.street",
        "user.contact.address.city",
        "user.contact.address.postal_code",
        "user.location",
    ),
    "C dates": ("user.demographic.date_of_birth",),
    "D telephone numbers": ("user.contact.phone_number",),
    "E fax numbers": ("user.contact.fax_number",),
    "F electronic mail addresses": ("user.contact.email",),
    "G social security numbers": ("user.government_id.national_identification_number",),
    "H medical record numbers": ("user.health_and_medical.record_id",),
    "I health plan beneficiary numbers": ("user.health_and_medical.insurance_beneficiary_id",),
    "J account numbers": ("user.financial.bank_account", "user.financial.credit_card", "user.account.username"),
    "K certificate and license numbers": (
        "user.government_id.drivers_license_number",
        "user.government_id.birth_certificate",
        "user.government_id.passport_number",
        "user.government_id.immigration",
    ),
    "L vehicle identifiers": ("user.government_id.vehicle_registration",),
    "M device identifiers": ("user.device.device_id", "user.device.cookie_id"),
    "N URLs": ("user.contact.url",),
    "O IP addresses": ("user.device.ip_address",),
    "P biometric identifiers": ("user.biometric", "user.authorization.biometric"),
    "Q full face photographs": ("user.content.self_image",),
    "R any other unique number or code": ("user.unique_id",),
}
WITHOUT_A_KEY = (
    "counties and precincts (B)",
    "dates other than that of birth, and ages over 89 (C)",
    "certificate and license numbers that no State gave (K)",
    "serial numbers of vehicles and devices (L, M)",
    "any other unique number, characteristic or code (R)",
)


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Of each dataset with health data: no identifier is asked for, and the owner says how the rest was removed."""
    classes = {c.name: c.spec for c in case.classes}
    health = {name for name, spec in classes.items() if _is_health(spec)}
    for dataset in case.datasets:
        known = dataset.column_classes()
        if any(known.get(column) in health for column in dataset.asked.columns):
            yield from _dataset(case, dataset, classes)


def _is_health(spec: DataClassSpec) -> bool:
    return spec.special_category or any(covers(HEALTH, category) for category in spec.categories)


def _dataset(case: Case, dataset: UsedDataset, classes: Mapping[str, DataClassSpec]) -> Iterator[Raised]:
    said = dataset.spec.deidentification
    ends = end_at(said.expires_at) if said is not None and said.expires_at is not None else None
    if said is not None and ends is not None:
        if ends <= case.facts.now:
            yield breach(
                f"{dataset.path}.name",
                f"the de-identification of {dataset.ref} ({said.method}) was to be relied on until {said.expires_at}, "
                "and that moment is past",
                "ask its data owner for a new determination, with its reference and expiresAt in spec.deidentification "
                "of the Dataset, or leave it out",
                private=dataset.foreign,
            )
            return
        case.expires(ends)
    if said is not None and said.method == "ExpertDetermination":
        return
    identifiers = case.words("deidentification", "identifiers")
    known = dataset.column_classes()
    asked = [c for c in dataset.asked.columns if c in known and known[c] in classes and dataset.granted(c)]
    found = [c for c in asked if _identifies(classes[known[c]].categories, identifiers)]
    if found:
        yield breach(
            f"{dataset.path}.columns",
            f"{', '.join(found)} of {dataset.ref} hold identifiers that safe harbour has removed",
            "leave these columns out, or ask the data owner to set spec.deidentification of the Dataset to method "
            "ExpertDetermination and reference, the https address of the determination",
            private=dataset.foreign,
        )
    elif said is None:
        wide = [c for c in asked if _too_wide(classes[known[c]].categories, identifiers)]
        also = f"; the classes of {', '.join(wide)} are too wide to tell" if wide else ""
        yield owed(
            f"{dataset.path}.columns",
            f"no column asked for of {dataset.ref} is known to hold an identifier, but no class can show "
            f"{', '.join(WITHOUT_A_KEY)}{also}",
            "ask the data owner to set spec.deidentification of the Dataset: method SafeHarbor when these are removed, "
            "too, or method ExpertDetermination and reference, the https address of the determination",
            private=dataset.foreign,
        )


@lru_cache(maxsize=512)
def _identifies(categories: tuple[str, ...], identifiers: tuple[str, ...]) -> bool:
    return any(covered_by_any(identifiers, category) for category in categories)


@lru_cache(maxsize=512)
def _too_wide(categories: tuple[str, ...], identifiers: tuple[str, ...]) -> bool:
    """A category above an identifier, such as user.contact, does not say whether it is there."""
    return any(covers(category, item) for category in categories if category != HEALTH for item in identifiers)


RULE = Rule(
    id="deidentification",
    family="data",
    action=Action.DENY,
    reason="Health data is used without what tells whose it is.",
    citations=("HIPAA 164.514(b)",),
    remedy="leave the identifiers out, or have an expert determine that the risk is very small",
    check=check,
    parameters=(
        Parameter(
            "identifiers",
            "list",
            tuple(key for keys in IDENTIFIERS.values() for key in keys),
            "Fideslang categories that are one of the 18 safe-harbour identifiers, each with everything below it.",
            "union",
        ),
    ),
    applies_to=frozenset({"TrainingJob"}),
    baseline=False,
)
