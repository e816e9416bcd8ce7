"""Metrics of the controller."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "mlprivacy_reconcile_seconds",
    "Time of one reconcile, by kind.",
    ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30),
)
DECISIONS = Counter(
    "mlprivacy_controller_decisions_total", "Decisions made while reconciling, by verdict.", ["verdict"]
)
DRIFT = Counter("mlprivacy_drift_repaired_total", "Rendered objects that others changed or removed, repaired.")
JOBS = Gauge("mlprivacy_jobs", "Jobs known to the controller.")
