"""A case: one job with everything it refers to resolved, as the rules see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

from mlprivacy.api.base import Parsed
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec, Use
from mlprivacy.api.dataset_grant import DatasetGrantSpec, GrantTo
from mlprivacy.api.inference_job import InferenceJobSpec
from mlprivacy.api.training_job import DatasetUse, TrainingJobSpec
from mlprivacy.policy.deletion import being_deleted
from mlprivacy.policy.fabric.use import Use as FabricUse
from mlprivacy.policy.fabric.use import candidates, removed, use_of
from mlprivacy.policy.facts import Claim, Facts
from mlprivacy.policy.matching import covers
from mlprivacy.policy.model import Dependency
from mlprivacy.policy.rule import ParameterValue, Raised

if TYPE_CHECKING:
    from mlprivacy.policy.charging import Accounts

ALL_BUDGETS: Final = Dependency("PrivacyBudget", "", "*")
ALL_REGISTRATIONS: Final = Dependency("Registrations", "", "*")  # of datasets, in the ledgers


@dataclass(frozen=True)
class ClassUse:
    """A data class that the job touches, and by which field."""

    name: str
    spec: DataClassSpec
    path: str


@dataclass(frozen=True)
class UsedDataset:
    """A dataset of a training job. ``grant`` is None in the job's own namespace."""

    index: int
    asked: DatasetUse
    namespace: str
    spec: DatasetSpec
    grant: GrantTo | None
    granted_by: Parsed[DatasetGrantSpec] | None

    @property
    def path(self) -> str:
        """Field path of the reference."""
        return f"spec.datasets[{self.index}]"

    @property
    def ref(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.asked.name}"

    @property
    def foreign(self) -> bool:
        """True when the dataset lives in another namespace than the job."""
        return self.grant is not None

    def granted(self, column: str) -> bool:
        """True when the job may ask for ``column``: its own namespace's, or listed by the grant."""
        return self.grant is None or column in self.grant.columns

    def column_classes(self) -> Mapping[str, str]:
        """Class of each column that exists."""
        return self.spec.classes_by_column

    def lawful_uses(self, purpose: str, processing: str) -> tuple[Use, ...]:
        """The uses that cover this purpose and processing."""
        return tuple([u for u in self.spec.uses if u.processing == processing and covers(u.purpose, purpose)])


@dataclass(frozen=True)
class Case:
    """What the rules look at. ``classes`` and ``datasets`` hold what resolved; what did not is already a finding."""

    kind: Literal["TrainingJob", "InferenceJob"]
    name: str
    namespace: str
    spec: TrainingJobSpec | InferenceJobSpec
    facts: Facts
    datasets: tuple[UsedDataset, ...] = ()
    classes: tuple[ClassUse, ...] = ()
    consent_scope: Parsed[ConsentScopeSpec] | None = None  # an inference job's own
    requester: str | None = None  # the user that admission stamped; None where there is no stamp
    parameters: Mapping[tuple[str, str], ParameterValue] = field(default_factory=dict)
    touched: set[Dependency] = field(default_factory=set, compare=False)
    deadlines: list[datetime] = field(default_factory=list, compare=False)
    carrying: dict[int, tuple[Use, ...]] = field(default_factory=dict, compare=False)  # kept by `policy.uses`

    @property
    def processing(self) -> Literal["Training", "Inference"]:
        """What is done with the data."""
        return "Training" if self.kind == "TrainingJob" else "Inference"

    @property
    def purpose(self) -> str:
        """The job's purpose."""
        return self.spec.purpose

    @property
    def template(self) -> Mapping[str, Any]:
        """The pod template, raw."""
        return self.spec.template

    @property
    def training(self) -> TrainingJobSpec:
        """The spec of a training job.

        Raises:
            TypeError: for an inference job.
        """
        if not isinstance(self.spec, TrainingJobSpec):
            raise TypeError("this is no training job")
        return self.spec

    @property
    def inference(self) -> InferenceJobSpec:
        """The spec of an inference job.

        Raises:
            TypeError: for a training job.
        """
        if not isinstance(self.spec, InferenceJobSpec):
            raise TypeError("this is no inference job")
        return self.spec

    def parameter(self, rule: str, name: str) -> ParameterValue:
        """The value in force of a rule's parameter."""
        return self.parameters[(rule, name)]

    def text(self, rule: str, name: str) -> str:
        """A parameter that is a string."""
        return str(self.parameters[(rule, name)])

    def words(self, rule: str, name: str) -> tuple[str, ...]:
        """A parameter that is a list."""
        value = self.parameters[(rule, name)]
        return value if isinstance(value, tuple) else (str(value),)

    def scope(self, namespace: str, name: str) -> Parsed[ConsentScopeSpec] | None:
        """A consent scope, unless it is being deleted; remembered as something the decision rests on."""
        self.touched.add(Dependency("ConsentScope", namespace, name))
        found = self.facts.consent_scopes.get((namespace, name))
        return None if found is None or being_deleted(found) else found

    def claim(self, name: str) -> Claim | None:
        """A PersistentVolumeClaim of the job's namespace; remembered as something the decision rests on."""
        self.touched.add(Dependency("PersistentVolumeClaim", self.namespace, name))
        return self.facts.claims.get((self.namespace, name))

    def attestation(self, key: str) -> str | None:
        """A person's entry in the register of training; remembered as something the decision rests on."""
        self.touched.add(Dependency("TrainingAttestations", "", key))
        return (self.facts.attestations or {}).get(key)

    @property
    def has_attestations(self) -> bool:
        """True when there is a register of training at all; remembered as something the decision rests on."""
        self.touched.add(Dependency("TrainingAttestations", "", "*"))
        return self.facts.attestations is not None

    @cached_property
    def fabric_use(self) -> FabricUse | None:
        """How the job uses devices and further networks; None when it asks for nothing of the kind."""
        return use_of(self)

    @cached_property
    def fabric_nodes(self) -> tuple[Mapping[str, Any], ...] | None:
        """The nodes that may run the job with the devices it asks for; None when they are not known."""
        return None if self.fabric_use is None else candidates(self, self.fabric_use)

    @cached_property
    def isolation(self) -> tuple[tuple[str, Raised], ...]:
        """What keeps an RDMA device of this job from being its own, each with the id of its rule."""
        from mlprivacy.policy.fabric.isolation import isolation_problems  # noqa: PLC0415 - it needs what stands here

        return () if self.fabric_use is None else tuple(isolation_problems(self, self.fabric_use))

    @cached_property
    def rdma_removed(self) -> tuple[str, ...] | None:
        """The RDMA resources that are taken away before the job runs; None when nothing is."""
        return removed(self)

    @cached_property
    def accounts(self) -> Accounts:
        """What a training job takes of privacy budgets; remembered as something the decision rests on."""
        from mlprivacy.policy.charging import Accounts, accounts_of  # noqa: PLC0415 - it needs what stands here

        if not isinstance(self.spec, TrainingJobSpec):
            return Accounts()
        found = accounts_of(self.spec, self.datasets, self.namespace, self.facts)
        self.touched.add(ALL_REGISTRATIONS)
        if found.unlisted or any(account.budget is None for account in found.each):
            self.touched.add(ALL_BUDGETS)
        self.touched.update(
            Dependency("PrivacyBudget", "", account.budget.name) for account in found.each if account.budget is not None
        )
        return found

    def expires(self, moment: datetime) -> None:
        """Remember that the decision can change at ``moment`` by time alone."""
        if moment > self.facts.now:
            self.deadlines.append(moment)

    def special_classes(self) -> Iterator[ClassUse]:
        """Classes of special category."""
        return (c for c in self.classes if c.spec.special_category)

    def classes_of(self, names: Iterable[str]) -> tuple[ClassUse, ...]:
        """The resolved classes among ``names``."""
        wanted = set(names)
        return tuple([c for c in self.classes if c.name in wanted])
