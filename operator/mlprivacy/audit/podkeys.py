"""The public keys of governed pods, durably: what a pod's first offer named is its key for as long as it lives.

A key is written and synced before the confirmation that lets the pod go on. Only then does code of the user's run in
it, so nothing that such code says can be taken for a first offer.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mlprivacy.audit.evidence import evidence_bytes

_LOG = logging.getLogger(__name__)
FOLDER: Final = ".pod-keys"  # in the log's folder; not the name of a chain
KEPT: Final = 600.0  # seconds for which the key of a pod that is gone is kept
_SUFFIX: Final = ".json"
_UID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PodKey:
    """What is known of a pod: the attempt it named, its key, and whether it sent too much to be heard any more."""

    attempt: str
    key: str
    flooded: bool = False

    def signed(self, target: str, body: bytes, signature: str) -> bool:
        """Whether the pod signed this answer to this request."""
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            public.verify(bytes.fromhex(signature), evidence_bytes(self.attempt, target, body))
        except (ValueError, InvalidSignature):
            return False
        return True


class PodKeys:
    """The keys in ``directory``, by pod uid. Raises OSError when the folder can not be used."""

    def __init__(self, directory: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._now = now
        self._missing: dict[str, float] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keys = dict(_stored(directory))

    def get(self, uid: str) -> PodKey | None:
        """The pod's key; None before its first offer."""
        return self._keys.get(uid)

    def learn(self, uid: str, attempt: str, key: object) -> str | None:
        """Makes a pod's first offer durable. None when it is the pod's key, else the reason why it is not.

        Raises OSError when it could not be written.
        """
        if not isinstance(key, str) or not _HEX.fullmatch(key) or not _UID.fullmatch(uid):
            return "no-key"
        known = self._keys.get(uid)
        if known is None:
            self._write(uid, PodKey(attempt, key))
            return None
        return None if (known.attempt, known.key) == (attempt, key) else "other-key"

    def flooded(self, uid: str) -> bool:
        """Notes durably that a pod is heard no more; False when it was noted before. Raises OSError."""
        known = self._keys.get(uid)
        if known is None or known.flooded:
            return False
        self._write(uid, replace(known, flooded=True))
        return True

    def prune(self, present: Collection[str]) -> None:
        """Forgets pods that were not ``present`` for KEPT seconds."""
        now = self._now()
        self._missing = {uid: self._missing.get(uid, now) for uid in self._keys if uid not in present}
        for uid, since in self._missing.items():
            if now - since >= KEPT:
                (self._directory / f"{uid}{_SUFFIX}").unlink(missing_ok=True)
                del self._keys[uid]

    def _write(self, uid: str, key: PodKey) -> None:
        path = self._directory / f"{uid}{_SUFFIX}"
        new = path.with_suffix(".new")
        with new.open("w", encoding="ascii") as file:
            json.dump(asdict(key), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._keys[uid] = key


def _stored(directory: Path) -> list[tuple[str, PodKey]]:
    found = []
    for path in directory.glob(f"*{_SUFFIX}"):
        try:
            key = PodKey(**json.loads(path.read_text(encoding="ascii")))
            if not _HEX.fullmatch(key.key):
                raise ValueError("not a key")  # noqa: TRY301 - one way out for every bad file
        except (OSError, ValueError, TypeError, RecursionError) as error:
            _LOG.warning("the key of the pod %s can not be read, so it is not believed: %s", path.stem, error)
            continue
        found.append((path.stem, key))
    return found
