"""Who asked for a job, and the key under which a register of people's training holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from mlprivacy.api.names import ANNOTATION_REQUESTED_BY, LABEL_TRAINING_ATTESTATIONS
from mlprivacy.policy.durations import end_of_day, parse_time

KEY_MAX: Final = 253  # characters of a ConfigMap's key
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-")


def requester_of(raw: Mapping[str, Any]) -> str | None:
    """The user that asked for a raw job, as admission stamped it; None where there is no stamp."""
    metadata = raw.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    found = annotations.get(ANNOTATION_REQUESTED_BY) if isinstance(annotations, Mapping) else None
    return found if isinstance(found, str) and found else None


def attestation_key(user: str) -> str:
    """The user's name as the key of a ConfigMap; two users never have the same.

    Letters, digits, ``.`` and ``-`` stay; each other byte of the UTF-8 form becomes ``_`` and two hexadecimal digits:
    ``alice@example.org`` is ``alice_40example.org``. A key that would be too long is ``_sha256_`` and the digest of the
    name.
    """
    encoded = user.encode("utf-8", "surrogatepass")
    key = "".join(chr(b) if chr(b) in _PLAIN else f"_{b:02X}" for b in encoded)
    if len(key) > KEY_MAX or key in ("", ".", ".."):
        return "_sha256_" + hashlib.sha256(encoded).hexdigest()
    return key


def is_register(raw: Mapping[str, Any]) -> bool:
    """True for a ConfigMap that attests training."""
    metadata = raw.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return isinstance(labels, Mapping) and labels.get(LABEL_TRAINING_ATTESTATIONS) == "true"


def attestations_of(registers: Iterable[Mapping[str, Any]]) -> dict[str, str] | None:
    """The entries of these ConfigMaps, the later of two days for one key; None when there is no ConfigMap at all."""
    found: dict[str, str] | None = None
    for raw in registers:
        found = {} if found is None else found
        data = raw.get("data")
        for key, value in data.items() if isinstance(data, Mapping) else ():
            if isinstance(key, str) and isinstance(value, str):
                found[key] = _later(found[key], value) if key in found else value
    return found


def end_of_attestation(text: str) -> datetime:
    """When an attestation ends: the end of a day ``YYYY-MM-DD``, or a moment.

    Raises:
        ValueError: when it is neither.
    """
    written = text.strip()
    return parse_time(written) if "T" in written else end_of_day(written)


def _later(one: str, two: str) -> str:
    """The one that ends later; what can not be read counts only beside something else that can not be."""
    ends = []
    for text in (one, two):
        try:
            ends.append((end_of_attestation(text), text))
        except ValueError:
            continue
    return max(ends)[1] if ends else one
