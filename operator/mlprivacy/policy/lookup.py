"""A lookup over raw objects held in memory: files for the CLI, dicts in tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.dataset_grant import DatasetGrantSpec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.policy_exception import PolicyExceptionSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.budget.ledger.registrations import plain, reduced, registrations_of
from mlprivacy.policy.charge import Registered
from mlprivacy.policy.exceptions import is_for
from mlprivacy.policy.fabric.asks import Asks
from mlprivacy.policy.fabric.objects import CLUSTER_SCOPED as FABRIC_CLUSTER_SCOPED
from mlprivacy.policy.fabric.objects import Fabric, select
from mlprivacy.policy.facts import Claim
from mlprivacy.policy.gather import claim_fact, granted_datasets
from mlprivacy.policy.pack_check import is_pack, shelf_of
from mlprivacy.policy.packs import Shelf
from mlprivacy.policy.people import attestations_of, is_register

CLUSTER_SCOPED = (
    frozenset({"Namespace", "DataClass", "LedgerEntry", "PolicyException", "PrivacyBudget", "PrivacyPolicy"})
    | FABRIC_CLUSTER_SCOPED
)


class ObjectLookup:
    """Looks objects up among ``objects``: ours, Namespaces and PersistentVolumeClaims; others are ignored.

    A namespaced object without metadata.namespace counts to ``default_namespace``. Of two objects with the same kind,
    namespace and name the last one counts. ``apiVersion`` is not looked at.
    """

    def __init__(
        self,
        objects: Iterable[Mapping[str, Any]],
        *,
        default_namespace: str = "default",
        operator_namespace: str = "mlprivacy-system",
        audit_retention_days: int | None = None,
        complete: Collection[str] = (),
    ) -> None:
        """`complete` are kinds of which these are all objects: of others none among them means *not known*."""
        self._complete = frozenset(complete)
        self._operator_namespace = operator_namespace
        self._audit_retention_days = audit_retention_days
        self._attestations: tuple[Mapping[str, str] | None] | None = None
        self._raw: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._parsed: dict[tuple[str, str, str], Parsed[Any]] = {}
        self._shelf: Shelf | None = None
        self._budgets: tuple[Parsed[PrivacyBudgetSpec], ...] | None = None
        self._registered: tuple[Registered, ...] | None = None
        for obj in objects:
            metadata = obj.get("metadata")
            meta = metadata if isinstance(metadata, Mapping) else {}
            kind, name = str(obj.get("kind") or ""), str(meta.get("name") or "")
            namespace = "" if kind in CLUSTER_SCOPED else str(meta.get("namespace") or default_namespace)
            if namespace and meta.get("namespace") != namespace:
                obj = {**obj, "metadata": {**meta, "namespace": namespace}}  # noqa: PLW2901 - the same object, placed
            self._raw[(kind, namespace, name)] = obj

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace, with the one that the API server adds; None when it is not among the objects."""
        raw = self._raw.get(("Namespace", "", name))
        if raw is None:
            return None
        metadata = raw.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
        return {**(labels if isinstance(labels, Mapping) else {}), "kubernetes.io/metadata.name": name}

    def data_class(self, name: str) -> Parsed[DataClassSpec] | None:
        """A DataClass, or None."""
        return cast("Parsed[DataClassSpec] | None", self._get("DataClass", "", name))

    def dataset(self, namespace: str, name: str) -> Parsed[DatasetSpec] | None:
        """A Dataset, or None."""
        return cast("Parsed[DatasetSpec] | None", self._get("Dataset", namespace, name))

    def grants(self, namespace: str) -> Sequence[Parsed[DatasetGrantSpec]]:
        """All DatasetGrants of a namespace."""
        return cast("Sequence[Parsed[DatasetGrantSpec]]", self._all("DatasetGrant", namespace))

    def consent_scope(self, namespace: str, name: str) -> Parsed[ConsentScopeSpec] | None:
        """A ConsentScope, or None."""
        return cast("Parsed[ConsentScopeSpec] | None", self._get("ConsentScope", namespace, name))

    def policies(self) -> Sequence[Parsed[PrivacyPolicySpec]]:
        """All PrivacyPolicies."""
        return cast("Sequence[Parsed[PrivacyPolicySpec]]", self._all("PrivacyPolicy", ""))

    def budgets(self) -> tuple[Parsed[PrivacyBudgetSpec], ...]:
        """All PrivacyBudgets, by name; the same object each time."""
        if self._budgets is None:
            self._budgets = tuple(self._all("PrivacyBudget", ""))
        return self._budgets

    def registrations(self) -> tuple[Registered, ...]:
        """The datasets that the entries of ledgers among the objects register; the same object each time."""
        if self._registered is None:
            entries = (reduced(raw) for (kind, _, _), raw in self._raw.items() if kind == "LedgerEntry")
            found = plain([one for entry in entries for one in registrations_of(entry)])
            self._registered = tuple(Registered(*one) for one in found)
        return self._registered

    def exceptions(self, kind: str, namespace: str, name: str) -> Sequence[Parsed[PolicyExceptionSpec]]:
        """The PolicyExceptions that name this very job."""
        return [e for e in self._all("PolicyException", "") if is_for(e, kind, namespace, name)]

    def packs(self) -> Shelf:
        """The built-in packs, and those in labelled ConfigMaps: which namespace is the operator's is not known here."""
        if self._shelf is None:
            self._shelf = shelf_of(
                raw for (kind, _, _), raw in self._raw.items() if kind == "ConfigMap" and is_pack(raw)
            )
        return self._shelf

    def claim(self, namespace: str, name: str) -> Claim | None:
        """A PersistentVolumeClaim, or None."""
        raw = self._raw.get(("PersistentVolumeClaim", namespace, name))
        return None if raw is None else claim_fact(raw)

    def fabric(self, asks: Asks, namespace: str) -> Fabric:
        """Devices and further networks. A kind of which no object is given is not known, unless it is complete."""

        def source(kind: str) -> list[Mapping[str, Any]] | None:
            found = [raw for (k, _, _), raw in self._raw.items() if k == kind]
            return found or ([] if kind in self._complete else None)

        return select(asks, namespace, source)

    def audit_retention_days(self) -> int | None:
        """What the installation promises, as it was given; no object says it."""
        return self._audit_retention_days

    def attestations(self) -> Mapping[str, str] | None:
        """The entries of the labelled ConfigMaps of the operator's namespace; None when there is none."""
        if self._attestations is None:
            self._attestations = (
                attestations_of(
                    raw
                    for (kind, namespace, _), raw in self._raw.items()
                    if kind == "ConfigMap" and namespace == self._operator_namespace and is_register(raw)
                ),
            )
        return self._attestations[0]

    def visible_datasets(self, namespace: str, kind: str) -> Sequence[str]:
        """The Datasets of this namespace and those granted to it."""
        own = [f"{ns}/{name}" for k, ns, name in self._raw if k == "Dataset" and ns == namespace]
        grants = cast("Sequence[Parsed[DatasetGrantSpec]]", self._all("DatasetGrant", None))
        return sorted({*own, *granted_datasets(grants, namespace, kind)})

    def _get(self, kind: str, namespace: str, name: str) -> Parsed[Any] | None:
        key = (kind, namespace, name)
        raw = self._raw.get(key)
        info = kind_named(kind)
        if raw is None or info is None:
            return None
        if key not in self._parsed:
            self._parsed[key] = parse_spec(info, raw)
        return self._parsed[key]

    def _all(self, kind: str, namespace: str | None) -> list[Parsed[Any]]:
        found = (
            self._get(*key)
            for key in sorted(self._raw)
            if key[0] == kind and (namespace is None or key[1] == namespace)
        )
        return [parsed for parsed in found if parsed is not None]
