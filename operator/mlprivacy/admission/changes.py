"""What is recorded of a change to what decisions rest on: by whom, from which form to which, what was approved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlprivacy.admission.review import Answer, Review
from mlprivacy.admission.stamp import PROMISE
from mlprivacy.audit.record import Event, Subject, event_id, utc_now
from mlprivacy.policy.model import canonical_digest

EVENT_KIND: Final = "object-changed"
RECORDED: Final = frozenset(
    {"ConsentScope", "DataClass", "Dataset", "DatasetGrant", "PolicyException", "PrivacyBudget", "PrivacyPolicy"}
)
_FIELDS_MAX: Final = 32


def changed_event(review: Review, answer: Answer) -> Event:
    """The record of one change that admission let through or refused. Unlike a decision it says who asked for it.

    Raises RecordError for a text that is no Unicode.
    """
    uid = review.object["metadata"].get("uid")
    before, after = _spec(review.old), _spec(review.object)
    data: dict[str, object] = {
        "operation": review.operation,
        "allowed": answer.allowed,
        "verdict": answer.verdict,
        "by": review.username,
        "before": _digest(review.old),
        "after": _digest(review.object),
        "fields": sorted(key for key in {*before, *after} if before.get(key) != after.get(key))[:_FIELDS_MAX],
    }
    if review.kind == "PolicyException":
        data |= _of_exception(before, after)
    elif review.kind == "PrivacyBudget":
        data |= _of_budget(before, after)
    return Event(
        time=utc_now(),
        id=event_id(EVENT_KIND, review.uid, answer.verdict),
        kind=EVENT_KIND,
        subject=Subject(review.kind, review.namespace, review.name, uid if isinstance(uid, str) else ""),
        data=data,
    )


def is_request(review: Review) -> bool:
    """True for an exception that nobody has approved, before and after the change: it lets nothing run."""
    return review.kind == "PolicyException" and not (_approved(_spec(review.old)) or _approved(_spec(review.object)))


def _of_exception(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, object]:
    was, now = _approved(before), _approved(after)
    what = "approved" if now and not was else "revoked" if was and not now else "changed" if before else "asked"
    return {
        "change": what,
        "rule": _scalar(after.get("rule")),
        "ticket": _scalar(after.get("ticket")),
        "expiresAt": _scalar(after.get("expiresAt")),
        "workload": {key: _scalar(value) for key, value in _mapping(after.get("workload")).items() if key in _WORKLOAD},
        "approval": {key: _scalar(value) for key, value in _mapping(after.get("approval")).items() if key in _APPROVAL},
    }


def _of_budget(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, object]:
    """What was done about the promise; its numbers as text, since a record holds no others than whole ones."""
    if not before:
        what = "made"
    elif any(before.get(key) != after.get(key) for key in PROMISE):
        what = "promised"
    elif before.get("approval") != after.get("approval"):
        what = "approved" if after.get("approval") is not None else "approval withdrawn"
    else:
        what = "changed"
    numbers = {key: _text(after.get(key)) for key in PROMISE}
    return {"change": what, "subjectDomain": _scalar(after.get("subjectDomain")), "promise": numbers}


def _text(value: Any) -> str | int | None:
    return repr(value) if isinstance(value, float) else _scalar(value)


_WORKLOAD: Final = frozenset({"kind", "namespace", "name"})
_APPROVAL: Final = frozenset({"uid", "generation"})


def _approved(spec: Mapping[str, Any]) -> bool:
    return spec.get("approved") is True


def _digest(obj: Mapping[str, Any] | None) -> str | None:
    """Of the spec, as decisions and `mlprivacy explain` have it; None where there is no object, or no form in JSON."""
    if obj is None:
        return None
    try:
        return canonical_digest(obj.get("spec"))
    except (ValueError, TypeError, RecursionError):
        return None


def _spec(obj: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return _mapping(obj.get("spec")) if obj is not None else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _scalar(value: Any) -> str | int | None:
    """A value that a record can hold: what an object claims need not be of its field's type."""
    if isinstance(value, str):
        return value[:512]
    return value if isinstance(value, int) and abs(value) < 1 << 53 else None
