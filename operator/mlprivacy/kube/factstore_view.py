"""One look at the facts for one job: answers from the copies, notes what they do not hold, learns what was read."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast

from mlprivacy.api.base import Parsed
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.dataset_grant import DatasetGrantSpec
from mlprivacy.api.policy_exception import PolicyExceptionSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.charge import Registered
from mlprivacy.policy.fabric.asks import Asks
from mlprivacy.policy.fabric.objects import Fabric, select
from mlprivacy.policy.facts import Claim
from mlprivacy.policy.gather import claim_fact, granted_datasets
from mlprivacy.policy.packs import Shelf

Key = tuple[str, str, str]
"""(kind, namespace, name); the namespace is empty for cluster-scoped objects."""

Absent: Final = object()
"""Read, and not there or not readable."""


class Copies(Protocol):
    """What a view needs of a store of facts."""

    def labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace."""

    def parsed(self, kind: str, namespace: str, name: str) -> Parsed[Any] | None:
        """An object of ours."""

    def grants(self, namespace: str) -> tuple[Parsed[Any], ...]:
        """All DatasetGrants of a namespace."""

    def grants_to(self, namespace: str) -> Sequence[Parsed[Any]]:
        """The DatasetGrants that name this namespace."""

    def policies(self) -> tuple[Parsed[Any], ...]:
        """All PrivacyPolicies."""

    def budgets(self) -> Sequence[Parsed[PrivacyBudgetSpec]]:
        """All PrivacyBudgets, by name."""

    def registrations(self) -> Sequence[Registered]:
        """The datasets that the ledgers hold."""

    def exceptions(self, kind: str, namespace: str, name: str) -> Sequence[Parsed[Any]]:
        """The PolicyExceptions that name this very job."""

    def packs(self) -> Shelf:
        """The packs there are."""

    @property
    def audit_retention_days(self) -> int | None:
        """What the installation promises of its audit log."""

    def attestations(self) -> Mapping[str, str] | None:
        """The register of people's training."""

    def fabric(self, kind: str) -> Sequence[Mapping[str, Any]] | None:
        """All objects of one kind that decides over RDMA devices and further networks."""

    def dataset_names(self, namespace: str) -> Sequence[str]:
        """Names of the Datasets of a namespace."""


class View:
    """A `policy.gather.Lookup` over the copies. `misses` are the names to read before it is asked again."""

    def __init__(self, copies: Copies, asker: str) -> None:
        """`asker` is the namespace of the job."""
        self._copies, self._asker = copies, asker
        self._learned: dict[Key, Any] = {}
        self.misses: tuple[Key, ...] = ()

    def learn(self, found: Mapping[Key, Any]) -> None:
        """Take in what was read (parsed objects, raw ones of other groups, or Absent), and begin anew."""
        self._learned.update(found)
        self.misses = ()

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace."""
        labels = self._copies.labels(name)
        if labels is None:
            raw = self._miss(("Namespace", "", name))
            labels = None if raw is None else raw["metadata"].get("labels") or {}
        return labels

    def data_class(self, name: str) -> Parsed[DataClassSpec] | None:
        """A DataClass."""
        return cast("Parsed[DataClassSpec] | None", self._ours("DataClass", "", name))

    def dataset(self, namespace: str, name: str) -> Parsed[DatasetSpec] | None:
        """A Dataset."""
        return cast("Parsed[DatasetSpec] | None", self._ours("Dataset", namespace, name))

    def grants(self, namespace: str) -> Sequence[Parsed[DatasetGrantSpec]]:
        """All DatasetGrants of a namespace; where none names the job's, one made a moment ago may not have arrived."""
        known = self._copies.grants(namespace)
        if any(g.spec is None or any(f.namespace == self._asker for f in g.spec.from_) for g in known):
            return known
        return self._miss(("DatasetGrant", namespace, self._asker)) or known

    def consent_scope(self, namespace: str, name: str) -> Parsed[ConsentScopeSpec] | None:
        """A ConsentScope."""
        return cast("Parsed[ConsentScopeSpec] | None", self._ours("ConsentScope", namespace, name))

    def policies(self) -> Sequence[Parsed[PrivacyPolicySpec]]:
        """All PrivacyPolicies."""
        return self._copies.policies()

    def budgets(self) -> Sequence[Parsed[PrivacyBudgetSpec]]:
        """All PrivacyBudgets, by name."""
        return self._copies.budgets()

    def registrations(self) -> Sequence[Registered]:
        """The datasets that the ledgers hold."""
        return self._copies.registrations()

    def exceptions(self, kind: str, namespace: str, name: str) -> Sequence[Parsed[PolicyExceptionSpec]]:
        """The PolicyExceptions that name this very job; one made a moment ago may not have arrived, and refuses."""
        return self._copies.exceptions(kind, namespace, name)

    def packs(self) -> Shelf:
        """The packs there are."""
        return self._copies.packs()

    def claim(self, namespace: str, name: str) -> Claim | None:
        """A PersistentVolumeClaim; always read, never cached."""
        raw = self._miss(("PersistentVolumeClaim", namespace, name))
        return None if raw is None else claim_fact(raw)

    def fabric(self, asks: Asks, namespace: str) -> Fabric:
        """What the copies hold of the devices and further networks that a job asks for."""
        return select(asks, namespace, self._copies.fabric)

    def audit_retention_days(self) -> int | None:
        """What the installation promises of its audit log."""
        return self._copies.audit_retention_days

    def attestations(self) -> Mapping[str, str] | None:
        """The register of people's training."""
        return self._copies.attestations()

    def visible_datasets(self, namespace: str, kind: str) -> Sequence[str]:
        """The Datasets of this namespace, and those granted to it."""
        own = (f"{namespace}/{name}" for name in self._copies.dataset_names(namespace))
        return sorted({*own, *granted_datasets(self._copies.grants_to(namespace), namespace, kind)})

    def _ours(self, kind: str, namespace: str, name: str) -> Any:
        known = self._copies.parsed(kind, namespace, name)
        return known if known is not None else self._miss((kind, namespace, name))

    def _miss(self, key: Key) -> Any:
        if key in self._learned:
            found = self._learned[key]
            return None if found is Absent else found
        if key not in self.misses:
            self.misses = (*self.misses, key)
        return None
