"""One asynchronous client for the Kubernetes API: raw JSON dicts in and out over a single aiohttp session."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Self

import orjson

from mlprivacy.api.names import FIELD_MANAGER
from mlprivacy.kube import credentials as config
from mlprivacy.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    from_status,
)
from mlprivacy.kube.resources import PODS, Resource
from mlprivacy.kube.transport import APPLY_PATCH, JSON, JSON_PATCH, MERGE_PATCH, REQUEST_SECONDS, Call, Transport
from mlprivacy.kube.warnings import collect_warnings

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Conflict",
    "Expired",
    "Forbidden",
    "Invalid",
    "KubeClient",
    "ListPage",
    "NotFound",
    "Object",
    "Resource",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "collect_warnings",
]

Object = dict[str, Any]
Objects = list[Object]
Propagation = Literal["Background", "Foreground", "Orphan"]
FieldValidation = Literal["Strict", "Warn", "Ignore"]

_PARTIAL: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_PARTIAL_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


@dataclass(frozen=True, slots=True)
class ListPage:
    """One chunk of a list: its objects, the list's resourceVersion and how many the server says remain."""

    items: Objects
    resource_version: str
    remaining: int | None


def _query(**params: str | int | bool | None) -> dict[str, str]:
    return {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in params.items() if value
    }


def _place(obj: Mapping[str, Any], resource: Resource) -> tuple[str | None, str]:
    metadata = obj.get("metadata") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        raise ValueError(f"a {resource.kind} to apply needs metadata.name")
    return (str(namespace) if namespace else None), str(name)


class KubeClient:
    """The verbs of the Kubernetes API. Every method raises `ApiError` (or a subclass of it).

    Answers 429 and 503, answers 5xx that carry Retry-After, and broken connections are tried again, at most
    four times in all and only for requests that may be repeated: reads, server-side apply, merge patch,
    replace and delete. A create or a JSON patch is sent once.
    """

    def __init__(self, credentials: config.Credentials, *, request_seconds: float = REQUEST_SECONDS) -> None:
        """Wrap known credentials; must be called inside a running loop. See `connect` for the usual way."""
        self._transport = Transport(credentials, request_seconds)

    @classmethod
    async def connect(
        cls,
        kubeconfig: str | None = None,
        *,
        context: str | None = None,
        user: str | None = None,
        groups: Sequence[str] = (),
        request_seconds: float = REQUEST_SECONDS,
    ) -> Self:
        """A client for the given kubeconfig, $KUBECONFIG, the pod's own ServiceAccount, or ~/.kube/config.

        `context` is one of the kubeconfig's; with `user` every request is judged as that user's. Nothing is sent yet.
        Raises `credentials.ConfigurationError` with a sentence when there is no usable one.
        """
        found = await config.load(kubeconfig, context=context)
        return cls(config.acting_as(found, user, groups) if user else found, request_seconds=request_seconds)

    async def close(self) -> None:
        """Close all connections; watches end with Unreachable."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._transport.server

    @property
    def namespace(self) -> str | None:
        """The namespace of the kubeconfig's context, None where it has none."""
        return self._transport.namespace

    @property
    def server_time(self) -> datetime | None:
        """The API server's clock when it gave its newest answer, to the second; None where that said nothing of it."""
        try:
            return parsedate_to_datetime(self._transport.date or "")
        except ValueError:
            return None

    # -- reading ---------------------------------------------------------------------------------------------------

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        """One object, read with quorum."""
        return await self._json(Call("GET", resource.path(namespace, name, subresource), str(resource)))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        chunk_size: int = 500,
    ) -> Objects:
        """All objects, read in chunks; `kind` and `apiVersion` are filled in on each."""
        found: Objects = []
        pages = self.list_pages(
            resource, namespace, label_selector=label_selector, field_selector=field_selector, chunk_size=chunk_size
        )
        async for page in pages:
            found.extend(page.items)
        return found

    async def list_pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        chunk_size: int = 500,
        metadata_only: bool = False,
    ) -> AsyncIterator[ListPage]:
        """The chunks of a consistent list. Raises Expired when the continue token got too old between chunks."""
        token: str | None = None
        while True:
            params = _query(limit=chunk_size, labelSelector=label_selector, fieldSelector=field_selector)
            if token:
                params["continue"] = token
            accept = _PARTIAL_LIST if metadata_only else JSON
            body = await self._json(Call("GET", resource.path(namespace), str(resource), params, accept=accept))
            metadata, items = body.get("metadata") or {}, body.get("items")
            if not isinstance(items, list | None) or not isinstance(metadata, dict):
                raise Unreachable(f"the list of {resource} is not a Kubernetes list", "Garbled")
            for item in items or ():
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            yield ListPage(items or [], str(metadata.get("resourceVersion", "")), metadata.get("remainingItemCount"))
            token = metadata.get("continue")
            if not token:
                return

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int = 300,
        inactivity_seconds: float = 60.0,
        metadata_only: bool = False,
        opened: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Object, None]:
        """Events (`{"type": …, "object": …}`, bookmarks included) after `resource_version` until the server ends it.

        The server is asked to end after `timeout_seconds`. `opened` is called once it accepted the watch; silence for
        `inactivity_seconds` after that raises Unreachable with reason `Inactive`. An ERROR event raises its own
        ApiError (`Expired` for 410).
        """
        params = _query(
            watch=True,
            allowWatchBookmarks=True,
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=timeout_seconds,
        )
        accept = _PARTIAL if metadata_only else JSON
        call = Call("GET", resource.path(namespace), str(resource), params, accept=accept)
        async with aclosing(self._transport.stream(call, inactivity_seconds, opened)) as lines:
            async for line in lines:
                yield _event(line, resource)

    # -- writing ---------------------------------------------------------------------------------------------------

    async def create(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        field_manager: str = FIELD_MANAGER,
        field_validation: FieldValidation = "Strict",
        dry_run: bool = False,
    ) -> Object:
        """Create if absent; raises AlreadyExists."""
        namespace = (obj.get("metadata") or {}).get("namespace")
        params = _query(fieldManager=field_manager, fieldValidation=field_validation, dryRun="All" if dry_run else None)
        return await self._json(Call("POST", resource.path(namespace), str(resource), params, obj))

    async def apply(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        field_manager: str = FIELD_MANAGER,
        force: bool = True,
        dry_run: bool = False,
        field_validation: FieldValidation = "Strict",
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply: create or bring to this shape what `field_manager` owns; fields it no longer names go.

        Idempotent: applying the same object twice changes nothing, not even its resourceVersion.
        """
        namespace, name = _place(obj, resource)
        params = _query(
            fieldManager=field_manager,
            force=force,
            fieldValidation=field_validation,
            dryRun="All" if dry_run else None,
        )
        body = {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
        path = resource.path(namespace, name, subresource)
        return await self._json(Call("PATCH", path, str(resource), params, body, APPLY_PATCH))

    async def apply_status(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        status: Mapping[str, Any],
        *,
        field_manager: str = FIELD_MANAGER,
    ) -> Object:
        """Server-side apply of the status alone, which this field manager then owns. Raises NotFound when gone."""
        metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
        body = {"metadata": metadata, "status": status}
        return await self.apply(resource, body, field_manager=field_manager, subresource="status")

    async def replace(
        self, resource: Resource, obj: Mapping[str, Any], *, field_manager: str = FIELD_MANAGER
    ) -> Object:
        """PUT the whole object; with its metadata.resourceVersion a lost race raises Conflict."""
        namespace, name = _place(obj, resource)
        path = resource.path(namespace, name)
        return await self._json(Call("PUT", path, str(resource), _query(fieldManager=field_manager), obj))

    async def patch_json(
        self,
        resource: Resource,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        namespace: str | None = None,
        *,
        field_manager: str = FIELD_MANAGER,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """An RFC 6902 patch; a failed `test` raises Invalid. Sent once."""
        params = _query(fieldManager=field_manager, dryRun="All" if dry_run else None)
        path = resource.path(namespace, name, subresource)
        return await self._json(Call("PATCH", path, str(resource), params, [*operations], JSON_PATCH))

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any],
        namespace: str | None = None,
        *,
        field_manager: str = FIELD_MANAGER,
        field_validation: FieldValidation = "Strict",
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """An RFC 7386 patch; a `metadata.resourceVersion` in it makes a lost race raise Conflict."""
        params = _query(fieldManager=field_manager, fieldValidation=field_validation, dryRun="All" if dry_run else None)
        path = resource.path(namespace, name, subresource)
        return await self._json(Call("PATCH", path, str(resource), params, patch, MERGE_PATCH))

    async def merge_patch_status(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        status: Mapping[str, Any],
        *,
        resource_version: str | None = None,
    ) -> Object:
        """Merge-patch the status subresource; lists in it are replaced as a whole."""
        patch: Object = {"status": status}
        if resource_version is not None:
            patch["metadata"] = {"resourceVersion": resource_version}
        return await self.merge_patch(resource, name, patch, namespace, subresource="status")

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation: Propagation = "Background",
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        missing_ok: bool = False,
        dry_run: bool = False,
    ) -> bool:
        """Ask for deletion: True if accepted, False if it was not there and `missing_ok`.

        A `uid` or `resource_version` that no longer fits raises Conflict, so that a namesake made since is spared.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            options["dryRun"] = ["All"]
        preconditions = _query(uid=uid, resourceVersion=resource_version)
        if preconditions:
            options["preconditions"] = preconditions
        try:
            await self._json(Call("DELETE", resource.path(namespace, name), str(resource), body=options))
        except NotFound:
            if missing_ok:
                return False
            raise
        return True

    async def evict(self, name: str, namespace: str, *, uid: str, grace_seconds: int) -> None:
        """Evict a pod. Raises NotFound when it is gone, Conflict for a namesake, TooManyRequests where a
        PodDisruptionBudget is in the way.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid}},
        }
        await self._json(Call("POST", PODS.path(namespace, name, "eviction"), str(PODS), body=body))

    async def request(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> bytes:
        """A raw call (`/version`, `/readyz`, a proxy path); the body as it came."""
        return await self._transport.perform(Call(method, path, "raw", dict(params or {}), accept="*/*"))

    async def _json(self, call: Call) -> Object:
        raw = await self._transport.perform(call)
        try:
            answer = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise Unreachable(f"{call.method} {call.path}: the answer is not JSON ({error})", "Garbled") from error
        if not isinstance(answer, dict):
            raise Unreachable(f"{call.method} {call.path}: the answer is not a JSON object", "Garbled")
        return answer


def _event(line: bytes, resource: Resource) -> Object:
    try:
        event = orjson.loads(line)
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            failure = from_status(obj)
        elif kind in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} and isinstance(obj["metadata"], dict):
            obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
            return {"type": kind, "object": obj}
        else:
            failure = Unreachable(f"the watch of {resource} sent an event of unknown type {kind!r}", "Garbled")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise Unreachable(f"the watch of {resource} sent bytes that are no event ({error})", "Garbled") from error
    raise failure
