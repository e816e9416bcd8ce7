"""Whether a pod is what the operator renders, compared field by field. Pure.

What the API server and its built-in plugins fill in where the render says nothing is accepted, with the value that they
fill in where it is a fixed one. Nothing else may be in the pod that the render does not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from mlprivacy.api.names import OBJECT_PREFIX

# Defaults of the API server, wherever the field stands.
_DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "apiVersion": ("v1",),
    "defaultMode": (420,),
    "divisor": ("0",),
    "dnsPolicy": ("ClusterFirst",),
    "failureThreshold": (3,),
    "imagePullPolicy": ("Always", "IfNotPresent"),
    "periodSeconds": (10,),
    "protocol": ("TCP",),
    "schedulerName": ("default-scheduler",),
    "scheme": ("HTTP",),
    "successThreshold": (1,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
    "timeoutSeconds": (1,),
}
# Filled in by admission plugins: for scheduling and pulling, and nothing that the pod's processes see.
_FILLED: Final = frozenset(
    {"imagePullSecrets", "nodeSelector", "preemptionPolicy", "priority", "priorityClassName", "tolerations"}
)
_MORE_ENTRIES: Final = frozenset({"spec.nodeSelector", "spec.tolerations"})
_AMOUNTS: Final = frozenset({"sizeLimit", "divisor"})
_NOT_WRITTEN: Final = frozenset({"readOnly", "stdin", "stdinOnce", "tty"})  # where false is left out
_PLAIN: Final = frozenset({"cpu", "memory", "ephemeral-storage"})  # what a LimitRange gives to a container

# Put on by the controllers that make the pod; no other label is on a governed pod, since labels select.
_LABELS: Final = frozenset(
    {
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "controller-uid",
        "job-name",
        "pod-template-hash",
    }
)
_ANNOTATIONS: Final = frozenset({"kubernetes.io/limit-ranger"})

_OWNERS: Final[Mapping[str, tuple[str, str]]] = {
    "TrainingJob": ("batch/v1", "Job"),
    "InferenceJob": ("apps/v1", "ReplicaSet"),
}


def owner_problem(pod: Mapping[str, Any], kind: str, name: str, attempt: int) -> str | None:
    """Why the pod's owner is not what the operator made for this job; None when it is."""
    version, maker = _OWNERS[kind]
    owners = pod["metadata"].get("ownerReferences")
    only = owners[0] if isinstance(owners, list) and len(owners) == 1 else None
    if isinstance(only, Mapping) and only.get("controller") is True:
        owner = str(only.get("name", ""))
        exact = f"{OBJECT_PREFIX}{name}-{attempt}"
        named = owner == exact if maker == "Job" else owner.startswith(f"{OBJECT_PREFIX}{name}-")
        if (only.get("apiVersion"), only.get("kind")) == (version, maker) and named:
            return None
    wanted = f"{OBJECT_PREFIX}{name}-{attempt}" if maker == "Job" else f"{OBJECT_PREFIX}{name}-…"
    return f"it is not owned by the {maker} {wanted} alone"


def difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Where a pod is not as rendered, as a path; None when it is.

    Args:
        wanted: the pod as :func:`mlprivacy.controls.render.render` gives it.
        found: the pod as the API server sends it for review.
    """
    want, have = wanted["metadata"], found["metadata"]
    for part, allowed in (("labels", _LABELS), ("annotations", _ANNOTATIONS)):
        rendered, there = want.get(part) or {}, have.get(part) or {}
        for key in sorted({*rendered, *there}):
            if key in rendered and rendered[key] != there.get(key):
                return f"metadata.{part}[{key}]"
            if key not in rendered and key not in allowed:
                return f"metadata.{part}[{key}]"
    return _differs(wanted["spec"], found.get("spec"), "spec")


def _differs(wanted: Any, found: Any, path: str) -> str | None:
    if wanted == found or (_empty(wanted) and _empty(found)):  # most of a pod is equal, which is known fast
        return None
    if isinstance(wanted, Mapping):
        return _maps(wanted, found, path) if isinstance(found, Mapping) else path
    if isinstance(wanted, list):
        return _lists(wanted, found, path) if isinstance(found, list) else path
    return None if _same(wanted, found, path.rpartition(".")[2]) else path


def _same(wanted: Any, found: Any, key: str) -> bool:
    if _empty(found):
        return (wanted is False and key in _NOT_WRITTEN) or (not isinstance(wanted, bool) and wanted == 0)
    if key == "imagePullPolicy" and found == "Always":  # a plugin may ask for that
        return True
    if key in _AMOUNTS:
        return _quantity(wanted) is not None and _quantity(wanted) == _quantity(found)
    return (_empty(wanted) or wanted == 0) and found in _DEFAULTS.get(key, ())  # nothing was said, so to speak


def _maps(wanted: Mapping[str, Any], found: Mapping[str, Any], path: str) -> str | None:
    for key, value in wanted.items():
        here = f"{path}.{key}"
        compare = _resources if key == "resources" and path.endswith("]") else _differs
        if value is not None and (problem := compare(value, found.get(key), here)):
            return problem
    for key, value in found.items():
        if wanted.get(key) is None and not _may_be_added(wanted, str(key), value, path):
            return f"{path}.{key}"
    return None


def _lists(wanted: list[Any], found: list[Any], path: str) -> str | None:
    if path in _MORE_ENTRIES:
        missing = [one for one in wanted if all(_differs(one, other, path) for other in found)]
        return path if missing else None
    if len(wanted) != len(found):
        return path
    for index, (one, two) in enumerate(zip(wanted, found, strict=True)):
        if problem := _differs(one, two, f"{path}[{index}]"):
            return problem
    return None


def _may_be_added(wanted: Mapping[str, Any], key: str, value: Any, path: str) -> bool:
    """Whether the API server may have filled in this field, which the render does not set."""
    if _empty(value) or value in _DEFAULTS.get(key, ()):
        return True
    if path == "spec":
        return key in _FILLED or (key == "serviceAccount" and value == wanted.get("serviceAccountName"))
    if path.endswith("]") and key == "resources":
        return _resources({}, value, f"{path}.{key}") is None
    return path in _MORE_ENTRIES or (path.endswith("]") and key == "resizePolicy")


def _resources(wanted: Any, found: Any, path: str) -> str | None:
    """Amounts are written in more than one way; a request follows from a limit; a LimitRange gives what is plain."""
    wanted, found = (value if isinstance(value, Mapping) else {} for value in (wanted, found))
    limits = found.get("limits") or {}
    for part in sorted({*wanted, *found}):
        want, have = wanted.get(part) or {}, found.get(part) or {}
        if part not in ("limits", "requests") or not isinstance(want, Mapping) or not isinstance(have, Mapping):
            if want != have:
                return f"{path}.{part}"
            continue
        for name in sorted({*want, *have}):
            if name in want:
                amount = _quantity(want[name])
                fits = want[name] == have.get(name) or (amount is not None and amount == _quantity(have.get(name)))
            else:
                fits = name in _PLAIN or (part == "requests" and have[name] == limits.get(name))
            if not fits:
                return f"{path}.{part}[{name}]"
    return None


def _empty(value: Any) -> bool:
    """Nothing: the API server leaves it out, or writes it where nothing was said."""
    return value is None or (isinstance(value, Mapping | list | str) and not value)


_SUFFIXES: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")},
    **{f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")},
}
_AMOUNT: Final = re.compile(r"([+-]?[0-9]*\.?[0-9]+\.?(?:[eE][+-]?[0-9]{1,3})?)([a-zA-Z]*)")


def _quantity(value: Any) -> Decimal | None:
    """An amount as Kubernetes writes them ("500m", "1Gi", 2); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    read = _AMOUNT.fullmatch(str(value))
    if read is None or read[2] not in _SUFFIXES:
        return None
    try:
        return Decimal(read[1]) * _SUFFIXES[read[2]]
    except InvalidOperation:
        return None
