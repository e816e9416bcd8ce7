"""Resolves what a job refers to. What does not resolve is a Hold that names the field and says what would mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from mlprivacy.api.base import Parsed
from mlprivacy.api.dataset_grant import DatasetGrantSpec, GrantTo
from mlprivacy.api.inference_job import InferenceJobSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.api.training_job import DatasetUse, TrainingJobSpec
from mlprivacy.policy.case import Case, ClassUse, UsedDataset
from mlprivacy.policy.deletion import being_deleted
from mlprivacy.policy.durations import parse_time
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.matching import covered_by_any
from mlprivacy.policy.model import Dependency
from mlprivacy.policy.rule import Raised, missing

_NEVER = datetime.max.replace(tzinfo=UTC)


def find_grant(
    facts: Facts, *, owner: str, kind: str, name: str, by_namespace: str, by_kind: str
) -> Iterator[tuple[Parsed[DatasetGrantSpec], GrantTo]]:
    """Grants in ``owner`` that let ``by_kind`` of ``by_namespace`` refer to ``kind``/``name`` now, by name."""
    grants = facts.grants.get(owner, ())
    for grant in grants if len(grants) < 2 else sorted(grants, key=lambda g: g.name):
        spec = grant.spec
        if spec is None or grant.namespace != owner or being_deleted(grant):
            continue
        if spec.expires_at is not None:
            try:
                if parse_time(spec.expires_at) <= facts.now:
                    continue
            except ValueError:
                continue
        for source in spec.from_:
            if source.namespace == by_namespace and source.kind == by_kind:
                break
        else:
            continue
        for to in spec.to:
            if to.name == name and to.kind == kind:
                yield grant, to


def granting_namespaces(
    references: Iterable[tuple[str, str, str]], facts: Facts, *, by_namespace: str, by_kind: str
) -> tuple[str, ...]:
    """The namespaces among ``references`` (namespace, kind, name) that let the job refer to what it names there.

    Only these govern a job together with its own. A namespace that is merely named says nothing of it: else the words
    of its policies, and how strictly it is governed, would be told to a stranger. Such a reference holds the job
    anyway, and once it is granted its namespace governs.
    """
    found = dict.fromkeys(
        owner
        for owner, kind, name in references
        if owner == by_namespace
        or any(
            True
            for _ in find_grant(facts, owner=owner, kind=kind, name=name, by_namespace=by_namespace, by_kind=by_kind)
        )
    )
    return tuple(found)


def _freedom(grant: Parsed[DatasetGrantSpec]) -> tuple[bool, datetime]:
    """Ranks grants that cover the same: one that counts no uses first, then the one that lasts longest."""
    spec = grant.spec
    ends = parse_time(spec.expires_at) if spec is not None and spec.expires_at is not None else _NEVER
    return spec is None or spec.max_uses is None, ends


class Resolver:
    """Resolves one job. ``problems`` are holds; ``touched`` is everything the answer rests on."""

    def __init__(self, kind: str, namespace: str, facts: Facts) -> None:
        self.kind = kind
        self.namespace = namespace
        self.facts = facts
        self.problems: list[Raised] = []
        self.touched: set[Dependency] = {
            Dependency("Namespace", "", namespace),
        }
        self.expiries: list[str] = []

    def datasets(self, spec: TrainingJobSpec) -> tuple[UsedDataset, ...]:
        """The datasets that exist, are granted, and can be read."""
        found = [self._dataset(index, asked, spec.purpose) for index, asked in enumerate(spec.datasets)]
        return tuple([d for d in found if d is not None])

    def _dataset(self, index: int, asked: DatasetUse, purpose: str) -> UsedDataset | None:
        owner = asked.namespace or self.namespace
        path = f"spec.datasets[{index}].name"
        self.touched.add(Dependency("Namespace", "", owner))
        chosen: tuple[Parsed[DatasetGrantSpec], GrantTo] | None = None
        if owner != self.namespace:
            self.touched.add(Dependency("DatasetGrant", owner, f"Dataset/{asked.name}"))
            grants = list(
                find_grant(
                    self.facts,
                    owner=owner,
                    kind="Dataset",
                    name=asked.name,
                    by_namespace=self.namespace,
                    by_kind=self.kind,
                )
            )
            if not grants:
                # The same words whether it exists or not: a reference must not be an oracle for other namespaces.
                self.problems.append(
                    missing(
                        path,
                        f"the dataset {owner}/{asked.name} does not exist or is not granted to {self.kind}s of "
                        f"namespace {self.namespace}.{self._suggest(owner, asked.name)}",
                        f"ask the data owner of namespace {owner} for a DatasetGrant from namespace "
                        f"{self.namespace}, kind {self.kind}, or correct the name",
                        reason=Reason.REF_NOT_PERMITTED,
                    )
                )
                return None
            chosen = grants[0]
            if len(grants) > 1:
                chosen = max(grants, key=lambda g: (*self._fit(g[1], asked, purpose), *_freedom(g[0])))
            self._rely_on(chosen[0], path, f"{owner}/{asked.name}")
        # Not before it is granted: what comes and goes where the job may not look must not be told by a new decision.
        self.touched.add(Dependency("Dataset", owner, asked.name))
        dataset = self.facts.datasets.get((owner, asked.name))
        if dataset is None or being_deleted(dataset):
            gone = "does not exist (yet)" if dataset is None else "is being deleted"
            self.problems.append(
                missing(
                    path,
                    f"the dataset {owner}/{asked.name} {gone}{self._suggest(owner, asked.name)}",
                    f"create the Dataset {asked.name} in namespace {owner}, or correct the name",
                    reason=Reason.DATASET_NOT_FOUND,
                )
            )
            return None
        if dataset.spec is None:
            self.problems.append(self._unreadable(path, "Dataset", f"{owner}/{asked.name}"))
            return None
        self._governed(owner, path)
        return UsedDataset(
            index=index,
            asked=asked,
            namespace=owner,
            spec=dataset.spec,
            grant=chosen[1] if chosen else None,
            granted_by=chosen[0] if chosen else None,
        )

    @property
    def processing(self) -> str:
        """What the job does with the data."""
        return "Training" if self.kind == "TrainingJob" else "Inference"

    def _fit(self, grant: GrantTo, asked: DatasetUse, purpose: str) -> tuple[bool, bool, int]:
        """Ranks grants, so that one that covers the request is chosen over one that covers a part of it."""
        columns = len(set(asked.columns) & set(grant.columns))
        return self.processing in grant.processing, covered_by_any(grant.purposes, purpose), columns

    def _rely_on(self, grant: Parsed[DatasetGrantSpec], path: str, ref: str) -> None:
        """Remembers when the grant ends, and holds when it counts uses."""
        if grant.spec is None:
            return
        if grant.spec.expires_at is not None:
            self.expiries.append(grant.spec.expires_at)
        if grant.spec.max_uses is not None:
            self.problems.append(
                missing(
                    path,
                    f"the grant of {ref} has maxUses, and uses are not counted yet",
                    "ask the data owner for a grant with expiresAt instead of maxUses",
                    reason=Reason.NOT_ENFORCED_HERE,
                )
            )

    def _governed(self, owner: str, path: str) -> None:
        """Holds when the labels of the data's namespace are not known: its label could be the stricter one."""
        if owner != self.namespace and owner not in self.facts.namespaces:
            self.problems.append(
                missing(
                    path,
                    f"the labels of the namespace {owner} are not known (yet), so it is not known how strictly its "
                    "data is governed",
                    f"wait until the namespace {owner} is seen; offline, add it to the files",
                )
            )

    def classes_of_datasets(self, datasets: tuple[UsedDataset, ...]) -> tuple[ClassUse, ...]:
        """Classes of the columns asked for. What is not granted is not looked at, or findings would tell its class."""
        found: dict[str, ClassUse] = {}
        for dataset in datasets:
            known = dataset.column_classes()
            for position, column in enumerate(dataset.asked.columns):
                if column in known and dataset.granted(column):
                    self._class(found, known[column], f"{dataset.path}.columns[{position}]")
        return tuple(found.values())

    def classes_named(self, spec: InferenceJobSpec) -> tuple[ClassUse, ...]:
        """Classes that an inference job names."""
        found: dict[str, ClassUse] = {}
        for index, name in enumerate(spec.data_classes):
            self._class(found, name, f"spec.dataClasses[{index}]")
        return tuple(found.values())

    def _class(self, found: dict[str, ClassUse], name: str, path: str) -> None:
        if name in found:
            return
        dependency = Dependency("DataClass", "", name)
        first_time = dependency not in self.touched
        self.touched.add(dependency)
        data_class = self.facts.data_classes.get(name)
        if data_class is not None and data_class.spec is not None:
            found[name] = ClassUse(name, data_class.spec, path)
        elif first_time:
            self.problems.append(
                self._unreadable(path, "DataClass", name)
                if data_class is not None
                else missing(
                    path,
                    f"the data class {name} does not exist (yet), so what it demands is not known",
                    f"ask the privacy office to create the DataClass {name}, or correct the name",
                    reason=Reason.DATA_CLASS_NOT_FOUND,
                )
            )

    def consent_of_inference(self, case: Case, spec: InferenceJobSpec) -> None:
        """Holds when the consent scope of an inference job is not there, or not granted."""
        if spec.consent_scope is None:
            return
        owner = spec.consent_scope.namespace or self.namespace
        name = spec.consent_scope.name
        if owner != self.namespace:
            self.touched.update(
                (Dependency("Namespace", "", owner), Dependency("DatasetGrant", owner, f"ConsentScope/{name}"))
            )
            grants = [
                grant
                for grant, to in find_grant(
                    self.facts,
                    owner=owner,
                    kind="ConsentScope",
                    name=name,
                    by_namespace=self.namespace,
                    by_kind=self.kind,
                )
                if (not to.processing or self.processing in to.processing)
                and (not to.purposes or covered_by_any(to.purposes, spec.purpose))
            ]
            if not grants:
                self.problems.append(
                    missing(
                        "spec.consentScope",
                        f"the consent scope {owner}/{name} does not exist or is not granted to {self.kind}s of "
                        f"namespace {self.namespace} for the purpose {spec.purpose}",
                        f"ask the data owner of namespace {owner} for a DatasetGrant to kind ConsentScope, or correct "
                        "the name",
                        reason=Reason.REF_NOT_PERMITTED,
                    )
                )
                return
            self._rely_on(max(grants, key=_freedom), "spec.consentScope", f"{owner}/{name}")
        scope = case.scope(owner, name)
        if scope is None:
            self.problems.append(
                missing(
                    "spec.consentScope",
                    f"the consent scope {owner}/{name} does not exist (yet)",
                    f"create the ConsentScope {name} in namespace {owner}, or correct the name",
                    reason=Reason.CONSENT_SCOPE_NOT_FOUND,
                )
            )
        elif scope.spec is None:
            self.problems.append(self._unreadable("spec.consentScope", "ConsentScope", f"{owner}/{name}"))
        else:
            self._governed(owner, "spec.consentScope")

    def _suggest(self, owner: str, name: str) -> str:
        others = [ref for ref in self.facts.visible_datasets if ref != f"{owner}/{name}"]
        close = difflib.get_close_matches(f"{owner}/{name}", others, n=2, cutoff=0.75)
        return f". Did you mean {' or '.join(close)}?" if close else ""

    @staticmethod
    def _unreadable(path: str, kind: str, ref: str) -> Raised:
        return missing(
            path,
            f"the {kind} {ref} exists, but its spec can not be read by this version",
            f"look at the conditions of the {kind}, or upgrade the operator",
            reason=Reason.INVALID_REFERENCE,
        )
