"""strangers: what carries our labels or selects governed pods and is not the operator's.

Before a namespace is governed anybody may put our labels on a template. /validate/pods refuses the pods of such a
template; this names them, so that they are taken away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from mlprivacy.api.names import (
    API_VERSION,
    GROUP,
    LABEL_ENFORCE,
    LABEL_INFERENCE_JOB,
    LABEL_JOB_UID,
    LABEL_TRAINING_JOB,
    OBJECT_PREFIX,
)
from mlprivacy.cli.checks.base import Check, Found, Site, bad, ok
from mlprivacy.kube.client import Object
from mlprivacy.kube.resources import (
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    INFERENCEJOBS,
    JOBS,
    NAMESPACES,
    PODS,
    PODTEMPLATES,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
    TRAININGJOBS,
)

# What is made from others comes first, so that its maker is seen too.
_MAKERS = (
    PODS, REPLICASETS, JOBS, CRONJOBS, DAEMONSETS, DEPLOYMENTS, PODTEMPLATES, REPLICATIONCONTROLLERS, STATEFULSETS,
)  # fmt: skip
_OURS = f"{GROUP}/"


async def _run(site: Site) -> AsyncIterator[Found]:
    governed = {n["metadata"]["name"] for n in await site.client.list(NAMESPACES, label_selector=LABEL_ENFORCE)}
    listed = {resource.kind: await site.client.list(resource) for resource in _MAKERS}
    services = await site.client.list(SERVICES)
    uids = {j["metadata"]["uid"] for r in (TRAININGJOBS, INFERENCEJOBS) for j in await site.client.list(r)}
    # What the operator made, and what the built-in controllers made from that.
    made = {o["metadata"]["uid"] for kind in ("Job", "Deployment") for o in listed[kind] if _rendered(o, uids)}
    made |= {o["metadata"]["uid"] for o in listed["ReplicaSet"] if _controlled(o, made)}
    made |= {o["metadata"]["uid"] for o in listed["Pod"] if _controlled(o, made)}
    strange = 0
    for kind, objects in listed.items():
        for obj in objects:
            where = f"{kind} {obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
            if labelled(obj) and obj["metadata"]["uid"] not in made:
                strange += 1
                yield bad(
                    f"the {where} carries labels of {GROUP} and is not the operator's: somebody put them there while "
                    "its namespace was not governed",
                    "see who made it, and delete it; its pods are refused in a governed namespace",
                )
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        selects = any(key.startswith(_OURS) for key in spec.get("selector") or {})
        if selects and metadata.get("namespace") in governed and not _owned(service, uids):
            strange += 1
            yield bad(
                f"the Service {metadata.get('namespace')}/{metadata['name']} selects governed pods and is not the "
                "operator's",
                "see who made it, and delete it",
            )
    if not strange:
        yield ok("whatever carries our labels or selects governed pods is the operator's")


def _rendered(obj: Object, uids: set[str]) -> bool:
    return _owned(obj, uids) and obj["metadata"]["name"].startswith(OBJECT_PREFIX)


def _controlled(obj: Object, makers: set[str]) -> bool:
    return any(o.get("uid") in makers and o.get("controller") is True for o in _owners(obj))


def _owned(obj: Object, uids: set[str]) -> bool:
    """By a job of ours that exists, and labelled with its uid: anybody can write down an owner."""
    labels = obj["metadata"].get("labels") or {}
    job = labels.get(LABEL_TRAINING_JOB) or labels.get(LABEL_INFERENCE_JOB)
    return any(
        o.get("apiVersion") == API_VERSION
        and o.get("uid") in uids
        and o.get("uid") == labels.get(LABEL_JOB_UID)
        and o.get("name") == job
        for o in _owners(obj)
    )


def _owners(obj: Object) -> list[Mapping[str, Any]]:
    return obj["metadata"].get("ownerReferences") or []


def labelled(obj: Mapping[str, Any]) -> bool:
    """Whether an object, or a pod template in it, carries a label of ours."""
    spec = obj.get("spec") or {}
    templates = (obj, spec.get("template"), obj.get("template"), (spec.get("jobTemplate") or {}).get("spec"))
    inner = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
    return any(
        key.startswith(_OURS)
        for one in (*templates, inner)
        for key in ((one or {}).get("metadata") or {}).get("labels") or {}
    )


CHECK = Check("strangers", 75, "what carries our labels is the operator's", _run)
