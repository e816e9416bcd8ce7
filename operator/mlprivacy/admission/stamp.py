"""/mutate/stamp: who asked for an object and who changed it last, as the API server authenticated them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from mlprivacy.admission.review import Answer, Review, annotations_of, labels_of
from mlprivacy.api.names import (
    ANNOTATION_APPROVED_BY,
    ANNOTATION_LAST_CHANGED_BY,
    ANNOTATION_PROMISED_BY,
    ANNOTATION_REQUESTED_BY,
    ANNOTATION_REVOKED_AT,
    ANNOTATION_REVOKED_BY,
)
from mlprivacy.api.promisers import with_promiser, written
from mlprivacy.kube.conditions import timestamp

_STAMPS: Final = (ANNOTATION_REQUESTED_BY, ANNOTATION_LAST_CHANGED_BY)
_REVOKED: Final = (ANNOTATION_REVOKED_BY, ANNOTATION_REVOKED_AT)
_OF_EXCEPTIONS: Final = (*_STAMPS, ANNOTATION_APPROVED_BY, *_REVOKED)
_OF_BUDGETS: Final = (*_STAMPS, ANNOTATION_PROMISED_BY, ANNOTATION_APPROVED_BY)
PROMISE: Final = ("epsilon", "delta", "noticeVersion")  # fields of a PrivacyBudget that are the promise


def operator_users(namespace: str) -> frozenset[str]:
    """The users that the operator's own processes are: what they write is no change by a person."""
    return frozenset(
        f"system:serviceaccount:{namespace}:mlprivacy-{part}" for part in ("admission", "controller", "collector")
    )


def stamp(review: Review, operators: frozenset[str], now: datetime) -> Answer:
    """Allowed, with the patch that makes the stamps true; without one when they are.

    CREATE: requested-by is the user, whatever the object said. UPDATE: requested-by stays what it was; last-changed-by
    is the user when a person changed spec, labels or annotations, and else stays what it was. On a PolicyException
    approved-by is the user when ``approved`` becomes true, stays as long as it is, and goes with it; then revoked-by
    and revoked-at say who took it back and when, until it is approved again. On a PrivacyBudget promised-by names who
    made it, or all who changed the promise since the one in force, and approved-by who wrote the approval that stands;
    it goes with the approval, and when the promise changes.
    """
    stamps = {"PolicyException": _OF_EXCEPTIONS, "PrivacyBudget": _OF_BUDGETS}.get(review.kind, _STAMPS)
    wanted: dict[str, str] = {}
    if review.operation == "CREATE":
        wanted[ANNOTATION_REQUESTED_BY] = review.username
    elif review.old is not None:
        before = annotations_of(review.old)
        wanted = {key: before[key] for key in stamps if key in before}
        if review.username not in operators and _changed(review.object, review.old, stamps):
            wanted[ANNOTATION_LAST_CHANGED_BY] = review.username
    if review.kind == "PolicyException" and review.old is not None:
        wanted = _of_exception(review, review.old, wanted, now)
    elif review.kind == "PrivacyBudget":
        wanted = _of_budget(review, wanted)
    return Answer(allowed=True, patch=_patch(review.object, wanted, stamps), verdict="Stamped")


def _of_exception(review: Review, old: Mapping[str, Any], wanted: dict[str, str], now: datetime) -> dict[str, str]:
    if not _approved(review.object):
        wanted.pop(ANNOTATION_APPROVED_BY, None)
        return (
            wanted | dict(zip(_REVOKED, (review.username, timestamp(now)), strict=True)) if _approved(old) else wanted
        )
    wanted = {key: value for key, value in wanted.items() if key not in _REVOKED}
    return wanted if _approved(old) else wanted | {ANNOTATION_APPROVED_BY: review.username}


def _of_budget(review: Review, wanted: dict[str, str]) -> dict[str, str]:
    after = _spec(review.object)
    before = _spec(review.old) if review.old is not None else None
    if before is None or any(before.get(key) != after.get(key) for key in PROMISE):
        wanted.pop(ANNOTATION_APPROVED_BY, None)
        alone = before is None or _anew(review.old or {}, before, after)
        known = wanted.get(ANNOTATION_PROMISED_BY, "")
        names = written(review.username) if alone else with_promiser(known, review.username)
        return wanted | {ANNOTATION_PROMISED_BY: names}
    if after.get("approval") is None:
        wanted.pop(ANNOTATION_APPROVED_BY, None)
    elif after.get("approval") != before.get("approval"):
        wanted[ANNOTATION_APPROVED_BY] = review.username
    return wanted


def _anew(old: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether nobody but who changes it now had a hand in what is asked for beyond the promise in force.

    So it is when it was not more than that promise, or is not any longer. A status that lags behind says nothing.
    """
    status, generation = old.get("status"), (old.get("metadata") or {}).get("generation")
    if not isinstance(status, Mapping) or generation is None or status.get("observedGeneration") != generation:
        return False
    promise = status.get("promise")
    return isinstance(promise, Mapping) and (_within(before, promise) or _within(after, promise))


def _within(spec: Mapping[str, Any], promise: Mapping[str, Any]) -> bool:
    pairs = [(spec.get(key), promise.get(key)) for key in ("epsilon", "delta")]
    return all(isinstance(a, int | float) and isinstance(b, int | float) and a <= b for a, b in pairs)


def _spec(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = obj.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _approved(obj: Mapping[str, Any]) -> bool:
    return _spec(obj).get("approved") is True


def _changed(new: Mapping[str, Any], old: Mapping[str, Any], stamps: tuple[str, ...]) -> bool:
    return (
        new.get("spec") != old.get("spec")
        or labels_of(new) != labels_of(old)
        or _without(stamps, annotations_of(new)) != _without(stamps, annotations_of(old))
    )


def _without(stamps: tuple[str, ...], annotations: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in annotations.items() if key not in stamps}


def _patch(obj: Mapping[str, Any], wanted: Mapping[str, str], stamps: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    found = annotations_of(obj)
    if not found:
        # Also replaces an annotations field that is null, which `add` to a member of it would not.
        return ({"op": "add", "path": "/metadata/annotations", "value": dict(wanted)},) if wanted else ()
    operations: list[dict[str, Any]] = []
    for key in stamps:
        path = "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")
        if key in wanted:
            if found.get(key) != wanted[key]:
                operations.append({"op": "add", "path": path, "value": wanted[key]})
        elif key in found:
            operations.append({"op": "remove", "path": path})
    return tuple(operations)
