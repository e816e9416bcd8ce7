"""Counters of a sidecar in the text format of Prometheus. Its client library would cost each sidecar some megabytes."""

from collections.abc import Callable, Mapping


class Counters:
    """Named counts with one label at most, and gauges read when shown."""

    def __init__(self, described: Mapping[str, str]) -> None:
        """``described``: each counter's name (without ``_total``) and help text."""
        self._described = dict(described)
        self._counts: dict[str, dict[str, int]] = {name: {} for name in described}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def inc(self, name: str, reason: str = "") -> None:
        """Adds one. ``reason`` is one of a few words of ours, never a client's."""
        counts = self._counts[name]
        counts[reason] = counts.get(reason, 0) + 1

    def get(self, name: str) -> int:
        """The sum over all reasons."""
        return sum(self._counts[name].values())

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Adds a gauge whose value is ``read()``."""
        self._gauges[name] = (description, read)

    def render(self) -> bytes:
        """The exposition."""
        out = []
        for name, description in self._described.items():
            out += [f"# HELP {name}_total {description}", f"# TYPE {name}_total counter"]
            counts = self._counts[name] or {"": 0}
            out += [
                f'{name}_total{{reason="{reason}"}} {count}' if reason else f"{name}_total {count}"
                for reason, count in counts.items()
            ]
        for name, (description, read) in self._gauges.items():
            out += [f"# HELP {name} {description}", f"# TYPE {name} gauge", f"{name} {read():g}"]
        return ("\n".join(out) + "\n").encode()
