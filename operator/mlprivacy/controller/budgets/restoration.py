"""How it is told that entries of a ledger were written again: an audit record, and a sentence for Events."""

from __future__ import annotations

from typing import Final

from mlprivacy.audit.record import Event, Subject, event_id, utc_now
from mlprivacy.budget.ledger.entry import entry_name
from mlprivacy.controller.budgets.recovery import Restored

EVENT_KIND: Final = "ledger-restored"


def restored_event(done: Restored) -> Event:
    """The record. Each time is one of its own: the same entries may be lost twice."""
    time, domain, last = utc_now(), done.subject_domain, done.last
    return Event(
        time=time,
        id=event_id(EVENT_KIND, domain, done.first, last.sequence, last.hash, time),
        kind=EVENT_KIND,
        subject=Subject("LedgerEntry", "", entry_name(domain, last.sequence), ""),
        data={"subjectDomain": domain, "first": done.first, "last": last.sequence, "hash": last.hash},
    )


def restored_note(done: Restored) -> str:
    """For people."""
    what = f"entry {done.first}" if done.count == 1 else f"entries {done.first} to {done.last.sequence}"
    return (
        f"the ledger of {done.subject_domain} ended too early: {what} of it were written again as the collector "
        "exported them. If nobody restored the cluster's database, find out who deleted them"
    )
