"""The pod's own key: made by the seal probe before any code of the user's runs, read by the sidecar alone.

It lies in a volume that no other container mounts, in memory, and dies with the pod.
"""

import contextlib
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprivacy.audit.evidence import KEY_BYTES
from mlprivacy.dataplane.settings import SettingsError


def made(path: Path) -> Ed25519PrivateKey:
    """The key at ``path``; makes it where there is none. Raises SettingsError, OSError.

    One that is there is kept: a pod whose first steps are run again is still the pod that the collector knows.
    """
    if path.exists():
        return load(path)
    key = Ed25519PrivateKey.generate()
    new = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    try:
        os.write(descriptor, key.private_bytes_raw())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    return key


def load(path: Path) -> Ed25519PrivateKey:
    """The key at ``path``. Raises SettingsError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"The pod's key {path} can not be read ({error.strerror}); the seal probe makes it."
        ) from error
    if len(raw) != KEY_BYTES:
        raise SettingsError(f"The pod's key {path} is not {KEY_BYTES} bytes; delete the pod, so that it gets another.")
    return Ed25519PrivateKey.from_private_bytes(raw)
