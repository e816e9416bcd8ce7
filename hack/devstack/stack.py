"""Installs the chart with the real helm and runs the operator's processes with tokens of the chart's accounts."""

import json
import os
import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from controlplane.client import Cluster
from controlplane.cluster import ControlPlane
from controlplane.processes import Process, free_ports, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "mlprivacy"
NAMESPACE: Final = "mlprivacy-system"
RELEASE: Final = "mlprivacy"
# Simulated nodes pull nothing: these digests name no image. `make kind-up` builds and uses real ones.
IMAGE_REPOSITORY: Final = "registry.example/mlprivacy"
IMAGE_DIGEST: Final = "sha256:" + "0" * 63 + "1"
DATAPLANE_IMAGE: Final = "registry.example/mlprivacy-dataplane@sha256:" + "0" * 63 + "2"
AUDIT_RETENTION_DAYS: Final = "2192"  # as the chart has it
COMPONENTS: Final = ("controller", "collector", "admission")
_READY_SECONDS: Final = 180.0


class StackError(RuntimeError):
    """The operator could not be started; the message is a sentence and the end of the log concerned."""


class DevStack:
    """The operator's three processes on ``cluster``, as a context manager or by `start` and `stop`.

    `directory` holds logs, kubeconfigs, the audit log and the list of processes. `extra` adds arguments to a
    process, by component; `values` adds chart values. `default_classes` makes the DataClasses that ship, as the chart
    does; tests bring their own.
    """

    def __init__(
        self,
        cluster: Cluster,
        directory: Path | None = None,
        *,
        components: Sequence[str] = COMPONENTS,
        values: Mapping[str, Any] | None = None,
        extra: Mapping[str, Sequence[str]] | None = None,
        environ: Mapping[str, Mapping[str, str]] | None = None,
        screen: Callable[[str], None] = lambda _: None,
        install: bool = True,
        default_classes: bool = False,
    ) -> None:
        self.cluster = cluster
        self._temporary = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="mlprivacy-stack-")) if directory is None else directory.resolve()
        self.components = tuple(components)
        self.processes: dict[str, Process] = {}
        self._values = dict(values or {})
        self._extra = dict(extra or {})
        self._environ = dict(environ or {})
        self._screen = screen
        self._install = install
        self._default_classes = default_classes
        names = ("admission", "collector", "canary", "health-admission", "health-controller", "health-collector")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Install the chart, start the processes, and return when each is ready.

        Raises CommandError with helm's words, or ControlPlaneError with the end of the log of what failed.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._install:
            self._screen("installing the chart with helm")
            self.install()
        for component in self.components:
            self._screen(f"starting the {component}")
            self.run(component)
        for component in self.components:
            self.wait_ready(component)

    def stop(self) -> None:
        """End the processes of this stack, by pid; the chart stays installed."""
        for process in reversed(list(self.processes.values())):
            process.stop()
        self.processes.clear()
        self._write_state()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    @classmethod
    def stop_in(cls, directory: Path) -> int:
        """End what `start` left running with its state in `directory`; returns how many processes that were."""
        running = [process for process in cls.processes_in(directory) if process.alive()]
        for process in running:
            process.stop()
        (directory.resolve() / "stack.json").unlink(missing_ok=True)
        return len(running)

    @staticmethod
    def processes_in(directory: Path) -> list[Process]:
        """The processes written down in `directory`, running or not; none when nothing was started there."""
        state = directory.resolve() / "stack.json"
        if not state.exists():
            return []
        return [
            Process(item["name"], item["argv"], Path(item["log"]), item["pid"], item["started"])
            for item in json.loads(state.read_text(encoding="utf-8"))["processes"]
        ]

    def install(self, *arguments: str) -> None:
        """`helm upgrade --install` with the values of a stack whose processes run outside the cluster."""
        values = self.directory / "values.json"
        values.write_text(json.dumps(self.values()), encoding="utf-8")
        self.cluster.helm(
            "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace",
            "--values", str(values), *arguments,
        )  # fmt: skip

    def values(self) -> dict[str, Any]:
        """Chart values: nothing is deployed, everything else is as in a real installation."""
        base: dict[str, Any] = {
            "image": {"repository": IMAGE_REPOSITORY, "digest": IMAGE_DIGEST},
            "dataplane": {"image": DATAPLANE_IMAGE},
            "admission": {"url": f"https://127.0.0.1:{self.ports['admission']}"},
            "controller": {"external": True},
            "collector": {"external": True},
            "check": {"enabled": False},
        }
        return _merged(base, self._values)

    # --- processes ----------------------------------------------------------------------------------------------

    def run(self, component: str) -> Process:
        """Start one process with a token of its own ServiceAccount; an earlier one of that name must have ended."""
        kubeconfig = self.cluster.kubeconfig_for_service_account(NAMESPACE, f"mlprivacy-{component}")
        argv = [
            sys.executable, "-m", "mlprivacy.cli.main", component,
            "--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, *self._arguments(component),
            *self._extra.get(component, ()),
        ]  # fmt: skip
        process = Process(component, argv, self.directory / "logs" / f"{component}.log")
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", **self._environ.get(component, {})}
        environ.pop("KUBECONFIG", None)
        process.start(environ)
        self.processes[component] = process
        self._write_state()
        return process

    def end(self, component: str, *, kill: bool = False) -> None:
        """End one process, with SIGKILL where asked."""
        process = self.processes.pop(component)
        if kill:
            process.signal(signal.SIGKILL)
            process.stop()
        else:
            process.stop()

    def wait_ready(self, component: str, timeout: float = _READY_SECONDS) -> None:
        """Wait until /readyz of the process answers 200."""
        process = self.processes[component]
        url = f"http://127.0.0.1:{self.ports[f'health-{component}']}/readyz"
        wait_until(lambda: _answers(url), timeout, what=f"{component} to be ready", watch=[process])

    @property
    def audit_directory(self) -> Path:
        """The collector's log, for `mlprivacy verify`."""
        return self.directory / "audit"

    def _arguments(self, component: str) -> list[str]:
        ports = self.ports
        health = ["--health", f"127.0.0.1:{ports[f'health-{component}']}"]
        match component:
            case "admission":
                client_ca = getattr(self.cluster, "webhook_client_ca", None)
                mutual = ["--client-ca", str(client_ca), "--client-name", "kube-apiserver"] if client_ca else []
                return [
                    *health, *mutual, "--listen", f"127.0.0.1:{ports['admission']}",
                    "--collector-url", f"https://127.0.0.1:{ports['collector']}", "--dataplane-image", DATAPLANE_IMAGE,
                    "--audit-retention-days", AUDIT_RETENTION_DAYS,
                ]  # fmt: skip
            case "controller":
                simulated = ["--simulated-nodes"] if isinstance(self.cluster, ControlPlane) else []
                classes = ["--default-classes"] if self._default_classes else []
                return [
                    *health, *simulated, *classes, "--open-reports", "--kueue",
                    "--collector-url", f"https://127.0.0.1:{ports['collector']}",
                    "--dataplane-image", DATAPLANE_IMAGE, "--audit-retention-days", AUDIT_RETENTION_DAYS,
                    "--canary", f"127.0.0.1:{ports['canary']}:{ports['canary']}",
                    "--admission-host", "127.0.0.1", "--collector-host", "127.0.0.1",
                ]  # fmt: skip
            case "collector":
                return [
                    *health, "--listen", f"127.0.0.1:{ports['collector']}",
                    "--canary-listen", f"127.0.0.1:{ports['canary']}", "--data", str(self.audit_directory),
                ]  # fmt: skip
            case _:
                raise StackError(f"There is no process {component!r}; choose among {', '.join(COMPONENTS)}.")

    def _write_state(self) -> None:
        if not self.directory.exists():
            return
        entries = [
            {"name": p.name, "argv": p.argv, "log": str(p.log), "pid": p.pid, "started": p.started}
            for p in self.processes.values()
        ]
        state = self.directory / "stack.json"
        state.write_text(json.dumps({"processes": entries, "ports": self.ports}, indent=1), encoding="utf-8")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - always our own loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it, maps merged."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result
