"""The client under failures: errors by class, retries only where harmless, time-outs, warnings, token rotation."""

import asyncio

import pytest
from aiohttp import web

from mlprivacy.kube import credentials
from mlprivacy.kube.client import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    KubeClient,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    collect_warnings,
)
from mlprivacy.kube.credentials import ConfigurationError, Credentials
from mlprivacy.kube.resources import CONFIGMAPS

MAP = "/api/v1/namespaces/a/configmaps/m"
OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "a"}, "data": {"x": "1"}}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Expired),
        (413, Invalid),
        (422, Invalid),
        (500, ApiError),
    ],
)
async def test_each_status_has_its_exception(api, client, status, kind):
    api.fail(status, times=2)
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIGMAPS, "m", "a")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert "injected" in str(caught.value)


async def test_create_twice_is_already_exists_and_not_a_conflict(client):
    await client.create(CONFIGMAPS, OBJECT)
    with pytest.raises(AlreadyExists):
        await client.create(CONFIGMAPS, OBJECT)


async def test_a_proxys_html_page_becomes_a_short_message(api, client):
    api.fail(502, body="<html>" + "x" * 5000)
    with pytest.raises(ApiError) as caught:
        await client.get(CONFIGMAPS, "m", "a")
    assert caught.value.status == 502
    assert len(caught.value.message) <= 200


@pytest.mark.parametrize("status", [429, 503])
async def test_reads_and_apply_are_repeated_after_retry_after(api, client, status):
    await api.put(MAP, OBJECT)
    api.fail(status, times=2, headers={"Retry-After": "0"})
    assert (await client.get(CONFIGMAPS, "m", "a"))["data"] == {"x": "1"}
    api.fail(status, times=1, headers={"Retry-After": "0"})
    await client.apply(CONFIGMAPS, OBJECT)
    assert api.count("GET") == 3
    assert api.count("PATCH") == 2


async def test_a_create_and_a_json_patch_are_sent_once(api, client):
    api.fail(429, headers={"Retry-After": "0"})
    with pytest.raises(TooManyRequests) as caught:
        await client.create(CONFIGMAPS, OBJECT)
    assert caught.value.retry_after == 0
    api.fail(503, headers={"Retry-After": "0"})
    with pytest.raises(ApiError):
        await client.patch_json(CONFIGMAPS, "m", [{"op": "add", "path": "/data/y", "value": "2"}], "a")
    assert len(api.requests) == 2


async def test_retries_end(api, client):
    api.fail(429, times=50, headers={"Retry-After": "0"})
    with pytest.raises(TooManyRequests):
        await client.get(CONFIGMAPS, "m", "a")
    assert api.count("GET") == 4


async def test_a_server_error_without_retry_after_is_not_repeated(api, client):
    api.fail(500)
    with pytest.raises(ApiError):
        await client.get(CONFIGMAPS, "m", "a")
    assert api.count("GET") == 1


async def test_no_server_is_unreachable_and_says_where(unused_tcp_port):
    async with KubeClient(Credentials(f"http://127.0.0.1:{unused_tcp_port}")) as client:
        with pytest.raises(Unreachable, match=f"127.0.0.1:{unused_tcp_port}"):
            await client.create(CONFIGMAPS, OBJECT)


async def test_a_server_that_never_answers_is_left_after_the_time_out(api):
    hold = asyncio.Event()

    async def stall(_request):
        await hold.wait()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stall)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with KubeClient(Credentials(f"http://127.0.0.1:{runner.addresses[0][1]}"), request_seconds=0.2) as client:
            with pytest.raises(Unreachable, match="no answer in time"):
                await client.get(CONFIGMAPS, "m", "a")
    finally:
        hold.set()
        await runner.cleanup()


async def test_garbage_instead_of_json_is_unreachable_and_not_a_crash(api, client):
    api.fail(200, body="{not json")
    with pytest.raises(Unreachable) as caught:
        await client.get(CONFIGMAPS, "m", "a")
    assert caught.value.reason == "Garbled"
    api.fail(200, body="[1]")
    with pytest.raises(Unreachable, match="not a JSON object"):
        await client.get(CONFIGMAPS, "m", "a")


async def test_what_apply_sends(api, client):
    await client.apply(CONFIGMAPS, OBJECT, dry_run=True)
    method, path, query = api.requests[-1]
    assert (method, path) == ("PATCH", MAP)
    assert query == {
        "fieldManager": "mlprivacy-controller",
        "force": "true",
        "fieldValidation": "Strict",
        "dryRun": "All",
    }


async def test_what_delete_sends(api, client):
    await api.put(MAP, OBJECT)
    assert await client.delete(
        CONFIGMAPS, "m", "a", propagation="Foreground", uid="u", resource_version="7", grace_seconds=0
    )
    assert api.bodies[-1] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }
    assert not await client.delete(CONFIGMAPS, "m", "a", missing_ok=True)
    with pytest.raises(NotFound):
        await client.delete(CONFIGMAPS, "m", "a")


async def test_a_list_is_read_in_chunks_and_items_know_their_kind(api, client):
    for i in range(7):
        await api.put(f"/api/v1/namespaces/a/configmaps/m{i}", {"data": {}})
    found = await client.list(CONFIGMAPS, "a", chunk_size=3)
    assert [o["metadata"]["name"] for o in found] == [f"m{i}" for i in range(7)]
    assert {(o["apiVersion"], o["kind"]) for o in found} == {("v1", "ConfigMap")}
    assert api.count("GET") == 3


async def test_warnings_are_collected_unescaped_and_once(api, client):
    warning = '299 - "unknown field \\"spec.x\\""'
    api.fail(200, body="{}", headers={"Warning": warning})
    with collect_warnings() as warnings:
        await client.get(CONFIGMAPS, "m", "a")
    assert warnings == ['unknown field "spec.x"']


async def test_a_rotated_token_is_read_again_after_a_401(api, tmp_path):
    await api.put(MAP, OBJECT)
    token = tmp_path / "token"
    token.write_text("old\n")
    seen = []

    def check(request):
        seen.append(request.headers["Authorization"])
        return None if seen[-1] == "Bearer new" else web.Response(status=401, text="{}")

    async with KubeClient(Credentials(api.url, token_file=token)) as client:
        api.faults += [check, check]
        with pytest.raises(Unauthorized):
            await client.get(CONFIGMAPS, "m", "a")
        token.write_text("new\n")
        api.faults += [check, check]
        await client.get(CONFIGMAPS, "m", "a")
    assert seen[0] == "Bearer old"
    assert seen[-1] == "Bearer new"


def test_in_cluster_reads_the_mounted_files(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("")
    with pytest.raises(ConfigurationError, match="KUBERNETES_SERVICE_HOST"):
        credentials.in_cluster({}, tmp_path)
    with pytest.raises(ConfigurationError, match=r"ca\.crt|token"):
        credentials.in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path / "none")


async def test_a_missing_kubeconfig_is_a_sentence(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist; set KUBECONFIG"):
        await KubeClient.connect(str(tmp_path / "none"))


async def test_a_kubeconfig_with_token_file_and_relative_paths(api, tmp_path):
    await api.put(MAP, OBJECT)
    (tmp_path / "tok").write_text("from-file")
    (tmp_path / "config").write_text(
        f"""
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: k, cluster: {{server: "{api.url}"}}}}]
users: [{{name: u, user: {{tokenFile: tok}}}}]
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]
"""
    )
    seen = []
    api.faults.append(lambda request: seen.append(request.headers["Authorization"]))
    async with await KubeClient.connect(str(tmp_path / "config")) as client:
        assert client.server == api.url
        await client.get(CONFIGMAPS, "m", "a")
    assert seen == ["Bearer from-file"]


async def test_a_kubeconfigs_impersonation_is_not_forgotten(api, tmp_path):
    await api.put(MAP, OBJECT)
    (tmp_path / "config").write_text(
        f"""
current-context: c
clusters: [{{name: k, cluster: {{server: "{api.url}"}}}}]
users: [{{name: u, user: {{token: t, as: alice, as-groups: [one, two]}}}}]
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]
"""
    )
    seen = []
    api.faults.append(lambda request: seen.append(request.headers))
    async with await KubeClient.connect(str(tmp_path / "config")) as client:
        await client.get(CONFIGMAPS, "m", "a")
    assert seen[0]["Impersonate-User"] == "alice"
    assert seen[0].getall("Impersonate-Group") == ["one", "two"]
    assert seen[0]["Authorization"] == "Bearer t"


@pytest.mark.parametrize("junk", [b"junk", b"{{{: x\n\t", b"clusters: 3", b"\xff\xfe\x00", b"[]"])
async def test_a_file_that_is_no_kubeconfig_is_said_to_be_none(tmp_path, junk):
    (tmp_path / "config").write_bytes(junk)
    with pytest.raises(ConfigurationError, match="it is no kubeconfig, or lacks parts of one"):
        await KubeClient.connect(str(tmp_path / "config"))


async def test_a_broken_kubeconfig_is_a_sentence(tmp_path):
    (tmp_path / "config").write_text("current-context: nope\ncontexts: []\n")
    with pytest.raises(ConfigurationError, match="can not be used"):
        await KubeClient.connect(str(tmp_path / "config"))
