"""A whole installation for the command line: the chart by helm, the three processes, a control plane of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from controlplane.cluster import ControlPlane
from devstack.stack import DevStack

DEADLINE: Final = 180.0
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def stack(private_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """The operator, running; a test that ends a process starts it again. Simulated pods answer no collector."""
    folder = tmp_path_factory.mktemp("stack")
    with DevStack(private_cluster, folder, extra={"collector": ["--simulated-nodes"]}) as running:
        yield running


@pytest.fixture(scope="module")
def mlprivacy(stack: DevStack) -> Run:
    """Runs the command as the administrator, or with another kubeconfig."""

    def run(*arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mlprivacy.cli.main", *arguments],
            env={**os.environ, "KUBECONFIG": str(kubeconfig or stack.cluster.kubeconfig)},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    return run


def eventually(look: Callable[[], Any], what: str) -> Any:
    """The first true result of ``look``; fails when there is none within the deadline."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.2)
    pytest.fail(f"never seen: {what}")
