"""The collector's metrics, in a registry of their own so that two collectors in one process do not clash."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mlprivacy.audit.log import AuditLog

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class CollectorMetrics:
    """What the collector counts. ``registry`` is what /metrics shows."""

    def __init__(self, log: AuditLog) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_LogCollector(log))
        self.requests = Histogram(
            "mlprivacy_collector_request_seconds",
            "Duration of requests to the record API",
            ["method", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.canary_alive = Gauge(
            "mlprivacy_canary_alive", "1 if the seal canary answers, also through its Service", registry=self.registry
        )
        self.certificate_days = Gauge(
            "mlprivacy_certificate_days_left", "Days until the server's certificate ends", registry=self.registry
        )
        self.pods = Gauge(
            "mlprivacy_collector_pods", "Governed pods by what the puller knows", ["state"], registry=self.registry
        )
        self.unbelieved = Counter(
            "mlprivacy_collector_unbelieved_total",
            "Answers at a governed pod's ports that were not known to be its own sidecar's, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.flooding = Counter(
            "mlprivacy_collector_flooding_total",
            "Pods that sent more than their share of log and are heard no more",
            registry=self.registry,
        )
        self.pulls = Histogram(
            "mlprivacy_collector_pull_seconds",
            "Duration of one exchange with a governed pod",
            ["what", "outcome"],
            buckets=_BUCKETS,
            registry=self.registry,
        )


class _LogCollector(Collector):
    """Reads the log's own counts when asked."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def collect(self) -> Iterable[Metric]:
        stats = self._log.stats
        for name, text, value in (
            ("records", "Records made durable", stats.records),
            ("commits", "Groups committed", stats.commits),
            ("fsyncs", "Calls of fsync", stats.fsyncs),
            ("failures", "Groups that could not be committed", stats.failures),
        ):
            yield CounterMetricFamily(f"mlprivacy_audit_log_{name}", text, value=value)
        heads = GaugeMetricFamily("mlprivacy_audit_log_head", "Newest durable record", labels=["writer"])
        for writer, head in self._log.heads().items():
            heads.add_metric([writer], head.seq)
        yield heads
        broken = GaugeMetricFamily("mlprivacy_audit_log_broken", "1 if a chain does not verify", labels=["writer"])
        for writer in list(self._log.broken):
            broken.add_metric([writer], 1)
        yield broken
