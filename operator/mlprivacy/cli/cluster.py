"""Reads from the cluster what a decision rests on, for one look; and runs one coroutine against it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mlprivacy.cli.errors import CliError
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.credentials import ConfigurationError
from mlprivacy.kube.errors import ApiError, Forbidden, NotFound, Unauthorized, Unreachable
from mlprivacy.kube.resources import (
    CONSENTSCOPES,
    DATACLASSES,
    DATASETGRANTS,
    DATASETS,
    NAMESPACES,
    OURS,
    PERSISTENTVOLUMECLAIMS,
    POLICYEXCEPTIONS,
    PRIVACYPOLICIES,
    Resource,
)
from mlprivacy.policy.gather import references
from mlprivacy.policy.lookup import ObjectLookup

T = TypeVar("T")
_SOURCES = (NAMESPACES, DATACLASSES, DATASETS, DATASETGRANTS, CONSENTSCOPES, PRIVACYPOLICIES, POLICYEXCEPTIONS)


def run(kubeconfig: str | None, work: Callable[[KubeClient], Awaitable[T]]) -> T:
    """Run ``work`` with a client.

    Raises:
        CliError: when there is no cluster, it does not answer, or it refuses; each with what to do.
    """

    async def connected() -> T:
        async with await KubeClient.connect(kubeconfig, request_seconds=10.0) as client:
            return await work(client)

    # What the client would log (warnings of the API server, retries) is either in our own words below or no matter.
    logging.getLogger("mlprivacy.kube").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(connected())
    except ConfigurationError as error:
        raise CliError(_sentence(str(error))) from error
    except Unreachable as error:
        raise CliError(f"The API server does not answer: {error.message}. Is the kubeconfig the right one?") from error
    except Unauthorized as error:
        raise CliError(
            "The API server does not know who you are; log in again, or give another --kubeconfig."
        ) from error
    except Forbidden as error:
        raise CliError(f"You may not do this: {error.message}. Ask for one of the mlprivacy-* roles.") from error
    except ApiError as error:
        raise CliError(_sentence(f"the API server answered: {error}")) from error


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


@dataclass(frozen=True)
class Known:
    """What could be read. ``unread`` says what could not and why, one sentence each."""

    lookup: ObjectLookup
    unread: tuple[str, ...]


async def gather(client: KubeClient, job: Mapping[str, Any]) -> Known:
    """Everything that a decision about ``job`` may rest on, as far as the caller may read it."""
    objects: list[Object] = []
    unread: list[str] = []
    for resource in _SOURCES:
        try:
            objects += await client.list(resource)
        except Forbidden:
            unread.append(f"you may not list {resource}")
        except NotFound:
            unread.append(f"the cluster has no {resource}; is the chart installed?")
    asked = references(job)
    for name in asked.claims:
        try:
            objects.append(await client.get(PERSISTENTVOLUMECLAIMS, name, asked.namespace))
        except NotFound:
            continue
        except Forbidden:
            unread.append(f"you may not read the claim {name}")
    return Known(ObjectLookup(objects), tuple(unread))


def resource_named(word: str) -> Resource | None:
    """The resource of ours that people call ``word``: its kind, plural, singular, short or full name."""
    from mlprivacy.api.kinds import kind_named  # noqa: PLC0415

    for resource in OURS:
        info = kind_named(resource.kind)
        names = {resource.kind.lower(), resource.plural, str(resource), *(info.short_names if info else ())}
        if word.lower() in names:
            return resource
    return None
