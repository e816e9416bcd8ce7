"""A node played by kwok: its object, its identity, its stages. One kwok process per node, as one kubelet per node."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_STAGES: Final = Path(__file__).parent / "stages.yaml"
LEASE_SECONDS: Final = 40
NODE_CAPACITY: Final[Mapping[str, str]] = {
    "cpu": "1000",
    "memory": "4Ti",
    "ephemeral-storage": "16Ti",
    "pods": "100000",
    "nvidia.com/gpu": "64",
}

# What kwok reads and a kubelet does not, which the Node authorizer therefore refuses: it lists all nodes once to see
# whether the API server answers, and lists and watches its lease instead of getting it.
NODE_RULES: Final[tuple[dict[str, Any], ...]] = (
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "simulated-nodes"},
        "rules": [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list", "watch"]},
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "simulated-nodes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "simulated-nodes"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}],
    },
)


@dataclass(frozen=True)
class SimulatedNode:
    """`index` (0 to 99) picks the addresses; `run_seconds` is how long pods that may end run, unless annotated."""

    name: str
    index: int
    run_seconds: int
    kubelet_version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    capacity: Mapping[str, str] = field(default_factory=lambda: NODE_CAPACITY)

    @property
    def user(self) -> str:
        """The identity that the Node authorizer and NodeRestriction know; it may touch this node's pods alone."""
        return f"system:node:{self.name}"

    def manifest(self) -> dict[str, Any]:
        """The Node object as the harness creates it; kwok fills in the status."""
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "type": "kwok",
            **self.labels,
        }
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}}

    def stages(self) -> str:
        """kwok's configuration file for this node."""
        text = _STAGES.read_text(encoding="utf-8")
        values = {
            "CAPACITY": json.dumps(dict(self.capacity)),
            "KUBELET_VERSION": self.kubelet_version,
            "RUN_MILLISECONDS": str(self.run_seconds * 1000),
            "RUN_SECONDS": str(self.run_seconds),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        list(yaml.safe_load_all(text))  # a value that breaks the file is better found here than in kwok's log
        return text

    def argv(self, kwok: Path, kubeconfig: Path, config: Path) -> list[str]:
        return [
            str(kwok),
            f"--kubeconfig={kubeconfig}",
            f"--config={config}",
            f"--manage-single-node={self.name}",
            "--manage-all-nodes=false",
            f"--node-name={self.name}",
            f"--node-ip=10.127.0.{self.index + 1}",
            f"--cidr=10.{128 + self.index}.0.1/16",
            "--node-port=0",
            f"--node-lease-duration-seconds={LEASE_SECONDS}",
        ]
