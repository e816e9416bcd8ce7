"""/mutate/stamp: who asked for an object and who changed it last, as the API server authenticated them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlprivacy.admission.review import Answer, Review, annotations_of, labels_of
from mlprivacy.api.names import ANNOTATION_LAST_CHANGED_BY, ANNOTATION_REQUESTED_BY

_STAMPS: Final = (ANNOTATION_REQUESTED_BY, ANNOTATION_LAST_CHANGED_BY)


def operator_users(namespace: str) -> frozenset[str]:
    """The users that the operator's own processes are: what they write is no change by a person."""
    return frozenset(
        f"system:serviceaccount:{namespace}:mlprivacy-{part}" for part in ("admission", "controller", "collector")
    )


def stamp(review: Review, operators: frozenset[str]) -> Answer:
    """Allowed, with the patch that makes both stamps true; without one when they are.

    CREATE: requested-by is the user, whatever the object said. UPDATE: requested-by stays what it was; last-changed-by
    is the user when a person changed spec, labels or annotations, and else stays what it was.
    """
    wanted: dict[str, str] = {}
    if review.operation == "CREATE":
        wanted[ANNOTATION_REQUESTED_BY] = review.username
    elif review.old is not None:
        before = annotations_of(review.old)
        wanted = {key: before[key] for key in _STAMPS if key in before}
        if review.username not in operators and _changed(review.object, review.old):
            wanted[ANNOTATION_LAST_CHANGED_BY] = review.username
    return Answer(allowed=True, patch=_patch(review.object, wanted), verdict="Stamped")


def _changed(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return (
        new.get("spec") != old.get("spec")
        or labels_of(new) != labels_of(old)
        or _without_stamps(annotations_of(new)) != _without_stamps(annotations_of(old))
    )


def _without_stamps(annotations: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in annotations.items() if key not in _STAMPS}


def _patch(obj: Mapping[str, Any], wanted: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
    found = annotations_of(obj)
    if not found:
        # Also replaces an annotations field that is null, which `add` to a member of it would not.
        return ({"op": "add", "path": "/metadata/annotations", "value": dict(wanted)},) if wanted else ()
    operations: list[dict[str, Any]] = []
    for key in _STAMPS:
        path = "/metadata/annotations/" + key.replace("~", "~0").replace("/", "~1")
        if key in wanted:
            if found.get(key) != wanted[key]:
                operations.append({"op": "add", "path": path, "value": wanted[key]})
        elif key in found:
            operations.append({"op": "remove", "path": path})
    return tuple(operations)
