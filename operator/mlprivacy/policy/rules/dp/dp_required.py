"""dp-required: where a class demands differential privacy, the job promises enough of it."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case, ClassUse, UsedDataset
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach

_FORMAL = ("DPSGD", "Event", "Federated")


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Mechanism present, epsilon at most the cap, delta at most 1/(100 N), unit at least as strong."""
    demanding = [c for c in case.classes if c.spec.differential_privacy.required]
    if not demanding:
        return
    privacy = case.training.privacy
    if privacy is None or privacy.mechanism not in _FORMAL:
        names = ", ".join(c.name for c in demanding)
        said = "no privacy is promised" if privacy is None else f"the mechanism {privacy.mechanism} promises none"
        yield breach(
            "spec.privacy" if privacy is None else "spec.privacy.mechanism",
            f"{names} may be trained on only with differential privacy, and {said}",
            f"set spec.privacy with mechanism DPSGD{_caps(demanding)}",
        )
        return
    for item in demanding:
        cap = item.spec.differential_privacy.max_epsilon_per_job
        if cap is not None and privacy.epsilon is not None and privacy.epsilon > cap:
            yield breach(
                "spec.privacy.epsilon",
                f"{privacy.epsilon:g} is more than the {cap:g} that {item.name} allows one job",
                f"set epsilon to {cap:g} or less",
            )
        if item.spec.differential_privacy.unit == "User" and privacy.unit == "Event":
            yield breach(
                "spec.privacy.unit",
                f"{item.name} protects persons, and the unit Event protects single records",
                "set unit to User",
            )
    yield from _delta(case, demanding)


def _caps(demanding: list[ClassUse]) -> str:
    caps = [c.spec.differential_privacy.max_epsilon_per_job for c in demanding]
    known = [c for c in caps if c is not None]
    return f" and epsilon at most {min(known):g}" if known else ""


def _delta(case: Case, demanding: list[ClassUse]) -> Iterator[Raised]:
    """delta <= 1/(100 N) for the smallest dataset, or what a class sets below that (accounting facts, 6)."""
    privacy = case.training.privacy
    if privacy is None:
        return
    names = {c.name for c in demanding}
    touched = [d for d in case.datasets if names & {d.column_classes().get(c, "") for c in d.asked.columns}]
    if not touched:
        return

    def units(dataset: UsedDataset) -> int:
        return dataset.asked.units_at_least or dataset.spec.subjects.at_least

    largest_n = max(touched, key=units)  # the strictest bound is that of the largest population
    bound = 1 / (100 * units(largest_n))
    why = f"1/(100 N) for the {units(largest_n)} persons of {largest_n.ref}"
    for item in demanding:
        own = item.spec.differential_privacy.max_delta
        if own is not None and own < bound:
            bound, why = own, f"what {item.name} allows"
    if privacy.delta is None:
        yield breach(
            "spec.privacy.delta",
            f"no delta is promised; it must be at most {bound:.3g}, which is {why}",
            f"set delta to {bound:.3g} or less",
        )
    elif privacy.delta > bound:
        yield breach(
            "spec.privacy.delta",
            f"{privacy.delta:g} is more than {bound:.3g}, which is {why}",
            f"set delta to {bound:.3g} or less",
        )


RULE = Rule(
    id="dp-required",
    family="dp",
    action=Action.DENY,
    reason="A model remembers what it was trained on; for such data only a bound on that is good enough.",
    citations=("GDPR 25", "GDPR 32", "EDPB 28/2024"),
    remedy="promise differential privacy within the caps of the data class",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
