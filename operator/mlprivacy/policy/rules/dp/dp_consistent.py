"""dp-consistent: noise, batches and epochs, or the serialised event, keep the epsilon that the job declares."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.training_job import Privacy
from mlprivacy.budget.figures import at_least, exact
from mlprivacy.policy.case import Case
from mlprivacy.policy.charging import units_of
from mlprivacy.policy.durations import later
from mlprivacy.policy.loss import LOOK_AGAIN, Counted, NotCounted
from mlprivacy.policy.mending import DERIVED
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, missing

NOT_YET = "is not counted yet, since that takes longer than there was time for"
ANOTHER = "use fewer records of each person, smaller batches or fewer epochs"


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The computed epsilon is at most the declared one, and is one that can be computed: Poisson sampling alone.

    Where the job leaves its noise out there is nothing to disagree: it is derived from the ceiling. It is looked at
    then only where a budget is charged.
    """
    privacy, accounts = case.training.privacy, case.accounts
    if privacy is None:
        return
    foreign = any(dataset.foreign for dataset in case.datasets)
    found = None if accounts.promise is None else case.facts.losses.get(accounts.promise)
    if accounts.records is not None and privacy.mechanism == "DPSGD" and (privacy.batch_size or 0) > accounts.records:
        told = found.remedy if isinstance(found, NotCounted) else None
        yield breach(
            "spec.privacy.batchSize",
            f"{privacy.batch_size} is more than the {accounts.records} units that the data is known to hold at least, "
            "so that the sampling rate would be above 1",
            f"{told or _smaller(accounts.records, privacy)}; or, if the data holds more, {_more_units(case)}",
            private=foreign,
        )
        return
    if accounts.promise is None:
        return
    path = "spec.privacy.event" if privacy.mechanism == "Event" else "spec.privacy"
    if found is None:
        case.expires(later(case.facts.now, LOOK_AGAIN))
        yield missing(path, f"what the mechanism costs {NOT_YET}", "wait; it is tried again by itself")
    elif isinstance(found, NotCounted):
        message = f"what the mechanism costs can not be counted: {found.why}"
        yield breach(path, message, found.remedy or ANOTHER, private=foreign)
    elif privacy.epsilon is not None and found.loss.epsilon > privacy.epsilon:
        yield _too_much(found, privacy.epsilon, event=privacy.mechanism == "Event", private=foreign)


def _smaller(records: int, privacy: Privacy) -> str:
    """The batch that the data holds. What noise keeps the ceiling with it is left to be derived."""
    return f"set batchSize to {records} or less{f' and {DERIVED}' if privacy.noise_multiplier is not None else ''}"


def _more_units(case: Case) -> str:
    """Who can say that the data holds more units: the job itself, if it claimed fewer than the data's owner."""
    fewest = min(case.datasets, key=units_of)
    known = fewest.spec.subjects.at_least
    if units_of(fewest) < known:
        return f"raise {fewest.path}.unitsAtLeast, at most to the {known} that its owner promises"
    return f"ask the data owner of {fewest.ref} to raise spec.subjects.atLeast of the Dataset"


def _too_much(found: Counted, declared: float, *, event: bool, private: bool) -> Raised:
    computed = f"{at_least(found.loss.epsilon)} at a delta of {exact(found.loss.delta)}"
    if event:
        path = "spec.privacy.event"
        said = f"the event comes to an epsilon of {computed}, more than the {exact(declared)} that the job declares"
    else:
        path = "spec.privacy.noiseMultiplier"
        said = (
            f"with the sampling rate {found.loss.sampling_rate:.3g}, {found.loss.steps} steps and the noise multiplier "
            f"{exact(found.loss.noise_multiplier or 0)} epsilon is {computed}, more than the {exact(declared)} that "
            "the job declares"
        )
    return breach(path, said, found.remedy or ANOTHER, private=private)


RULE = Rule(
    id="dp-consistent",
    family="dp",
    action=Action.DENY,
    reason="A promise that its own numbers do not keep misleads everybody who reads it.",
    citations=("organisation",),
    remedy="change noise, batch size or epochs, or the epsilon that is declared",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
