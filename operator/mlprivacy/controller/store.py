"""Jobs as last seen, in few bytes each, and which jobs rest on which objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from mlprivacy.kube.informer import compact
from mlprivacy.policy.model import Dependency


class JobKey(NamedTuple):
    """Names one job."""

    kind: str
    namespace: str
    name: str


class JobStore:
    """The newest known version of every job, as JSON bytes; decoded on each access."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def keys(self) -> Iterator[JobKey]:
        """All keys."""
        return iter(tuple(self._jobs))

    def put(self, raw: dict[str, Any]) -> JobKey | None:
        """Keep ``raw`` unless a newer version is here; the key when something changed, else None."""
        metadata = raw["metadata"]
        key = JobKey(raw["kind"], metadata.get("namespace", ""), metadata["name"])
        version = _version(metadata.get("resourceVersion"))
        known = self._jobs.get(key)
        if known is not None and known[0] >= version:
            return None
        self._jobs[key] = (version, orjson.dumps(compact({**raw, "metadata": dict(metadata)})))
        return key

    def get(self, key: JobKey) -> dict[str, Any] | None:
        """A copy of the caller's own, or None."""
        known = self._jobs.get(key)
        if known is None:
            return None
        decoded: dict[str, Any] = orjson.loads(known[1])
        return decoded

    def drop(self, key: JobKey) -> None:
        """Forget a job that is gone."""
        self._jobs.pop(key, None)


def _version(text: Any) -> int:
    """Resource versions of one resource can be compared as numbers (KEP-5504); anything else counts as old."""
    return int(text) if isinstance(text, str) and text.isdigit() else 0


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

    def resting_on(self, dependencies: Iterable[Dependency]) -> set[JobKey]:
        """The jobs that rest on any of these."""
        found: set[JobKey] = set()
        for dependency in dependencies:
            found |= self._jobs.get(dependency, set())
        return found
