"""What pods are rendered with here, as the controller says in the ConfigMap mlprivacy-addresses."""

from __future__ import annotations

from datetime import datetime

from mlprivacy.api.names import ADDRESSES
from mlprivacy.kube.client import KubeClient, Object
from mlprivacy.kube.informer import Informer
from mlprivacy.kube.resources import CONFIGMAPS
from mlprivacy.workloads.context import RenderSettings
from mlprivacy.workloads.installation import settings_in


class Installation:
    """A copy of the ConfigMap; list and watch by field selector, so that RBAC can name it."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._namespace = namespace
        self._informer = Informer(
            client,
            CONFIGMAPS,
            namespace=namespace,
            field_selector=f"metadata.name={ADDRESSES}",
            transform=_data,
            name=f"configmaps/{ADDRESSES}",
        )

    def start(self) -> None:
        """List and watch in the background."""
        self._informer.start()

    async def stop(self) -> None:
        """End the watch; the copy keeps answering."""
        await self._informer.stop()

    def settings(self, now: datetime) -> tuple[RenderSettings, ...]:
        """What a pod may have been rendered with, newest first; none as long as the controller has not said."""
        found = self._informer.get(self._namespace, ADDRESSES)
        return settings_in(found.get("data") or {}, now) if found else ()


def _data(obj: Object) -> Object:
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "resourceVersion") if key in obj["metadata"]}
    return {"metadata": metadata, "data": obj.get("data") or {}}
