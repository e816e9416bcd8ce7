"""What can go wrong when talking to the API server, as one exception class per thing callers treat differently."""

from collections.abc import Mapping
from typing import Any

import orjson


class ApiError(Exception):
    """The API server refused or failed a request.

    `status` is the HTTP status (0 when there was no answer), `reason` the machine-readable word of `metav1.Status`,
    `details` its `details` object, `retry_after` seconds from the Retry-After header.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        code = f"HTTP {self.status} {self.reason}".rstrip() if self.status else self.reason
        return f"{self.message} ({code})"


class NotFound(ApiError):
    """404: no such object, or no such resource (its CRD is missing)."""

    @property
    def of_resource(self) -> bool:
        """Whether the API server does not know the resource at all: then it names no object."""
        return not self.details.get("name")


class AlreadyExists(ApiError):
    """409 AlreadyExists: create-if-absent lost."""


class Conflict(ApiError):
    """409 Conflict: another writer was first (resourceVersion, uid or field ownership)."""


class Unauthorized(ApiError):
    """401: the token or certificate is not accepted."""


class Forbidden(ApiError):
    """403: RBAC or an admission policy refused."""


class Invalid(ApiError):
    """422 (or 400): the object does not fit its schema; `details.causes` names the fields. 413: it is too large.

    In no case would another try of the same object fare better.
    """


class Expired(ApiError):
    """410: the resourceVersion or continue token is too old; list again."""


class TooManyRequests(ApiError):
    """429: slow down, or an eviction that a disruption budget forbids."""


class Unreachable(ApiError):
    """No usable answer: connection refused or broken, time-out, TLS failure, or bytes that are not Kubernetes JSON."""

    def __init__(self, message: str, reason: str = "Unreachable") -> None:
        super().__init__(0, reason, message)


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(status: Mapping[str, Any], http_status: int = 0, retry_after: float | None = None) -> ApiError:
    """The exception for a `metav1.Status` object, as found in an error response or in a watch's ERROR event."""
    code = status.get("code")
    code = code if isinstance(code, int) else http_status
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or f"the API server answered {code} without a message")
    details = status.get("details")
    kind = AlreadyExists if reason == "AlreadyExists" else _BY_STATUS.get(code, ApiError)
    return kind(code, reason, message, details if isinstance(details, dict) else None, retry_after)


def from_response(http_status: int, body: bytes, retry_after: float | None = None) -> ApiError:
    """The exception for an error response; a proxy's HTML page becomes its first 200 characters."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return from_status({**status, "code": http_status}, http_status, retry_after)
    text = body[:200].decode("utf-8", "replace").strip()
    return from_status({"code": http_status, "message": text}, http_status, retry_after)
