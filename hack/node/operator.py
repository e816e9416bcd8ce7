"""Installs mlprivacy with the chart, from its real images: on the test node, or on a cluster that exists."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from controlplane.client import Cluster
from controlplane.processes import ControlPlaneError
from images.build import ensure_images
from node.cluster import NodeCluster

CHART: Final = Path(__file__).resolve().parents[2] / "charts" / "mlprivacy"
NAMESPACE: Final = "mlprivacy-system"
RELEASE: Final = "mlprivacy"
CLIENT_CA: Final = "api-server-client-ca"
ENV_OPERATOR: Final = "MLPRIVACY_IMAGE"
ENV_DATAPLANE: Final = "MLPRIVACY_DATAPLANE_IMAGE"
WORKLOADS: Final = (
    "deployment/mlprivacy-admission",
    "deployment/mlprivacy-controller",
    "statefulset/mlprivacy-collector",
)


@dataclass(frozen=True)
class References:
    """The two images by digest."""

    operator: str
    dataplane: str


def references(environ: Mapping[str, str] | None = None) -> References | None:
    """The images that MLPRIVACY_IMAGE and MLPRIVACY_DATAPLANE_IMAGE name, for a cluster that has them; None unset.

    Raises ControlPlaneError when only one is set.
    """
    environment = os.environ if environ is None else environ
    operator, dataplane = environment.get(ENV_OPERATOR), environment.get(ENV_DATAPLANE)
    if operator and dataplane:
        return References(operator, dataplane)
    if operator or dataplane:
        raise ControlPlaneError(
            f"Set both {ENV_OPERATOR} and {ENV_DATAPLANE}, each as repository@sha256:…, or neither."
        )
    return None


@dataclass
class Operator:
    """One installation. `values` are laid over those of the installation."""

    cluster: Cluster
    values: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None
    images: References = field(init=False)

    def provide(self) -> None:
        """Make the images known to the node, or take those that the cluster is said to have."""
        given = references()
        if given is not None:
            self.images = given
            return
        if not isinstance(self.cluster, NodeCluster):
            raise ControlPlaneError(
                f"An existing cluster pulls its images: set {ENV_OPERATOR} and {ENV_DATAPLANE} to those it can pull, "
                "each as repository@sha256:…. `make kind-up` prints them for kind."
            )
        built = ensure_images()
        self.images = References(built.mlprivacy.reference, built.dataplane.reference)
        known = self.cluster.images()
        for image in built:
            if image.reference not in known:
                self.say(f"importing {image.tagged} into the node")
                self.cluster.import_image(image.archive)

    def install(self, *arguments: str, wait: bool = True) -> None:
        """`helm upgrade --install`; returns when every process is ready. Raises CommandError with helm's words."""
        self.provide()
        self.say("installing the chart with helm")
        if isinstance(self.cluster, NodeCluster):
            self._show_client_ca(self.cluster)
        file = self.cluster.scratch() / "operator-values.json"
        file.write_text(json.dumps(self.chart_values()), encoding="utf-8")
        waiting = ("--wait", "--timeout", "240s") if wait else ()
        self.cluster.helm(
            "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--create-namespace",
            "--values", str(file), *waiting, *arguments, timeout=300,
        )  # fmt: skip

    def uninstall(self) -> None:
        """`helm uninstall`, hooks included; the definitions stay, as the chart keeps them."""
        self.cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "240s", timeout=300)

    def chart_values(self) -> dict[str, Any]:
        """What `helm install` is given."""
        repository, _, digest = self.images.operator.partition("@")
        values: dict[str, Any] = {
            "image": {"repository": repository, "digest": digest},
            "dataplane": {"image": self.images.dataplane},
        }
        if isinstance(self.cluster, NodeCluster):
            values["admission"] = {"clientAuthentication": {"configMap": CLIENT_CA}}
        return merged(values, self.values)

    def wait_ready(self, workloads: Sequence[str] = WORKLOADS, seconds: int = 180) -> None:
        for workload in workloads:
            self.cluster.kubectl(
                "rollout", "status", workload, "-n", NAMESPACE, f"--timeout={seconds}s", timeout=seconds + 10
            )

    def _show_client_ca(self, cluster: NodeCluster) -> None:
        """The API server of the node shows webhooks a certificate: admission is told who signed it."""
        if cluster.get("namespaces", NAMESPACE) is None:
            cluster.kubectl("create", "namespace", NAMESPACE)
        data = {"ca.crt": cluster.webhook_client_ca.read_text(encoding="utf-8")}
        metadata = {"name": CLIENT_CA, "namespace": NAMESPACE}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` laid on it, maps merged."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return result
