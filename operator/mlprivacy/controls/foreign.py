"""Network policies of others that would open a governed pod. Policies are a union, so one of them is enough. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mlprivacy.api import names
from mlprivacy.controls.network import FLOOR_NAME

REMEDY = (
    f"add to its podSelector matchExpressions: [{{key: {names.LABEL_RENDERED}, operator: DoesNotExist}}], or delete it"
)


def opening(policies: Iterable[Mapping[str, Any]], pod_labels: Mapping[str, str], own: Collection[str]) -> list[str]:
    """Names of the policies that select a pod with these labels and allow anything.

    The guards refuse such policies in a governed namespace; these are from before it was governed. ``own`` are names
    of the job's own policies, which are read back by themselves; labels are no proof, since anybody had them to give.
    """
    return sorted(
        policy["metadata"]["name"]
        for policy in policies
        if policy["metadata"]["name"] not in (FLOOR_NAME, *own)
        and (policy["spec"].get("ingress") or policy["spec"].get("egress"))
        and selects(policy["spec"].get("podSelector") or {}, pod_labels)
    )


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects these labels. An operator that is not known selects them."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(str(expression.get("key"))), expression.get("values") or []
    match expression.get("operator"):
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case _:
            return True
