"""A whole installation that a module may break: control plane, chart, three processes, and who restarts them.

The people and manifests are those of ../threats.
"""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane.cluster import ControlPlane
from devstack import DevStack
from devstack.stack import NAMESPACE

_THREATS: Final = str(Path(__file__).parents[1] / "threats")
if _THREATS not in sys.path:
    sys.path.append(_THREATS)

from theatre import Scene  # noqa: E402 - found through the line above

DATAPLANE: Final = "registry.example/mlprivacy-dataplane@sha256:"


class Lab(Scene):
    """The scene, and hands on the processes. `arguments` are what the next start of a component gets besides."""

    def __init__(self, stack: DevStack, arguments: dict[str, list[str]]) -> None:
        super().__init__(stack)
        self.arguments = arguments

    def kill(self, *components: str) -> None:
        """End processes as a lost node would: without a word."""
        for component in components:
            self.stack.end(component, kill=True)

    def end(self, *components: str) -> None:
        """End processes in order; the controller gives up its lease."""
        for component in components:
            self.stack.end(component)

    def tend(self) -> None:
        """What a kubelet does: start what is not running."""
        for component in self.stack.components:
            process = self.stack.processes.get(component)
            if process is None or not process.alive():
                self.stack.processes.pop(component, None)
                self.stack.run(component)

    def tended(self, look: Callable[[], Any], what: str) -> Any:
        """`eventually`, with somebody who starts again what ends meanwhile."""

        def tend_and_look() -> Any:
            self.tend()
            return look()

        return self.eventually(tend_and_look, what, 120)

    def restore(self) -> None:
        """Start what is not running; returns when all is ready."""
        self.tend()
        for component in self.stack.components:
            self.stack.wait_ready(component, timeout=120)

    def freeze(self, component: str) -> None:
        """Let a process hang: it keeps its connections and answers nothing."""
        self.stack.processes[component].signal(signal.SIGSTOP)

    def thaw(self, component: str) -> None:
        self.stack.processes[component].signal(signal.SIGCONT)

    def mlprivacy(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command line, as the administrator."""
        command = [sys.executable, "-m", "mlprivacy.cli.main", *arguments]
        kubeconfig = ["--kubeconfig", str(self.cluster.kubeconfig)]
        return subprocess.run([*command, *kubeconfig], capture_output=True, text=True, check=False, timeout=120)

    def mlprivacy_verify(self) -> "subprocess.CompletedProcess[str]":
        """`mlprivacy verify` on the collector's log."""
        command = [sys.executable, "-m", "mlprivacy.cli.main", "verify", str(self.stack.audit_directory)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def governed_pod(self, namespace: str, running: dict[str, Any], name: str = "probe") -> dict[str, Any]:
        """A running governed pod as it was when its controller made it; only the operator may try it, in a dry run."""
        spec = {k: v for k, v in running["spec"].items() if k not in ("nodeName", "tolerations")}
        metadata = {k: running["metadata"][k] for k in ("labels", "annotations")}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "name": name}, "spec": spec}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """For tests that end processes, stop the API server or change the release; each leaves it whole again.

    Simulated pods run for an hour, so that what runs when a test begins runs when it ends.
    """
    folder = tmp_path_factory.mktemp("lab")
    arguments: dict[str, list[str]] = {"collector": ["--simulated-nodes"], "controller": [], "admission": []}
    with (
        ControlPlane(folder / "cluster", run_seconds=3600) as control_plane,
        DevStack(control_plane, folder / "operator", extra=arguments) as stack,
    ):
        yield Lab(stack, arguments)


@pytest.fixture
def operator_namespace() -> str:
    return NAMESPACE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"lab", "stack"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
