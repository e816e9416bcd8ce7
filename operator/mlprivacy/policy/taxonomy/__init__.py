"""The words that objects use for data, purposes, people and law: Fideslang's keys, and the IRIs of W3C's DPV.

The data files beside this one are made by ``python -m taxonomy``. Fideslang's keys: Ethyca, Inc., CC-BY-4.0
(https://creativecommons.org/licenses/by/4.0/); the files say where they are from and what was left out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, Literal

Vocabulary = Literal["dataCategories", "dataUses", "dataSubjects"]

CALLED: Final[Mapping[Vocabulary, str]] = {
    "dataCategories": "data category",
    "dataUses": "data use",
    "dataSubjects": "data subject",
}

ALIKE: Final = 0.7  # of 1, how like another a key must be to be offered


@dataclass(frozen=True)
class Term:
    """One key of Fideslang. ``replaced_by`` is what it says of a deprecated one."""

    key: str
    name: str
    parent: str | None = None
    replaced_by: str | None = None
    deprecated: str | None = None


@cache
def _read(name: str) -> Any:
    return json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def source(name: Literal["fideslang", "dpv"]) -> Mapping[str, str]:
    """Where a vocabulary is from, who made it, and under which licence."""
    found: Mapping[str, str] = _read(f"{name}.json")["source"]
    return found


@cache
def terms(vocabulary: Vocabulary) -> Mapping[str, Term]:
    """Every term by its key."""
    return {
        key: Term(key, entry["name"], entry.get("parent"), entry.get("replacedBy"), entry.get("deprecated"))
        for key, entry in _read("fideslang.json")[vocabulary].items()
    }


def term_of(vocabulary: Vocabulary, key: str) -> Term | None:
    """The term that ``key`` is, or lies below: a key of one's own below a term is as well known as the term.

    ``user`` and ``system`` are no such terms: every data category lies below one of them, a misspelt one, too.
    """
    known = terms(vocabulary)
    if key in known:
        return known[key]
    above = key.rpartition(".")[0]
    while above and above not in known:
        above = above.rpartition(".")[0]
    return known.get(above) if above and (vocabulary != "dataCategories" or "." in above) else None


def misspelt(vocabulary: Vocabulary, key: str) -> str | None:
    """The key beside this one that it is most likely meant to be, for a key that no vocabulary has; else None."""
    if key in terms(vocabulary):
        return None
    near = nearest(vocabulary, key)
    return near if near is not None and near.rpartition(".")[0] == key.rpartition(".")[0] else None


@lru_cache(maxsize=1024)
def nearest(vocabulary: Vocabulary, key: str) -> str | None:
    """The key that is spelt most like this one, or None when none is spelt alike.

    Of keys below the same parent the last parts are compared, and each word of them: ``user.helth`` is meant to be
    ``user.health_and_medical``. Of others the whole keys are.
    """
    key = key[:128]
    parent, _, last = key.rpartition(".")
    beside: dict[str, float] = {}
    others: dict[str, float] = {}
    for candidate in terms(vocabulary):
        above, _, name = candidate.rpartition(".")
        if above == parent:
            beside[candidate] = max(_alike(last, part) for part in (name, *name.split("_")))
        else:
            others[candidate] = _alike(key, candidate)
    for found in (beside, others):
        best = max(found, key=lambda k: found[k], default=None)
        if best is not None and found[best] >= ALIKE:
            return best
    return None


def _alike(one: str, two: str) -> float:
    return difflib.SequenceMatcher(None, one, two, autojunk=False).ratio()


def legal_iri(reference: str) -> str | None:
    """DPV's IRI of a legal basis, a condition or a transfer mechanism such as ``eu-gdpr:A6-1-a``; None if unknown."""
    document = _read("dpv.json")
    for kind in ("legalBases", "conditions", "transfers"):
        found: str | None = document[kind].get(reference)
        if found is not None:
            return found
    return None


def consent_iri(status: str) -> str | None:
    """DPV's IRI of a state of consent such as ``ConsentGiven``; None if unknown."""
    found: str | None = _read("dpv.json")["consentStatus"].get(status)
    return found


def nearest_legal(reference: str) -> str | None:
    """The legal reference that is spelt most like this one."""
    document = _read("dpv.json")
    known = [key for kind in ("legalBases", "conditions", "transfers") for key in document[kind]]
    return next(iter(difflib.get_close_matches(reference[:64], known, n=1, cutoff=0.6)), None)
