"""Objects that are being deleted: what people took away is not in force, whatever finalizer still keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlprivacy.api.base import Parsed


def being_deleted(parsed: Parsed[Any]) -> bool:
    """True for a grant, a scope, a dataset or an exception whose deletion was asked for and is not done yet.

    Policies and classes are not looked at in this way: taking one away may weaken what holds.
    """
    metadata = parsed.raw.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get("deletionTimestamp") is not None
