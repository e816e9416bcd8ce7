"""Which changes of what the copies hold could change a decision, and whom they concern."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mlprivacy.api.names import ANNOTATION_APPROVED_BY, ANNOTATION_PROMISED_BY, ANNOTATION_REQUESTED_BY
from mlprivacy.kube.client import Object
from mlprivacy.kube.fabric import KINDS as FABRIC_KINDS
from mlprivacy.kube.resources import CONFIGMAPS, POLICYEXCEPTIONS, PRIVACYBUDGETS
from mlprivacy.kube.settling import exception_of
from mlprivacy.policy.model import Dependency

REGISTRATIONS: Final = "Registrations"  # what changes are told under when the ledgers hold other datasets than before
_WHOLE: Final = FABRIC_KINDS - {CONFIGMAPS.kind}  # of these a copy holds nothing but what decides
_STAMPED: Final[Mapping[str, tuple[str, ...]]] = {
    POLICYEXCEPTIONS.kind: (ANNOTATION_REQUESTED_BY, ANNOTATION_APPROVED_BY),
    PRIVACYBUDGETS.kind: (ANNOTATION_PROMISED_BY, ANNOTATION_APPROVED_BY),
}


def concerned(changed: Dependency, *versions: Object | None) -> list[Dependency]:
    """What a change is noted under for those who wait until changes have settled."""
    if changed.kind != POLICYEXCEPTIONS.kind:
        return [changed]
    workloads = (one["spec"]["workload"] for one in versions if one is not None)
    return [exception_of(w["kind"], w["namespace"], w["name"]) for w in workloads]


def touched_by(changed: Dependency) -> tuple[Dependency, Dependency]:
    """The dependencies that a change of one object concerns: itself, and all of its kind in its namespace.

    Whoever rests on registrations rests on all budgets: both say which subject domain a dataset belongs to.
    """
    if changed.kind == REGISTRATIONS:
        return changed, Dependency(PRIVACYBUDGETS.kind, "", "*")
    return changed, Dependency(changed.kind, changed.namespace, "*")


def matters(old: Object | None, new: Object | None) -> bool:
    """True when a decision could differ after this change: spec, labels, stamps of people, a consent snapshot, that it
    is being deleted; not other status."""
    if old is None or new is None:
        return True
    return _decisive(old) != _decisive(new)


def _decisive(obj: Object) -> tuple[Any, ...]:
    if obj["kind"] in _WHOLE:
        return (obj,)
    metadata, status = obj["metadata"], obj.get("status")
    snapshot = status.get("snapshot") if isinstance(status, dict) else None
    labels = metadata.get("labels") if obj["kind"] == "Namespace" else None
    annotations = (metadata.get("annotations") or {}) if obj["kind"] in _STAMPED else {}
    people = [annotations.get(stamp) for stamp in _STAMPED.get(obj["kind"], ())]
    ending = obj["kind"] != "Namespace" and "deletionTimestamp" in metadata
    return metadata.get("uid"), obj.get("spec"), obj.get("data"), labels, snapshot, people, ending
