"""Makes the DataClasses that ship where they are absent, and brings those that nobody changed up to this release."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from mlprivacy.api.names import ANNOTATION_DEFAULT
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound
from mlprivacy.kube.resources import DATACLASSES
from mlprivacy.policy.classes import default_classes, still_ours

logger = logging.getLogger(__name__)
FIELD_MANAGER: Final = "mlprivacy-defaults"  # its own, so that managedFields tell it from the controller's other writes
FIRST_PAUSE: Final = 1.0  # seconds, doubled each time
LONGEST_PAUSE: Final = 60.0


class Made(StrEnum):
    """What was done about one class."""

    CREATED = "created"
    UPDATED = "updated"
    CURRENT = "current"  # as it ships, nothing to do
    THEIRS = "theirs"  # somebody made or changed it
    REFUSED = "refused"  # the API server refuses it, and will again


class DefaultClasses:
    """Looks once at each class after the start; one that is deleted later stays away until the next start."""

    def __init__(self, client: KubeClient, classes: tuple[Mapping[str, Any], ...] | None = None) -> None:
        self._client = client
        self._classes = default_classes() if classes is None else classes

    async def run(self) -> None:
        """Install all, trying again while the API server or the webhook is away; then rest until cancelled."""
        pause = FIRST_PAUSE
        left = list(self._classes)
        while left:
            left = [wanted for wanted in left if await self._tried(wanted) is None]
            if left:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        await asyncio.Event().wait()

    async def _tried(self, wanted: Mapping[str, Any]) -> Made | None:
        """What was done, None when it is to be tried again."""
        name = wanted["metadata"]["name"]
        try:
            made = await self.install(wanted)
        except ApiError as error:
            logger.info("the DataClass %s could not be looked at; trying again: %s", name, error)
            return None
        except Exception:
            logger.exception("the DataClass %s: a fault of ours; it is left as it is", name)
            return Made.REFUSED
        if made in (Made.CREATED, Made.UPDATED):
            logger.info("the DataClass %s was %s, as it ships with this release", name, made)
        return made

    async def install(self, wanted: Mapping[str, Any]) -> Made:
        """Make one class, or bring it up to date, unless somebody else made or changed it.

        Raises:
            ApiError: when the API server does not answer, or answers with a failure that may pass.
        """
        name = wanted["metadata"]["name"]
        try:
            found = await self._client.get(DATACLASSES, name)
        except NotFound:
            return await self._write(
                name, self._client.create(DATACLASSES, wanted, field_manager=FIELD_MANAGER), Made.CREATED
            )
        if not still_ours(found):
            return Made.THEIRS
        if _digest(found) == _digest(wanted):
            return Made.CURRENT
        metadata = found["metadata"]
        annotations = {**(metadata.get("annotations") or {}), **wanted["metadata"]["annotations"]}
        body = {**found, "metadata": {**metadata, "annotations": annotations}, "spec": wanted["spec"]}
        body["metadata"].pop("managedFields", None)
        # With the version that was looked at: an edit made meanwhile wins.
        return await self._write(
            name, self._client.replace(DATACLASSES, body, field_manager=FIELD_MANAGER), Made.UPDATED
        )

    @staticmethod
    async def _write(name: str, call: Any, made: Made) -> Made:
        try:
            await call
        except (AlreadyExists, Conflict):
            return Made.THEIRS  # somebody was quicker
        except (Forbidden, Invalid) as error:
            logger.warning("the DataClass %s that ships is not installed: %s", name, error)
            return Made.REFUSED
        return made


def _digest(obj: Mapping[str, Any] | Object) -> Any:
    return (obj["metadata"].get("annotations") or {}).get(ANNOTATION_DEFAULT)
