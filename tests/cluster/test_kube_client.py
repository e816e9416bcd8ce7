"""The client's verbs on a real API server: server-side apply, patches, preconditions, warnings, identities."""

from collections.abc import AsyncIterator

import pytest

from mlprivacy.kube.client import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeClient,
    NotFound,
    collect_warnings,
)
from mlprivacy.kube.events import EventRecorder
from mlprivacy.kube.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS, JOBS, NAMESPACES, PODS, SERVICES

POD_SPEC = {"containers": [{"name": "c", "image": "registry.example/c:1"}]}


@pytest.fixture
async def client(cluster) -> AsyncIterator[KubeClient]:
    async with await KubeClient.connect(str(cluster.kubeconfig)) as found:
        yield found


def config_map(ns, data, name="m"):
    return {"metadata": {"name": name, "namespace": ns}, "data": data}


async def test_apply_is_idempotent(client, namespace):
    ns = namespace()
    first = await client.apply(CONFIGMAPS, config_map(ns, {"a": "1"}))
    again = await client.apply(CONFIGMAPS, config_map(ns, {"a": "1"}))
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        (SERVICES, {"ports": [{"port": 80}], "selector": {"a": "b"}}),
        (
            DEPLOYMENTS,
            {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC},
            },
        ),
        (JOBS, {"suspend": True, "template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}}),
    ],
)
async def test_children_with_many_defaulted_fields_are_applied_once(client, namespace, resource, spec):
    child = {"metadata": {"name": "child", "namespace": namespace()}, "spec": spec}
    first = await client.apply(resource, child)
    again = await client.apply(resource, child)
    assert (
        again["metadata"]["generation" if resource is not SERVICES else "resourceVersion"]
        == (first["metadata"]["generation" if resource is not SERVICES else "resourceVersion"])
    )


async def test_two_field_managers_keep_their_own_fields(client, namespace):
    ns = namespace()
    await client.apply(CONFIGMAPS, config_map(ns, {"ours": "1", "dropped": "1"}))
    await client.apply(CONFIGMAPS, config_map(ns, {"theirs": "2"}), field_manager="somebody")
    merged = await client.apply(CONFIGMAPS, config_map(ns, {"ours": "3"}))
    assert merged["data"] == {"ours": "3", "theirs": "2"}
    with pytest.raises(Conflict, match=r"\.data\.ours"):
        await client.apply(CONFIGMAPS, config_map(ns, {"ours": "4"}), field_manager="somebody", force=False)


async def test_drift_is_repaired_by_applying_again(client, namespace):
    ns = namespace()
    await client.apply(CONFIGMAPS, config_map(ns, {"a": "1"}))
    await client.merge_patch(CONFIGMAPS, "m", {"data": {"a": "tampered"}}, ns, field_manager="mallory")
    assert (await client.apply(CONFIGMAPS, config_map(ns, {"a": "1"})))["data"] == {"a": "1"}


async def test_a_strict_dry_run_finds_a_typo_and_leaves_nothing(client, namespace):
    ns = namespace()
    pod = {"metadata": {"name": "p", "namespace": ns}, "spec": {"containers": [{"name": "c", "imagee": "x"}]}}
    with pytest.raises(Invalid, match="imagee"):
        await client.create(PODS, pod, dry_run=True)
    assert await client.apply(CONFIGMAPS, config_map(ns, {"a": "1"}), dry_run=True)
    with pytest.raises(NotFound):
        await client.get(CONFIGMAPS, "m", ns)


async def test_warnings_of_the_server_are_collected(client, namespace):
    ns = namespace()
    pod = {"metadata": {"name": "p", "namespace": ns}, "spec": {**POD_SPEC, "madeUp": True}}
    with collect_warnings() as warnings:
        await client.create(PODS, pod, dry_run=True, field_validation="Warn")
    assert any("madeUp" in warning for warning in warnings)


async def test_create_replace_and_patches(client, namespace):
    ns = namespace()
    body = config_map(ns, {"a": "1"})
    made = await client.create(CONFIGMAPS, body)
    with pytest.raises(AlreadyExists):
        await client.create(CONFIGMAPS, body)
    replaced = await client.replace(CONFIGMAPS, {**made, "data": {"a": "2"}})
    with pytest.raises(Conflict):
        await client.replace(CONFIGMAPS, {**made, "data": {"a": "3"}})
    version = replaced["metadata"]["resourceVersion"]
    await client.merge_patch(CONFIGMAPS, "m", {"metadata": {"resourceVersion": version}, "data": {"b": "2"}}, ns)
    with pytest.raises(Conflict):
        await client.merge_patch(CONFIGMAPS, "m", {"metadata": {"resourceVersion": version}, "data": {"b": "3"}}, ns)
    patched = await client.patch_json(
        CONFIGMAPS, "m", [{"op": "test", "path": "/data/a", "value": "2"}, {"op": "remove", "path": "/data/b"}], ns
    )
    assert patched["data"] == {"a": "2"}
    with pytest.raises(Invalid):
        await client.patch_json(CONFIGMAPS, "m", [{"op": "test", "path": "/data/a", "value": "9"}], ns)


async def test_status_is_written_alone(client, namespace):
    ns = namespace()
    job = {
        "metadata": {"name": "j", "namespace": ns},
        "spec": {"suspend": True, "template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}},
    }
    await client.create(JOBS, job)
    condition = {
        "type": "Noted",
        "status": "True",
        "reason": "Test",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    for write in (
        client.merge_patch_status(JOBS, "j", ns, {"conditions": [condition]}),
        client.apply_status(JOBS, "j", ns, {"conditions": [condition]}),
    ):
        written = await write
        assert "Noted" in {c["type"] for c in written["status"]["conditions"]}
        assert written["spec"]["suspend"] is True
    with pytest.raises(NotFound):
        await client.apply_status(JOBS, "none", ns, {"conditions": [condition]})


async def test_a_delete_with_another_uid_spares_the_namesake(client, namespace):
    ns = namespace()
    made = await client.create(CONFIGMAPS, config_map(ns, {}))
    with pytest.raises(Conflict):
        await client.delete(CONFIGMAPS, "m", ns, uid="00000000-0000-0000-0000-000000000000")
    assert await client.delete(CONFIGMAPS, "m", ns, uid=made["metadata"]["uid"])
    assert not await client.delete(CONFIGMAPS, "m", ns, missing_ok=True)


async def test_lists_in_chunks_with_selectors(client, namespace):
    ns = namespace()
    for i in range(7):
        body = config_map(ns, {}, name=f"m{i}")
        body["metadata"]["labels"] = {"parity": str(i % 2)}
        await client.create(CONFIGMAPS, body)
    odd = await client.list(CONFIGMAPS, ns, label_selector="parity=1", chunk_size=2)
    assert [o["metadata"]["name"] for o in odd] == ["m1", "m3", "m5"]
    assert {o["kind"] for o in odd} == {"ConfigMap"}
    one = await client.list(CONFIGMAPS, ns, field_selector="metadata.name=m2")
    assert [o["metadata"]["name"] for o in one] == ["m2"]


async def test_a_user_without_rights_is_forbidden(cluster, namespace):
    ns = namespace()
    async with await KubeClient.connect(str(cluster.kubeconfig_for_user("mallory"))) as client:
        with pytest.raises(Forbidden, match="mallory"):
            await client.get(CONFIGMAPS, "m", ns)


async def test_events_are_accepted_and_their_series_counts(client, namespace):
    ns = namespace()
    regarding = await client.create(CONFIGMAPS, config_map(ns, {}))
    for _ in range(3):
        recorder = EventRecorder(client, "mlprivacy.dev/controller", "test")
        await recorder.publish(regarding, "Warning", "Refused", "purpose-limitation: not a lawful use")
    (event,) = [e for e in await client.list(EVENTS, ns) if e["reason"] == "Refused"]
    assert event["series"]["count"] == 3


async def test_events_about_cluster_scoped_objects_are_accepted(client, namespace):
    regarding = await client.get(NAMESPACES, namespace())
    recorder = EventRecorder(client, "mlprivacy.dev/controller", "test")
    await recorder.publish(regarding, "Normal", "Governed", "enforce")
    names = [
        e for e in await client.list(EVENTS, "default") if e["regarding"].get("uid") == regarding["metadata"]["uid"]
    ]
    assert len(names) == 1
    await client.delete(EVENTS, names[0]["metadata"]["name"], "default")
