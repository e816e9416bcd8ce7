"""How often a cache miss may become a read of the API server: a token bucket, and a short memory of names not found."""

import time
from collections.abc import Callable
from typing import Final

from mlprivacy.kube.factstore_view import Key

AGAIN_SECONDS: Final = 1.0
REMEMBERED: Final = 4096


class _Bucket:
    """Tokens that come back with time."""

    __slots__ = ("_burst", "_filled", "_rate", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._filled = rate, burst, now
        self.tokens = burst

    def fill(self, now: float) -> None:
        """Add what has come back."""
        self.tokens = min(self._burst, self.tokens + (now - self._filled) * self._rate)
        self._filled = now


class ReadBudget:
    """Grants reads: `per_second` in the long run, twice that at once, and the same name once in AGAIN_SECONDS.

    One namespace has `per_namespace` of it, a quarter unless given, and four times that at once: its flood must not
    hold the jobs of the others. The same name counts anew for another namespace.

    A flood of jobs that name what does not exist must not become a flood on the API server. A read that is not granted
    leaves the name unknown, and an unknown name holds a job for as long as it takes the copy to arrive.
    """

    def __init__(
        self, per_second: float, *, per_namespace: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._share = per_second / 4 if per_namespace is None else per_namespace
        self._clock = clock
        self._all = _Bucket(per_second, max(per_second * 2, 1.0), clock())
        self._of: dict[str, _Bucket] = {}
        self._asked: dict[tuple[str, Key], float] = {}

    def take(self, key: Key, namespace: str) -> bool:
        """True when this name may be read now for a job of this namespace."""
        now = self._clock()
        who = (namespace, key)
        asked = self._asked.get(who)
        # A claim is no cache miss: it is never cached, so each decision reads it anew, within the rate alone.
        if asked is not None and now - asked < AGAIN_SECONDS and key[0] != "PersistentVolumeClaim":
            return False
        own = self._of.pop(namespace, None) or _Bucket(self._share, max(self._share * 4, 1.0), now)
        if len(self._of) >= REMEMBERED:
            del self._of[next(iter(self._of))]
        self._of[namespace] = own  # the latest last
        for bucket in (own, self._all):
            bucket.fill(now)
        if own.tokens < 1.0 or self._all.tokens < 1.0:
            return False
        own.tokens -= 1.0
        self._all.tokens -= 1.0
        self._asked.pop(who, None)
        if len(self._asked) >= REMEMBERED:
            del self._asked[next(iter(self._asked))]
        self._asked[who] = now
        return True
