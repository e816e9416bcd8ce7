"""A real Kubernetes control plane for tests, demos and development, built from source and run as local processes.

    with ControlPlane() as cluster:
        cluster.kubectl("get", "namespaces")

`python -m controlplane --help` (with `hack/` on the import path) does the same from a shell.
"""

from controlplane.audit import AuditEvent
from controlplane.build import BuildError, ensure_binaries
from controlplane.client import Cluster, CommandError, UnsupportedError
from controlplane.cluster import ControlPlane
from controlplane.existing import ExistingCluster
from controlplane.processes import ControlPlaneError

__all__ = [
    "AuditEvent",
    "BuildError",
    "Cluster",
    "CommandError",
    "ControlPlane",
    "ControlPlaneError",
    "ExistingCluster",
    "UnsupportedError",
    "ensure_binaries",
]
