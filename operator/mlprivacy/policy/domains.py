"""Which subject domain a dataset belongs to, by the budget that lists it or by what the ledgers hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mlprivacy.api.base import Parsed
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.budget.ledger.identity import Source, normalise, overlap, parse
from mlprivacy.policy.charge import Registered
from mlprivacy.policy.facts import Facts

REMEMBERED: Final = 4096  # sources whose overlaps are known
_NO_TIME: Final = "9999"  # of an object that was not made yet: after all others


class Problem(NamedTuple):
    """Why a dataset can not be charged to its domain; ``hold`` when that may mend itself or people may mend it."""

    reason: Reason
    message: str
    remedy: str
    hold: bool = False


class Home(NamedTuple):
    """A subject domain that a dataset belongs to, or that its data may belong to.

    ``budget`` is None where no PrivacyBudget in force has the domain; ``problem`` is None where the job can be charged.
    """

    domain: str
    budget: Parsed[PrivacyBudgetSpec] | None
    problem: Problem | None = None


@dataclass(frozen=True)
class Books:
    """Budgets and registrations, made ready for looking up.

    Attributes:
        in_force: the budgets that count, by subject domain.
        listed: the same, by identity.
        idle: by identity: a budget that lists it and has no effect, and why, as a sentence.
        held: by identity: the domains whose ledger registered it.
        sources: what the ledgers registered, by scheme and authority.
    """

    budgets: tuple[Parsed[PrivacyBudgetSpec], ...]
    registered: tuple[Registered, ...]
    in_force: Mapping[str, Parsed[PrivacyBudgetSpec]]
    listed: Mapping[str, Parsed[PrivacyBudgetSpec]]
    idle: Mapping[str, tuple[str, Problem]]
    held: Mapping[str, tuple[str, ...]]
    sources: Mapping[tuple[str, str], tuple[tuple[str, Source], ...]]
    _overlaps: dict[tuple[str, str], tuple[str, ...] | str] = field(default_factory=dict, compare=False)

    def overlapping(self, uri: str, namespace: str) -> tuple[str, ...] | str:
        """The domains that registered a source with which this one overlaps; a sentence where that can not be said."""
        key = (uri, namespace)
        found = self._overlaps.get(key)
        if found is None:
            if len(self._overlaps) >= REMEMBERED:
                self._overlaps.pop(next(iter(self._overlaps)), None)
            found = self._overlaps[key] = self._look(uri, namespace)
        return found

    def _look(self, uri: str, namespace: str) -> tuple[str, ...] | str:
        try:
            mine = normalise(uri, namespace)
        except ValueError as error:
            return str(error)
        there = self.sources.get((mine.scheme, mine.authority), ())
        return tuple(sorted({domain for domain, other in there if overlap(mine, other)}))


_known: list[Books] = []  # the latest first, a few of them: whoever compares has two sides


def books(facts: Facts) -> Books:
    """The budgets and registrations of these facts; made once for the same two tuples, which it keeps alive."""
    for found in _known:
        if found.budgets is facts.budgets and found.registered is facts.registered:
            return found
    made = _make(facts.budgets, facts.registered)
    _known[:] = [made, *_known[:3]]
    return made


class Effective(NamedTuple):
    """Of several PrivacyBudgets those that count, by domain, and why each of the others has no effect, by name."""

    in_force: Mapping[str, Parsed[PrivacyBudgetSpec]]
    idle: Mapping[str, str]


def effective(budgets: Iterable[Parsed[PrivacyBudgetSpec]]) -> Effective:
    """Of two budgets with the same subject domain or a common identity, the one that was made first counts.

    By creationTimestamp, then by name; one without a timestamp was not made yet. One that can not be read is left out.
    """
    in_force: dict[str, Parsed[PrivacyBudgetSpec]] = {}
    owner: dict[str, str] = {}
    idle: dict[str, str] = {}
    for budget in sorted(budgets, key=_age):
        spec = budget.spec
        if spec is None:
            continue
        taken = sorted({owner[identity] for identity in spec.identities if identity in owner})
        if spec.subject_domain in in_force:
            first = in_force[spec.subject_domain].name
            idle[budget.name] = f"the PrivacyBudget {first} has the subject domain {spec.subject_domain} already"
        elif taken:
            idle[budget.name] = f"the PrivacyBudget {taken[0]} has one of its identities already"
        else:
            in_force[spec.subject_domain] = budget
            owner.update(dict.fromkeys(spec.identities, budget.name))
    return Effective(in_force, idle)


def _age(budget: Parsed[PrivacyBudgetSpec]) -> tuple[str, str]:
    metadata = budget.raw.get("metadata")
    made = metadata.get("creationTimestamp") if isinstance(metadata, Mapping) else None
    return made if isinstance(made, str) and made else _NO_TIME, budget.name


def _make(budgets: tuple[Parsed[PrivacyBudgetSpec], ...], registered: tuple[Registered, ...]) -> Books:
    found = effective(budgets)
    listed = {i: b for b in found.in_force.values() if b.spec is not None for i in b.spec.identities}
    held: dict[str, dict[str, None]] = {}
    sources: dict[tuple[str, str], list[tuple[str, Source]]] = {}
    for one in registered:
        held.setdefault(one.identity, {})[one.domain] = None
        if one.source is None:
            continue
        try:
            source = parse(one.source)
        except ValueError:
            continue  # the identity still stands for it
        sources.setdefault((source.scheme, source.authority), []).append((one.domain, source))
    return Books(
        budgets,
        registered,
        found.in_force,
        listed,
        dict(_idle(budgets, found)),
        {identity: tuple(domains) for identity, domains in held.items()},
        {place: tuple(those) for place, those in sources.items()},
    )


def _idle(budgets: Iterable[Parsed[PrivacyBudgetSpec]], found: Effective) -> Iterable[tuple[str, tuple[str, Problem]]]:
    """By identity: the domain and what is wrong with a budget that lists it and does not count."""
    for budget in budgets:
        spec = budget.spec
        if spec is not None and budget.name in found.idle:
            problem = Problem(
                Reason.DOMAIN_TAKEN,
                f"is listed by the PrivacyBudget {budget.name}, which has no effect: {found.idle[budget.name]}",
                "ask the privacy office to list the dataset in the budget that was made first",
                hold=True,
            )
            yield from ((identity, (spec.subject_domain, problem)) for identity in spec.identities)
        elif spec is None:
            problem = Problem(
                Reason.INVALID_REFERENCE,
                f"is listed by the PrivacyBudget {budget.name}, which can not be read by this version",
                f"ask the privacy office to look at the conditions of {budget.name}, or upgrade the operator",
                hold=True,
            )
            raw = budget.raw.get("spec")
            raw = raw if isinstance(raw, Mapping) else {}
            named = raw.get("identities")
            for identity in named if isinstance(named, list) else ():
                if isinstance(identity, str):
                    yield identity, (str(raw.get("subjectDomain") or ""), problem)


def homes(found: Books, identity: str, uri: str, namespace: str) -> tuple[Home, ...]:
    """The domains of a dataset, its own first; none where it has no budget and touches none.

    Args:
        found: of the facts.
        identity: spec.identity of the Dataset.
        uri: spec.source.uri.
        namespace: of the Dataset.
    """
    own = _own(found, identity)
    mine = {home.domain for home in own}
    others = [Home(d, found.in_force.get(d), _elsewhere(d)) for d in found.held.get(identity, ()) if d not in mine]
    overlapping = found.overlapping(uri, namespace) if found.held or own else ()
    if isinstance(overlapping, str):
        problem = Problem(
            Reason.BREACH,
            f"has a source that can not be compared with those of other budgets: {overlapping}",
            "ask the data owner to write the source's address plainly",
        )
        return tuple(Home(home.domain, home.budget, home.problem or problem) for home in own) or (
            Home("", None, problem),
        )
    seen = mine | {home.domain for home in others}
    return (*own, *others, *(Home(d, found.in_force.get(d), _overlap(d)) for d in overlapping if d not in seen))


def _own(found: Books, identity: str) -> tuple[Home, ...]:
    budget = found.listed.get(identity)
    if budget is not None and budget.spec is not None:
        return (Home(budget.spec.subject_domain, budget),)
    held = found.held.get(identity, ())
    if held:
        # One domain, unless somebody wrote to the ledgers by hand: then the others are told as what stands against it.
        return (Home(held[0], found.in_force.get(held[0]), None if held[0] in found.in_force else _gone(held[0])),)
    if identity in found.idle:
        domain, problem = found.idle[identity]
        return (Home(domain, found.in_force.get(domain), problem),)
    return ()


def _gone(domain: str) -> Problem:
    return Problem(
        Reason.FACT_MISSING,
        f"belongs to the subject domain {domain}, whose PrivacyBudget is gone; what was spent of it stays spent",
        f"ask the privacy office to make the PrivacyBudget of {domain} anew; its ledger goes on where it was",
        hold=True,
    )


def _elsewhere(domain: str) -> Problem:
    return Problem(
        Reason.BREACH,
        f"is registered for ever in the subject domain {domain}",
        "ask the privacy office to add the identity to the PrivacyBudget of that domain, or leave the dataset out",
    )


def _overlap(domain: str) -> Problem:
    return Problem(
        Reason.BREACH,
        f"has a source that overlaps with one of the subject domain {domain}; the same people's data has one budget",
        "ask the privacy office to add the identity to the PrivacyBudget of that domain, or leave the dataset out",
    )
