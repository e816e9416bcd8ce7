"""What the copies do not hold is read from the API server: how often, and what was found a moment ago."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mlprivacy.api.base import parse_spec
from mlprivacy.api.kinds import kind_named
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.factstore_index import granted_to
from mlprivacy.kube.factstore_view import Absent, Key
from mlprivacy.kube.informer import compact
from mlprivacy.kube.resources import (
    CONSENTSCOPES,
    DATACLASSES,
    DATASETGRANTS,
    DATASETS,
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    Resource,
)

logger = logging.getLogger(__name__)

_READABLE: Final[Mapping[str, Resource]] = {
    r.kind: r for r in (NAMESPACES, DATACLASSES, DATASETS, CONSENTSCOPES, PERSISTENTVOLUMECLAIMS, DATASETGRANTS)
}
GRANTS_READ: Final = 250  # of a namespace at most
FOUND_SECONDS: Final = 2.0  # that what was read stands in for a copy that lags behind
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


class Reader:
    """Reads what the copies do not hold (yet), within a ReadBudget; what it found it gives again for a moment.

    Several looks at one job, and the jobs of one `kubectl apply`, ask for the same names within a second. While the
    watch lags behind, the second look must not know less than the first.
    """

    def __init__(self, client: KubeClient, budget: ReadBudget, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._budget, self._clock = client, budget, clock
        self._found: dict[Key, tuple[float, Any]] = {}

    async def read(self, key: Key, deadline: float, asker: str) -> Any:
        """The parsed object, the raw one of another group, or Absent; nothing is waited for after `deadline` (loop).

        The name of a DatasetGrant is that of the namespace that it is to; all of those are found. `asker` is the
        namespace whose reads it takes.
        """
        kind = key[0]
        if not self._budget.take(key, asker):
            return self._lately(key)
        try:
            async with asyncio.timeout_at(deadline):
                found = await self._get(key)
        except (NotFound, ValueError):
            found = Absent
        except (ApiError, TimeoutError) as error:
            logger.warning("%s could not be read, so what depends on it is held: %s", _READABLE[kind], error)
            return self._lately(key)
        self._found.pop(key, None)
        if found is not Absent and kind != PERSISTENTVOLUMECLAIMS.kind:
            self._found[key] = (self._clock(), found)
        self._forget()
        return found

    def changed(self, kind: str, namespace: str, name: str) -> None:
        """The copy has caught up on this object, or it is gone."""
        if kind != DATASETGRANTS.kind:
            self._found.pop((kind, namespace, name), None)
            return
        for key in [key for key in self._found if key[:2] == (kind, namespace)]:
            del self._found[key]

    async def claim(self, key: Key) -> Any:
        """A PersistentVolumeClaim, or Absent. Raises ApiError."""
        try:
            return await self._client.get(PERSISTENTVOLUMECLAIMS, key[2], key[1])
        except (NotFound, ValueError):
            return Absent

    async def _get(self, key: Key) -> Any:
        kind, namespace, name = key
        info, resource = kind_named(kind), _READABLE[kind]
        if kind == DATASETGRANTS.kind and info is not None:
            # One page: who has thousands of grants waits for the watch, and nobody reads thousands for them.
            page = await anext(self._client.list_pages(resource, namespace, chunk_size=GRANTS_READ))
            mine = (compact(raw) for raw in page.items if name in granted_to(raw))
            return tuple(sorted((parse_spec(info, raw) for raw in mine), key=lambda grant: grant.name or ""))
        raw = await self._client.get(resource, name, namespace or None)
        return raw if info is None else parse_spec(info, compact(raw))

    def _lately(self, key: Key) -> Any:
        self._forget()
        return self._found.get(key, (0.0, Absent))[1]

    def _forget(self) -> None:
        """Drop what is old, so that no more is kept than the budget allows to be read in FOUND_SECONDS."""
        while self._found and self._clock() - next(iter(self._found.values()))[0] > FOUND_SECONDS:
            del self._found[next(iter(self._found))]  # the oldest is the first
