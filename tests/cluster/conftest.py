"""Fixtures of the tests that need a real API server."""

from controlplane.pytest_plugin import (
    cluster,
    namespace,
    private_cluster,
    pytest_collection_finish,
    pytest_collection_modifyitems,
)

__all__ = ["cluster", "namespace", "private_cluster", "pytest_collection_finish", "pytest_collection_modifyitems"]
