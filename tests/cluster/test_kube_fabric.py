"""Copies of networks, devices and nodes on a real API server, under rights as narrow as the chart's."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mlprivacy.kube import fabric
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import NotFound
from mlprivacy.kube.fabric import FabricStore
from mlprivacy.kube.resources import CONFIGMAPS, CRDS, NETWORKATTACHMENTS, NODES, Resource
from mlprivacy.policy.model import Dependency

RIGHTS: list[dict[str, Any]] = [
    {"apiGroups": ["k8s.cni.cncf.io"], "resources": ["network-attachment-definitions"], "verbs": ["list", "watch"]},
    {"apiGroups": ["resource.k8s.io"], "resources": ["deviceclasses"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["rdma-devices"], "verbs": ["list", "watch"]},
]


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - polled on purpose: what is watched has no event of its own
            await asyncio.sleep(0.02)


def definition(resource: Resource) -> dict[str, Any]:
    """A definition of another project's kind, without its schema."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": CRDS.api_version,
        "kind": CRDS.kind,
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {"plural": resource.plural, "kind": resource.kind, "singular": resource.kind.lower()},
            "versions": [
                {"name": resource.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


@pytest.fixture
async def admin(private_cluster) -> AsyncIterator[KubeClient]:
    async with await KubeClient.connect(str(private_cluster.kubeconfig)) as found:
        yield found


@pytest.fixture
async def narrow(private_cluster, admin) -> AsyncIterator[KubeClient]:
    """A user with the rights of the chart for some of the kinds, and none for the others."""
    user = f"reader-{uuid.uuid4().hex[:8]}"
    rbac = "rbac.authorization.k8s.io"
    role = Resource(rbac, "v1", "clusterroles", False, "ClusterRole")
    binding = Resource(rbac, "v1", "clusterrolebindings", False, "ClusterRoleBinding")
    meta = {"metadata": {"name": user}, "apiVersion": f"{rbac}/v1"}
    await admin.create(role, {**meta, "kind": "ClusterRole", "rules": RIGHTS})
    subject = {"kind": "User", "name": user, "apiGroup": rbac}
    reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": user}
    await admin.create(binding, {**meta, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]})
    async with await KubeClient.connect(str(private_cluster.kubeconfig_for_user(user))) as found:
        yield found


async def test_what_is_there_what_is_not_and_what_may_not_be_read(narrow, admin, monkeypatch) -> None:
    monkeypatch.setattr(fabric, "AGAIN_SECONDS", 0.2)
    told: list[Dependency] = []
    store = FabricStore(narrow, lambda what, old, new: told.append(what), backoff=(0.05, 0.5))
    try:
        await store.wanted(asyncio.get_running_loop().time() + 5)
        assert store.source("NetworkAttachmentDefinition") == [], "a definition that is absent: no such object"
        assert store.source("SriovNetworkNodeState") == []
        assert store.source("ResourceClaim") is None, "served, and may not be read: not known"
        assert store.source("DeviceClass") == []
        assert store.source("Node") is not None

        await admin.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fast-1"}})
        for name in ("rdma-devices", "other"):
            config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kube-system"}}
            await admin.create(CONFIGMAPS, {**config, "data": {"config.json": "{}", "secret": "x"}})
        await eventually(lambda: Dependency("Node", "", "fast-1") in told and store.source("ConfigMap"))
        configs = store.source("ConfigMap") or []
        assert [c["metadata"]["name"] for c in configs] == ["rdma-devices"]
        assert configs[0]["data"] == {"config.json": "{}"}

        await admin.create(CRDS, definition(NETWORKATTACHMENTS))
        raw = {
            "apiVersion": NETWORKATTACHMENTS.api_version,
            "kind": NETWORKATTACHMENTS.kind,
            "metadata": {"name": "fast", "namespace": "default"},
            "spec": {"config": "{}"},
        }
        async with asyncio.timeout(30):
            while True:
                try:
                    await admin.create(NETWORKATTACHMENTS, raw)
                    break
                except NotFound:  # the definition is served a moment later
                    await asyncio.sleep(0.2)
        await eventually(lambda: Dependency("NetworkAttachmentDefinition", "default", "fast") in told)
        await admin.delete(CRDS, f"{NETWORKATTACHMENTS.plural}.{NETWORKATTACHMENTS.group}")
        await eventually(lambda: store.source("NetworkAttachmentDefinition") == [])
    finally:
        await store.stop()
