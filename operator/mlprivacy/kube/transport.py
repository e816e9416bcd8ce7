"""HTTP below the Kubernetes client: one aiohttp session, credentials, time-outs, retries, warnings, metrics."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from mlprivacy import __version__
from mlprivacy.kube import metrics
from mlprivacy.kube.credentials import Credentials
from mlprivacy.kube.errors import ApiError, Unreachable, from_response
from mlprivacy.kube.warnings import WarningLog

REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 10.0
MAX_ATTEMPTS: Final = 4
MAX_WAIT_SECONDS: Final = 10.0
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

JSON: Final = "application/json"
JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"  # JSON is YAML

_REPEATABLE_METHODS: Final = frozenset({"GET", "PUT", "DELETE"})
_REPEATABLE_PATCHES: Final = frozenset({MERGE_PATCH, APPLY_PATCH})


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `label` is the resource it counts under, `body` is sent as JSON when not None."""

    method: str
    path: str
    label: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = JSON
    accept: str = JSON

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice ends in the same state as sending it once."""
        return self.method in _REPEATABLE_METHODS or self.content_type in _REPEATABLE_PATCHES


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from a Retry-After header; None without one (Kubernetes never sends its date form)."""
    try:
        return max(0.0, float(headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


class Transport:
    """Sends calls; answers 429, 503 and any 5xx with Retry-After are tried again when the call is repeatable."""

    def __init__(self, credentials: Credentials, request_seconds: float = REQUEST_SECONDS) -> None:
        """Must be called inside a running loop; `request_seconds` bounds each attempt."""
        self._credentials = credentials
        self._warnings = WarningLog()
        self.date: str | None = None  # of the newest answer, by the server's clock, as HTTP writes it
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._timeout = aiohttp.ClientTimeout(total=request_seconds, sock_connect=min(CONNECT_SECONDS, request_seconds))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=100, ttl_dns_cache=30),
            headers={"User-Agent": f"mlprivacy/{__version__}", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def server(self) -> str:
        """The API server's address."""
        return self._credentials.server

    @property
    def namespace(self) -> str | None:
        """The namespace of the kubeconfig's context."""
        return self._credentials.namespace

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def perform(self, call: Call) -> bytes:
        """Send a call and read its whole answer. Raises ApiError."""
        payload = None if call.body is None else orjson.dumps(call.body)
        attempt, rejected = 1, False
        while True:
            wait: float | None
            try:
                async with await self._send(call, payload, self._timeout, rejected=rejected) as response:
                    data = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                metrics.REQUESTS.labels(call.method, call.label, "0").inc()
                failure: ApiError = self._unreachable(call, error)
                # A request that used up its time is not repeated: the caller has waited long enough.
                wait = None if isinstance(error, TimeoutError) else self._pause(attempt)
            else:
                metrics.REQUESTS.labels(call.method, call.label, str(response.status)).inc()
                self.date = response.headers.get("Date")
                self._warnings.record(response.headers.getall("Warning", ()), f"{call.method} {call.path}")
                if response.status < 300:
                    return data
                after = retry_after(response.headers)
                failure = from_response(response.status, data, after)
                if response.status == 401 and not rejected:
                    rejected = True
                    continue
                wait = None
                if response.status in {429, 503} or (response.status >= 500 and after is not None):
                    wait = min(after if after is not None else self._pause(attempt), MAX_WAIT_SECONDS)
            if wait is None or not call.repeatable or attempt >= MAX_ATTEMPTS:
                raise failure
            attempt += 1
            await asyncio.sleep(wait)

    async def stream(
        self, call: Call, inactivity_seconds: float, opened: Callable[[], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The lines of an answer without end. `opened` is called once the server accepted the request.

        Raises ApiError; Unreachable with reason `Inactive` when an accepted stream was silent for too long.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=inactivity_seconds)
        accepted = rejected = False
        try:
            response = await self._send(call, None, timeout)
            if response.status == 401:
                response.release()
                rejected = True
                response = await self._send(call, None, timeout, rejected=rejected)
            async with response:
                metrics.REQUESTS.labels("WATCH", call.label, str(response.status)).inc()
                if response.status != 200:
                    raise from_response(response.status, await response.read(), retry_after(response.headers))
                accepted = True
                if opened is not None:
                    opened()
                async for line in _lines(response.content, call.label):
                    yield line
        except TimeoutError as error:
            if accepted:
                text = f"the watch of {call.label} was silent for {inactivity_seconds:.0f} s"
                raise Unreachable(text, "Inactive") from error
            raise self._unreachable(call, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(call, error) from error

    def _pause(self, attempt: int) -> float:
        return float(min(0.1 * 2**attempt, 2.0) * self._random.uniform(0.5, 1.5))

    async def _send(
        self, call: Call, payload: bytes | None, limits: aiohttp.ClientTimeout, *, rejected: bool = False
    ) -> aiohttp.ClientResponse:
        if self._session.closed:
            raise Unreachable(f"{call.method} {call.path}: this client was closed", "Closed")
        credentials = self._credentials
        credentials.refresh_tls()
        headers = CIMultiDict(credentials.impersonation)
        headers["Accept"] = call.accept
        authorization = await credentials.authorization(rejected=rejected)
        if authorization:
            headers["Authorization"] = authorization
        if payload is not None:
            headers["Content-Type"] = call.content_type
        return await self._session.request(
            call.method,
            URL(credentials.server + call.path, encoded=True).with_query(dict(call.params)),
            data=payload,
            headers=headers,
            ssl=credentials.ssl if credentials.ssl is not None else True,
            server_hostname=credentials.tls_server_name,
            proxy=credentials.proxy,
            timeout=limits,
            allow_redirects=False,
        )

    def _unreachable(self, call: Call, error: BaseException) -> Unreachable:
        text = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        return Unreachable(f"{call.method} {call.path}: the API server {self.server} did not answer ({text})")


async def _lines(stream: aiohttp.StreamReader, what: str) -> AsyncIterator[bytes]:
    """Newline-delimited JSON of any length up to MAX_EVENT_BYTES (aiohttp's own readline stops far earlier)."""
    buffer, searched = bytearray(), 0
    async for chunk in stream.iter_any():
        buffer += chunk
        while (end := buffer.find(b"\n", searched)) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            searched = 0
            if line.strip():
                yield line
        searched = len(buffer)
        if len(buffer) > MAX_EVENT_BYTES:
            raise Unreachable(f"the watch of {what} sent an event above {MAX_EVENT_BYTES} bytes", "Garbled")
