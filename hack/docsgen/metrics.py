"""docs/reference/metrics.md: every metric, found where the code defines it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mlprivacy
from docsgen.comments import source_of
from docsgen.markdown import code, document, sentence, table
from docsgen.pages import DocsError
from mlprivacy.audit.log import AuditLog
from mlprivacy.audit.metrics import CollectorMetrics

_INTRO = """
Every process serves `/metrics` in the Prometheus text format: admission, controller and collector on their health
port, accountant and gateway on port 15021 of the pod, which only the collector reaches. Counters are shown with their
suffix `_total`; a histogram has the usual `_bucket`, `_sum` and `_count`. No label holds a value of a user's or a
client's choosing; the subject domain of a privacy budget is the privacy
office's. Alerts made from these are in [operations](../operations.md#metrics-and-alerts).
"""
# Package -> where its metrics are seen. A package that defines a metric and is not here is an error.
_WHERE: Final[Mapping[str, str]] = {
    "admission": "Admission server",
    "audit": "Collector, and the queue of audit records in front of it",
    "controller": "Controller",
    "dataplane": "Accountant and gateway",
    "kube": "Caches, queues, certificates and the API client, in admission, controller and collector",
}
_CALLS: Final = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
}


@dataclass(frozen=True, order=True)
class Metric:
    """One metric as a scrape shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def page() -> str:
    """The page.

    Raises:
        DocsError: when a metric is defined where nobody expects it, or without a description.
    """
    parts: list[str] = []
    for package, title in sorted(_WHERE.items(), key=lambda item: item[1]):
        found = sorted(set(_of_package(package)))
        rows = ((code(m.name), m.kind, ", ".join(code(x) for x in m.labels), sentence(m.text)) for m in found)
        if found:
            parts += [f"## {title}", table(("Metric", "Type", "Labels", "What it is"), rows)]
    _nothing_elsewhere()
    return document("Metrics", _INTRO, *parts)


def _of_package(package: str) -> Iterator[Metric]:
    root = importlib.import_module(f"mlprivacy.{package}")
    for module in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
        yield from defined_in(source_of(importlib.import_module(module.name)), module.name)
    if package == "audit":
        yield from _of_the_log()


def _nothing_elsewhere() -> None:
    for module in pkgutil.walk_packages(mlprivacy.__path__, "mlprivacy."):
        if module.name.split(".")[1] not in _WHERE and "prometheus_client" in _imports(module.name):
            raise DocsError(f"{module.name} uses prometheus_client; docsgen/metrics.py must say where that is seen.")


def _imports(name: str) -> str:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""


def defined_in(source: str, where: str) -> Iterator[Metric]:
    """The metrics whose constructor is called with constant name and description anywhere in ``source``."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }

    def word(node: ast.expr | None) -> str | None:
        value = constants.get(node.id) if isinstance(node, ast.Name) else getattr(node, "value", None)
        return value if isinstance(value, str) else None

    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        called = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        if called == "Counters" and call.args and isinstance(call.args[0], ast.Dict):
            for key, value in zip(call.args[0].keys, call.args[0].values, strict=True):
                if key is not None and (name := word(key)) and (text := word(value)):
                    yield Metric(f"{name}_total", "counter", ("reason",), text)
        elif (
            called == "gauge" and len(call.args) == 3 and (name := word(call.args[0])) and (text := word(call.args[1]))
        ):
            yield Metric(name, "gauge", (), text)
        elif called in _CALLS and call.args and (name := word(call.args[0])) is not None:
            text = word(call.args[1]) if len(call.args) > 1 else None
            if not text:
                raise DocsError(f"{where}: the metric {name} has no description; give it one.")
            yield Metric(_shown(name, _CALLS[called]), _CALLS[called], _labels(call, word), text)


def _shown(name: str, kind: str) -> str:
    return f"{name.removesuffix('_total')}_total" if kind == "counter" else name


def _labels(call: ast.Call, word: object) -> tuple[str, ...]:
    given = call.args[2] if len(call.args) > 2 else None
    for keyword in call.keywords:
        if keyword.arg in ("labelnames", "labels"):
            given = keyword.value
    if not isinstance(given, ast.List | ast.Tuple) or not callable(word):
        return ()
    return tuple(name for item in given.elts if (name := word(item)) is not None)


def _of_the_log() -> Iterator[Metric]:
    """Those that the collector makes from the log's counts when it is asked."""
    with tempfile.TemporaryDirectory() as folder, AuditLog(Path(folder)) as log:
        for family in CollectorMetrics(log).registry.collect():
            if family.name.startswith("mlprivacy_audit_log_") and family.type == "counter":
                yield Metric(_shown(family.name, "counter"), "counter", (), family.documentation)
