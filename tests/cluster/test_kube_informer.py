"""The cache on a real API server: built-in and custom resources, missing CRDs, narrow RBAC, outages."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.informer import Informer, identity_and_labels
from mlprivacy.kube.resources import CONFIGMAPS, CRDS, NAMESPACES, SECRETS, Resource


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - polled on purpose: what is watched has no event of its own
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(client, resource, **options):
    informer = Informer(client, resource, backoff=(0.05, 0.5), **options)
    informer.start()
    try:
        yield informer
    finally:
        await informer.stop()


@pytest.fixture
async def client(cluster) -> AsyncIterator[KubeClient]:
    async with await KubeClient.connect(str(cluster.kubeconfig)) as found:
        yield found


async def see_create_update_delete(client, resource, ns, first, second):
    """The life of one object as the cache tells it."""
    changes: list[tuple[object, object]] = []

    def value(obj):
        return obj and (obj.get("data") or obj.get("spec"))["v"]

    async with running(client, resource, namespace=ns, field_selector="metadata.name=seen") as informer:
        assert await informer.wait_synced(60)
        informer.on_change(lambda old, new: changes.append((value(old), value(new))))
        metadata = {"name": "seen", "namespace": ns}
        await client.create(resource, {**first, "metadata": metadata, "apiVersion": resource.api_version})
        await eventually(lambda: informer.get(ns, "seen"))
        assert "managedFields" not in informer.get(ns, "seen")["metadata"]
        await client.merge_patch(resource, "seen", second, ns)
        await eventually(lambda: len(changes) == 2)
        await client.delete(resource, "seen", ns)
        await eventually(lambda: not informer.keys())
        assert informer.problem is None
    return changes


async def test_config_maps(client, namespace):
    changes = await see_create_update_delete(
        client, CONFIGMAPS, namespace(), {"kind": "ConfigMap", "data": {"v": "1"}}, {"data": {"v": "2"}}
    )
    assert changes == [(None, "1"), ("1", "2"), ("2", None)]


@pytest.fixture
async def things(client) -> AsyncIterator[tuple[Resource, dict]]:
    """A custom resource that is not installed yet, and its definition."""
    group = f"t{uuid.uuid4().hex[:8]}.mlprivacy.example"
    resource = Resource(group, "v1", "things", True, "Thing")
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": "things", "kind": "Thing"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
    yield resource, definition
    await client.delete(CRDS, definition["metadata"]["name"], missing_ok=True)


async def test_a_custom_resource_from_before_its_crd_exists(client, namespace, things):
    resource, definition = things
    ns = namespace()
    async with running(client, resource) as informer:
        await eventually(lambda: informer.problem)
        assert not informer.synced
        assert "404" in informer.problem
        await client.apply(CRDS, definition)
        assert await informer.wait_synced(60)
        changes = await see_create_update_delete(
            client, resource, ns, {"kind": "Thing", "spec": {"v": 1}}, {"spec": {"v": 2}}
        )
        assert changes == [(None, 1), (1, 2), (2, None)]
        await client.create(
            resource,
            {
                "metadata": {"name": "last", "namespace": ns},
                "spec": {},
                "kind": "Thing",
                "apiVersion": resource.api_version,
            },
        )
        await eventually(lambda: informer.get(ns, "last"))
        await client.delete(CRDS, definition["metadata"]["name"])
        await eventually(lambda: not informer.synced)


async def test_namespaces_by_metadata_alone(client, namespace):
    ns = namespace({"mlprivacy.dev/test": "yes"})
    async with running(
        client,
        NAMESPACES,
        metadata_only=True,
        transform=identity_and_labels,
        indexers={"test": lambda obj: (obj["metadata"].get("labels") or {}).get("mlprivacy.dev/test", "")},
    ) as informer:
        await informer.wait_synced(60)
        found = informer.get(None, ns)
        assert found["kind"] == "Namespace"
        assert found["metadata"]["labels"]["mlprivacy.dev/test"] == "yes"
        assert set(found) == {"apiVersion", "kind", "metadata"}
        await client.merge_patch(NAMESPACES, ns, {"metadata": {"labels": {"mlprivacy.dev/test": "no"}}})
        await eventually(lambda: informer.get(None, ns)["metadata"]["labels"]["mlprivacy.dev/test"] == "no")


async def test_rights_on_one_named_secret_are_enough(client, cluster, namespace):
    ns = namespace()
    rules = [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get", "list", "watch"]}
    ]
    await client.create(
        Resource("rbac.authorization.k8s.io", "v1", "roles", True, "Role"),
        {"metadata": {"name": "r", "namespace": ns}, "rules": rules},
    )
    await client.create(
        Resource("rbac.authorization.k8s.io", "v1", "rolebindings", True, "RoleBinding"),
        {
            "metadata": {"name": "r", "namespace": ns},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}],
        },
    )
    for name in ("mine", "other"):
        await client.create(SECRETS, {"metadata": {"name": name, "namespace": ns}})
    async with await KubeClient.connect(str(cluster.kubeconfig_for_user("carol"))) as carol:
        async with running(carol, SECRETS, namespace=ns, field_selector="metadata.name=mine") as informer:
            assert await informer.wait_synced(60)
            assert informer.keys() == [(ns, "mine")]
            await client.merge_patch(SECRETS, "mine", {"stringData": {"a": "b"}}, ns)
            await eventually(lambda: informer.get(ns, "mine").get("data"))
        async with running(carol, SECRETS, namespace=ns) as informer:
            await eventually(lambda: informer.problem)
            assert "403" in informer.problem
            assert not informer.synced


async def test_an_outage_is_survived_and_what_changed_after_it_is_seen(private_cluster):
    async with await KubeClient.connect(str(private_cluster.kubeconfig)) as client:
        await client.create(CONFIGMAPS, {"metadata": {"name": "before", "namespace": "default"}, "data": {"v": "1"}})
        async with running(client, CONFIGMAPS, namespace="default", inactivity_seconds=2.0) as informer:
            assert await informer.wait_synced(60)
            await asyncio.to_thread(private_cluster.stop_apiserver)
            await eventually(lambda: informer.problem)
            assert informer.get("default", "before")["data"] == {"v": "1"}
            assert informer.synced
            stale = informer.staleness_seconds
            await eventually(lambda: informer.staleness_seconds > stale + 0.5)
            await asyncio.to_thread(private_cluster.start_apiserver)
            await client.delete(CONFIGMAPS, "before", "default")
            await client.create(CONFIGMAPS, {"metadata": {"name": "after", "namespace": "default"}})
            await eventually(lambda: informer.get("default", "after") and not informer.get("default", "before"))
            assert informer.problem is None


async def test_a_server_that_hangs_is_noticed_by_silence(private_cluster):
    async with (
        await KubeClient.connect(str(private_cluster.kubeconfig)) as client,
        running(client, CONFIGMAPS, namespace="default", inactivity_seconds=1.0) as informer,
    ):
        assert await informer.wait_synced(60)
        await asyncio.to_thread(private_cluster.pause_apiserver)
        try:
            await eventually(lambda: informer.staleness_seconds > 2.5)
        finally:
            await asyncio.to_thread(private_cluster.resume_apiserver)
        await eventually(lambda: informer.staleness_seconds < 1.5)
