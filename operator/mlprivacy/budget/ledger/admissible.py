"""What keeps a PrivacyBudget or a Dataset from being made beside those that there are. Pure.

The same people's data has one budget: an identity and its source belong to one subject domain. What there is may have
changed by the time that the ledger is written, and the ledger decides again; here somebody is told while they type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from mlprivacy.api.base import FieldError, Parsed
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.blocks import BlockError, Cut
from mlprivacy.budget.ledger.identity import Claim, Conflict, Source, conflicts, normalise, parse
from mlprivacy.budget.ledger.promise import budget_errors
from mlprivacy.budget.ledger.registrations import Form, Registration

_SOME_DAY = datetime(2026, 3, 2, tzinfo=UTC)
_ONE_BUDGET = "the same people's data has one budget"


class Holding(NamedTuple):
    """A Dataset that there is, as far as budgets are concerned."""

    namespace: str
    name: str
    identity: str
    uri: str
    at_least: int


def holding_of(dataset: Mapping[str, Any]) -> Holding | None:
    """Of a raw Dataset; None for one whose spec has not these fields."""
    metadata, spec = dataset["metadata"], dataset.get("spec")
    try:
        identity, uri, least = spec["identity"], spec["source"]["uri"], spec["subjects"]["atLeast"]  # type: ignore[index]
    except (KeyError, TypeError):
        return None
    if not (isinstance(identity, str) and isinstance(uri, str) and isinstance(least, int)):
        return None
    return Holding(metadata.get("namespace") or "", metadata["name"], identity, uri, least)


@dataclass(frozen=True)
class Held:
    """What there is.

    Attributes:
        budgets: all PrivacyBudgets.
        registrations: what the ledgers hold, also of budgets that are gone.
        holdings: all Datasets.
        forms: what the ledger of a domain counts, where that is known.
    """

    budgets: tuple[Parsed[PrivacyBudgetSpec], ...] = ()
    registrations: tuple[Registration, ...] = ()
    holdings: Collection[Holding] = ()
    forms: Mapping[str, Form] = field(default_factory=dict)

    def domains(self, *, but: str = "") -> dict[str, str]:
        """The subject domain of each identity that has one; ``but`` is a PrivacyBudget that is left out."""
        live = {
            identity: budget.spec.subject_domain
            for budget in self.budgets
            if budget.spec is not None and budget.name != but
            for identity in budget.spec.identities
        }
        return live | {one.identity: one.domain for one in self.registrations}

    def registered(self) -> Iterator[Claim]:
        """What the ledgers say of sources."""
        for one in self.registrations:
            if one.source is not None and (source := _parsed(one.source)) is not None:
                yield Claim(one.identity, source, one.domain)


def budget_problems(
    name: str, spec: PrivacyBudgetSpec, held: Held, *, before: PrivacyBudgetSpec | None = None, trusted: bool = True
) -> list[FieldError]:
    """Why this PrivacyBudget is refused.

    Args:
        name: of the object.
        spec: as it would be.
        held: what there is; a budget of this name among it is not looked at.
        before: as it was. What was wrong already stays, so that the rest can be changed.
        trusted: whoever asks may be told of other objects.
    """
    found = list(_budget(name, spec, held, trusted=trusted))
    if before is None:
        if spec.approval is not None:
            found.append(FieldError("spec.approval", "a budget is made without an approval", remedy="leave it out"))
        return found
    standing = {error.message for error in _budget(name, before, held, trusted=trusted)}
    return [error for error in found if error.message not in standing]


def budget_warnings(
    spec: PrivacyBudgetSpec, held: Held, *, promised: tuple[float, float] | None = None, trusted: bool = True
) -> list[FieldError]:
    """What lets the budget be made and is worth a word: identities without data, a promise that waits for approval.

    Args:
        spec: as it would be.
        held: what there is.
        promised: ε and δ as they were; None for a new budget.
        trusted: whoever asks may be told of other objects.
    """
    there = {holding.identity for holding in held.holdings}
    found = [
        FieldError(f"spec.identities[{index}]", f"no Dataset has the identity {identity} (yet)")
        for index, identity in enumerate(spec.identities)
        if trusted and identity not in there
    ]
    if promised is not None and (spec.epsilon > promised[0] or spec.delta > promised[1]) and spec.approval is None:
        found.append(
            FieldError(
                "spec.epsilon",
                "a larger promise holds once another person approves it, by setting spec.approval to its epsilon, "
                "delta and noticeVersion; until then the one before stays",
            )
        )
    return found


def _budget(name: str, spec: PrivacyBudgetSpec, held: Held, *, trusted: bool) -> Iterator[FieldError]:
    domain, mine = spec.subject_domain, frozenset(spec.identities)
    yield from budget_errors(spec, max((h.at_least for h in held.holdings if h.identity in mine), default=None))
    for other in held.budgets:
        if other.spec is not None and other.name != name and other.spec.subject_domain == domain:
            which = f", {other.name}" if trusted else ""
            yield FieldError(
                "spec.subjectDomain",
                f"{domain} has a PrivacyBudget already{which}",
                remedy="add the identities there, or name another domain",
            )
            break
    yield from _form(spec, held.forms.get(domain))
    cut = Cut.of(spec.blocks)
    for index, blocks in enumerate(spec.retired):
        try:
            cut.span_of(blocks)
        except BlockError as error:
            some = 0 if cut.buckets else cut.key_at(_SOME_DAY)
            remedy = f"leave it out, or name a block as status of the budget calls it, such as {cut.label(some)}"
            yield FieldError(f"spec.retired[{index}]", str(error), remedy=remedy)
    elsewhere = held.domains(but=name)
    for index, identity in enumerate(spec.identities):
        if elsewhere.get(identity, domain) != domain:
            where = f"the subject domain {elsewhere[identity]}" if trusted else "another subject domain"
            yield FieldError(
                f"spec.identities[{index}]",
                f"{identity} belongs to {where}, where what was spent on it is counted",
                remedy="leave it out here"
                if len(mine) > 1
                else "leave this budget out, or list identities that have none",
            )
    yield from _overlapping(spec, held, elsewhere | dict.fromkeys(mine, domain), trusted=trusted)


def _form(spec: PrivacyBudgetSpec, form: Form | None) -> Iterator[FieldError]:
    if form is None:
        return
    kept = f"what was spent in the ledger of {spec.subject_domain}"
    if spec.unit != form.unit:
        yield FieldError("spec.unit", f"{kept} is counted for the unit {form.unit}", remedy=f"set unit to {form.unit}")
    if Cut.of(spec.blocks) != form.cut:
        cut = form.cut
        sizes = (("period", cut.period), ("buckets", cut.buckets))
        said = [f"by {cut.by}", *(f"{what} {value}" for what, value in sizes if value is not None)]
        yield FieldError("spec.blocks", f"{kept} is counted in blocks {', '.join(said)}", remedy="set blocks to these")


def _overlapping(
    spec: PrivacyBudgetSpec, held: Held, domains: Mapping[str, str], *, trusted: bool
) -> Iterator[FieldError]:
    """Sources of the budget's datasets that others hold, too. One sentence for each pair of identities."""
    places = {identity: index for index, identity in enumerate(spec.identities)}
    claims = [*_claims(held.holdings, domains), *held.registered()]
    seen: set[tuple[str, str]] = set()
    for mine in (claim for claim in claims if claim.identity in places):
        for conflict in conflicts(mine, claims):
            other = conflict.other
            if other.identity in places or (mine.identity, other.identity) in seen:
                continue
            seen.add((mine.identity, other.identity))
            whose = f"of {other.identity}, {_where(other)}" if trusted else "of others"
            yield FieldError(
                f"spec.identities[{places[mine.identity]}]",
                f"the source of {mine.identity} overlaps with that {whose}: {_ONE_BUDGET}",
                remedy="have both identities in one PrivacyBudget, or one of the datasets point elsewhere",
            )


def dataset_problems(
    namespace: str,
    name: str,
    spec: DatasetSpec,
    held: Held,
    *,
    before: DatasetSpec | None = None,
    trusted: bool = True,
) -> list[FieldError]:
    """Why this Dataset is refused; arguments as of :func:`budget_problems`.

    Of datasets of other namespaces nothing is told but the subject domain, since whoever asks need not know of them.
    """
    if before is not None and (before.identity, before.source.uri) == (spec.identity, spec.source.uri):
        return []  # both are immutable: nothing comes into being
    try:
        source = normalise(spec.source.uri, namespace)
    except ValueError as error:
        return [FieldError("spec.source.uri", str(error))]
    domains = held.domains()
    if not domains:
        return []
    mine = Claim(spec.identity, source, domains.get(spec.identity))
    others = [holding for holding in held.holdings if (holding.namespace, holding.name) != (namespace, name)]
    near = set(_claims((other for other in others if other.namespace == namespace), domains))
    found: dict[FieldError, None] = {}
    for conflict in conflicts(mine, [*_claims(others, domains), *held.registered()]):
        shown = trusted and conflict.other in near
        found[_shown(conflict) if shown else _to_a_stranger(conflict, trusted=trusted)] = None
    return list(found)


def _shown(conflict: Conflict) -> FieldError:
    remedy = "add both identities to one PrivacyBudget, or point the dataset elsewhere"
    return FieldError("spec.source.uri", str(conflict), remedy=remedy)


def _to_a_stranger(conflict: Conflict, *, trusted: bool) -> FieldError:
    where = _where(conflict.other) if trusted else "of others"
    return FieldError(
        "spec.source.uri",
        f"{conflict.mine.source} overlaps with data {where}: {_ONE_BUDGET}",
        remedy="ask the privacy office to have both identities in one PrivacyBudget, or point the dataset elsewhere",
    )


def _where(claim: Claim) -> str:
    return f"in the subject domain {claim.domain}" if claim.domain else "without a budget"


def _claims(holdings: Iterable[Holding], domains: Mapping[str, str]) -> Iterator[Claim]:
    for holding in holdings:
        if (source := _normal(holding.uri, holding.namespace)) is not None:
            yield Claim(holding.identity, source, domains.get(holding.identity))


@lru_cache(maxsize=16_384)
def _normal(uri: str, namespace: str) -> Source | None:
    """None for an address that can not be compared; no new one is let in."""
    try:
        return normalise(uri, namespace)
    except ValueError:
        return None


@lru_cache(maxsize=16_384)
def _parsed(text: str) -> Source | None:
    try:
        return parse(text)
    except ValueError:
        return None
