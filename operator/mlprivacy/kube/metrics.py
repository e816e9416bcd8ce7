"""Prometheus metrics of the Kubernetes adapters: requests, caches, queues, certificates."""

from collections.abc import Callable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "mlprivacy_kube_requests_total", "Requests to the API server; code 0 is no answer.", ["verb", "resource", "code"]
)
CACHE_STALENESS: Final = Gauge(
    "mlprivacy_cache_staleness_seconds", "Seconds since the API server last spoke on this cache's watch.", ["resource"]
)
CACHE_OBJECTS: Final = Gauge("mlprivacy_cache_objects", "Objects in this cache.", ["resource"])
CACHE_SYNCED: Final = Gauge("mlprivacy_cache_synced", "1 once the first complete list was read.", ["resource"])
CACHE_RELISTS: Final = Counter("mlprivacy_cache_lists_total", "Complete lists read for this cache.", ["resource"])
BAD_PACKS: Final = Gauge(
    "mlprivacy_bad_packs", "Packs of users, in ConfigMaps of the operator's namespace, that can not be used."
)
CUSTOM_RULES: Final = Counter(
    "mlprivacy_custom_rules_total",
    "Outcomes of custom rules: passed, breached, failed (no answer, which holds the job), invalid (does not compile).",
    ["outcome"],
)
CUSTOM_SECONDS: Final = Histogram(
    "mlprivacy_custom_rules_seconds",
    "Seconds that the custom rules of one job took together.",
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0),
)
LOSSES: Final = Counter(
    "mlprivacy_losses_total",
    "Privacy losses that decisions asked for: counted, or late (not counted in time, which holds the job).",
    ["outcome"],
)
LOSS_SECONDS: Final = Histogram(
    "mlprivacy_losses_seconds",
    "Seconds that a decision waited for losses that were not remembered.",
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
)
QUEUE_DEPTH: Final = Gauge("mlprivacy_queue_depth", "Keys that wait to be processed.", ["queue"])
CERTIFICATE_DAYS: Final = Gauge(
    "mlprivacy_certificate_days_left", "Days until this certificate expires; negative when it has.", ["name"]
)
LEADER: Final = Gauge("mlprivacy_leader", "1 while this process holds the lease.", ["lease"])


def follow(gauge: Gauge, labels: dict[str, str], read: Callable[[], float]) -> None:
    """Let a gauge ask `read` at scrape time, so that an age grows even while nothing happens."""
    gauge.labels(**labels).set_function(read)
