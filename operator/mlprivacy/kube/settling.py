"""What changed a moment ago: a decision that rests on it waits, shortly, for what belongs together to arrive.

Each kind has a watch of its own, so that what was made in one order arrives in another: a job right behind its policy
and its data would be refused for what is already there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Final

from mlprivacy.policy.model import Dependency

LATELY_SECONDS: Final = 1.0  # a change within this time is likely one of several that belong together
QUIET_SECONDS: Final = 0.3  # without a change for this long, they have arrived
SETTLE_SECONDS: Final = 1.0  # waited at most
_KEPT: Final = 1024
_ALL_OF_THEM: Final = frozenset({"PrivacyPolicy", "DatasetGrant", "TrainingAttestations"})


class Recent:
    """The changes of the last second, by what they concern. A change of others' holds nobody up."""

    def __init__(self) -> None:
        self._at: dict[Dependency, float] = {}

    def note(self, changed: Iterable[Dependency]) -> None:
        """These have changed now."""
        now = time.monotonic()
        if len(self._at) >= _KEPT:
            self._at = {place: at for place, at in self._at.items() if now - at <= LATELY_SECONDS}
            if len(self._at) >= _KEPT:
                self._at.clear()  # nobody waits for so many
        self._at.update(dict.fromkeys(map(_place, changed), now))

    async def settle(self, rests_on: Collection[Dependency]) -> bool:
        """Wait while any of these is changing, `SETTLE_SECONDS` at most; False, at once, when none changed lately."""
        places = {_place(dependency) for dependency in rests_on}
        begun = now = time.monotonic()
        if begun - self._last(places) > LATELY_SECONDS:
            return False
        end = begun + SETTLE_SECONDS
        while (until := min(self._last(places) + QUIET_SECONDS, end)) > now:
            await asyncio.sleep(until - now)
            now = time.monotonic()
        return True

    def _last(self, places: Collection[Dependency]) -> float:
        return max((self._at[place] for place in places if place in self._at), default=float("-inf"))


def exception_of(kind: str, namespace: str, name: str) -> Dependency:
    """What the exceptions of one job are called here: a decision can not name those that are yet to come."""
    return Dependency("PolicyException", "", f"{kind}/{namespace}/{name}")


def _place(dependency: Dependency) -> Dependency:
    """Of what a job finds by more than a name, all of the kind in its namespace."""
    if dependency.kind in _ALL_OF_THEM:
        return Dependency(dependency.kind, dependency.namespace, "*")
    return dependency
