"""Prometheus metrics of the admission server. Names of rules and verdicts are labels; names of objects never are."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

# Past the longest timeoutSeconds a webhook of ours has (5), so that what timed out is seen as such.
BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

SECONDS: Final = Histogram(
    "mlprivacy_admission_seconds", "Seconds from the whole request to its answer.", ["path"], buckets=BUCKETS
)
ANSWERS: Final = Counter("mlprivacy_admission_answers_total", "Answers by what they say.", ["path", "verdict"])
FINDINGS: Final = Counter("mlprivacy_admission_findings_total", "Findings of decisions.", ["rule", "action"])
REFUSED: Final = Counter(
    "mlprivacy_admission_refused_requests_total",
    "Requests that were no review from somebody who may ask, or that failed here.",
    ["why"],
)
NOT_RECORDED_ALONE: Final = Counter(
    "mlprivacy_admission_summarised_records_total",
    "Refusals, and changes of exceptions that nobody approved, that the audit log has in a summary only.",
)
STALENESS: Final = Gauge(
    "mlprivacy_admission_facts_age_seconds", "Seconds since the API server last spoke to the facts."
)
