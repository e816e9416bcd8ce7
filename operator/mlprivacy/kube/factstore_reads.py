"""How often a cache miss may become a read of the API server: a token bucket, and a short memory of names not found."""

import time
from collections.abc import Callable
from typing import Final

from mlprivacy.kube.factstore_view import Key

AGAIN_SECONDS: Final = 1.0
REMEMBERED: Final = 4096


class ReadBudget:
    """Grants reads: `per_second` in the long run, twice that at once, and the same name once in AGAIN_SECONDS.

    A flood of jobs that name what does not exist must not become a flood on the API server. A read that is not granted
    leaves the name unknown, and an unknown name holds a job for as long as it takes the copy to arrive.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._burst = max(per_second * 2, 1.0)
        self._tokens = self._burst
        self._clock = clock
        self._filled = clock()
        self._asked: dict[Key, float] = {}

    def take(self, key: Key) -> bool:
        """True when this name may be read now."""
        now = self._clock()
        asked = self._asked.get(key)
        # A claim is no cache miss: it is never cached, so each decision reads it anew, within the rate alone.
        if asked is not None and now - asked < AGAIN_SECONDS and key[0] != "PersistentVolumeClaim":
            return False
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        self._asked.pop(key, None)
        if len(self._asked) >= REMEMBERED:
            del self._asked[next(iter(self._asked))]
        self._asked[key] = now
        return True
