"""sealing: whether NetworkPolicy was seen to be enforced, by the seal probes of governed pods on real nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sized
from typing import Any

from mlprivacy.api.names import CONTAINER_SEAL, LABEL_RENDERED, PORT_SEAL
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok, skip
from mlprivacy.cli.checks.nodes import is_simulated
from mlprivacy.kube.client import Object
from mlprivacy.kube.conditions import get_condition
from mlprivacy.kube.errors import NotFound
from mlprivacy.kube.resources import INFERENCEJOBS, NODES, PODS, TRAININGJOBS

_SHOWN = 5
# What each reason means for the cluster, and what to do. The jobs themselves go on by themselves.
_WRONG: Mapping[Reason, tuple[str, str]] = {
    Reason.SEAL_NOT_ENFORCED: (
        "NetworkPolicy is not enforced for the pods of",
        "install a network plugin that enforces NetworkPolicy (Calico, Cilium, kindnet and others do), or see why its "
        "rules do not arrive on their nodes; nothing of the user's ran, and the jobs are tried again by themselves",
    ),
    Reason.SEAL_NOT_CONFIRMED: (
        "the collector did not confirm the seal of the pods of",
        f"see that mlprivacy-collector runs, that its canary lives, and that it reaches port {PORT_SEAL} of pods; the "
        "jobs are tried again by themselves",
    ),
    Reason.SEAL_FAILED: (
        "the seal probe can not do its work in the pods of",
        "read the message of the job's condition Stalled: the image, its memory or a setting is not right",
    ),
}


async def _run(site: Site) -> AsyncIterator[Found]:
    try:
        jobs = [*await site.client.list(TRAININGJOBS), *await site.client.list(INFERENCEJOBS)]
    except NotFound:
        yield skip("there are no jobs to ask: our definitions are not installed; see the check `definitions`")
        return
    simulated = {n["metadata"]["name"] for n in await site.client.list(NODES) if is_simulated(n)}
    pods = [p for p in await site.client.list(PODS, label_selector=LABEL_RENDERED) if _passed(p)]
    real = [p for p in pods if p["spec"].get("nodeName") not in simulated]
    wrong = False
    for reason, (what, remedy) in _WRONG.items():
        held = [job for job in jobs if _stalled_by(job, reason)]
        if held:
            wrong = True
            elsewhere = f"; {_count(real, 'other governed pod')} got past the seal" if real else ""
            yield bad(f"{what} {_some(held)}{elsewhere}", remedy)
    if wrong:
        return
    if real:
        nodes = {p["spec"].get("nodeName") for p in real}
        yield ok(
            f"NetworkPolicy is enforced: {_count(real, 'governed pod')} on {_count(nodes, 'node')} got past the seal"
        )
    elif pods:
        yield skip(
            f"it is not known whether NetworkPolicy is enforced: {_count(pods, 'governed pod')} on simulated nodes "
            "alone, where no seal probe runs"
        )
    else:
        yield skip("it is not known yet whether NetworkPolicy is enforced: no governed pod has run")


def _passed(pod: Object) -> bool:
    """Whether its seal probe ended well."""
    statuses: Iterable[Mapping[str, Any]] = (pod.get("status") or {}).get("initContainerStatuses") or ()
    seal = next((c for c in statuses if c.get("name") == CONTAINER_SEAL), {})
    ended = (seal.get("state") or {}).get("terminated")
    return ended is not None and ended.get("exitCode") == 0


def _stalled_by(job: Object, reason: Reason) -> bool:
    found = get_condition((job.get("status") or {}).get("conditions"), ConditionType.STALLED) or {}
    return found.get("status") == "True" and found.get("reason") == reason


def _count(things: Sized, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _some(jobs: list[Object]) -> str:
    named = sorted(f"{j['metadata']['namespace']}/{j['metadata']['name']}" for j in jobs)
    rest = len(named) - _SHOWN
    return ", ".join(named[:_SHOWN]) + (f" and {rest} more jobs" if rest > 0 else "")


CHECK = Check("sealing", 90, "whether NetworkPolicy is enforced around governed pods", _run)
