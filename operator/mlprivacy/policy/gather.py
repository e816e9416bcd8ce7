"""Chooses the facts that one job refers to, from any source that looks objects up by name. Pure: reads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from mlprivacy.api.base import Parsed
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.dataset_grant import DatasetGrantSpec
from mlprivacy.api.policy_exception import PolicyExceptionSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.charge import Registered
from mlprivacy.policy.deletion import being_deleted
from mlprivacy.policy.fabric.asks import Asks, asks_of
from mlprivacy.policy.fabric.objects import UNKNOWN, Fabric
from mlprivacy.policy.facts import IN_FORCE, Capability, Claim, Facts
from mlprivacy.policy.packs import Shelf
from mlprivacy.policy.resolve import find_grant

MAX_REFERENCES = 64  # names of one kind that are followed; the schema allows fewer, raw objects may hold more


class Lookup(Protocol):
    """Where objects are found by name. None, or an empty answer, means *not known to exist*."""

    def namespace_labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace."""

    def data_class(self, name: str) -> Parsed[DataClassSpec] | None:
        """A DataClass."""

    def dataset(self, namespace: str, name: str) -> Parsed[DatasetSpec] | None:
        """A Dataset."""

    def grants(self, namespace: str) -> Sequence[Parsed[DatasetGrantSpec]]:
        """All DatasetGrants of a namespace."""

    def consent_scope(self, namespace: str, name: str) -> Parsed[ConsentScopeSpec] | None:
        """A ConsentScope."""

    def policies(self) -> Sequence[Parsed[PrivacyPolicySpec]]:
        """All PrivacyPolicies."""

    def budgets(self) -> Sequence[Parsed[PrivacyBudgetSpec]]:
        """All PrivacyBudgets, by name."""

    def registrations(self) -> Sequence[Registered]:
        """The datasets that the ledgers hold."""

    def exceptions(self, kind: str, namespace: str, name: str) -> Sequence[Parsed[PolicyExceptionSpec]]:
        """The PolicyExceptions that name this very job."""

    def packs(self) -> Shelf:
        """The packs there are; the same object until they change."""

    def claim(self, namespace: str, name: str) -> Claim | None:
        """A PersistentVolumeClaim."""

    def audit_retention_days(self) -> int | None:
        """How long the installation promises to keep its audit log."""

    def attestations(self) -> Mapping[str, str] | None:
        """Until when each person's privacy training counts; None when there is no register."""

    def fabric(self, asks: Asks, namespace: str) -> Fabric:
        """What is known of the devices and further networks that a job of this namespace asks for."""

    def visible_datasets(self, namespace: str, kind: str) -> Sequence[str]:
        """``namespace/name`` of every Dataset that a job of this kind in this namespace may know of."""


class AskedDataset(NamedTuple):
    """A dataset as a raw job names it, with the columns asked for."""

    namespace: str
    name: str
    columns: tuple[str, ...]


class References(NamedTuple):
    """Every name that a raw job refers to. What is not a name of the right type is left out: it can not resolve."""

    kind: str
    namespace: str
    datasets: tuple[AskedDataset, ...]
    data_classes: tuple[str, ...]
    consent_scope: tuple[str, str] | None
    claims: tuple[str, ...]


def references(raw: Mapping[str, Any]) -> References:
    """What a raw TrainingJob or InferenceJob refers to. Takes any JSON; never raises."""
    metadata = _mapping(raw.get("metadata"))
    spec = _mapping(raw.get("spec"))
    namespace = _text(metadata.get("namespace")) or "default"
    datasets = tuple(
        AskedDataset(_text(item.get("namespace")) or namespace, name, tuple(_texts(item.get("columns"))))
        for item in _mappings(spec.get("datasets"))
        if (name := _text(item.get("name")))
    )
    scope = _mapping(spec.get("consentScope"))
    scope_name = _text(scope.get("name"))
    return References(
        kind=_text(raw.get("kind")),
        namespace=namespace,
        datasets=datasets[:MAX_REFERENCES],
        data_classes=tuple(_texts(spec.get("dataClasses")))[:MAX_REFERENCES],
        consent_scope=(_text(scope.get("namespace")) or namespace, scope_name) if scope_name else None,
        claims=tuple(dict.fromkeys(claims_of(spec.get("template"))))[:MAX_REFERENCES],
    )


def claims_of(template: Any) -> Iterator[str]:
    """Names of the PersistentVolumeClaims that a raw pod template names."""
    for volume in _mappings(_mapping(_mapping(template).get("spec")).get("volumes")):
        name = _text(_mapping(volume.get("persistentVolumeClaim")).get("claimName"))
        if name:
            yield name


def asks_further(raw: Mapping[str, Any]) -> bool:
    """True when objects of the fabric decide over this raw job: it asks for RDMA devices or further networks."""
    return asks_of(_mapping(raw.get("spec")).get("template"), "").looks_further


def select_facts(
    raw: Mapping[str, Any],
    lookup: Lookup,
    now: datetime,
    *,
    capabilities: frozenset[Capability] = IN_FORCE,
) -> Facts:
    """The facts on which the decision about this raw job rests, and no others.

    A dataset or consent scope of another namespace is looked up only where a DatasetGrant there names it to this job,
    so that neither the answer nor the time it takes tells whether it exists.
    """
    asked = references(raw)
    owners = {d.namespace for d in asked.datasets}
    if asked.consent_scope is not None:
        owners.add(asked.consent_scope[0])
    namespaces = {
        name: labels
        for name in (asked.namespace, *sorted(owners - {asked.namespace}))
        if (labels := lookup.namespace_labels(name)) is not None
    }
    datasets: dict[tuple[str, str], Parsed[DatasetSpec]] = {}
    data_classes: dict[str, Parsed[DataClassSpec]] = {}
    consent_scopes: dict[tuple[str, str], Parsed[ConsentScopeSpec]] = {}
    grants = {name: tuple(given) for name in sorted(owners - {asked.namespace}) if (given := lookup.grants(name))}
    shelf = lookup.packs()
    asks = asks_of(_mapping(raw.get("spec")).get("template"), asked.namespace)
    facts = Facts(
        now=now,
        namespaces=namespaces,
        grants=grants,
        data_classes=data_classes,
        datasets=datasets,
        consent_scopes=consent_scopes,
        policies=tuple(lookup.policies()),
        budgets=tuple(lookup.budgets()),
        registered=tuple(lookup.registrations()),
        packs=shelf.packs,
        bad_packs=shelf.bad,
        exceptions=tuple(
            lookup.exceptions(asked.kind, asked.namespace, _text(_mapping(raw.get("metadata")).get("name")))
        ),
        claims={
            (asked.namespace, name): claim
            for name in asked.claims
            if (claim := lookup.claim(asked.namespace, name)) is not None
        },
        fabric=lookup.fabric(asks, asked.namespace) if asks.looks_further else UNKNOWN,
        capabilities=capabilities,
        audit_retention_days=lookup.audit_retention_days(),
        attestations=lookup.attestations(),
    )
    classes = dict.fromkeys(asked.data_classes)
    scopes: dict[tuple[str, str], None] = {}
    unresolved = False
    for item in asked.datasets:
        may = permitted(facts, asked, "Dataset", item.namespace, item.name)
        dataset = lookup.dataset(item.namespace, item.name) if may else None
        if dataset is None or being_deleted(dataset):
            unresolved = True
        if dataset is None:
            continue
        datasets[(item.namespace, item.name)] = dataset
        if dataset.spec is not None:
            known = dataset.spec.classes_by_column
            classes |= {known[column]: None for column in item.columns if column in known}
            scopes |= {(item.namespace, u.consent_scope): None for u in dataset.spec.uses if u.consent_scope}
    if asked.consent_scope is not None and permitted(facts, asked, "ConsentScope", *asked.consent_scope):
        scopes[asked.consent_scope] = None
    data_classes.update((name, c) for name in classes if (c := lookup.data_class(name)) is not None)
    consent_scopes.update((key, s) for key in scopes if (s := lookup.consent_scope(*key)) is not None)
    if unresolved:
        return replace(facts, visible_datasets=tuple(lookup.visible_datasets(asked.namespace, asked.kind)))
    return facts


def permitted(facts: Facts, asked: References, kind: str, owner: str, name: str) -> bool:
    """True when the job may refer to this object: it is in its own namespace, or a grant in force names it."""
    if owner == asked.namespace:
        return True
    granted = find_grant(facts, owner=owner, kind=kind, name=name, by_namespace=asked.namespace, by_kind=asked.kind)
    return next(granted, None) is not None


def granted_datasets(grants: Iterable[Parsed[DatasetGrantSpec]], namespace: str, kind: str) -> Iterator[str]:
    """``namespace/name`` of the datasets that these grants name to jobs of this kind in this namespace."""
    for grant in grants:
        if (
            grant.spec is None
            or being_deleted(grant)
            or not any(f.namespace == namespace and f.kind == kind for f in grant.spec.from_)
        ):
            continue
        for to in grant.spec.to:
            if to.kind == "Dataset":
                yield f"{grant.namespace}/{to.name}"


def claim_fact(raw: Mapping[str, Any]) -> Claim:
    """What matters of a raw PersistentVolumeClaim."""
    spec = _mapping(raw.get("spec"))
    return Claim(
        storage_class=_text(spec.get("storageClassName")) or None,
        read_only=spec.get("accessModes") == ["ReadOnlyMany"],
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, (dict, Mapping)) else {}  # dict first: it is known faster


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, (dict, Mapping))) if isinstance(value, list) else iter(())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> Iterator[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else iter(())
