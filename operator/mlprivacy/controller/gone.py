"""What was deleted of what decisions rest on, as audit records: sent without waiting, repeated until it is on disk."""

from __future__ import annotations

from typing import Final

from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.audit.record import Event, RecordError, Subject, event_id, utc_now
from mlprivacy.controller.inputs import INPUT_KINDS
from mlprivacy.kube.client import Object
from mlprivacy.policy.model import canonical_digest

EVENT_KIND: Final = "object-deleted"
_KINDS: Final = frozenset({*INPUT_KINDS, "PolicyException", "PrivacyBudget"})


def gone_event(old: Object | None, new: Object | None) -> Event | None:
    """The record of an object that is there no more; None for any other change, and for what nothing rests on.

    One that was made anew under its name between two looks is gone too.
    """
    if old is None:
        return None
    metadata = old["metadata"]
    if new is not None and new["metadata"].get("uid") == metadata.get("uid"):
        return None
    data: dict[str, object] = {}
    if old["kind"] == "Namespace":
        ceiling = (metadata.get("labels") or {}).get(LABEL_ENFORCE)
        if ceiling is None:
            return None
        data["enforce"] = ceiling
    elif old["kind"] in _KINDS:
        spec = old.get("spec") or {}
        data["before"] = canonical_digest(spec)
        if old["kind"] == "PolicyException":
            data["approved"] = spec.get("approved") is True
    else:
        return None
    uid = str(metadata.get("uid") or "")
    try:
        return Event(
            time=utc_now(),
            id=event_id(EVENT_KIND, old["kind"], uid),
            kind=EVENT_KIND,
            subject=Subject(old["kind"], metadata.get("namespace") or "", metadata["name"], uid),
            data=data,
        )
    except RecordError:
        return None
