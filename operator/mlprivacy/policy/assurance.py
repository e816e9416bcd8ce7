"""How far a privacy claim can be believed, computed from the parts that are really in force."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from mlprivacy.api.base import Assurance
from mlprivacy.policy.facts import Capability

_NEEDS: dict[str, dict[Assurance, frozenset[Capability]]] = {
    "Training": {
        Assurance.INSTRUMENTED: frozenset({Capability.ACCOUNTANT, Capability.TRAINER_HOOK}),
        Assurance.GATED: frozenset({Capability.SEALED_EGRESS, Capability.DATA_GATE, Capability.RELEASE_GATE}),
        Assurance.BY_CONSTRUCTION: frozenset({Capability.FEDERATED}),
        Assurance.ATTESTED: frozenset({Capability.ATTESTATION}),
    },
    "Inference": {
        Assurance.INSTRUMENTED: frozenset({Capability.GATEWAY_PROXY}),
        Assurance.GATED: frozenset({Capability.SEALED_EGRESS, Capability.RELEASE_GATE}),
        Assurance.BY_CONSTRUCTION: frozenset({Capability.FEDERATED}),
        Assurance.ATTESTED: frozenset({Capability.ATTESTATION}),
    },
}


@lru_cache(maxsize=64)
def achieved(processing: str, capabilities: frozenset[Capability]) -> Assurance:
    """The highest level whose needs, and those of every level below it, are all in force."""
    level = Assurance.DECLARED
    for candidate in Assurance:
        if candidate is Assurance.DECLARED:
            continue
        if not _NEEDS[processing][candidate] <= capabilities:
            break
        level = candidate
    return level


def strongest(levels: Iterable[Assurance]) -> Assurance:
    """The strongest of several demands; Declared when there is none."""
    return max(levels, key=lambda a: a.rank, default=Assurance.DECLARED)


def lacking(processing: str, wanted: Assurance, capabilities: frozenset[Capability]) -> tuple[str, ...]:
    """The parts that are not in force and that ``wanted`` needs, by name."""
    needs: set[Capability] = set()
    for level in Assurance:
        if Assurance.DECLARED.rank < level.rank <= wanted.rank:
            needs |= _NEEDS[processing][level]
    return tuple(sorted(c.value for c in needs - capabilities))
