"""Workload kinds: where a kind keeps its pod template and its suspend switch."""
