"""AdmissionReview v1: read strictly from bytes, answered in bytes. What is not one is a Malformed with a sentence."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

API_VERSION: Final = "admission.k8s.io/v1"
MAX_BODY: Final = 8 << 20  # bytes
MAX_UID: Final = 128  # characters

OPERATIONS: Final = frozenset({"CREATE", "UPDATE"})
_EARLY_UID: Final = re.compile(rb'"request":\{"uid":"([0-9a-f-]{36})"')
_HEAD: Final = 512  # bytes; the API server writes the uid before anything that a user wrote
Patch = Sequence[Mapping[str, Any]]


class Malformed(ValueError):
    """The body is no AdmissionReview that is served here. The message says why; ``uid`` is its uid if it has one."""

    def __init__(self, sentence: str, uid: str | None = None) -> None:
        super().__init__(sentence)
        self.uid = uid


class Review(NamedTuple):
    """The request of an AdmissionReview, as far as it is used. A tuple, since one is made for each request."""

    uid: str
    operation: str
    group: str
    kind: str
    resource: str
    subresource: str
    namespace: str
    name: str
    username: str
    dry_run: bool
    object: Mapping[str, Any]
    old: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. ``code`` and ``reason`` go into the Status of a refusal; ``verdict`` is for the log."""

    allowed: bool
    message: str = ""
    code: int = 403
    reason: str = "Forbidden"
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    patch: Patch = ()
    verdict: str = ""
    rules: tuple[tuple[str, str], ...] = ()  # (rule, action) of each finding, for the log and the metrics
    digest: str = ""


def parse_review(body: bytes) -> Review:
    """Read a review.

    Raises:
        Malformed: with what is wrong and what is served.
    """
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # What the API server sends is JSON, but may be nested deeper than is read here: that too gets its answer.
        found = _EARLY_UID.search(body, 0, _HEAD)
        sentence = "the body is not JSON, or nested deeper than is read here; make the object flatter"
        raise Malformed(sentence, found[1].decode("ascii") if found else None) from error
    if not isinstance(whole, dict) or whole.get("kind") != "AdmissionReview":
        raise Malformed("the body is no AdmissionReview")
    request = whole.get("request")
    if not isinstance(request, dict):
        raise Malformed("the AdmissionReview has no request")
    uid = request.get("uid")
    if not isinstance(uid, str) or not 0 < len(uid) <= MAX_UID:
        raise Malformed("the request has no uid")
    if whole.get("apiVersion") != API_VERSION:
        raise Malformed(f"the AdmissionReview is not of {API_VERSION}; list v1 in admissionReviewVersions", uid)
    operation = request.get("operation")
    if not isinstance(operation, str) or operation not in OPERATIONS:
        raise Malformed("only CREATE and UPDATE are decided on here; mend the webhook's rules", uid)
    kind, resource, user = request.get("kind"), request.get("resource"), request.get("userInfo")
    obj, old = request.get("object"), request.get("oldObject")
    if not (isinstance(kind, dict) and isinstance(resource, dict) and isinstance(user, dict)):
        raise Malformed("the request lacks kind, resource or userInfo", uid)
    if not isinstance(obj, dict) or not isinstance(old, dict | None) or (old is None) is (operation == "UPDATE"):
        raise Malformed("the request lacks its object, or the object before the change", uid)
    if not _readable(obj) or (old is not None and not _readable(old)):
        raise Malformed("the metadata of the object, its labels or its annotations can not be read", uid)
    try:
        return Review(
            uid=uid,
            operation=operation,
            group=_text(kind, "group"),
            kind=_text(kind, "kind"),
            resource=_text(resource, "resource"),
            subresource=_text(request, "subResource"),
            namespace=_text(request, "namespace"),
            name=_text(request, "name") or _text(obj["metadata"], "name"),
            username=_text(user, "username"),
            dry_run=request.get("dryRun") is True,
            object=obj,
            old=old,
        )
    except TypeError as error:
        raise Malformed(str(error), uid) from error


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The labels of an object that `parse_review` let pass."""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """The annotations of an object that `parse_review` let pass."""
    return obj["metadata"].get("annotations") or {}


def response(uid: str, answer: Answer) -> bytes:
    """The AdmissionReview that carries an answer."""
    body: dict[str, Any] = {"uid": uid, "allowed": answer.allowed}
    if not answer.allowed:
        body["status"] = {
            "status": "Failure",
            "message": answer.message,
            "reason": answer.reason,
            "code": answer.code,
        }
    if answer.warnings:
        body["warnings"] = answer.warnings
    if answer.annotations:
        body["auditAnnotations"] = answer.annotations
    if answer.patch:
        body["patchType"] = "JSONPatch"
        body["patch"] = base64.b64encode(orjson.dumps(answer.patch)).decode("ascii")
    return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": body})


def _readable(obj: Mapping[str, Any]) -> bool:
    """True for an object whose metadata, labels and annotations have the types that the API server sends."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return False
    for maps in (metadata.get("labels"), metadata.get("annotations")):
        if maps is not None and not (isinstance(maps, dict) and all(isinstance(v, str) for v in maps.values())):
            return False
    return True


def _text(source: Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"the field {key} of the request is not a string")
    return value
