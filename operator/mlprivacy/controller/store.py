"""Jobs as last seen, in few bytes each, and which jobs rest on which objects."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from mlprivacy.kube.informer import compact
from mlprivacy.policy.model import Dependency

GONE_KEPT = 10_000  # jobs whose end is remembered, against news of them that were late


class JobKey(NamedTuple):
    """Names one job."""

    kind: str
    namespace: str
    name: str


class JobStore:
    """The newest known version of every job, as JSON bytes; decoded on each access.

    News come in any order: from the watch, from the answers to our own writes, from a list. The newer version wins,
    and a job that is gone stays gone until there is something newer than its end.
    """

    def __init__(self) -> None:
        self._jobs: dict[JobKey, tuple[int, bytes]] = {}
        self._gone: OrderedDict[JobKey, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobKey]:
        """All keys, as they are now."""
        return iter(tuple(self._jobs))

    def put(self, raw: dict[str, Any]) -> JobKey | None:
        """Keep ``raw`` unless something newer is known; the key when something changed, else None."""
        metadata = raw["metadata"]
        key = JobKey(raw["kind"], metadata.get("namespace", ""), metadata["name"])
        version = version_of(metadata.get("resourceVersion"))
        known = self._jobs.get(key)
        if (known is not None and known[0] >= version) or self._gone.get(key, -1) >= version:
            return None
        self._gone.pop(key, None)
        self._jobs[key] = (version, orjson.dumps(compact({**raw, "metadata": dict(metadata)})))
        return key

    def get(self, key: JobKey) -> dict[str, Any] | None:
        """A copy of the caller's own, or None."""
        known = self._jobs.get(key)
        if known is None:
            return None
        decoded: dict[str, Any] = orjson.loads(known[1])
        return decoded

    def version(self, key: JobKey) -> int:
        """The version that is kept, -1 when there is none."""
        known = self._jobs.get(key)
        return -1 if known is None else known[0]

    def drop(self, key: JobKey, version: int | None = None) -> bool:
        """Forget a job that was gone at ``version`` (that of its last news unless given); False if it is newer."""
        known = self._jobs.get(key)
        at = version if version is not None else (known[0] if known else None)
        if known is not None and at is not None and known[0] > at:
            return False
        self._jobs.pop(key, None)
        if at is not None:
            self._gone[key] = max(at, self._gone.pop(key, -1))
            if len(self._gone) > GONE_KEPT:
                self._gone.popitem(last=False)
        return True


def version_of(text: Any) -> int:
    """Resource versions of one resource can be compared as numbers (KEP-5504); anything else counts as old."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else 0


class DependencyIndex:
    """Which jobs rest on which objects; equal sets are shared, since thousands of jobs rest on the same few."""

    def __init__(self) -> None:
        self._of: dict[JobKey, frozenset[Dependency]] = {}
        self._jobs: defaultdict[Dependency, set[JobKey]] = defaultdict(set)
        self._shared: dict[frozenset[Dependency], frozenset[Dependency]] = {}

    def put(self, key: JobKey, dependencies: frozenset[Dependency]) -> None:
        """Replace what ``key`` rests on."""
        old = self._of.get(key, frozenset())
        if old == dependencies:
            return
        for gone in old - dependencies:
            self._jobs[gone].discard(key)
            if not self._jobs[gone]:
                del self._jobs[gone]
        for new in dependencies - old:
            self._jobs[new].add(key)
        if len(self._shared) > 10_000:
            self._shared.clear()
        self._of[key] = self._shared.setdefault(dependencies, dependencies)

    def drop(self, key: JobKey) -> None:
        """Forget a job."""
        self.put(key, frozenset())
        self._of.pop(key, None)

    def __contains__(self, key: JobKey) -> bool:
        """True for a job that was put here."""
        return key in self._of

    def rests_on(self, key: JobKey, dependency: Dependency) -> bool:
        """True when this job rests on it."""
        return dependency in self._of.get(key, frozenset())

    def among(self, jobs: Iterable[JobKey], dependency: Dependency) -> set[JobKey]:
        """Those of these jobs that rest on it."""
        return {job for job in jobs if self.rests_on(job, dependency)}

    def resting_on(self, dependencies: Iterable[Dependency]) -> set[JobKey]:
        """The jobs that rest on any of these."""
        found: set[JobKey] = set()
        for dependency in dependencies:
            found |= self._jobs.get(dependency, set())
        return found
