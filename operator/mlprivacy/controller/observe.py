"""What is seen of a job's workload, as the planner takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlprivacy.api import names
from mlprivacy.controller import running, sealing
from mlprivacy.controller.children import Children
from mlprivacy.controller.plan import Seen
from mlprivacy.controller.silence import Silence
from mlprivacy.controller.store import JobKey
from mlprivacy.kube.client import Object

Hears = Callable[[Sequence[str]], Silence | None]  # the silence of pods, by their uids


def _hears_all(_: Sequence[str]) -> Silence | None:
    return None


def attempts(children: Children, key: JobKey, uid: str, hears: Hears = _hears_all) -> list[Seen]:
    """The Jobs of a TrainingJob, each with what its pod says of its seal, and whether its sidecar is heard."""
    pods = children.of("Pod", key, uid)
    return [_with_pods(with_seal(job_seen(job), pods), pods, hears) for job in children.of("Job", key, uid)]


def gated(children: Children, key: JobKey, uid: str, attempt: int) -> list[tuple[str, str]]:
    """Name and uid of the pods of an attempt that wait behind our scheduling gate."""
    return [
        (p["metadata"]["name"], p["metadata"]["uid"])
        for p in _of_attempt(children.of("Pod", key, uid), attempt)
        if p.get("gated") and "deletionTimestamp" not in p["metadata"]
    ]


def _with_pods(attempt: Seen, pods: Sequence[Object], hears: Hears) -> Seen:
    own = _of_attempt(pods, attempt.number)
    return replace(
        attempt,
        running=attempt.running or running.runs(own),
        silence=hears(_running(own)),
        down=running.down(own),
        waits=running.waiting(own),
    )


def _of_attempt(pods: Sequence[Object], number: int) -> list[Object]:
    return [p for p in pods if (p["metadata"].get("labels") or {}).get(names.LABEL_ATTEMPT) == str(number)]


def _running(pods: Sequence[Object]) -> list[str]:
    """The uids of pods whose sidecar must be heard."""
    return [
        str(p["metadata"]["uid"])
        for p in pods
        if (p.get("status") or {}).get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]
    ]


def with_seal(attempt: Seen, pods: Sequence[Object]) -> Seen:
    """``attempt`` with the seal of its pod among ``pods``, which may be other attempts' too."""
    own = _of_attempt(pods, attempt.number)
    return replace(attempt, sealed=sealing.sealed(own), unsealed=sealing.unsealed_attempt(own))


def deployment(children: Children, key: JobKey, uid: str, hears: Hears = _hears_all) -> Seen | None:
    """The Deployment of an InferenceJob, with what its pods say of their seals, and whether sidecars are heard."""
    seen = next((deployment_seen(d) for d in children.of("Deployment", key, uid)), None)
    if seen is None:
        return None
    pods = children.of("Pod", key, uid)
    return replace(
        seen,
        sealed=sealing.sealed(pods),
        unsealed=sealing.unsealed_replica(pods),
        running=seen.running or running.runs(pods),
        silence=hears(_running(pods)),
        down=running.down(pods),
        waits=running.waiting(pods),
        restarted=tuple(sorted((p["metadata"]["name"], p["metadata"]["uid"]) for p in running.restarted(pods))),
    )


def job_seen(job: Object) -> Seen:
    """A batch/v1 Job, whole or as the cache keeps it."""
    metadata, spec, status = job["metadata"], job.get("spec") or {}, job.get("status") or {}
    ended = next(
        (c for c in status.get("conditions") or [] if c.get("type") in ("Complete", "Failed") and _is_true(c)), None
    )
    number = str(metadata["name"]).rpartition("-")[2]  # the name can not be changed, a label can
    return Seen(
        name=metadata["name"],
        uid=metadata["uid"],
        number=int(number) if number.isdigit() else 0,
        digest=(metadata.get("annotations") or {}).get(names.ANNOTATION_DECISION, ""),
        suspended=bool(spec.get("suspend")),
        running=int(status.get("ready") or 0) > 0,
        deleting="deletionTimestamp" in metadata,
        finished=ended["type"] if ended else None,
        reason=str(ended.get("reason") or "") if ended else "",
        message=str(ended.get("message") or "") if ended else "",
        finished_at=ended.get("lastTransitionTime") if ended else None,
    )


def deployment_seen(obj: Object) -> Seen:
    """An apps/v1 Deployment, whole or as the cache keeps it."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    return Seen(
        name=metadata["name"],
        uid=metadata["uid"],
        number=1,
        digest=(metadata.get("annotations") or {}).get(names.ANNOTATION_DECISION, ""),
        suspended=spec.get("replicas") == 0,
        running=int(status.get("availableReplicas") or 0) > 0,
        deleting="deletionTimestamp" in metadata,
    )


def pods_alive(children: Children, key: JobKey, uid: str) -> bool:
    """Whether a pod of the job may still run, by the cache."""
    return any((p.get("status") or {}).get("phase") != "Failed" for p in children.of("Pod", key, uid))


def _is_true(condition: Mapping[str, Any]) -> bool:
    return condition.get("status") == "True"
