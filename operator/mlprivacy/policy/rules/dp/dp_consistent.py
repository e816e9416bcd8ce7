"""dp-consistent: noise, batches and epochs, or the serialised event, keep the epsilon that the job declares."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import later
from mlprivacy.policy.figures import at_least, exact
from mlprivacy.policy.loss import LOOK_AGAIN, Counted, NotCounted
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, missing

NOT_YET = "is not counted yet, since that takes longer than there was time for"


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The computed epsilon is at most the declared one, and is one that can be computed: Poisson sampling alone.

    Where the job leaves its noise out there is nothing to disagree: it is derived from the ceiling. It is looked at
    then only where a budget is charged.
    """
    privacy, accounts = case.training.privacy, case.accounts
    if privacy is None:
        return
    foreign = any(dataset.foreign for dataset in case.datasets)
    if accounts.records is not None and privacy.mechanism == "DPSGD" and (privacy.batch_size or 0) > accounts.records:
        yield breach(
            "spec.privacy.batchSize",
            f"{privacy.batch_size} is more than the {accounts.records} units that the data is known to hold at least, "
            "so that the sampling rate would be above 1",
            f"set batchSize to {accounts.records} or less",
            private=foreign,
        )
        return
    if accounts.promise is None:
        return
    path = "spec.privacy.event" if privacy.mechanism == "Event" else "spec.privacy"
    found = case.facts.losses.get(accounts.promise)
    if found is None:
        case.expires(later(case.facts.now, LOOK_AGAIN))
        yield missing(path, f"what the mechanism costs {NOT_YET}", "wait; it is tried again by itself")
    elif isinstance(found, NotCounted):
        yield breach(path, f"what the mechanism costs can not be counted: {found.why}", "change the mechanism")
    elif privacy.epsilon is not None and found.loss.epsilon > privacy.epsilon:
        yield _too_much(found, privacy.epsilon, event=privacy.mechanism == "Event", private=foreign)


def _too_much(found: Counted, declared: float, *, event: bool, private: bool) -> Raised:
    computed = f"{at_least(found.loss.epsilon)} at a delta of {exact(found.loss.delta)}"
    if event:
        return breach(
            "spec.privacy.event",
            f"the event comes to an epsilon of {computed}, more than the {exact(declared)} that the job declares",
            f"set epsilon to {at_least(found.loss.epsilon)}, or change the event",
            private=private,
        )
    noise = (
        f"set noiseMultiplier to {exact(found.least_noise)} or more"
        if found.least_noise is not None
        else "give more noise"
    )
    return breach(
        "spec.privacy.noiseMultiplier",
        f"with the sampling rate {found.loss.sampling_rate:.3g}, {found.loss.steps} steps and the noise multiplier "
        f"{exact(found.loss.noise_multiplier or 0)} epsilon is {computed}, more than the {exact(declared)} that the "
        "job declares",
        f"{noise}, or leave it out so that it is derived from epsilon",
        private=private,
    )


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
