"""What a training job takes of privacy budgets: a charge for each subject domain, and the losses to count. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

from mlprivacy.api.base import Parsed
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.training_job import Privacy, Rows, TrainingJobSpec
from mlprivacy.budget.orders import DEFAULT_ORDERS
from mlprivacy.policy.case import UsedDataset
from mlprivacy.policy.charge import Charge, Outside, Selection
from mlprivacy.policy.domains import Home, books, homes
from mlprivacy.policy.durations import parse_duration
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.loss import Counted, Limit, LossKey, LossOutcome, Sampled, Serialised

TRAINER: Final = "trainer"  # the container whose image trains; the first one where none is called so
UNITS_PER_DELTA: Final = 100  # delta is 1/(100 N) where a job gives none (accounting.md 6)
_DIGEST: Final = re.compile(r"@(sha256:[0-9a-f]{64})\Z")
NO_LOSS: Final[Mapping[str, str]] = {
    "None": "the mechanism None promises nothing",
    "Federated": "the loss of the mechanism Federated can not be counted before there is a federated aggregator",
    "SecureComputation": "SecureComputation hides the data on its way, and bounds nothing of what the model remembers",
}


@dataclass(frozen=True, slots=True)
class Use:
    """One dataset of the job in one subject domain."""

    dataset: UsedDataset
    home: Home


@dataclass(frozen=True, slots=True)
class Account:
    """What the job takes of one subject domain.

    Attributes:
        domain: the subject domain.
        budget: in force for it; None where there is none.
        uses: the job's datasets of the domain, in the order of the job.
        selections: blocks that they reach.
        key: under which its loss is counted; None where there is none to count.
        why: no loss can be counted, as a sentence; None where one is asked for.
    """

    domain: str
    budget: Parsed[PrivacyBudgetSpec] | None
    uses: tuple[Use, ...]
    selections: tuple[Selection, ...]
    key: LossKey | None = None
    why: str | None = None

    @property
    def spec(self) -> PrivacyBudgetSpec | None:
        """Of the budget in force."""
        return None if self.budget is None else self.budget.spec


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the job takes of all domains.

    Attributes:
        each: one an account, by domain.
        lost: datasets whose sources can not be compared, in no domain.
        promise: under which the job's own ε is counted; None where nothing asks for it.
        records: N: the fewest units of a dataset of the job; None where not every dataset is known.
        image: digest of the trainer's image, where the template names one.
        unlisted: some dataset belongs to no domain, so that any budget may come to list it.
    """

    each: tuple[Account, ...] = ()
    lost: tuple[Use, ...] = ()
    promise: LossKey | None = None
    records: int | None = None
    image: str | None = None
    unlisted: bool = False

    def keys(self) -> tuple[LossKey, ...]:
        """The losses to count, each once."""
        asked = (self.promise, *(account.key for account in self.each))
        return tuple(dict.fromkeys(key for key in asked if key is not None))

    def charges(self, losses: Mapping[LossKey, LossOutcome], outside: Mapping[str, Outside]) -> tuple[Charge, ...]:
        """The charges by domain, with the losses that are known.

        Args:
            losses: of the facts.
            outside: why a breach of a domain was let pass.
        """
        return tuple(
            Charge(
                domain=account.domain,
                budget="" if account.budget is None else account.budget.name,
                datasets=tuple(dict.fromkeys(use.dataset.ref for use in account.uses)),
                selections=account.selections,
                loss=found.loss if account.key and isinstance(found := losses.get(account.key), Counted) else None,
                image=self.image,
                outside=outside.get(account.domain),
            )
            for account in self.each
        )


def accounts_of(spec: TrainingJobSpec, datasets: Sequence[UsedDataset], namespace: str, facts: Facts) -> Accounts:
    """The accounts of a job.

    Args:
        spec: of the job.
        datasets: those that resolved.
        namespace: of the job.
        facts: budgets and registrations among them.
    """
    if not datasets:
        return Accounts()
    found = books(facts)
    by_domain: dict[str, list[Use]] = {}
    lost: list[Use] = []
    alone: list[UsedDataset] = []
    for dataset in datasets:
        touched = homes(found, dataset.spec.identity, dataset.spec.source.uri, dataset.namespace)
        if not touched:
            alone.append(dataset)
        for home in touched:
            use = Use(dataset, home)
            if home.domain:
                by_domain.setdefault(home.domain, []).append(use)
            else:
                lost.append(use)
    complete = len(datasets) == len(spec.datasets)
    records = min(map(units_of, datasets)) if complete else None
    groups = [[use.dataset for use in uses] for uses in by_domain.values()] + ([alone] if alone else [])
    delta = delta_of(spec, datasets)
    bound = delta_bound(use.dataset for uses in by_domain.values() for use in uses) if by_domain else 1.0
    numbers = _Numbers(spec, records, delta, _most_rows(spec.privacy, groups), bound if delta > bound else None)
    each = tuple(
        _account(domain, found.in_force.get(domain), uses, numbers, (namespace, facts.now))
        for domain, uses in sorted(by_domain.items())
    )
    asks = any(account.key is not None for account in each) or _states_its_loss(spec.privacy)
    return Accounts(
        each=each,
        lost=tuple(lost),
        promise=numbers.key(numbers.rows) if asks else None,
        records=records,
        image=digest_of(trainer_image(spec.template)),
        unlisted=bool(alone),
    )


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The job's numbers. ``rows`` are the most of one unit, for whom its promise is to hold.

    ``delta_bound`` is what its delta may be at most, where a budget refuses the one that it gives.
    """

    spec: TrainingJobSpec
    records: int | None
    delta: float
    rows: int
    delta_bound: float | None = None

    def key(self, rows: int, spec: PrivacyBudgetSpec | None = None, share: float = 1.0) -> LossKey | None:
        """The loss for units of so many rows, in the orders of a budget."""
        mechanism = self.mechanism
        if mechanism is None:
            return None
        if spec is None:
            return LossKey(mechanism, rows, self.spec.trials, self.delta, delta_bound=self.delta_bound)
        orders = DEFAULT_ORDERS if spec.orders is None else tuple(float(order) for order in spec.orders)
        limit = Limit(float(spec.epsilon), float(spec.delta), share)
        return LossKey(mechanism, rows, self.spec.trials, self.delta, orders, limit, self.delta_bound)

    @property
    def mechanism(self) -> Sampled | Serialised | None:
        """In the job's numbers; None where there is none that can be counted, or N is not known."""
        privacy = self.spec.privacy
        if privacy is None or self.records is None:
            return None
        if privacy.mechanism == "Event" and privacy.event is not None:
            ceiling = None if privacy.epsilon is None else float(privacy.epsilon)
            return Serialised(privacy.event, self.records, ceiling)
        if privacy.mechanism != "DPSGD" or None in (privacy.batch_size, privacy.epochs, privacy.epsilon):
            return None
        noise = privacy.noise_multiplier
        return Sampled(
            records=self.records,
            batch_size=int(privacy.batch_size or 0),
            epochs=int(privacy.epochs or 0),
            noise=None if noise is None else float(noise),
            epsilon=float(privacy.epsilon or 0),
            rows=self.rows,
        )


def units_of(dataset: UsedDataset) -> int:
    """A public lower bound on the units that the job gets of this dataset; never more than its owner promises."""
    known = dataset.spec.subjects.at_least
    return known if dataset.asked.units_at_least is None else min(known, dataset.asked.units_at_least)


def delta_of(spec: TrainingJobSpec, datasets: Sequence[UsedDataset]) -> float:
    """The job's δ, or 1/(100 N) for the largest population that it uses, by its owner's word: the strictest."""
    if spec.privacy is not None and spec.privacy.delta is not None:
        return float(spec.privacy.delta)
    return delta_bound(datasets)


def delta_bound(datasets: Iterable[UsedDataset]) -> float:
    """1/(100 N) for the largest of these populations."""
    return 1 / (UNITS_PER_DELTA * max(dataset.spec.subjects.at_least for dataset in datasets))


def _most_rows(privacy: Privacy | None, groups: Iterable[Sequence[UsedDataset]]) -> int:
    if privacy is None or privacy.unit != "User":
        return 1
    return max(map(_rows, groups))


def _rows(datasets: Iterable[UsedDataset]) -> int:
    """Rows of one person in datasets about the same people: they add up."""
    return sum(dataset.asked.max_records_per_unit for dataset in datasets)


def _states_its_loss(privacy: Privacy | None) -> bool:
    """Whether a job states what its loss follows from, so that its ε can be held against it without any budget."""
    return privacy is not None and (privacy.noise_multiplier is not None or privacy.mechanism == "Event")


def _account(
    domain: str,
    budget: Parsed[PrivacyBudgetSpec] | None,
    uses: list[Use],
    numbers: _Numbers,
    where: tuple[str, datetime],
) -> Account:
    namespace, now = where
    spec = None if budget is None else budget.spec
    selections = tuple(dict.fromkeys(_selection(use.dataset, spec, now) for use in uses))
    privacy = numbers.spec.privacy
    key: LossKey | None = None
    why: str | None = None
    if privacy is None:
        why = "no privacy is promised"
    elif privacy.mechanism in NO_LOSS:
        why = NO_LOSS[privacy.mechanism]
    elif spec is not None and any(use.home.problem is None for use in uses):
        own = [use.dataset for use in uses]
        quotas = {quota.namespace: float(quota.share) for quota in spec.quotas}
        key = numbers.key(_rows(own) if spec.unit == "User" else 1, spec, quotas.get(namespace, 1.0))
    return Account(domain, budget, tuple(uses), selections, key, why)


def _selection(dataset: UsedDataset, spec: PrivacyBudgetSpec | None, now: datetime) -> Selection:
    """The blocks that the dataset reaches. Rows bound them by IngestionTime alone (accounting.md 1)."""
    span, rows = dataset.asked.blocks, dataset.asked.rows
    timed = spec is not None and spec.blocks.by == "IngestionTime" and rows is not None
    since, until = _times(rows, now) if timed and rows is not None else (None, None)
    return Selection(
        first=None if span is None else span.from_,
        last=None if span is None else span.to,
        since=since,
        until=until,
    )


def _times(rows: Rows, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The first and the last moment of a row filter. One that no calendar holds bounds nothing: rather too much."""
    since = until = None
    try:
        if rows.since is not None:
            since = now - parse_duration(rows.since)
        elif rows.from_ is not None:
            since = datetime.combine(date.fromisoformat(rows.from_), time.min, UTC)
        if rows.to is not None:
            until = datetime.combine(date.fromisoformat(rows.to), time.max, UTC)
    except (ValueError, OverflowError):
        return None, None
    return since, until


def trainer_image(template: Mapping[str, Any]) -> str | None:
    """The image of the container called trainer, else of the first one."""
    named = list(images(template, ("containers",)))
    return next((image for name, image in named if name == TRAINER), named[0][1] if named else None)


def images(
    template: Mapping[str, Any], groups: Iterable[str] = ("initContainers", "containers")
) -> Iterator[tuple[str, str | None]]:
    """Name and image of the containers of a raw template, which may hold anything."""
    spec = template.get("spec")
    for group in groups:
        found = spec.get(group) if isinstance(spec, Mapping) else None
        for container in found if isinstance(found, list) else ():
            if isinstance(container, Mapping):
                image = container.get("image")
                yield str(container.get("name")), image if isinstance(image, str) else None


def digest_of(image: str | None) -> str | None:
    """The ``sha256:…`` of an image that is named by its digest."""
    found = _DIGEST.search(image or "")
    return None if found is None else found[1]
