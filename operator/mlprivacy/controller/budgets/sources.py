"""The datasets that a ledger registers: identity and normalised source, as the Datasets say them now."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.budget.ledger.identity import normalise
from mlprivacy.budget.ledger.transitions import Register
from mlprivacy.kube.facts import FactStore
from mlprivacy.policy.charge import Charge

logger = logging.getLogger(__name__)


class Registrations:
    """Looks datasets up among the facts."""

    def __init__(self, facts: FactStore) -> None:
        self._facts = facts

    def of_charge(self, charge: Charge) -> tuple[Register, ...]:
        """What the ledger registers with the first use of these datasets."""
        found = []
        for place in charge.datasets:
            namespace, _, name = place.partition("/")
            parsed = self._facts.parsed("Dataset", namespace, name)
            if parsed is not None and parsed.spec is not None:
                found.append(_register(parsed.spec, namespace))
        return tuple(found)

    def units(self, identities: Iterable[str]) -> Iterator[int]:
        """The public lower bounds on the units of the datasets with these identities."""
        wanted = set(identities)
        for namespace, name in self._facts.informers["Dataset"].keys(None):
            parsed = self._facts.parsed("Dataset", namespace or "", name)
            if parsed is not None and parsed.spec is not None and parsed.spec.identity in wanted:
                yield parsed.spec.subjects.at_least

    def of_identities(self, identities: Iterable[str]) -> Iterator[Register]:
        """Each identity, and every source that a Dataset has under it now."""
        wanted = set(identities)
        yield from (Register(identity) for identity in sorted(wanted))
        for namespace, name in sorted(self._facts.informers["Dataset"].keys(None)):
            parsed = self._facts.parsed("Dataset", namespace or "", name)
            if parsed is not None and parsed.spec is not None and parsed.spec.identity in wanted:
                yield _register(parsed.spec, namespace or "")


def _register(spec: DatasetSpec, namespace: str) -> Register:
    try:
        return Register(spec.identity, str(normalise(spec.source.uri, namespace)))
    except ValueError as error:
        logger.warning("the source of %s is not registered: %s", spec.identity, error)
        return Register(spec.identity)
