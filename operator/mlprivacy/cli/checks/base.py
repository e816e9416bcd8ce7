"""What a check of an installation is: a name, a place in the order, and a question to the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, Forbidden, NotFound, Unauthorized, Unreachable
from mlprivacy.kube.resources import Resource


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    SKIP = "skip"  # could not be looked at; says nothing
    WARN = "warn"  # works, and should be looked at
    BAD = "bad"  # something is not protected, or does not work


@dataclass(frozen=True)
class Result:
    """One line of the report: what was found and what to do about it."""

    check: str
    level: Level
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Found:
    """What a check yields; the check's name is added by :func:`look`."""

    level: Level
    message: str
    remedy: str = ""


def ok(message: str) -> Found:
    """All is well."""
    return Found(Level.OK, message)


def skip(message: str, remedy: str = "") -> Found:
    """Not looked at."""
    return Found(Level.SKIP, message, remedy)


def warn(message: str, remedy: str) -> Found:
    """Worth a look."""
    return Found(Level.WARN, message, remedy)


def bad(message: str, remedy: str) -> Found:
    """To be mended."""
    return Found(Level.BAD, message, remedy)


@dataclass(frozen=True)
class Site:
    """Where to look: a client, and the operator's namespace."""

    client: KubeClient
    namespace: str

    async def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """One object, None when there is none."""
        try:
            return await self.client.get(resource, name, namespace)
        except NotFound:
            return None


@dataclass(frozen=True)
class Check:
    """One question. ``run`` yields what it finds; an ApiError of its own is turned into a line by :func:`look`."""

    name: str
    order: int
    title: str
    run: Callable[[Site], AsyncIterator[Found]]


async def look(check: Check, site: Site) -> list[Result]:
    """All lines of one check.

    Raises:
        Unreachable, Unauthorized: since no other check could fare better.
    """
    lines: list[Found] = []
    try:
        async for found in check.run(site):
            lines.append(found)
    except (Unreachable, Unauthorized):
        raise
    except Forbidden as error:
        lines.append(skip(f"you may not look: {error.message}", "run it as a cluster administrator"))
    except ApiError as error:
        lines.append(bad(f"the API server did not answer the question: {error}", "look at the API server's log"))
    return [Result(check.name, line.level, line.message, line.remedy) for line in lines]


async def look_at_all(checks: Iterable[Check], site: Site) -> list[Result]:
    """Every check at once; the lines in the checks' order."""
    return [line for lines in await asyncio.gather(*(look(check, site) for check in checks)) for line in lines]
