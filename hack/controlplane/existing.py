"""A cluster that somebody else runs, named by KUBECONFIG, behind the same interface as our own control plane."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from controlplane.audit import AuditEvent
from controlplane.build import ensure_binaries
from controlplane.client import Cluster, UnsupportedError
from controlplane.processes import ControlPlaneError


def use_existing_cluster(environ: Mapping[str, str] | None = None) -> bool:
    """Whether USE_EXISTING_CLUSTER asks for it, in any spelling of true."""
    value = (os.environ if environ is None else environ).get("USE_EXISTING_CLUSTER", "")
    return value.strip().lower() in ("1", "true", "yes")


class ExistingCluster(Cluster):
    """Commands and identities work as with a ControlPlane; what needs hold of its processes is refused."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Raises ControlPlaneError when KUBECONFIG is not the path of one file."""
        named = (os.environ if environ is None else environ).get("KUBECONFIG", "")
        if not named:
            raise ControlPlaneError(
                "USE_EXISTING_CLUSTER is set but KUBECONFIG is not. Set it to the cluster's kubeconfig."
            )
        self._kubeconfig = Path(named).expanduser().resolve()
        if not self._kubeconfig.is_file():
            raise ControlPlaneError(
                f"KUBECONFIG is {named}, which is not a file. USE_EXISTING_CLUSTER needs the path of one kubeconfig."
            )
        self._scratch = tempfile.TemporaryDirectory(prefix="mlprivacy-existing-")

    @property
    def kubeconfig(self) -> Path:
        return self._kubeconfig

    @property
    def webhook_client_ca(self) -> Path | None:
        """None: whether that API server authenticates itself to webhooks is not known here."""
        return None

    def binary(self, name: str) -> Path:
        """The user's own tool where there is one, else the one we build."""
        on_path = shutil.which(name)
        return Path(on_path) if on_path else ensure_binaries()[name]

    def scratch(self) -> Path:
        return Path(self._scratch.name)

    def close(self) -> None:
        self._scratch.cleanup()

    def kubeconfig_for_user(self, user: str, groups: Sequence[str] = ()) -> Path:
        """By impersonation: only the administrator's own credential is at hand here."""
        document = self._flattened()
        for entry in document["users"]:
            entry["user"]["as"] = user
            if groups:
                entry["user"]["as-groups"] = list(groups)
        return self._write(document, "user")

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=24h").stdout.strip()
        document = self._flattened()
        for entry in document["users"]:
            entry["user"] = {"token": token}
        return self._write(document, "service-account")

    def audit_events(
        self,
        *,
        verb: str | None = None,
        group: str | None = None,
        resource: str | None = None,
        subresource: str | None = "",
        namespace: str | None = None,
        name: str | None = None,
        user: str | None = None,
        code: int | None = None,
        since: datetime | None = None,
    ) -> list[AuditEvent]:
        self._refuse("read the API server's audit log")

    def stop_apiserver(self) -> None:
        self._refuse("stop the API server")

    def start_apiserver(self) -> None:
        self._refuse("start the API server")

    def pause_apiserver(self) -> None:
        self._refuse("suspend the API server")

    def resume_apiserver(self) -> None:
        self._refuse("wake the API server")

    def add_node(
        self, name: str, labels: Mapping[str, str] | None = None, capacity: Mapping[str, str] | None = None
    ) -> None:
        self._refuse(f"add the simulated node {name}")

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(
            f"An existing cluster is used (USE_EXISTING_CLUSTER), whose processes are not ours: cannot {what}. "
            "Unset USE_EXISTING_CLUSTER to boot a control plane that can."
        )

    def _flattened(self) -> "dict[str, list[dict[str, dict[str, object]]]]":
        done = self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        document: dict[str, list[dict[str, dict[str, object]]]] = json.loads(done.stdout)
        return document

    def _write(self, document: Mapping[str, object], name: str) -> Path:
        descriptor, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".kubeconfig", dir=self.scratch())
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(document, stream)
        return Path(path)
