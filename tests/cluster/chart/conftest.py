"""What the chart's tests share: the real helm, values of three ways to install, rendered objects."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane import ensure_binaries

CHART: Final = Path(__file__).parents[3] / "charts" / "mlprivacy"
NAMESPACE: Final = "mlprivacy-system"
KUBERNETES: Final = "1.36.3"
DIGEST: Final = "sha256:" + "a" * 64
IMAGE: Final = f"registry.example/mlprivacy-dataplane@{DIGEST}"

OUTSIDE: Final[dict[str, Any]] = {
    "admission": {"url": "https://127.0.0.1:9"},
    "controller": {"external": True},
    "collector": {"external": True},
    "dataplane": {"image": IMAGE},
}
INSIDE: Final[dict[str, Any]] = {
    "image": {"repository": "registry.example/mlprivacy", "digest": DIGEST},
    "dataplane": {"image": IMAGE},
}
EVERYTHING: Final[dict[str, Any]] = {
    **INSIDE,
    "imagePullSecrets": [{"name": "pull"}],
    "podAnnotations": {"sidecar.istio.io/inject": "false"},
    "priorityClassName": "system-cluster-critical",
    "dataplane": {"image": IMAGE, "previousImages": [IMAGE.replace("a" * 64, "b" * 64)]},
    "admission": {
        "replicas": 3,
        "extraHosts": ["admission.example"],
        "clientAuthentication": {"configMap": "apiserver-client-ca"},
        "nodeSelector": {"role": "control"},
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "controller": {"replicas": 2, "canary": "192.0.2.1:15019:15019", "simulatedNodes": True},
    "collector": {"storage": {"size": "1Gi", "storageClassName": "fast"}},
    "networkPolicy": {"enabled": True, "apiServerCIDRs": ["192.0.2.0/24", "2001:db8::/64"]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "grafanaDashboard": {"enabled": True},
    "crds": {"keep": False},
}
WAYS: Final = {"outside": OUTSIDE, "inside": INSIDE, "everything": EVERYTHING}

Object = dict[str, Any]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Run helm without a cluster: `helm("template", values={…})` on the chart. Never raises for an exit code."""
    binary = ensure_binaries()["helm"]
    folder = tmp_path_factory.mktemp("helm")

    def run(
        command: str, *args: str, values: Object, namespace: str = NAMESPACE, chart: Path = CHART
    ) -> "subprocess.CompletedProcess[str]":
        path = folder / "values.json"
        path.write_text(json.dumps(values), encoding="utf-8")
        name = ("mlprivacy",) if command == "template" else ()
        argv = [str(binary), command, *name, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES]
        environ = {"HOME": str(folder), "HELM_CACHE_HOME": str(folder), "PATH": ""}
        return subprocess.run(
            [*argv, "-f", str(path), *args], capture_output=True, text=True, check=False, env=environ, timeout=120
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[[str], list[Object]]:
    """Objects of one way to install: outside, inside or everything."""
    done: dict[str, list[Object]] = {}

    def objects(way: str) -> list[Object]:
        if way not in done:
            rendered = helm("template", values=WAYS[way])
            assert rendered.returncode == 0, rendered.stderr
            done[way] = [one for one in yaml.safe_load_all(rendered.stdout) if one]
        return done[way]

    return objects


@pytest.fixture
def ways() -> dict[str, Object]:
    return WAYS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rendering needs no API server, but the helm that is built together with it."""
    for item in items:
        if {"helm", "render"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("cluster")
