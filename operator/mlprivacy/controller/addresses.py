"""Keeps the ConfigMap mlprivacy-addresses: which addresses are ours, and what pods are rendered with."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from mlprivacy.api.names import ADDRESSES
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.errors import ApiError, NotFound
from mlprivacy.kube.resources import CONFIGMAPS, SERVICES
from mlprivacy.workloads.context import RenderSettings
from mlprivacy.workloads.installation import KEY_ADDRESSES, KEY_SETTINGS, noted

logger = logging.getLogger(__name__)

_API_SERVER = ("kubernetes", "default")


class Addresses:
    """Writes the ConfigMap at the start and looks again every ``seconds``; what others changed in it is put back."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        settings: RenderSettings,
        *,
        seconds: float = 15.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._settings = settings
        self._seconds = seconds
        self._clock = clock

    async def run(self) -> None:
        """Keep it up to date for ever; what fails is tried again."""
        while True:
            await self.keep()
            await asyncio.sleep(self._seconds)

    async def keep(self) -> bool:
        """Bring it up to date once; False where the API server did not let us, which is logged."""
        try:
            await self._write()
        except ApiError as error:
            logger.warning(
                "the ConfigMap %s can not be kept, so governed pods may be refused as rendered otherwise: %s",
                ADDRESSES, error,
            )  # fmt: skip
            return False
        return True

    async def _write(self) -> None:
        services = await self._client.list(SERVICES, self._namespace)
        services.append(await self._client.get(SERVICES, *_API_SERVER))
        try:
            found = (await self._client.get(CONFIGMAPS, ADDRESSES, self._namespace)).get("data") or {}
        except NotFound:  # the chart makes it
            found = {}
        wanted = {
            KEY_ADDRESSES: ",".join(cluster_addresses(services)),
            KEY_SETTINGS: noted(found, self._settings, self._clock()),
        }
        if found == wanted:
            return
        metadata = {"name": ADDRESSES, "namespace": self._namespace}
        await self._client.apply(CONFIGMAPS, {"metadata": metadata, "data": wanted})
        logger.info("the ConfigMap %s says: %s", ADDRESSES, wanted[KEY_ADDRESSES])


def cluster_addresses(services: Iterable[Object]) -> list[str]:
    """The ClusterIPs of these Services, in every family, in plain form."""
    found = set()
    for service in services:
        spec = service.get("spec") or {}
        for text in spec.get("clusterIPs") or [spec.get("clusterIP")]:
            try:
                found.add(ipaddress.ip_address(str(text)))
            except ValueError:  # None, of a headless Service
                continue
    return [str(address) for address in sorted(found, key=lambda a: (a.version, int(a)))]
