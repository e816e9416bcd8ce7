"""The cache when the API server misbehaves: what is kept, what is found again, what is said about it."""

import contextlib

import pytest

from mlprivacy.kube.informer import Informer, compact, identity_and_labels
from mlprivacy.kube.resources import CONFIGMAPS, NAMESPACES

FAST = (0.01, 0.05)


def path(name: str, namespace: str = "a") -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


@contextlib.asynccontextmanager
async def running(client, resource=CONFIGMAPS, **options):
    informer = Informer(client, resource, **{"backoff": FAST, **options})
    informer.start()
    try:
        yield informer
    finally:
        await informer.stop()


async def test_it_lists_then_follows_creates_updates_and_deletes(api, client, eventually):
    await api.put(path("one"), {"data": {"v": "1"}})
    changes = []
    async with running(client, chunk_size=2) as informer:
        informer.on_change(lambda old, new: changes.append((old and old["data"]["v"], new and new["data"]["v"])))
        assert await informer.wait_synced(20)
        assert informer.get("a", "one")["data"] == {"v": "1"}
        await api.put(path("two"), {"data": {"v": "2"}})
        await api.put(path("one"), {"data": {"v": "3"}})
        await api.remove(path("two"))
        await eventually(lambda: len(changes) == 4)
    assert changes == [(None, "1"), (None, "2"), ("1", "3"), ("2", None)]
    assert informer.keys() == [("a", "one")]


async def test_deletions_missed_by_a_broken_watch_are_found_at_the_next_list(api, client, eventually):
    for name in ("kept", "gone"):
        await api.put(path(name), {"data": {}})
    deleted = []
    async with running(client) as informer:
        informer.on_change(lambda old, new: deleted.append(old["metadata"]["name"]) if new is None else None)
        await informer.wait_synced(20)
        await eventually(lambda: api.watching == 1)
        await api.remove(path("gone"), lost=True)
        await api.compact()
        await api.break_watches()
        await eventually(lambda: deleted == ["gone"])
        assert informer.keys() == [("a", "kept")]


async def test_a_broken_watch_goes_on_from_its_place_without_a_new_list(api, client, eventually):
    async with running(client) as informer:
        await informer.wait_synced(20)
        await eventually(lambda: api.watching == 1)
        await api.bookmark()
        await api.break_watches()
        await api.put(path("later"), {"data": {}})
        await eventually(lambda: informer.get("a", "later"))
        assert informer.problem is None
    assert api.count("GET") == 1


async def test_410_in_the_watch_lists_again(api, client, eventually):
    async with running(client) as informer:
        await informer.wait_synced(20)
        await eventually(lambda: api.watching == 1)
        await api.put(path("unseen"), {"data": {}}, lost=True)
        await api.compact()
        await api.break_watches()
        await eventually(lambda: informer.get("a", "unseen"))
    assert api.count("GET") == 2


async def test_410_between_two_chunks_lists_in_one_piece(api, client):
    for i in range(5):
        await api.put(path(f"m{i}"), {"data": {}})
    api.fail(410, when="continue=")
    async with running(client, chunk_size=2) as informer:
        await informer.wait_synced(20)
        assert len(informer) == 5
    assert [query.get("limit") for _, _, query in api.requests[:3]] == ["2", "2", None]


@pytest.mark.parametrize("data", [b"{broken\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":{"metadata":{}}}\n'])
async def test_garbage_in_the_watch_lists_again(api, client, eventually, data):
    async with running(client) as informer:
        await informer.wait_synced(20)
        await eventually(lambda: api.watching == 1)
        await api.put(path("unseen"), {"data": {}}, lost=True)
        await api.garbage(data)
        await eventually(lambda: informer.get("a", "unseen"))


async def test_while_the_server_is_away_the_copy_answers_and_grows_stale(api, client, eventually):
    await api.put(path("one"), {"data": {}})
    async with running(client) as informer:
        await informer.wait_synced(20)
        await eventually(lambda: api.watching == 1)
        await api.stop()
        await eventually(lambda: informer.problem)
        stale = informer.staleness_seconds
        await eventually(lambda: informer.staleness_seconds > stale + 0.05)
        assert informer.get("a", "one")
        assert informer.synced
        assert "not kept up to date" in informer.problem
        del api.objects[path("one")]
        await api.start()
        await api.compact()
        api.version += 1
        api.compacted += 1
        await eventually(lambda: not informer.keys())
        assert informer.problem is None


async def test_silence_opens_the_watch_again_without_a_new_list(api, client, eventually):
    async with running(client, inactivity_seconds=0.05) as informer:
        await informer.wait_synced(20)
        await eventually(lambda: api.count("GET", watch=True) >= 3)
        await api.put(path("one"), {"data": {}})
        await eventually(lambda: informer.get("a", "one"))
        assert informer.problem is None
    assert api.count("GET") == 1


async def test_a_missing_crd_is_not_synced_and_says_so_until_it_arrives(api, client, eventually):
    api.missing.add("configmaps")
    async with running(client) as informer:
        await eventually(lambda: informer.problem)
        assert not await informer.wait_synced(0.01)
        assert "configmaps" in informer.problem
        api.missing.clear()
        assert await informer.wait_synced(20)
        await eventually(lambda: informer.problem is None)


async def test_a_lost_event_is_healed_by_the_periodic_list(api, client, eventually):
    async with running(client, relist_seconds=0.0, inactivity_seconds=0.05) as informer:
        await informer.wait_synced(20)
        await api.put(path("unseen"), {"data": {}}, lost=True)
        await eventually(lambda: informer.get("a", "unseen"))


async def test_indices_follow_changes_and_survive_odd_objects(api, client, eventually):
    def by_color(obj):
        return [obj["data"]["color"]]

    await api.put(path("one"), {"data": {"color": "red"}})
    await api.put(path("odd"), {})
    async with running(client, indexers={"color": by_color}) as informer:
        await informer.wait_synced(20)
        assert informer.by_index("color", "red") == [("a", "one")]
        await api.put(path("one"), {"data": {"color": "blue"}})
        await eventually(lambda: informer.by_index("color", "blue"))
        assert informer.by_index("color", "red") == []
        assert [o["metadata"]["name"] for o in informer.objects_by_index("color", "blue")] == ["one"]
        assert informer.get("a", "odd")
        await api.remove(path("one"))
        await eventually(lambda: not informer.by_index("color", "blue"))
        assert informer.index_keys("color") == ()


async def test_a_handler_that_raises_does_not_stop_the_copy(api, client, eventually):
    async with running(client) as informer:
        informer.on_change(lambda old, new: 1 / 0)
        await api.put(path("one"), {"data": {}})
        await eventually(lambda: informer.get("a", "one"))


async def test_a_returned_object_is_the_callers_own(api, client):
    await api.put(path("one"), {"data": {"v": "1"}})
    async with running(client) as informer:
        await informer.wait_synced(20)
        informer.get("a", "one")["data"]["v"] = "changed"
        assert informer.get("a", "one")["data"] == {"v": "1"}


async def test_namespaces_have_an_empty_namespace_and_metadata_only_asks_for_it(api, client):
    await api.put("/api/v1/namespaces/team", {"metadata": {"labels": {"x": "y"}, "annotations": {"big": "z"}}})
    async with running(client, NAMESPACES, transform=identity_and_labels, metadata_only=True) as informer:
        await informer.wait_synced(20)
        found = informer.get(None, "team")
    assert found["metadata"]["labels"] == {"x": "y"}
    assert "annotations" not in found["metadata"]


def test_compact_drops_what_nothing_decides_on():
    obj = {
        "metadata": {
            "name": "x",
            "managedFields": [{}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        }
    }
    assert compact(obj) == {"metadata": {"name": "x"}}
