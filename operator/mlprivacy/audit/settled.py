"""Whether pods can be led to the canary at all. Standard library only.

Probes knock at the collector's Service, which leads here only once the kubelet has seen this process ready and the
nodes have heard of it. Until then every pod is refused there, sealed or not, and a living canary proves nothing: after
each start, and after each time the process was not ready, seals are not confirmed for a moment.
"""

from collections.abc import Callable
from typing import Final

AFTER_READY: Final = 3.0  # seconds from the first probe of the kubelet's that found this process ready
AFTER_ALIVE: Final = 15.0  # seconds after which that counts where nobody asks whether this process is ready


class Settled:
    """Hears of each look at the canary and of each answer to a readiness probe. ``now``: seconds that only grow."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._alive: float | None = None
        self._ready: float | None = None

    def looked(self, alive: bool) -> None:
        """The canary was looked at."""
        if not alive:
            self._alive = None
        elif self._alive is None:
            self._alive = self._now()

    def answered(self, ready: bool) -> None:
        """A readiness probe was answered."""
        if not ready:
            self._ready = None
        elif self._ready is None:
            self._ready = self._now()

    def __bool__(self) -> bool:
        now = self._now()
        if self._alive is None:
            return False
        return now - self._alive >= AFTER_ALIVE or (self._ready is not None and now - self._ready >= AFTER_READY)
