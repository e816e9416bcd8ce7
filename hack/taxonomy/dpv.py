"""Terms of W3C's Data Privacy Vocabulary that rules and evidence name, as its release 2.2 has them.

Read in the repository w3c/dpv at ``COMMIT``: legal_basis.csv, legal_basis_special.csv and legal_basis_data_transfer.csv
of 2.2/legal/eu/gdpr/modules, and consent_status.csv of 2.2/dpv/modules, columns term and iri.
"""

from __future__ import annotations

from typing import Any, Final

VERSION: Final = "2.2"
COMMIT: Final = "996cbd91b2cc3b25c25ae51d3aa837bbcdeb951a"
GDPR: Final = "https://w3id.org/dpv/legal/eu/gdpr#"
CORE: Final = "https://w3id.org/dpv#"

LEGAL_BASES: Final = (
    *("A6-1-a", "A6-1-a-explicit-consent", "A6-1-a-non-explicit-consent"),
    *("A6-1-b", "A6-1-b-contract-performance", "A6-1-b-enter-into-contract"),
    "A6-1-c",
    *("A6-1-d", "A6-1-d-data-subject", "A6-1-d-natural-person"),
    *("A6-1-e", "A6-1-e-official-authority", "A6-1-e-public-interest"),
    *("A6-1-f", "A6-1-f-controller", "A6-1-f-third-party"),
)
CONDITIONS: Final = tuple(f"A9-2-{letter}" for letter in "abcdefghij")
TRANSFERS: Final = (
    "A45-3",
    *(f"A46-2-{letter}" for letter in "abcdef"),
    *("A46-3-a", "A46-3-b"),
    *(f"A49-1-{letter}" for letter in "abcdefg"),
    "A49-2",
)
# What the rule residency calls a transfer mechanism and DPV does not have as a term of its own.
NOT_FOUND: Final = ("A45", "A46", "A49")
CONSENT_STATUS: Final = (
    *("ConsentExpired", "ConsentGiven", "ConsentInvalidated", "ConsentRefused", "ConsentRequestDeferred"),
    *("ConsentRequested", "ConsentRevoked", "ConsentUnknown", "ConsentWithdrawn", "RenewedConsentGiven"),
)


def document() -> dict[str, Any]:
    """The data file."""
    return {
        "source": {
            "title": "Data Privacy Vocabulary (DPV), extension EU-GDPR",
            "version": VERSION,
            "publisher": "W3C Data Privacy Vocabularies and Controls Community Group",
            "url": "https://w3id.org/dpv",
            "commit": COMMIT,
            "note": "Only identifiers are taken. What stands under unverified was looked for and not found.",
        },
        "legalBases": {f"eu-gdpr:{term}": GDPR + term for term in LEGAL_BASES},
        "conditions": {f"eu-gdpr:{term}": GDPR + term for term in CONDITIONS},
        "transfers": {f"eu-gdpr:{term}": GDPR + term for term in TRANSFERS},
        "consentStatus": {term: CORE + term for term in CONSENT_STATUS},
        "unverified": [f"eu-gdpr:{term}" for term in NOT_FOUND],
    }
