"""retention: nothing runs on data past its day, and what was rendered does not outlive the class's bound."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import end_of_day
from mlprivacy.policy.model import Action, Demand, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, oblige

DAY_SECONDS = 86_400


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Each dataset's last day is not over; rendered objects get a time to live from the classes."""
    for dataset in case.datasets:
        retention = dataset.spec.retention
        if retention is None:
            continue
        over = end_of_day(retention.until)
        if over <= case.facts.now:
            yield breach(
                f"{dataset.path}.name",
                f"the dataset {dataset.ref} was to be used until {retention.until}, and that day is over",
                "leave the dataset out, or ask its data owner whether it may be kept longer",
                private=dataset.foreign,
            )
        else:
            case.expires(over)
    for item in case.classes:
        if item.spec.retention is not None:
            yield oblige(Demand.TTL, item.spec.retention.max_days * DAY_SECONDS)


RULE = Rule(
    id="retention",
    family="data",
    action=Action.DENY,
    reason="Data that is kept for ever is lost some day.",
    citations=("GDPR 5(1)(e)", "DPDP 8"),
    remedy="use data that may still be kept",
    check=check,
)
