"""The words that a seal probe, the canary and the collector exchange. Standard library only.

The canary answers a PING with a PONG of the same nonce, over TCP and UDP, and with a proof by which its own process
knows it: an answer of another at its address is no sign of its life. A confirmation is the collector's signed
word that its canary was alive between the moment the probe issued a nonce and the moment the word arrived.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from typing import Final, Self

from mlprivacy.audit.record import canonical

NONCE_BYTES: Final = 16
PING: Final = b"mlprivacy-ping:"
PONG: Final = b"mlprivacy-pong:"  # not a ping, so two canaries never answer each other for ever
MESSAGE_BYTES: Final = len(PING) + NONCE_BYTES
PROOF_BYTES: Final = 32
ANSWER_BYTES: Final = MESSAGE_BYTES + PROOF_BYTES
PURPOSE: Final = "mlprivacy.dev/seal/v1"

# Exit codes of the seal probe that say where to look. Any other but 0 is a fault of the probe or of its pod.
EXIT_NOT_ENFORCED: Final = 3  # the canary answered: NetworkPolicy is not enforced for the pod
EXIT_NOT_CONFIRMED: Final = 4  # the canary did not answer, and the collector did not confirm that it was alive


def ping(nonce: bytes) -> bytes:
    """What a client sends to the canary."""
    return PING + nonce


def answer(message: bytes, secret: bytes) -> bytes | None:
    """What the canary with ``secret`` answers to ``message``; None for anything but a ping."""
    if len(message) == MESSAGE_BYTES and message.startswith(PING):
        nonce = message[len(PING) :]
        return PONG + nonce + hmac.digest(secret, nonce, "sha256")
    return None


def confirmation_bytes(attempt: str, nonce: str, time: str) -> bytes:
    """What the collector signs: the attempt's id, the probe's nonce (hexadecimal) and the time of the check."""
    return canonical({"attempt": attempt, "nonce": nonce, "purpose": PURPOSE, "time": time})


@dataclass(frozen=True, slots=True)
class CanaryAddress:
    """An IP literal (so that no DNS is needed) and the canary's TCP and UDP ports."""

    host: str
    tcp: int
    udp: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.tcp}:{self.udp}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """``10.0.0.1:9001:9002`` or ``[fd00::1]:9001:9002``. Raises ValueError with a sentence."""
        host, _, ports = text.strip().rpartition(":")
        host, _, tcp = host.rpartition(":")
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
            found = cls(str(address), int(tcp), int(ports))
        except ValueError as error:
            raise ValueError(
                f"The canary address {text[:80]!r} must be IP:TCPPORT:UDPPORT, an IPv6 in brackets."
            ) from error
        if not (0 < found.tcp < 65536 and 0 < found.udp < 65536):
            raise ValueError(f"The canary address {text[:80]!r} has a port outside 1 to 65535.")
        return found

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Comma-separated addresses, at least one. Raises ValueError with a sentence."""
        return tuple(cls.parse(item) for item in text.split(","))
