"""The jobs that pods may belong to: a copy of those that can run, and one read where the copy lags behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.factstore_reads import ReadBudget
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import INFERENCEJOBS, TRAININGJOBS, Resource
from mlprivacy.policy.custom import LAST_APPLIED

logger = logging.getLogger(__name__)

_RESOURCES: Final[Mapping[str, Resource]] = {r.kind: r for r in (TRAININGJOBS, INFERENCEJOBS)}
_KEPT: Final = ("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "deletionTimestamp")
_WORDS_MAX: Final = 4096  # characters of labels and annotations that are kept of one job
_OVER: Final = frozenset({"Completed", "Stalled"})


def runnable(obj: Object) -> Object:
    """What a pod is judged by; a job that is over or stalled keeps its name alone, so that thousands cost little.

    Should a pod of such a job come after all, the job is read from the API server. So is one whose labels and
    annotations are very long: custom rules may look at them, so it can not be judged without.
    """
    metadata = obj["metadata"]
    kept: Object = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {key: metadata[key] for key in _KEPT if key in metadata},
    }
    status = obj.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    over = any(
        isinstance(c, dict) and c.get("type") in _OVER and c.get("status") == "True"
        for c in (conditions if isinstance(conditions, list) else ())
    )
    words = {
        "labels": metadata.get("labels") or {},
        "annotations": {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED},
    }
    if over or "spec" not in obj or sum(len(k) + len(v) for m in words.values() for k, v in m.items()) > _WORDS_MAX:
        return kept
    kept["metadata"] |= {key: value for key, value in words.items() if value}
    return kept | {"spec": obj["spec"]}


class JobStore:
    """TrainingJobs and InferenceJobs by kind, namespace and name. One event loop; not thread-safe."""

    def __init__(
        self,
        client: KubeClient,
        *,
        reads_per_second: float = 20.0,
        read_seconds: float = 2.0,
        **informer_options: Any,
    ) -> None:
        """`reads_per_second` bounds reads on cache misses; `informer_options` go to both Informers."""
        self._client = client
        self._budget = ReadBudget(reads_per_second)
        self._read_seconds = read_seconds
        self._informers = {
            kind: Informer(client, resource, transform=runnable, **informer_options)
            for kind, resource in _RESOURCES.items()
        }

    def start(self) -> None:
        """List and watch in the background."""
        for informer in self._informers.values():
            informer.start()

    async def stop(self) -> None:
        """End the watches; the copies keep answering."""
        await asyncio.gather(*(informer.stop() for informer in self._informers.values()))

    def on_change(self, callback: Callable[[str, str, str], None]) -> None:
        """Call `callback(kind, namespace, name)` after each change of a job."""
        for kind, informer in self._informers.items():

            def changed(old: Object | None, new: Object | None, kind: str = kind) -> None:
                metadata = (new or old or {})["metadata"]
                callback(kind, metadata.get("namespace") or "", metadata["name"])

            informer.on_change(changed)

    @property
    def synced(self) -> bool:
        """True once both kinds were read completely, and while both are served."""
        return all(informer.synced for informer in self._informers.values())

    def staleness_seconds(self) -> float:
        """Seconds since the API server last spoke on the copy that has been silent for longest."""
        return max(informer.staleness_seconds for informer in self._informers.values())

    def problems(self) -> list[str]:
        """Why a copy is not complete or not fresh, one sentence each."""
        return [
            informer.problem or f"the {informer.resource} have not been read yet"
            for informer in self._informers.values()
            if informer.problem or not informer.synced
        ]

    def cached(self, kind: str, namespace: str, name: str) -> Object | None:
        """The job from the copy, if it is there with its spec."""
        found = self._informers[kind].get(namespace, name)
        return found if found is not None and "spec" in found else None

    async def read(self, kind: str, namespace: str, name: str) -> Object | None:
        """The job from the API server; None when it is not there, can not be read, or reads are used up."""
        if not self._budget.take((kind, namespace, name), namespace):
            return None
        try:
            async with asyncio.timeout(self._read_seconds):
                return await self._client.get(_RESOURCES[kind], name, namespace)
        except (NotFound, ValueError):
            return None
        except (ApiError, TimeoutError) as error:
            logger.warning("a %s could not be read, so its pod is refused: %s", kind, error)
            return None
