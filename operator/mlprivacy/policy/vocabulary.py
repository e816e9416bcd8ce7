"""Keys that no vocabulary has: told with the key that is spelt most alike, and never refused. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from mlprivacy.api.base import FieldError
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.dataset_grant import DatasetGrantSpec
from mlprivacy.policy import taxonomy
from mlprivacy.policy.taxonomy import CALLED, Vocabulary

GDPR: Final = "eu-gdpr:"  # the only vocabulary of legal references whose terms are known here


def vocabulary_warnings(spec: Any) -> tuple[FieldError, ...]:
    """What stands in a spec and in no vocabulary. A key below a known one is the user's own, and known."""
    return tuple(found for found in _warnings(spec) if found is not None)


def _warnings(spec: Any) -> Iterator[FieldError | None]:
    match spec:
        case DataClassSpec():
            yield from _each("spec.categories", "dataCategories", spec.categories)
        case DatasetSpec():
            yield _look("spec.subjects.kind", "dataSubjects", spec.subjects.kind)
            for index, use in enumerate(spec.uses):
                yield _look(f"spec.uses[{index}].purpose", "dataUses", use.purpose)
                yield _law(f"spec.uses[{index}].legalBasis", use.legal_basis)
                yield _law(f"spec.uses[{index}].condition", use.condition)
        case ConsentScopeSpec():
            yield from _each("spec.purposes", "dataUses", spec.purposes)
        case DatasetGrantSpec():
            for index, to in enumerate(spec.to):
                yield from _each(f"spec.to[{index}].purposes", "dataUses", to.purposes)


def _each(path: str, vocabulary: Vocabulary, keys: Iterable[str]) -> Iterator[FieldError | None]:
    return (_look(f"{path}[{index}]", vocabulary, key) for index, key in enumerate(keys))


def _look(path: str, vocabulary: Vocabulary, key: str) -> FieldError | None:
    term = taxonomy.term_of(vocabulary, key)
    if term is None or taxonomy.misspelt(vocabulary, key):
        near = taxonomy.nearest(vocabulary, key)
        meant = f"did you mean {near}? It" if near else "it"
        return FieldError(path, f"{key} is no {CALLED[vocabulary]} of Fideslang; {meant} counts as a key of your own")
    if term.deprecated:
        instead = f"; write {term.replaced_by}" if term.replaced_by else ""
        return FieldError(path, f"{term.key} is deprecated in Fideslang since {term.deprecated}{instead}")
    return None


def _law(path: str, reference: str | None) -> FieldError | None:
    if reference is None or not reference.startswith(GDPR) or taxonomy.legal_iri(reference) is not None:
        return None
    near = taxonomy.nearest_legal(reference)
    meant = f"; did you mean {near}?" if near else ""
    return FieldError(path, f"{reference} is no term of DPV {taxonomy.source('dpv')['version']}{meant}")
