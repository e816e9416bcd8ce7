"""What is stored against what was applied. Pure. Server-side apply leaves alone what others added: this finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Fields that the API server fills in where we say nothing.
DEFAULTED = frozenset(
    {
        "allocateLoadBalancerNodePorts",
        "clusterIP",
        "clusterIPs",
        "creationTimestamp",
        "defaultMode",
        "dnsPolicy",
        "failureThreshold",
        "imagePullPolicy",
        "initialDelaySeconds",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
        "periodSeconds",
        "progressDeadlineSeconds",
        "protocol",
        "resources",
        "schedulerName",
        "scheme",
        "serviceAccount",
        "sessionAffinity",
        "successThreshold",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "timeoutSeconds",
    }
)


def missing_part(wanted: Any, found: Any, path: str = "") -> str | None:
    """The first field of ``wanted`` that is not in ``found`` with the same value; None when all are there.

    Fields the API server adds do not matter, with one exception: a list must have the same length, since another
    entry in a NetworkPolicy's rules would open what the others close. Empty lists and maps may be absent.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return None if not wanted and found is None else path or "the object"
        for key, value in wanted.items():
            problem = missing_part(value, found.get(key), f"{path}.{key}" if path else str(key))
            if problem:
                return problem
        return None
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return None if not wanted and found is None else path
        for index, (one, two) in enumerate(zip(wanted, found, strict=True)):
            problem = missing_part(one, two, f"{path}[{index}]")
            if problem:
                return problem
        return None
    return None if wanted == found else path


def added(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that takes out of a stored object what others added where it matters: its content, its owners.

    A further owner matters, since a dangling one has the garbage collector delete the object.
    """
    patch = surplus(_content(wanted), _content(found))
    owners = wanted["metadata"].get("ownerReferences") or []
    if len(found["metadata"].get("ownerReferences") or []) > len(owners):
        patch["metadata"] = {"ownerReferences": owners or None}
    return patch


def _content(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "metadata", "status")}


def surplus(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that takes out of ``found`` what ``wanted`` does not hold; empty when there is nothing.

    A list with anything more or less in it is put back whole. Defaulted and empty fields stay.
    """
    patch: dict[str, Any] = {}
    for key, value in found.items():
        if key not in wanted:
            if key not in DEFAULTED and not _empty(value):
                patch[key] = None
        elif isinstance(value, Mapping) and isinstance(wanted[key], Mapping):
            inner = surplus(wanted[key], value)
            if inner:
                patch[key] = inner
        elif isinstance(value, list) and isinstance(wanted[key], list) and not _same_list(wanted[key], value):
            patch[key] = wanted[key]
    return patch


def _same_list(wanted: list[Any], found: list[Any]) -> bool:
    if len(wanted) != len(found):
        return False
    for one, two in zip(wanted, found, strict=True):
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            if surplus(one, two) or missing_part(one, two):
                return False
        elif one != two:
            return False
    return True


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping | list | str) and not value)
