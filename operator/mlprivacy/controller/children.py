"""The rendered objects as last seen, in few bytes each: enough to tell what runs and what was changed by others."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import orjson

from mlprivacy.api import names
from mlprivacy.controller.running import running_of
from mlprivacy.controller.sealing import seal_of
from mlprivacy.controller.store import JobKey, version_of
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    JOBS,
    NETWORKPOLICIES,
    PODS,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)

SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
CONTROL_RESOURCES = (SERVICEACCOUNTS, NETWORKPOLICIES, CONFIGMAPS, SERVICES)
WORKLOAD_RESOURCES = (JOBS, DEPLOYMENTS)
LAG_SECONDS = 10.0  # how long an answer to a write counts although the watch does not show it
_METADATA = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")
_LABELS = (
    names.LABEL_TRAINING_JOB,
    names.LABEL_INFERENCE_JOB,
    names.LABEL_JOB_UID,
    names.LABEL_ATTEMPT,
    names.LABEL_FLOOR,
)


def owner_of(obj: Object) -> JobKey | None:
    """The job that a rendered object belongs to, by its labels."""
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    for kind, label in (("TrainingJob", names.LABEL_TRAINING_JOB), ("InferenceJob", names.LABEL_INFERENCE_JOB)):
        if label in labels:
            return JobKey(kind, metadata.get("namespace", ""), labels[label])
    return None


def frozen_part(obj: Object) -> str:
    """A digest of what nobody but the operator may change on a workload: labels, owners, annotations, generation."""
    metadata = obj["metadata"]
    annotations = {
        k: v
        for k, v in (metadata.get("annotations") or {}).items()
        if k.startswith(names.GROUP)  # controllers write others, such as deployment.kubernetes.io/revision
    }
    part = [metadata.get("labels"), metadata.get("ownerReferences"), annotations, metadata.get("generation")]
    return hashlib.sha256(orjson.dumps(part, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def _identity(obj: Object) -> Object:
    metadata = obj["metadata"]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {
            **{key: metadata[key] for key in _METADATA if key in metadata},
            "labels": {k: v for k, v in (metadata.get("labels") or {}).items() if k in _LABELS},
        },
    }


def _workload(obj: Object) -> Object:
    small = _identity(obj)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    annotations = obj["metadata"].get("annotations") or {}
    small["metadata"]["annotations"] = {k: v for k, v in annotations.items() if k == names.ANNOTATION_DECISION}
    small["frozen"] = frozen_part(obj)
    small["spec"] = {key: spec[key] for key in ("suspend", "replicas") if key in spec}
    small["status"] = {
        key: status[key]
        for key in ("active", "ready", "succeeded", "failed", "readyReplicas", "availableReplicas", "completionTime")
        if key in status
    }
    small["status"]["conditions"] = [
        {key: c.get(key) for key in ("type", "status", "reason", "message", "lastTransitionTime")}
        for c in status.get("conditions") or []
        if c.get("status") == "True"
    ]
    return small


def pod_as_kept(obj: Object) -> Object:
    """A pod in few bytes: whose it is, its phase, its seal, what runs in it, whether it waits behind our gate."""
    small = _identity(obj)
    status = obj.get("status") or {}
    small["status"] = {"phase": status.get("phase"), "seal": seal_of(status), **running_of(status)}
    gates = (obj.get("spec") or {}).get("schedulingGates") or ()
    if any(gate.get("name") == names.GATE_BUDGET for gate in gates):
        small["gated"] = True
    return small


class Children:
    """Informers of everything we render, and the answers to our writes until the watches show them.

    Without the answers a Job made a moment ago would look lost, and a control applied a moment ago would look changed.
    Pods that ended well are not kept.
    """

    def __init__(self, client: KubeClient, now: Callable[[], float] = time.monotonic) -> None:
        """``now`` gives seconds that only grow."""
        self.informers: dict[str, Informer] = {}
        self._now = now
        self._transforms: dict[str, Callable[[Object], Object]] = {}
        self._written: defaultdict[str, dict[_Name, tuple[float, Object]]] = defaultdict(dict)
        for resource in CONTROL_RESOURCES:
            self._add(client, resource, metadata_only=True, transform=_identity)
        for resource in WORKLOAD_RESOURCES:
            self._add(client, resource, transform=_workload)
        self._add(client, PODS, transform=pod_as_kept, field_selector="status.phase!=Succeeded")
        self.on_change(self._shown)

    def _add(
        self, client: KubeClient, resource: Resource, transform: Callable[[Object], Object], **options: Any
    ) -> None:
        self._transforms[resource.kind] = transform
        self.informers[resource.kind] = Informer(
            client,
            resource,
            label_selector=SELECTOR,
            indexers={"owner": _owners},
            name=f"rendered/{resource.plural}",
            transform=transform,
            **options,
        )

    def on_change(self, callback: Callable[[Object | None, Object | None], None]) -> None:
        """Call ``callback(old, new)`` after each change of any of them."""
        for informer in self.informers.values():
            informer.on_change(callback)

    def start(self) -> None:
        """Watch in the background."""
        for informer in self.informers.values():
            informer.start()

    async def stop(self) -> None:
        """End the watches."""
        await asyncio.gather(*(i.stop() for i in self.informers.values()))

    async def wait_synced(self) -> None:
        """Until each was read completely once."""
        await asyncio.gather(*(i.wait_synced() for i in self.informers.values()))

    @property
    def synced(self) -> bool:
        """True once all were read."""
        return all(i.synced for i in self.informers.values())

    def wrote(self, obj: Object) -> None:
        """Take in the API server's answer to a write."""
        owner = owner_of(obj)
        transform = self._transforms.get(obj["kind"])
        if owner is None or transform is None:
            return
        kind, metadata = obj["kind"], obj["metadata"]
        shown = self.informers[kind].get(metadata.get("namespace"), metadata["name"])
        if shown is None or _version(shown) < _version(obj):
            place = (kind, metadata["name"])
            self._written[_index_key(owner)][place] = (self._now() + LAG_SECONDS, transform(obj))

    def shows(self, obj: Object) -> bool:
        """Whether an object of this kind and name is there, as far as the watch and the answers tell."""
        kind, metadata = obj["kind"], obj["metadata"]
        if self.informers[kind].get(metadata["namespace"], metadata["name"]) is not None:
            return True
        owner = owner_of(obj)
        return owner is not None and (kind, metadata["name"]) in self._written.get(_index_key(owner), {})

    def of(self, kind: str, key: JobKey, uid: str) -> list[Object]:
        """The objects of ``kind`` that belong to this very job."""
        index = _index_key(key)
        found = {o["metadata"]["name"]: o for o in self.informers[kind].objects_by_index("owner", index)}
        written = self._written.get(index)
        if written:
            now = self._now()
            for place, (until, obj) in list(written.items()):
                if until <= now:
                    del written[place]
                elif place[0] == kind:
                    shown = found.get(place[1])
                    if shown is None or _version(shown) < _version(obj):
                        found[place[1]] = obj
            if not written:
                del self._written[index]
        return [o for o in found.values() if (o["metadata"].get("labels") or {}).get(names.LABEL_JOB_UID) == uid]

    def _shown(self, old: Object | None, new: Object | None) -> None:
        """The watch has caught up with an object: its answer is not needed any more."""
        obj = new or old
        owner = owner_of(obj) if obj is not None else None
        if obj is None or owner is None:
            return
        written = self._written.get(_index_key(owner))
        if not written:
            return
        place = (obj["kind"], obj["metadata"]["name"])
        if place in written and (new is None or _version(new) >= _version(written[place][1])):
            del written[place]


_Name = tuple[str, str]  # kind, name


def _version(obj: Object) -> int:
    return version_of(obj["metadata"].get("resourceVersion"))


def _index_key(key: JobKey) -> str:
    return f"{key.kind}/{key.namespace}/{key.name}"


def _owners(obj: Object) -> list[str]:
    owner = owner_of(obj)
    return [_index_key(owner)] if owner else []
