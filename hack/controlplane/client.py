"""What a test can ask of any cluster, ours or one that exists: kubectl, helm, identities, namespaces."""

import json
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from controlplane.audit import AuditEvent
from controlplane.processes import ControlPlaneError, wait_until

Manifest = Mapping[str, Any]
_COMMAND_SECONDS: Final = 180.0
_SERVICE_ACCOUNT_PREFIX: Final = "system:serviceaccount:"


class UnsupportedError(ControlPlaneError):
    """This kind of cluster cannot do what was asked; the message says why and what can."""


class CommandError(ControlPlaneError):
    """kubectl or helm ended with an error; the message holds the command and what it printed."""

    def __init__(self, command: str, done: "subprocess.CompletedProcess[str]") -> None:
        self.returncode = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr
        super().__init__(f"`{command}` ended with {done.returncode}.\n{done.stderr or done.stdout}".rstrip())


class Cluster(ABC):
    """A running cluster, seen through its command-line tools."""

    @property
    @abstractmethod
    def kubeconfig(self) -> Path:
        """Path of the administrator's kubeconfig."""

    @property
    @abstractmethod
    def webhook_client_ca(self) -> Path | None:
        """PEM file of the CA that signed the API server's client certificate for webhooks; None where it has none."""

    @abstractmethod
    def binary(self, name: str) -> Path:
        """Path of `kubectl` or `helm`."""

    @abstractmethod
    def scratch(self) -> Path:
        """A folder for kubeconfigs and caches that lives as long as the cluster."""

    @abstractmethod
    def kubeconfig_for_user(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Path of a kubeconfig with which requests are made as this user, a member of these groups."""

    @abstractmethod
    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Path of a kubeconfig with a token (24 h) of this ServiceAccount, which has to exist."""

    @abstractmethod
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
        """Completed requests from the API server's audit log, oldest first. None means any."""

    @abstractmethod
    def stop_apiserver(self) -> None:
        """End the API server; clients get connection refused."""

    @abstractmethod
    def start_apiserver(self) -> None:
        """Start it again on the same port and data; returns when it is ready."""

    @abstractmethod
    def pause_apiserver(self) -> None:
        """Suspend the API server; clients connect and wait."""

    @abstractmethod
    def resume_apiserver(self) -> None:
        """Wake a suspended API server."""

    @abstractmethod
    def add_node(
        self, name: str, labels: Mapping[str, str] | None = None, capacity: Mapping[str, str] | None = None
    ) -> None:
        """Add a simulated node; returns when it is Ready."""

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    def kubectl(
        self,
        *args: str,
        input: str | Manifest | Sequence[Manifest] | None = None,
        as_user: str | None = None,
        groups: Sequence[str] = (),
        kubeconfig: Path | None = None,
        check: bool = True,
        timeout: float = _COMMAND_SECONDS,
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl as the administrator, or as a user (`system:serviceaccount:NS:NAME` for a ServiceAccount).

        `input` may be text or objects, for `-f -`. With `check` (the default) an exit code other than 0 raises
        CommandError; tests of refusals pass `check=False` and look at `stderr`.
        """
        config = kubeconfig or self._config_of(as_user, groups)
        return self._run("kubectl", args, config, text=input, check=check, timeout=timeout)

    def helm(
        self,
        *args: str,
        as_user: str | None = None,
        groups: Sequence[str] = (),
        check: bool = True,
        timeout: float = _COMMAND_SECONDS,
    ) -> "subprocess.CompletedProcess[str]":
        """Run helm with its caches in the cluster's own folder. Raises CommandError as `kubectl` does."""
        return self._run("helm", args, self._config_of(as_user, groups), text=None, check=check, timeout=timeout)

    def apply(
        self, *manifests: Manifest, as_user: str | None = None, groups: Sequence[str] = (), check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """`kubectl apply` of objects given as dicts."""
        return self.kubectl("apply", "-f", "-", input=manifests, as_user=as_user, groups=groups, check=check)

    def get(self, resource: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """One object as a dict, or None when there is no such object."""
        scope = ("-n", namespace) if namespace else ()
        done = self.kubectl("get", resource, name, *scope, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] | None = json.loads(done.stdout) if done.stdout.strip() else None
        return found

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Create a namespace; returns when its default ServiceAccount is there, before which no pod is admitted."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.kubectl("create", "-f", "-", input={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        wait_until(
            lambda: self.get("serviceaccounts", "default", name) is not None,
            30,
            what=f"the default ServiceAccount of namespace {name}",
            interval=0.1,
        )

    def delete_namespace(self, name: str) -> None:
        """Ask for the end of a namespace; does not wait for it."""
        self.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")

    def delete_definitions(self, *which: str) -> None:
        """Delete CustomResourceDefinitions given by name or by `-l SELECTOR`; returns when they are gone.

        One that is deleted seconds after it was made can stay (condition InstanceDeletionFailed, "storage is
        (re)initializing"): the API server tries again only after minutes, or as soon as the object is touched.
        """
        self.kubectl("delete", "crd", *which, "--ignore-not-found", "--wait=false")
        deadline = time.monotonic() + _COMMAND_SECONDS
        while left := self._being_deleted():
            if time.monotonic() > deadline:
                raise ControlPlaneError(f"{', '.join(left)} had not gone after {_COMMAND_SECONDS:.0f} s.")
            time.sleep(1)
            mark = f"controlplane.mlprivacy.dev/deletion-awaited={time.time():.0f}"
            self.kubectl("annotate", "crd", *left, "--overwrite", mark, check=False)

    def _being_deleted(self) -> list[str]:
        listed = json.loads(self.kubectl("get", "crd", "-o", "json").stdout)["items"]
        return [crd["metadata"]["name"] for crd in listed if "deletionTimestamp" in crd["metadata"]]

    def _config_of(self, user: str | None, groups: Sequence[str]) -> Path:
        if user is None:
            return self.kubeconfig
        if user.startswith(_SERVICE_ACCOUNT_PREFIX) and not groups:
            namespace, _, name = user.removeprefix(_SERVICE_ACCOUNT_PREFIX).partition(":")
            return self.kubeconfig_for_service_account(namespace, name)
        return self.kubeconfig_for_user(user, groups)

    def _run(
        self,
        program: str,
        args: Sequence[str],
        kubeconfig: Path,
        *,
        text: str | Manifest | Sequence[Manifest] | None,
        check: bool,
        timeout: float,
    ) -> "subprocess.CompletedProcess[str]":
        command = f"{program} {' '.join(args)}"
        begun = time.monotonic()
        try:
            done = subprocess.run(
                [str(self.binary(program)), *args],
                input="" if text is None else as_text(text),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env=self._environment(kubeconfig),
            )
        except subprocess.TimeoutExpired as error:
            raise ControlPlaneError(f"`{command}` had not ended after {time.monotonic() - begun:.0f} s.") from error
        if check and done.returncode != 0:
            raise CommandError(command, done)
        return done

    def _environment(self, kubeconfig: Path) -> dict[str, str]:
        """The caller's environment with every cache moved aside: a port may have belonged to another cluster before."""
        folder = self.scratch()
        return {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "KUBECACHEDIR": str(folder / "kubectl-cache"),
            "HELM_CACHE_HOME": str(folder / "helm" / "cache"),
            "HELM_CONFIG_HOME": str(folder / "helm" / "config"),
            "HELM_DATA_HOME": str(folder / "helm" / "data"),
        }


def as_text(documents: str | Manifest | Sequence[Manifest]) -> str:
    """Objects as the JSON that kubectl reads from its standard input; text as it is."""
    if isinstance(documents, str):
        return documents
    if isinstance(documents, Mapping):
        return json.dumps(documents)
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
