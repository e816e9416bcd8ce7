"""Adapters to the Kubernetes API: client, informer cache, conditions, lease, certificates."""
