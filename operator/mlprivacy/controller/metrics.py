"""Metrics of the controller."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILE_SECONDS = Histogram(
    "mlprivacy_reconcile_seconds",
    "Time of one reconcile, by kind.",
    ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30),
)
RECONCILE_FAILURES = Counter(
    "mlprivacy_reconcile_failures_total",
    "Reconciles that failed and are tried again, by kind and by whether the API server or a fault of ours was why.",
    ["kind", "cause"],
)
DECISIONS = Counter(
    "mlprivacy_controller_decisions_total", "Decisions made while reconciling, by verdict.", ["verdict"]
)
ATTEMPTS = Counter("mlprivacy_attempts_total", "Workloads created, by kind of job.", ["kind"])
UNSEALED = Counter(
    "mlprivacy_unsealed_total",
    "Pods that did not get past their seal probe, by kind of job and reason.",
    ["kind", "reason"],
)
SILENT = Counter(
    "mlprivacy_sidecar_silent_total", "Times that the sidecar of a running job was not heard any more.", ["kind"]
)
GATEWAY_RESTARTS = Counter(
    "mlprivacy_gateway_restarted_total", "Pods deleted since their gateway was started more than once."
)
EXCEPTION_USES = Counter(
    "mlprivacy_exception_uses_total", "Attempts that only a PolicyException let run, by the rule excepted.", ["rule"]
)
REPORTS = Counter(
    "mlprivacy_reports_total", "Reports of openreports.io that were written, removed or refused.", ["change"]
)
ADMISSION_CHECKS = Counter(
    "mlprivacy_admission_checks_total", "Answers to Kueue about the privacy budget of a Workload, by state.", ["state"]
)
DRIFT = Counter("mlprivacy_drift_repaired_total", "Rendered objects that others changed or removed, repaired.")
JOBS = Gauge("mlprivacy_jobs", "Jobs known to the controller.")
RECEIPT_SECONDS = Histogram(
    "mlprivacy_receipt_seconds",
    "Time until the collector's receipt of one record was held.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
RECEIPT_FAILURES = Counter("mlprivacy_receipt_failures_total", "Records for which no receipt could be had.")
EVENTS_DROPPED = Counter("mlprivacy_events_dropped_total", "Kubernetes Events not written since too many were waiting.")
FRAMEWORK_RESTARTS = Counter("mlprivacy_framework_restarts_total", "Times kopf gave up and was started again.")
MISSED = Counter("mlprivacy_missed_news_total", "Changes of jobs that no watch told of and a list found.", ["change"])
