"""An API server small enough to break on purpose: broken watches, 410, lost deletions, slowness, garbage.

What a real API server does is tested against a real one (tests/cluster/test_kube_*.py); this one is for its failures.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.credentials import Credentials
from mlprivacy.kube.fabric import RESOURCES as FABRIC
from mlprivacy.kube.resources import CONFIGMAPS, LEASES, NAMESPACES, OURS, REPORTS, SECRETS, kueue_resource

KUEUE = (kueue_resource("Workload", "v1beta2"), kueue_resource("AdmissionCheck", "v1beta2"))
COLLECTIONS = {r.plural for r in (*OURS, CONFIGMAPS, SECRETS, LEASES, NAMESPACES, REPORTS, *FABRIC, *KUEUE)}


class FakeApi:
    """Stores objects by URL path; every write is an event that watches see, unless it is made to be lost."""

    def __init__(self) -> None:
        self.version = 100
        self.compacted = 0
        self.objects: dict[str, dict] = {}
        self.log: list[tuple[int, str, str, dict]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.bodies: list[object] = []
        self.faults: list[Callable[[web.Request], web.StreamResponse | None]] = []
        self.missing: set[str] = set()
        self.url = ""
        self.watching = 0
        self._changed = asyncio.Condition()
        self._streams: dict[int, web.Request] = {}
        self._inject: list[bytes] = []
        self._runner: web.AppRunner | None = None
        self.port = 0

    # -- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        await self.break_watches()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # -- what the world does ---------------------------------------------------------------------------------------

    async def put(self, path: str, obj: dict, *, lost: bool = False) -> dict:
        """Create or update the object at `path`; a lost change is in the list but no watch ever tells it."""
        kind = "MODIFIED" if path in self.objects else "ADDED"
        self.version += 1
        name = path.rsplit("/", 1)[1]
        parts = path.split("/")
        created = "2026-03-14T12:00:00Z"
        metadata = {"name": name, "uid": f"uid-{self.version}", "creationTimestamp": created, **obj.get("metadata", {})}
        if "namespaces" in parts[:-1] and parts[-2] != "namespaces":
            metadata["namespace"] = parts[parts.index("namespaces") + 1]
        if path in self.objects:
            metadata["uid"] = self.objects[path]["metadata"]["uid"]
        metadata["resourceVersion"] = str(self.version)
        stored = {**obj, "metadata": metadata}
        self.objects[path] = stored
        if not lost:
            await self._tell(kind, path, stored)
        return stored

    async def remove(self, path: str, *, lost: bool = False) -> None:
        self.version += 1
        stored = self.objects.pop(path)
        stored = {**stored, "metadata": {**stored["metadata"], "resourceVersion": str(self.version)}}
        if not lost:
            await self._tell("DELETED", path, stored)

    async def bookmark(self) -> None:
        self.version += 1
        await self._tell("BOOKMARK", "", {"metadata": {"resourceVersion": str(self.version)}})

    async def garbage(self, data: bytes) -> None:
        """Bytes into every open watch."""
        self._inject.append(data)
        async with self._changed:
            self._changed.notify_all()

    async def compact(self) -> None:
        """Forget history: a watch from before now gets 410."""
        self.compacted = self.version
        self.log.clear()

    async def break_watches(self) -> None:
        """Cut the connections of all open watches."""
        for request in tuple(self._streams.values()):
            if request.transport is not None:
                request.transport.abort()
        self._streams.clear()

    def fail(self, status: int, times: int = 1, *, when: str = "", headers: dict | None = None, body: str = "") -> None:
        """Answer the next `times` requests whose query or path holds `when` with an error."""
        for _ in range(times):

            def fault(request: web.Request) -> web.Response | None:
                if when not in request.path_qs:
                    return None
                text = body or json.dumps(
                    {"kind": "Status", "code": status, "reason": "Injected", "message": "injected"}
                )
                return web.Response(status=status, text=text, headers=headers)

            self.faults.append(fault)

    def count(self, method: str, *, watch: bool = False) -> int:
        return sum(1 for m, _, q in self.requests if m == method and ("watch" in q) == watch)

    # -- serving -------------------------------------------------------------------------------------------------

    async def _tell(self, kind: str, path: str, obj: dict) -> None:
        self.log.append((self.version, kind, path, obj))
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        body = await request.read()
        self.bodies.append(json.loads(body) if body else None)
        for fault in self.faults:
            answer = fault(request)
            if answer is not None:
                self.faults.remove(fault)
                return answer
        path = request.path.removesuffix("/status")
        if any(part in path for part in self.missing):
            return self._error(404, "NotFound", "the server could not find the requested resource")
        if request.method == "GET" and "watch" in request.query:
            return await self._watch(request)
        if request.method == "GET" and path in self.objects:
            return web.json_response(self.objects[path])
        if request.method == "GET" and path.rsplit("/", 1)[1] in COLLECTIONS:
            return self._list(request)
        if request.method == "POST":
            path = f"{path}/{self.bodies[-1]['metadata']['name']}"
            if path in self.objects:
                return self._error(409, "AlreadyExists", "already exists")
            return web.json_response(await self.put(path, self.bodies[-1]), status=201)
        return await self._write(request.method, path, self.bodies[-1], request.headers.get("Content-Type", ""))

    async def _write(self, method: str, path: str, body: object, content_type: str) -> web.Response:
        stored = self.objects.get(path)
        if stored is None and content_type != "application/apply-patch+yaml":
            return self._error(404, "NotFound", f"{path} not found", {"name": path.rsplit("/", 1)[1]})
        if method == "DELETE":
            await self.remove(path)
            return web.json_response({"kind": "Status", "status": "Success"})
        if content_type == "application/json-patch+json":
            updated = _json_patch(stored, body)
            return web.json_response(await self.put(path, updated)) if updated else self._error(422, "Invalid", "test")
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != stored["metadata"]["resourceVersion"]:
            return self._error(409, "Conflict", "the object has been modified")
        return web.json_response(await self.put(path, body if method == "PUT" else _merge(stored or {}, body)))

    def _list(self, request: web.Request) -> web.Response:
        items = [obj for path, obj in sorted(self.objects.items()) if self._under(request, path)]
        limit, start = int(request.query.get("limit", 0)), int(request.query.get("continue", 0))
        end = start + limit if limit else len(items)
        metadata = {"resourceVersion": str(self.version)}
        if end < len(items):
            metadata["continue"] = str(end)
        return web.json_response({"kind": "List", "metadata": metadata, "items": items[start:end]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        since = int(request.query["resourceVersion"])
        self._streams[id(request)] = request
        self.watching += 1
        try:
            if since < self.compacted:
                await response.write(
                    _line({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}})
                )
                return response
            while True:
                for version, kind, path, obj in self.log:
                    if version > since:
                        since = version
                        if kind == "BOOKMARK" or self._under(request, path):
                            await response.write(_line({"type": kind, "object": obj}))
                if self._inject:
                    await response.write(self._inject.pop())
                    continue
                async with self._changed:
                    if not self._inject and not any(version > since for version, *_ in self.log):
                        await self._changed.wait()
        finally:
            self.watching -= 1
            self._streams.pop(id(request), None)
        return response

    def _under(self, request: web.Request, path: str) -> bool:
        collection = request.path.rsplit("/", 1)
        inside = path.rsplit("/", 1)[0] == request.path or (
            "/namespaces/" not in request.path
            and path.startswith(collection[0])
            and path.split("/")[-2] == collection[1]
        )
        selector = request.query.get("fieldSelector", "")
        return inside and (not selector or _selected(self.objects.get(path, {}), path, selector))

    def _error(self, code: int, reason: str, message: str, details: dict | None = None) -> web.Response:
        status = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details or {}}
        return web.json_response(status, status=code)


def _selected(obj: dict, path: str, selector: str) -> bool:
    field, _, wanted = selector.partition("=")
    if field == "metadata.name":
        return path.rsplit("/", 1)[1] == wanted
    part = obj
    for key in field.split("."):
        part = part.get(key, {})
    return part == wanted


def _line(event: dict) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _json_patch(stored: dict, operations: list[dict]) -> dict | None:
    """RFC 6902 `test` and `add`; None when a test fails."""
    updated = json.loads(json.dumps(stored))
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        place = updated
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if operation["op"] == "test" and place.get(last) != operation["value"]:
            return None
        place[last] = operation["value"]
    return updated


def _merge(base: dict, patch: dict) -> dict:
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge(result[key], value)
        else:
            result[key] = value
    return result


async def _eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until the condition holds; the deadline is only a time-out."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the conditions watched have no event of their own
            await asyncio.sleep(0.01)


@pytest.fixture
def eventually():
    return _eventually


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    server = FakeApi()
    await server.start()
    yield server
    with contextlib.suppress(ConnectionError):
        await server.stop()


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[KubeClient]:
    async with KubeClient(Credentials(api.url, token="t"), request_seconds=5.0) as found:  # noqa: S106
        yield found
