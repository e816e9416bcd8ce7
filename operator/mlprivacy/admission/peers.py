"""Who is asking: the API server by its client certificate, or a stranger who is held to a rate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

REMEMBERED: Final = 8192


def common_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The common name of a verified peer certificate as `ssl` gives it; None without exactly one."""
    if not certificate:
        return None
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else None


class PeerLimiter:
    """A token bucket for each address: `per_second` in the long run, twice that at once.

    REMEMBERED addresses are kept; the one seen least recently makes room.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._burst = max(2 * per_second, 1.0)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def allow(self, address: str) -> bool:
        """True when this address may ask now."""
        now = self._clock()
        tokens, filled = self._buckets.pop(address, (self._burst, now))
        tokens = min(self._burst, tokens + (now - filled) * self._rate)
        if len(self._buckets) >= REMEMBERED:
            del self._buckets[next(iter(self._buckets))]
        allowed = tokens >= 1.0
        self._buckets[address] = (tokens - 1.0 if allowed else tokens, now)
        return allowed
