"""What a sidecar takes: so many messages a second, and so many bytes at once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator


class Bucket:
    """``rate`` tokens a second, ``burst`` at most. Not for threads."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        """Takes a token if there is one."""
        self._fill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def wait(self) -> None:
        """Takes a token, in advance if there is none, and waits until it would have come."""
        self._fill()
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)

    def _fill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now


class Scale:
    """Bears ``most`` at once; what would be too much waits. One load alone is always borne."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._load = 0
        self._lighter = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def holding(self, weight: int) -> AsyncIterator[None]:
        """Bears ``weight`` while the block runs."""
        async with self._lighter:
            await self._lighter.wait_for(lambda: not self._load or self._load + weight <= self._most)
            self._load += weight
        try:
            yield
        finally:
            self._load -= weight
            async with self._lighter:
                self._lighter.notify_all()
