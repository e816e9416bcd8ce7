"""incident: while a breach of a dataset is open, no new use of it begins, and the 72 hours are shown.

An organisation default: the owner's own statement must never be passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import later, parse_time
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, missing

CLOCK = timedelta(hours=72)


def check(case: Case) -> Iterator[Raised | Obligation]:
    """An incident is open from ``openedAt`` until ``closedAt``; without ``closedAt`` it stays open."""
    for dataset in case.datasets:
        incident = dataset.spec.incident
        if incident is None:
            continue
        closed = None if incident.closed_at is None else parse_time(incident.closed_at)
        if closed is not None and closed <= case.facts.now:
            continue
        if closed is not None:
            case.expires(closed)
        deadline = later(parse_time(incident.opened_at), CLOCK)
        case.expires(deadline)
        running = deadline > case.facts.now
        yield missing(
            f"{dataset.path}.name",
            f"the incident {incident.reference} on {dataset.ref} is open since {incident.opened_at}; the 72 h clock "
            f"{'runs out' if running else 'ran out'} at {deadline.strftime('%Y-%m-%dT%H:%M:%SZ')}",
            "wait until its data owner sets closedAt, or leave the dataset out",
            private=dataset.foreign,
        )


RULE = Rule(
    id="incident",
    family="accountability",
    action=Action.DENY,
    reason="Data that is leaking is not passed on.",
    citations=("GDPR 33", "GDPR 34"),
    remedy="wait until the incident is closed",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
