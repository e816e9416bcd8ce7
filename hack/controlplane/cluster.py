"""The control plane itself: boots etcd, API server, controller-manager, scheduler, simulated nodes; ends them."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import ssl
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from controlplane import flags, runs
from controlplane.audit import AuditEvent, read_audit_log, select
from controlplane.build import Binaries, cache_dir, ensure_binaries
from controlplane.certificates import Authority, KeyPair, write_service_account_key
from controlplane.client import Cluster
from controlplane.components import KUBERNETES_VERSION
from controlplane.kubeconfigs import write_document, write_kubeconfig
from controlplane.processes import ControlPlaneError, Process, free_ports, stop_all, wait_until
from controlplane.simulated_node import NODE_CAPACITY, NODE_RULES, SimulatedNode

ADMIN: Final = "admin"
USERS: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "mallory", "trent")
DEFAULT_RUN_SECONDS: Final = 60
OWN: Final = -1  # the pid of whoever asks
_BOOT_SECONDS: Final = 180.0
_ATTEMPTS: Final = 3
_IN_USE: Final = "address already in use"
_APISERVER: Final = "kube-apiserver"


class ControlPlane(Cluster):
    """A control plane in local processes, as a context manager or by `start` and `stop`.

    `directory` holds its state (a temporary folder unless given); `run_seconds` is how long a pod that may end runs
    on the simulated nodes unless its annotation `kwok.mlprivacy.dev/run-seconds` says otherwise; `nodes` is how many
    simulated nodes there are. `owner` is the pid whose end makes this an abandoned control plane, which the next one
    to start anywhere ends: this program unless given, None for one that is to outlive it.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        run_seconds: int = DEFAULT_RUN_SECONDS,
        nodes: int = 1,
        binaries: Binaries | None = None,
        owner: int | None = OWN,
    ) -> None:
        self._temporary = directory is None
        root = Path(tempfile.mkdtemp(prefix="mlprivacy-")) if directory is None else directory
        self.layout = flags.Layout(root.expanduser().resolve())
        self.run_seconds = run_seconds
        self.tokens: dict[str, str] = {}
        self._node_count = nodes
        self._binaries = binaries
        self._owner = os.getpid() if owner == OWN else owner
        self._entry: Path | None = None
        self._ports: flags.Ports | None = None
        self._processes: dict[str, Process] = {}
        self._nodes: list[str] = []
        self._lock = threading.Lock()

    # --- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Build what is missing, end what a killed run left behind, boot, and return when pods can be scheduled.

        Raises BuildError or ControlPlaneError with the end of the log of what failed; nothing is left running then.
        """
        self._binaries = self._binaries or ensure_binaries()
        runs.sweep(cache_dir())
        self.layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with runs.locked(self.layout.home / "lock"):
            self._entry = runs.register(cache_dir(), self.layout.root, self._owner, temporary=self._temporary)
            runs.end_all(self.layout.state)
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._boot()
                except ControlPlaneError as error:
                    self._end_processes()
                    # Somebody else took one of our ports between the look and the bind: other ports, same boot.
                    if _IN_USE not in str(error) or attempt == _ATTEMPTS:
                        self._forget()
                        raise
                except BaseException:
                    self._end_processes()
                    self._forget()
                    raise
                else:
                    return

    def stop(self) -> None:
        """End every process of this control plane and drop its data; logs stay unless the folder was temporary."""
        self._end_processes()
        self._forget()
        layout = self.layout
        layout.kubeconfig.unlink(missing_ok=True)
        for folder in (layout.etcd_data, layout.pki, layout.config, layout.scratch, layout.bin):
            shutil.rmtree(folder, ignore_errors=True)
        if self._temporary:
            shutil.rmtree(layout.root, ignore_errors=True)

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """The control plane that runs with its state in `directory`. Raises ControlPlaneError when none does."""
        cluster = cls(directory, owner=None)
        cluster._processes = {process.name: process for process in runs.read_processes(cluster.layout.state)}
        if not cluster.layout.state.is_file():
            raise ControlPlaneError(f"No control plane has its state in {directory}. Start one with `up`.")
        document = json.loads(cluster.layout.state.read_text(encoding="utf-8"))
        cluster._ports = flags.Ports(**document["ports"])
        cluster._binaries = {name: Path(path) for name, path in document["binaries"].items()}
        cluster._nodes = list(document["nodes"])
        cluster._entry = cache_dir() / "runs" / f"{document['run']}.json"
        cluster.run_seconds = int(document["runSeconds"])
        cluster.tokens = dict(document["tokens"])
        cluster._restore(document)
        dead = [process for process in cluster._processes.values() if not process.alive()]
        if dead or not cluster._processes:
            names = ", ".join(process.name for process in dead) or "every process"
            raise ControlPlaneError(f"The control plane in {directory} is not whole: {names} is gone. Run `up` again.")
        return cluster

    def status(self) -> dict[str, bool]:
        """Each process by name, and whether it runs."""
        self._refresh()
        return {name: process.alive() for name, process in self._processes.items()}

    @staticmethod
    def processes_in(directory: Path) -> list[Process]:
        """The processes written down in `directory`, running or not; none when nothing was started there."""
        return runs.read_processes(flags.Layout(directory.expanduser().resolve()).state)

    @classmethod
    def stop_in(cls, directory: Path) -> int:
        """End what runs with its state in `directory`, whole or not; returns how many processes that were."""
        running = [process for process in cls.processes_in(directory) if process.alive()]
        cluster = cls(directory, owner=None)
        cluster._processes = {process.name: process for process in running}
        run = runs.run_of(cluster.layout.state)
        if run is None:
            return 0
        cluster._entry = cache_dir() / "runs" / f"{run}.json"
        cluster._restore(json.loads(cluster.layout.state.read_text(encoding="utf-8")))
        cluster.stop()
        return len(running)

    # --- what a test uses ---------------------------------------------------------------------------------------

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    @property
    def webhook_client_ca(self) -> Path:
        return self.layout.webhook_client_ca

    @property
    def address(self) -> str:
        """Where the API server listens."""
        return "127.0.0.1"

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:{self._port('apiserver')}"

    @property
    def cluster_ca(self) -> Path:
        """PEM file of the CA of the API server's serving certificate."""
        return self.layout.pki / "cluster-ca.crt"

    def binary(self, name: str) -> Path:
        if self._binaries is None or name not in self._binaries:
            raise ControlPlaneError(f"This control plane has no {name}; start it first.")
        return self._binaries[name]

    def scratch(self) -> Path:
        return self.layout.scratch

    def kubeconfig_for_user(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A really authenticated user: by client certificate of the cluster's CA, never by impersonation."""
        mark = sha256("\0".join([user, *groups]).encode()).hexdigest()[:16]
        path = self.layout.scratch / "users" / f"{mark}.kubeconfig"
        with self._lock:
            if not path.is_file():
                client = Authority(self.layout.pki, "cluster-ca").client(f"user-{mark}", user, groups)
                write_kubeconfig(path, self.server, self.cluster_ca, client=client)
        return path

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=24h").stdout.strip()
        path = self.layout.scratch / "service-accounts" / f"{namespace}.{name}.kubeconfig"
        return write_kubeconfig(path, self.server, self.cluster_ca, token=token, namespace=namespace)

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
        events = select(
            read_audit_log(self.layout.audit_log),
            verb=verb,
            group=group,
            resource=resource,
            subresource=subresource,
            namespace=namespace,
            name=name,
            user=user,
            code=code,
        )
        return [event for event in events if since is None or event.received >= since]

    def stop_apiserver(self) -> None:
        # It closes its port at once, but would wait a minute for clients to end their watches.
        self._process(_APISERVER).stop(grace=2)

    def start_apiserver(self) -> None:
        process = self._process(_APISERVER)
        if not process.alive():
            process.start(self._child_environment(), self.layout.home)
            self._save()
        wait_until(lambda: self._answers("/readyz"), _BOOT_SECONDS, what="the API server", watch=[process])

    def pause_apiserver(self) -> None:
        self._process(_APISERVER).signal(signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        self._process(_APISERVER).signal(signal.SIGCONT)

    def add_node(
        self, name: str, labels: Mapping[str, str] | None = None, capacity: Mapping[str, str] | None = None
    ) -> None:
        process = self._start_node(name, labels or {}, capacity or NODE_CAPACITY)
        wait_until(lambda: self._node_ready(name), _BOOT_SECONDS, what=f"node {name} to be Ready", watch=[process])

    # --- booting ------------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        layout = self.layout
        for folder in (layout.etcd_data, layout.logs, layout.pki, layout.config, layout.scratch, layout.bin):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, mode=0o700)
        self._processes, self._nodes = {}, []
        self._ports = ports = flags.Ports(*free_ports(5))
        etcd = self._spawn("etcd", flags.etcd(self.binary("etcd"), layout, ports))
        serving = self._write_files()
        # The API server looks for etcd once a second: meeting it on the first look saves that second.
        wait_until(lambda: self._etcd_healthy(ports), _BOOT_SECONDS, what="etcd", watch=[etcd], interval=0.02)
        apiserver = self._spawn(_APISERVER, self._apiserver_flags(ports, serving))
        wait_until(lambda: self._answers("/readyz"), _BOOT_SECONDS, what="the API server", watch=[etcd, apiserver])
        at = {"address": self.address}
        manager = "kube-controller-manager"
        configured = self._component_kubeconfig(manager)
        self._spawn(manager, flags.controller_manager(self.binary(manager), layout, ports, serving, configured, **at))
        configured = self._component_kubeconfig("kube-scheduler")
        self._spawn("kube-scheduler", flags.scheduler(self.binary("kube-scheduler"), ports, serving, configured, **at))
        self._boot_nodes()
        everything = list(self._processes.values())
        for name in self._nodes:
            wait_until(partial(self._node_ready, name), _BOOT_SECONDS, what=f"node {name}", watch=everything)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(lambda: self._answers(account), _BOOT_SECONDS, what="the default ServiceAccount", watch=everything)
        wait_until(
            lambda: self._answers("/readyz", ports.scheduler), _BOOT_SECONDS, what="the scheduler", watch=everything
        )

    def _boot_nodes(self) -> None:
        """Start what plays or is the nodes; `_boot` waits until those in `_nodes` are Ready."""
        for rule in NODE_RULES:
            self._request("POST", f"/apis/rbac.authorization.k8s.io/v1/{rule['kind'].lower()}s", rule)
        for number in range(self._node_count):
            self._start_node(f"simulated-{number}", {}, NODE_CAPACITY)

    def _apiserver_flags(self, ports: flags.Ports, serving: KeyPair) -> list[str]:
        return flags.apiserver(self.binary(_APISERVER), self.layout, ports, serving)

    def _etcd_healthy(self, ports: flags.Ports) -> bool:
        return _plain_health(ports.etcd)

    def _write_files(self) -> KeyPair:
        """Keys, certificates, tokens, configuration files, the administrator's kubeconfig; returns the serving pair."""
        layout = self.layout
        authority = Authority(layout.pki, "cluster-ca")
        serving = authority.server("serving", [self.address, "127.0.0.1", "localhost", *flags.SERVICE_NAMES])
        write_service_account_key(layout.pki / "service-account.key", layout.pki / "service-account.pub")
        webhook = Authority(layout.pki, "webhook-client-ca").client("webhook-client", flags.WEBHOOK_CLIENT_NAME)
        webhooks = write_document(layout.config / "webhooks.kubeconfig", flags.webhook_kubeconfig(webhook))
        write_document(layout.config / "admission.json", flags.webhook_admission(webhooks))
        write_document(layout.config / "audit-policy.json", flags.AUDIT_POLICY)
        self.tokens = {user: secrets.token_hex(16) for user in (ADMIN, *USERS)}
        lines = [f"{self.tokens[user]},{user},{user}" for user in USERS]
        lines.append(f'{self.tokens[ADMIN]},{ADMIN},{ADMIN},"system:masters"')
        tokens = layout.config / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_kubeconfig(layout.kubeconfig, self.server, self.cluster_ca, token=self.tokens[ADMIN])
        for name in ("kubectl", "helm"):
            (layout.bin / name).symlink_to(self.binary(name))
        return serving

    def _component_kubeconfig(self, name: str) -> Path:
        """A kubeconfig for `system:NAME`, the user that the built-in roles know."""
        client = Authority(self.layout.pki, "cluster-ca").client(name, f"system:{name}")
        return write_kubeconfig(self.layout.config / f"{name}.kubeconfig", self.server, self.cluster_ca, client=client)

    def _start_node(self, name: str, labels: Mapping[str, str], capacity: Mapping[str, str]) -> Process:
        node = SimulatedNode(name, len(self._nodes), self.run_seconds, f"v{KUBERNETES_VERSION}", labels, capacity)
        client = Authority(self.layout.pki, "cluster-ca").client(f"node-{name}", node.user, ["system:nodes"])
        configured = self.layout.config / f"node-{name}.kubeconfig"
        write_kubeconfig(configured, self.server, self.cluster_ca, client=client)
        stages = self.layout.config / f"node-{name}.yaml"
        stages.write_text(node.stages(), encoding="utf-8")
        self._request("POST", "/api/v1/nodes", node.manifest())
        self._nodes.append(name)
        return self._spawn(f"kwok-{name}", node.argv(self.binary("kwok"), configured, stages))

    def _spawn(self, name: str, argv: list[str]) -> Process:
        process = Process(name, self._command(argv), self.layout.logs / f"{name}.log")
        process.start(self._child_environment(), self.layout.home)
        self._processes[name] = process
        self._save()
        return process

    def _command(self, argv: list[str]) -> list[str]:
        """The command line that runs a process of this control plane where it belongs."""
        return argv

    def _child_environment(self) -> dict[str, str]:
        """Nothing of the user's home is read: kwok would load a configuration from there."""
        return {**os.environ, "HOME": str(self.layout.scratch)}

    def _save(self) -> None:
        """Write down every process at once when it is started: what is not written down cannot be ended later."""
        write_document(
            self.layout.state,
            {
                "run": self._entry.stem if self._entry else "",
                "kubernetes": KUBERNETES_VERSION,
                "runSeconds": self.run_seconds,
                "nodes": self._nodes,
                "ports": asdict(self._ports) if self._ports else {},
                "binaries": {name: str(path) for name, path in (self._binaries or {}).items()},
                "tokens": self.tokens,
                "processes": [process.as_dict() for process in self._processes.values()],
                **self._state(),
            },
        )

    def _state(self) -> dict[str, Any]:
        """What else has to be remembered to find and end this control plane; `group` names its cgroup."""
        return {}

    def _restore(self, document: Mapping[str, Any]) -> None:
        """Take back what `_state` gave."""

    def _refresh(self) -> None:
        """Learn of processes that another program, attached to this control plane, has started anew."""
        if self._entry is None or runs.run_of(self.layout.state) != self._entry.stem:
            return
        for written in runs.read_processes(self.layout.state):
            known = self._processes.get(written.name)
            if known is None or (known.pid, known.started) != (written.pid, written.started):
                self._processes[written.name] = written

    def _end_processes(self) -> None:
        self._refresh()
        # Clients first, so that the API server does not wait for their watches; etcd last.
        order = list(reversed(self._processes.values()))
        stop_all([process for process in order if process.name not in (_APISERVER, "etcd")], grace=3)
        stop_all([process for process in order if process.name == _APISERVER], grace=3)
        stop_all([process for process in order if process.name == "etcd"], grace=3)

    def _forget(self) -> None:
        if self._entry is not None:
            self._entry.unlink(missing_ok=True)
        self.layout.state.unlink(missing_ok=True)

    # --- looking ------------------------------------------------------------------------------------------------

    def _process(self, name: str) -> Process:
        self._refresh()
        if name not in self._processes:
            raise ControlPlaneError(f"{name} was never started in {self.layout.root}.")
        return self._processes[name]

    def _port(self, name: str) -> int:
        if self._ports is None:
            raise ControlPlaneError("This control plane has not been started.")
        return int(getattr(self._ports, name))

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None, port: int | None = None) -> Any:
        """One call as the administrator, without the price of a kubectl. Raises OSError when it fails."""
        request = urllib.request.Request(  # always https to an address of ours
            f"https://{self.address}:{port or self._port('apiserver')}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.tokens[ADMIN]}", "Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cafile=str(self.cluster_ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=5) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def _answers(self, path: str, port: int | None = None) -> bool:
        with contextlib.suppress(OSError):
            self._request("GET", path, port=port)
            return True
        return False

    def _node_ready(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            status = self._request("GET", f"/api/v1/nodes/{name}").get("status", {})
            conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
            return conditions.get("Ready") == "True"
        return False


def _plain_health(port: int) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError), opener.open(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
        return bool(answer.status == 200)
    return False
