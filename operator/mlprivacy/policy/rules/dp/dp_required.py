"""dp-required: where a class demands differential privacy, the job promises enough of it."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.budget.figures import at_most, exact
from mlprivacy.policy.case import Case, ClassUse
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, missing

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
            _whole(case, demanding),
        )
        return
    for item in demanding:
        cap = item.spec.differential_privacy.max_epsilon_per_job
        if cap is not None and privacy.epsilon is None:
            dpsgd = "" if privacy.mechanism == "Event" else "mechanism to DPSGD and "
            yield missing(
                "spec.privacy.epsilon",
                f"{item.name} allows one job an epsilon of {exact(cap)}, and what this job spends is not known",
                f"set {dpsgd}epsilon to {exact(cap)} or less",
            )
        elif cap is not None and privacy.epsilon is not None and privacy.epsilon > cap:
            yield breach(
                "spec.privacy.epsilon",
                f"{exact(privacy.epsilon)} is more than the {exact(cap)} that {item.name} allows one job",
                f"set epsilon to {exact(cap)} or less",
            )
        if item.spec.differential_privacy.unit == "User" and privacy.unit == "Event":
            yield breach(
                "spec.privacy.unit",
                f"{item.name} protects persons, and the unit Event protects single records",
                "set unit to User",
            )
    yield from _delta(case, demanding)


def _whole(case: Case, demanding: list[ClassUse]) -> str:
    """Every field that a job without a promise needs, with the greatest values that are allowed."""
    caps = [c.spec.differential_privacy.max_epsilon_per_job for c in demanding]
    known = [c for c in caps if c is not None]
    epsilon = f"epsilon at most {exact(min(known))}" if known else "epsilon"
    bound = _delta_bound(case, demanding)
    delta = f"delta at most {at_most(bound[0])}" if bound is not None else "delta"
    return f"set spec.privacy with mechanism: DPSGD, {epsilon}, {delta}, batchSize, epochs and maxGradNorm"


def _delta_bound(case: Case, demanding: list[ClassUse]) -> tuple[float, str] | None:
    """1/(100 N) for the largest population touched, or what a class sets below that (accounting facts, 6), and why.

    N is what the data owner declares of the whole dataset. What the job says of itself (``unitsAtLeast``) does not
    count here: a smaller claim would loosen the bound, and whoever writes the job writes the claim.
    """
    names = {c.name for c in demanding}
    touched = [d for d in case.datasets if names & {d.column_classes().get(c, "") for c in d.asked.columns}]
    if not touched:
        return None

    largest = max(touched, key=lambda d: d.spec.subjects.at_least)  # the strictest bound is that of most people
    units = largest.spec.subjects.at_least
    bound, why = 1 / (100 * units), f"1/(100 N) for the {units} persons of {largest.ref}"
    for item in demanding:
        own = item.spec.differential_privacy.max_delta
        if own is not None and own < bound:
            bound, why = own, f"what {item.name} allows"
    return bound, why


def _delta(case: Case, demanding: list[ClassUse]) -> Iterator[Raised]:
    """delta is promised, and is at most the bound."""
    privacy, found = case.training.privacy, _delta_bound(case, demanding)
    if privacy is None or found is None:
        return
    bound, why = found
    if privacy.delta is None:
        yield breach(
            "spec.privacy.delta",
            f"no delta is promised; it must be at most {at_most(bound)}, which is {why}",
            f"set delta to {at_most(bound)} or less",
        )
    elif privacy.delta > bound:
        yield breach(
            "spec.privacy.delta",
            f"{exact(privacy.delta)} is more than {at_most(bound)}, which is {why}",
            f"set delta to {at_most(bound)} or less",
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
