"""The words by which a sidecar's answers are known to be its own. Standard library only.

The seal probe, which runs before any code of the user's, makes an Ed25519 key that only the sidecar can read besides,
and hands the public half to the collector with its offer. From then on heartbeat and log of that pod count only when
they are signed: over the attempt, the very target that was asked for, with the collector's fresh nonce in it, and the
body. What held the port in the sidecar's stead, or played an older answer again, is not believed.
"""

import hashlib
import re
import secrets
from typing import Final

from mlprivacy.audit.record import canonical

PURPOSE: Final = "mlprivacy.dev/evidence/v1"
HEADER: Final = "X-Mlprivacy-Signature"
KEY_BYTES: Final = 32
_NONCE: Final = re.compile(r"[0-9a-f]{32}")


def with_nonce(path: str) -> str:
    """``path`` with a nonce that was never used before: the target to ask for."""
    return f"{path}{'&' if '?' in path else '?'}nonce={secrets.token_hex(16)}"


def is_nonce(text: str) -> bool:
    """Whether ``text`` is a nonce; nothing else is signed."""
    return _NONCE.fullmatch(text) is not None


def evidence_bytes(attempt: str, target: str, body: bytes) -> bytes:
    """What the sidecar signs: its attempt, the target as it was asked for, and the answer's body."""
    digest = hashlib.sha256(body).hexdigest()
    return canonical({"attempt": attempt, "body": digest, "purpose": PURPOSE, "target": target})
