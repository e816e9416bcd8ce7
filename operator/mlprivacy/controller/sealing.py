"""The seal of a job's pods: what its probe said, whose matter that is, when another attempt is made. Pure.

Nothing here is remembered by the process. Since when a job has not been sealed is the time at which its status became
stalled for that reason; when an attempt failed is what its Job says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from mlprivacy.api import names
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.audit.seal import EXIT_NOT_CONFIRMED, EXIT_NOT_ENFORCED
from mlprivacy.kube.conditions import bounded, get_condition
from mlprivacy.policy.durations import parse_time

SEAL_REASONS: Final = (Reason.SEAL_NOT_ENFORCED, Reason.SEAL_NOT_CONFIRMED, Reason.SEAL_FAILED)  # the worst first
FIRST_PAUSE: Final = timedelta(seconds=60)
LONGEST_PAUSE: Final = timedelta(minutes=15)
_MESSAGE_BYTES: Final = 1200  # of the probe's sentence: what comes after it must fit into a condition
# What a kubelet writes of a container it has lost sight of: it says nothing of how that one ended.
_LOST: Final = "ContainerStatusUnknown"


@dataclass(frozen=True)
class Unsealed:
    """A pod whose seal probe ended badly, and has not ended well since: nothing of the user's ran after it."""

    pod: str
    code: int
    sentence: str

    @property
    def reason(self) -> Reason:
        """Whose matter it is."""
        if self.code == EXIT_NOT_ENFORCED:
            return Reason.SEAL_NOT_ENFORCED
        return Reason.SEAL_NOT_CONFIRMED if self.code == EXIT_NOT_CONFIRMED else Reason.SEAL_FAILED


def seal_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """What a pod's status says of its seal, in few bytes: ``sealed``, or ``code`` and ``sentence``, or nothing yet.

    ``began`` is there when anything after the probe ever began. Of a probe that is tried again, the last end counts
    until the next one.
    """
    seal: Mapping[str, Any] = {}
    began = False
    for container in _containers(status):
        if container.get("name") == names.CONTAINER_SEAL:
            seal = container
        else:
            began = began or _began(container)
    found: dict[str, Any] = {"began": True} if began else {}
    now = (seal.get("state") or {}).get("terminated")
    ended = now or (seal.get("lastState") or {}).get("terminated")
    if ended is None or ended.get("reason") == _LOST:
        return found
    code = int(ended.get("exitCode") or 0)
    if code == 0:
        return {"sealed": True, **found} if now else found
    words = str(ended.get("message") or "").strip().splitlines()
    # Of the end of a log, which is what a process leaves that died without a word, the last line says most.
    sentence = words[-1] if words else f"The seal probe ended with {code} ({ended.get('reason') or 'no reason given'})."
    return {"code": code, "sentence": bounded(sentence, _MESSAGE_BYTES), **found}


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def _began(container: Mapping[str, Any]) -> bool:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return any(state.get(s) or last.get(s) for s in ("running", "terminated")) or bool(container.get("restartCount"))


def unsealed_attempt(pods: Sequence[Mapping[str, Any]]) -> Unsealed | None:
    """The pod of a training attempt that ended at its seal. One in which anything began afterwards is none."""
    for pod in pods:
        seal = _seal(pod)
        if "code" in seal and not seal.get("began"):
            return Unsealed(pod["metadata"]["name"], int(seal["code"]), str(seal["sentence"]))
    return None


def unsealed_replica(pods: Sequence[Mapping[str, Any]]) -> Unsealed | None:
    """The worst of the pods of a Deployment that do not get past their seal; each tries again by itself."""
    found = [
        Unsealed(pod["metadata"]["name"], int(_seal(pod)["code"]), str(_seal(pod)["sentence"]))
        for pod in pods
        if "code" in _seal(pod)
        and "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
    ]
    return min(found, key=lambda one: (SEAL_REASONS.index(one.reason), one.pod), default=None)


def sealed(pods: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any of them got past its seal."""
    return any(_seal(pod).get("sealed") for pod in pods)


def _seal(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (pod.get("status") or {}).get("seal") or {}
    return found


@dataclass(frozen=True)
class Told:
    """What the status says already: not sealed, for which reason, in which words, since when."""

    reason: Reason
    message: str
    since: datetime | None


def told(conditions: Sequence[Mapping[str, Any]] | None) -> Told | None:
    """The hold that a job's conditions report, None when they report none."""
    stalled = get_condition(conditions, ConditionType.STALLED)
    if stalled is None or stalled.get("status") != "True" or stalled.get("reason") not in SEAL_REASONS:
        return None
    return Told(Reason(stalled["reason"]), str(stalled.get("message") or ""), moment(stalled.get("lastTransitionTime")))


def next_attempt_at(failed: datetime, since: datetime | None, first: timedelta = FIRST_PAUSE) -> datetime:
    """When the next attempt is made after one that ``failed``: as long again as the job has not been sealed, so that
    the pauses double at least; not less than ``first``, not more than a quarter of an hour.
    """
    pause = failed - since if since is not None else first
    return failed + min(max(pause, first), LONGEST_PAUSE)


def moment(text: Any) -> datetime | None:
    """A time of the API's, None for anything else."""
    with contextlib.suppress(ValueError, TypeError):
        return parse_time(text)
    return None
